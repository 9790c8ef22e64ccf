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

"""Two transactions insert one unique key: the second is told at its INSERT."""

import threading

import sqlalchemy as sa
import testtools

from tests.unit.db import private

#: seconds for which the second is watched while it must wait
WATCHED = 0.3


class SecondInsertTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.engine = private.engine_of(self, 'race')
        metadata = sa.MetaData()
        self.projects = sa.Table(
            'projects', metadata,
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('external_id', sa.String(255), unique=True,
                      nullable=False))
        metadata.create_all(self.engine)
        self.outcome = []

    def insert(self, connection, external_id='p'):
        connection.execute(self.projects.insert().values(
            external_id=external_id))

    def second(self):
        """Insert the same key in another transaction."""
        try:
            with self.engine.begin() as connection:
                self.insert(connection)
            self.outcome.append('inserted')
        except sa.exc.IntegrityError as exc:
            self.outcome.append(str(exc.orig))

    def race(self, end):
        """Begin the second's INSERT while the first is open; end that."""
        thread = threading.Thread(target=self.second)
        with self.engine.connect() as first:
            transaction = first.begin()
            self.insert(first)
            thread.start()
            thread.join(WATCHED)
            self.assertEqual([], self.outcome)
            end(transaction)
        thread.join(60)
        self.assertFalse(thread.is_alive())

    def external_ids(self):
        with self.engine.connect() as connection:
            return list(connection.execute(
                sa.select(self.projects.c.external_id)).scalars())

    def test_second_fails_at_its_insert_when_the_first_commits(self):
        self.race(lambda transaction: transaction.commit())
        self.assertEqual(['UNIQUE constraint failed: projects.external_id'],
                         self.outcome)
        self.assertEqual(['p'], self.external_ids())

    def test_second_inserts_when_the_first_rolls_back(self):
        self.race(lambda transaction: transaction.rollback())
        self.assertEqual(['inserted'], self.outcome)
        self.assertEqual(['p'], self.external_ids())

    def test_other_keys_do_not_wait(self):
        with self.engine.connect() as first, first.begin():
            self.insert(first, 'q')
            thread = threading.Thread(target=self.second)
            thread.start()
            thread.join(60)
            self.assertEqual(['inserted'], self.outcome)
