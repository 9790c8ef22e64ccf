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

"""Compare-and-set updates see the latest committed row."""

import collections
import threading

import sqlalchemy as sa
import testtools

from luc_drivers.db.catalog import address
from luc_drivers.db.store import base
from tests.unit.db import private


class CompareAndSetTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.engine = private.engine_of(self, 'race')
        metadata = sa.MetaData()
        self.providers = sa.Table(
            'providers', metadata,
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('generation', sa.Integer),
            sa.Column('name', sa.Text))
        self.claims = sa.Table(
            'claims', metadata,
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('provider', sa.Integer, index=True))
        metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            connection.execute(self.providers.insert().values(
                id=1, generation=0))

    def bump(self, connection, seen):
        return connection.execute(
            self.providers.update()
            .where(self.providers.c.id == 1,
                   self.providers.c.generation == seen)
            .values(generation=seen + 1)).rowcount

    def generation(self, connection):
        return connection.execute(
            sa.select(self.providers.c.generation).where(
                self.providers.c.id == 1)).scalar_one()

    def test_a_row_that_moved_on_does_not_match(self):
        with self.engine.connect() as slow, slow.begin():
            self.assertEqual(0, self.generation(slow))
            with self.engine.begin() as fast:
                self.assertEqual(1, self.bump(fast, 0))
            self.assertEqual(0, self.bump(slow, 0))
            # what it missed it can look up and go on
            self.assertEqual(1, self.bump(slow, 1))
        with self.engine.connect() as connection:
            self.assertEqual(2, self.generation(connection))

    def rounds(self, connection):
        session = connection.connection.dbapi_connection._session
        return session.database.store.here.rounds

    def test_a_row_not_read_yet_is_read_once(self):
        with self.engine.connect() as connection, connection.begin():
            # so that the connection and its catalog are there
            connection.execute(sa.text('SELECT 1'))
            before = self.rounds(connection)
            self.assertEqual(1, self.bump(connection, 0))
            # the read, and the turn
            self.assertEqual(2, self.rounds(connection) - before)
            self.assertEqual(1, self.bump(connection, 1))
            # the turn is kept, but what others wrote is looked for
            self.assertLessEqual(self.rounds(connection) - before, 3)

    def test_a_row_read_before_is_not_read_again(self):
        with self.engine.connect() as connection, connection.begin():
            self.assertEqual(0, self.generation(connection))
            before = self.rounds(connection)
            self.assertEqual(1, self.bump(connection, 0))
            # the turn: it is refused if the row is not the latest
            self.assertEqual(1, self.rounds(connection) - before)

    def test_alone_it_takes_no_turn(self):
        with self.engine.connect().execution_options(
                isolation_level='AUTOCOMMIT') as connection:
            connection.execute(sa.text('SELECT 1'))
            before = self.rounds(connection)
            self.assertEqual(1, self.bump(connection, 0))
            # the read, and the commit
            self.assertEqual(2, self.rounds(connection) - before)

    def test_a_turn_is_given_back_at_the_end(self):
        for end in ('commit', 'rollback'):
            with self.engine.connect() as connection:
                transaction = connection.begin()
                seen = self.generation(connection)
                self.assertEqual(1, self.bump(connection, seen))
                database = (connection.connection.dbapi_connection
                            ._session.database)
                getattr(transaction, end)()
            self.assertTrue(database.background.flush(10))
            groups = database.store.read([base.GroupRead(
                base.Group('at_site1', key), (base.MARKER_TABLE,))
                for key in self.group_keys(database)])
            self.assertEqual([], [row for rows in groups for row in rows])

    def group_keys(self, database):
        table = database.catalog.current().tables['providers']
        return [address.group_key(table, (1,))]

    def count(self, connection):
        return connection.execute(sa.select(sa.func.count()).select_from(
            self.claims)).scalar_one()

    def overtake(self):
        """Claim, and bump the generation, in another transaction."""
        with self.engine.begin() as fast:
            fast.execute(self.claims.insert().values(provider=1))
            self.assertEqual(1, self.bump(fast, self.generation(fast)))

    def test_a_loser_reads_what_it_lost_to(self):
        # placement tries again inside its transaction: with the usages of
        # before it would overcommit
        with self.engine.begin() as slow:
            self.assertEqual((0, 0), (self.count(slow),
                                      self.generation(slow)))
            slow.execute(self.claims.insert().values(provider=1))
            self.overtake()
            self.assertEqual(0, self.bump(slow, 0))
            # the other's, and the own one
            self.assertEqual((2, 1), (self.count(slow),
                                      self.generation(slow)))
            self.assertEqual(1, self.bump(slow, 1))
        with self.engine.begin() as connection:
            self.assertEqual((2, 2), (self.count(connection),
                                      self.generation(connection)))

    def test_a_loser_overwrites_nothing(self):
        with self.engine.begin() as connection:
            connection.execute(self.providers.insert().values(
                id=2, generation=0, name='before'))
        slow = self.engine.connect()
        self.addCleanup(slow.close)
        transaction = slow.begin()
        self.assertEqual(2, len(slow.execute(
            sa.select(self.providers)).all()))
        self.overtake()
        with self.engine.begin() as other:
            other.execute(self.providers.update().where(
                self.providers.c.id == 2).values(name='theirs'))
        self.assertEqual(0, self.bump(slow, 0))
        # from what it has read before it lost
        slow.execute(self.providers.update().where(
            self.providers.c.id == 2).values(name='mine'))
        self.assertRaisesRegex(
            sa.exc.OperationalError, 'database is locked',
            transaction.commit)
        with self.engine.connect() as connection:
            self.assertEqual('theirs', connection.execute(sa.select(
                self.providers.c.name).where(
                    self.providers.c.id == 2)).scalar_one())

    def test_a_row_that_is_gone(self):
        with self.engine.begin() as slow:
            self.assertEqual(0, self.generation(slow))
            with self.engine.begin() as fast:
                fast.execute(self.providers.delete())
            self.assertEqual(0, self.bump(slow, 0))
            self.assertEqual([], slow.execute(
                sa.select(self.providers)).all())

    def test_a_savepoint_brings_no_old_row_back(self):
        with self.engine.begin() as slow:
            self.assertEqual((0, 0), (self.count(slow),
                                      self.generation(slow)))
            nested = slow.begin_nested()
            self.overtake()
            self.assertEqual(0, self.bump(slow, 0))
            nested.rollback()
            self.assertEqual([1], slow.execute(sa.select(
                self.providers.c.generation)).scalars().all())
            self.assertEqual(1, self.count(slow))

    def test_a_savepoint_keeps_the_newer_row(self):
        with self.engine.connect() as slow, slow.begin():
            self.assertEqual(0, self.generation(slow))
            with self.engine.begin() as fast:
                self.assertEqual(1, self.bump(fast, 0))
            nested = slow.begin_nested()
            self.assertEqual(0, self.bump(slow, 0))
            nested.rollback()
            self.assertEqual(1, self.bump(slow, 1))

    def test_threads_wait_for_each_other(self):
        # as placement claims: read usages, insert, bump the generation, and
        # begin anew when it has moved on
        ended = collections.Counter()

        def claim():
            for _ in range(5):
                try:
                    while not self.claim():
                        ended['moved on'] += 1
                    ended['ok'] += 1
                except Exception as exc:
                    ended[type(exc).__name__] += 1

        threads = [threading.Thread(target=claim) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ended.pop('moved on', None)
        self.assertEqual({'ok': 20}, dict(ended))
        with self.engine.connect() as connection:
            self.assertEqual((20, 20), (self.generation(connection),
                                        self.count(connection)))

    def claim(self):
        with self.engine.connect() as connection:
            transaction = connection.begin()
            self.count(connection)
            seen = self.generation(connection)
            connection.execute(self.claims.insert().values(provider=1))
            won = self.bump(connection, seen)
            if won:
                transaction.commit()
            else:
                transaction.rollback()
            return won
