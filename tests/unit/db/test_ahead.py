# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What a transaction reads ahead, where rounds are dear."""

import tempfile

import sqlalchemy as sa
import testtools

from luc_drivers.db.tools import naming
from tests.unit.db.test_compare_and_set import begin_explicitly


class AheadTestCase(testtools.TestCase):
    """Tables that neutron's profile keeps, and reads, together."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        url = f'sqlite+luc:///neutron?store=embedded&path={folder.name}/db'
        self.engine = sa.create_engine(url)
        self.addCleanup(self.engine.dispose)
        begin_explicitly(self.engine)
        self.store = naming.database(url).store
        # as Cassandra's
        self.store.reads_ahead = True
        metadata = sa.MetaData()
        self.attributes = sa.Table(
            'standardattributes', metadata,
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('revision_number', sa.Integer))
        self.tags = sa.Table(
            'tags', metadata,
            sa.Column('standard_attr_id', sa.Integer, sa.ForeignKey(
                'standardattributes.id'), primary_key=True),
            sa.Column('tag', sa.String(60), primary_key=True))
        metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            for number in (1, 2):
                connection.execute(self.attributes.insert().values(
                    id=number, revision_number=0))
                self.tag(connection, number, 'old')

    def tag(self, connection, number, name):
        connection.execute(self.tags.insert().values(
            standard_attr_id=number, tag=name))

    def attribute(self, connection, number, lock=False):
        query = sa.select(self.attributes).where(
            self.attributes.c.id == number)
        return connection.execute(
            query.with_for_update() if lock else query).one()

    def tags_of(self, connection, number):
        """Return a resource's tags, and how many rounds they took."""
        before = self.store.here.rounds
        found = connection.execute(sa.select(self.tags.c.tag).where(
            self.tags.c.standard_attr_id == number)).scalars().all()
        return sorted(found), self.store.here.rounds - before

    def bump(self, connection, number, seen):
        return connection.execute(
            self.attributes.update()
            .where(self.attributes.c.id == number,
                   self.attributes.c.revision_number == seen)
            .values(revision_number=seen + 1)).rowcount


class AheadTest(AheadTestCase):

    def test_the_next_statement_costs_no_round(self):
        with self.engine.begin() as connection:
            self.attribute(connection, 1)
            self.assertEqual((['old'], 0), self.tags_of(connection, 1))

    def test_also_after_a_compare_and_set(self):
        with self.engine.begin() as connection:
            self.assertEqual(1, self.bump(connection, 1, 0))
            self.attribute(connection, 2)
            self.assertEqual((['old'], 0), self.tags_of(connection, 2))

    def test_what_follows_a_lock_is_not_older(self):
        with self.engine.begin() as connection:
            self.attribute(connection, 1)
            with self.engine.begin() as other:
                self.tag(other, 1, 'new')
            self.attribute(connection, 2, lock=True)
            self.assertEqual(
                ['new', 'old'], self.tags_of(connection, 1)[0])

    def test_what_follows_a_compare_and_set_is_not_older(self):
        with self.engine.begin() as connection:
            self.attribute(connection, 1)
            with self.engine.begin() as other:
                self.tag(other, 1, 'new')
            self.assertEqual(1, self.bump(connection, 2, 0))
            self.assertEqual(
                ['new', 'old'], self.tags_of(connection, 1)[0])

    def test_a_lock_reads_nothing_ahead(self):
        with self.engine.begin() as connection:
            self.attribute(connection, 1, lock=True)
            with self.engine.begin() as other:
                self.tag(other, 1, 'new')
            self.assertEqual(
                ['new', 'old'], self.tags_of(connection, 1)[0])
