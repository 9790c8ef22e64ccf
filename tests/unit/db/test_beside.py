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

"""A claim, as placement makes it: what is known of it before it is asked."""


import sqlalchemy as sa
import testtools

from luc_drivers.db.tools import naming
from luc_drivers.db.transaction import recent
from tests.unit.db import private
from tests.unit.db.test_ahead import read_ahead


class ClaimTestCase(testtools.TestCase):
    """Placement's tables, of which its profile knows where they are."""

    def setUp(self):
        super().setUp()
        self.engine = private.engine_of(self, 'placement')
        self.database = naming.database(str(self.engine.url))
        self.database.reader.recent = self.database._memory.recent
        self.store = self.database.store
        read_ahead(self.store)
        metadata = sa.MetaData()
        self.classes = sa.Table(
            'resource_classes', metadata,
            sa.Column('id', sa.Integer, primary_key=True))
        self.providers = sa.Table(
            'resource_providers', metadata,
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('uuid', sa.String(36), unique=True),
            sa.Column('generation', sa.Integer))
        self.allocations = sa.Table(
            'allocations', metadata,
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('resource_provider_id', sa.Integer, index=True),
            sa.Column('consumer_id', sa.String(36), index=True))
        self.consumers = sa.Table(
            'consumers', metadata,
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('uuid', sa.String(36), unique=True),
            sa.Column('generation', sa.Integer))
        metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            for number in range(1, 7):
                connection.execute(self.providers.insert().values(
                    id=number, uuid=f'provider{number}', generation=0))

    def bump(self, connection, table, number, seen):
        return connection.execute(table.update().where(
            table.c.id == number, table.c.generation == seen).values(
                generation=seen + 1)).rowcount

    def generation(self, table, number):
        with self.engine.begin() as connection:
            return connection.execute(sa.select(table.c.generation).where(
                table.c.id == number)).scalar_one()

    def prepare(self, number):
        """Look a provider up and make a consumer, in a request's first
        transactions."""
        with self.engine.begin() as connection:
            connection.execute(sa.select(self.providers).where(
                self.providers.c.uuid == f'provider{number}')).one()
        with self.engine.begin() as connection:
            connection.execute(self.consumers.insert().values(
                id=number, uuid=f'consumer{number}', generation=0))

    def claim(self, connection, number, before=None, between=None,
              expected=0):
        """Claim of a provider for a consumer.

        :param before: called before the provider's generation is bumped.
        :param between: called before the consumer's is.
        :param expected: the consumer's generation.
        :returns: the numbers of rows that were bumped, and the rounds of
            each statement that reads.
        """
        spent = []

        def run(call, *args):
            start = self.store.here.rounds
            result = call(*args)
            spent.append(self.store.here.rounds - start)
            return result

        run(connection.execute, sa.select(self.classes))
        run(connection.execute, sa.select(self.allocations).where(
            self.allocations.c.resource_provider_id == number))
        run(connection.execute, self.allocations.delete().where(
            self.allocations.c.consumer_id == f'consumer{number}'))
        connection.execute(self.allocations.insert().values(
            resource_provider_id=number, consumer_id=f'consumer{number}'))
        if before is not None:
            before()
        bumped = [run(self.bump, connection, self.providers, number, 0)]
        if between is not None:
            between()
        bumped.append(run(self.bump, connection, self.consumers, number,
                          expected))
        return bumped, spent

    def learn(self):
        """Claim of two providers, one after the other."""
        for number in (1, 2):
            self.prepare(number)
            with self.engine.begin() as connection:
                self.assertEqual([1, 1], self.claim(connection, number)[0])

    def overtake(self, table, number, seen=0):
        """Bump a generation in another transaction."""
        with self.engine.begin() as other:
            self.assertEqual(1, self.bump(other, table, number, seen))


class ClaimTest(ClaimTestCase):

    def setUp(self):
        super().setUp()
        self.learn()
        self.prepare(3)

    def test_another_provider_and_consumer(self):
        with self.engine.begin() as connection:
            bumped, spent = self.claim(connection, 3)
        self.assertEqual([1, 1], bumped)
        # the classes, with what follows; and the turn, with what follows
        self.assertEqual([0, 0], spent[1:3])
        self.assertEqual(0, spent[4])
        self.assertEqual([1, 1], [self.generation(self.providers, 3),
                                  self.generation(self.consumers, 3)])

    def test_a_thread_that_has_used_nothing(self):
        fresh = recent.Recent()
        self.database._memory.recent = self.database.reader.recent = fresh
        with self.engine.begin() as connection:
            bumped, spent = self.claim(connection, 3)
        self.assertEqual([1, 1], bumped)
        self.assertTrue(all(spent), spent)

    def test_a_provider_that_has_moved_on(self):
        def overtake():
            self.overtake(self.providers, 3)
            self.overtake(self.consumers, 3)

        with self.engine.begin() as connection:
            # what was read beside the turn that was refused is not used
            bumped, _ = self.claim(connection, 3, before=overtake,
                                   expected=1)
            self.assertEqual([0, 1], bumped)

    def test_what_others_did_before_the_turn_is_seen(self):
        with self.engine.begin() as connection:
            bumped, _ = self.claim(
                connection, 3,
                before=lambda: self.overtake(self.consumers, 3))
            self.assertEqual([1, 0], bumped)

    def test_who_matches_the_row_of_now_only(self):
        with self.engine.begin() as connection:
            bumped, _ = self.claim(
                connection, 3, expected=1,
                between=lambda: self.overtake(self.consumers, 3))
            self.assertEqual([1, 1], bumped)
        self.assertEqual(2, self.generation(self.consumers, 3))

    def test_who_matches_the_row_of_before_only(self):
        connection = self.engine.connect()
        self.addCleanup(connection.close)
        transaction = connection.begin()
        bumped, _ = self.claim(
            connection, 3,
            between=lambda: self.overtake(self.consumers, 3))
        self.assertEqual([1, 1], bumped)
        self.assertRaisesRegex(
            sa.exc.OperationalError, 'database is locked',
            transaction.commit)
        self.assertEqual([0, 1], [self.generation(self.providers, 3),
                                  self.generation(self.consumers, 3)])

    def test_a_consumer_that_is_gone(self):
        def remove():
            with self.engine.begin() as other:
                other.execute(self.consumers.delete().where(
                    self.consumers.c.id == 3))

        with self.engine.begin() as connection:
            bumped, _ = self.claim(connection, 3, between=remove, expected=5)
            self.assertEqual([1, 0], bumped)
            self.assertEqual([], connection.execute(sa.select(
                self.consumers).where(self.consumers.c.id == 3)).all())

    def test_a_row_that_was_read_before_by_another_key(self):
        """Zero rows are zero of the latest, also without any turn."""
        by_uuid = sa.select(self.consumers.c.generation).where(
            self.consumers.c.uuid == 'consumer3')
        with self.engine.begin() as connection:
            self.assertEqual(0, connection.execute(by_uuid).scalar_one())
            self.overtake(self.consumers, 3)
            self.assertEqual(0, self.bump(connection, self.consumers, 3, 2))
            self.assertEqual(1, connection.execute(by_uuid).scalar_one())
            self.assertEqual(1, self.bump(connection, self.consumers, 3, 1))
