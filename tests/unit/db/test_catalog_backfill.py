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

"""Indexes and keys added to tables with rows, under live traffic (rule 26).

Two processes are two Database objects on one embedded store; what the
second one does while the first waits for it is done in place of the wait.
"""

from unittest import mock

import apsw
import fixtures
import testtools

from luc_drivers.db import errors
from luc_drivers.db.catalog import backfill
from luc_drivers.db.catalog import catalog
from luc_drivers.db.engine import Database
from luc_drivers.db.planner import limits
from luc_drivers.db.profiles import base
from luc_drivers.db.store.base import StoreSettings
from luc_drivers.db.transaction import hooks
from luc_drivers.db.transaction import protocol
from luc_drivers.db.transaction import session

TABLE = 'CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER)'


class Process:
    """One process: its Database, and a clock that it has for itself."""

    def __init__(self, path, sleep):
        self.database = Database(
            'shop', StoreSettings(kind='embedded', path=path))
        self.now = 0.0
        self.catalog = self.database.catalog
        self.catalog._monotonic = lambda: self.now
        self.catalog._sleep = sleep

    def run(self, sql):
        one = session.Session(self.database)
        return one.execute(sql, ())[1].rows

    def close(self):
        self.catalog.close()
        self.database.store.close()


class TestBackfill(testtools.TestCase):
    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        with open(folder + '/luc.conf', 'w') as out:
            out.write('[DEFAULT]\nstate_path = %s\n' % folder)
        self.useFixture(fixtures.EnvironmentVariable(
            'LUC_CONFIG', folder + '/luc.conf'))
        self.path = folder
        self.slept = []
        self.meanwhile = []
        self.one, self.two = self.process(), self.process()
        self.run_all(self.one, TABLE, *(
            "INSERT INTO t VALUES (%d, 'v%d', %d)" % (n, n, n % 2)
            for n in range(1, 7)))

    def process(self):
        made = Process(self.path, self.sleep)
        self.addCleanup(made.close)
        return made

    def sleep(self, seconds):
        """Stands for the time that the first process waits."""
        self.slept.append(seconds)
        if self.meanwhile:
            self.meanwhile.pop(0)()

    def run_all(self, process, *statements):
        for sql in statements:
            process.run(sql)

    def ids(self, process, condition):
        return [r for r, in process.run(
            'SELECT id FROM t WHERE %s ORDER BY id' % condition)]

    def test_an_order_that_the_profile_has_now(self):
        profile = base.Profile('p', {'t': base.Rule(orders=(('b', 'id'),))})
        self.one.catalog.profile = profile
        self.one.run('REINDEX t')
        version = self.one.catalog.current().version
        self.run_all(self.one, 'REINDEX T', 'REINDEX main.t', 'REINDEX',
                     'REINDEX NOCASE',
                     "INSERT INTO t VALUES (9, 'v9', 1)",
                     'DELETE FROM t WHERE id = 4')
        self.assertEqual(version, self.one.catalog.current().version)
        self.assertRaises(
            errors.OperationalError, self.one.run, 'REINDEX nothing')
        table = self.one.catalog.current().table('t')
        self.assertEqual(
            [(('id',), True), (('b', 'id'), True)],
            [(i.order, i.public) for i in table.indexes if not i.columns])
        with mock.patch.object(limits, 'first_page', lambda n: n + 1):
            self.assertEqual([(1, 9), (1, 5)], self.one.run(
                'SELECT b, id FROM t ORDER BY b DESC, id DESC LIMIT 2'))
            self.assertEqual([(0, 6), (1, 1), (1, 3)], self.one.run(
                'SELECT b, id FROM t WHERE b > 0 OR b = 0 AND id > 2 '
                'ORDER BY b, id LIMIT 3'))
        self.two.now += catalog.REFRESH
        self.assertEqual([(1, 9)], self.two.run(
            'SELECT b, id FROM t ORDER BY b DESC, id DESC LIMIT 1'))

    def test_alone_nobody_waits(self):
        self.one.run('CREATE INDEX ib ON t (b)')
        self.assertEqual([], self.slept)
        self.assertEqual([1, 3, 5], self.ids(self.one, 'b = 1'))

    def test_rows_of_a_process_that_did_not_know(self):
        self.two.run('SELECT 1 FROM t')
        self.meanwhile.append(lambda: self.run_all(
            self.two, "INSERT INTO t VALUES (7, 'v7', 1)",
            'UPDATE t SET b = 1 WHERE id = 2', 'DELETE FROM t WHERE id = 3'))
        self.one.run('CREATE INDEX ib ON t (b)')
        self.assertEqual(
            catalog.STALE + catalog.COMMIT_BOUND, sum(self.slept))
        self.assertEqual([1, 2, 5, 7], self.ids(self.one, 'b = 1'))
        self.two.now += catalog.REFRESH
        self.assertEqual([1, 2, 5, 7], self.ids(self.two, 'b = 1'))

    def test_rows_of_a_commit_that_takes_long(self):
        """It has locked its rows by a catalog without the index."""
        self.two.run('SELECT 1 FROM t')
        done = []

        def hook(step):
            if step == 'prepare:answered' and not done:
                done.append(True)
                self.one.run('CREATE INDEX ib ON t (b)')
                self.two.now += catalog.REFRESH

        self.patch(protocol, 'LOOK_AGAIN', 0.0)
        with hooks.hooked(hook):
            self.two.run("INSERT INTO t VALUES (7, 'v7', 1), (8, 'v8', 1)")
        self.assertTrue(done)
        self.one.now += catalog.REFRESH
        for process in (self.one, self.two):
            self.assertEqual([1, 3, 5, 7, 8], self.ids(process, 'b = 1'))

    def test_a_process_that_reads_by_a_dropped_index(self):
        """It does not know that it is gone, and reads by it."""
        self.one.run('CREATE INDEX ib ON t (b)')
        self.two.now += catalog.REFRESH
        self.assertEqual([1, 3, 5], self.ids(self.two, 'b = 1'))
        found = []

        def meanwhile():
            self.run_all(self.one, "INSERT INTO t VALUES (7, 'v7', 1)",
                         'UPDATE t SET b = 1 WHERE id = 2')
            found.append(self.ids(self.two, 'b = 1'))

        self.meanwhile.append(meanwhile)
        self.one.run('DROP INDEX ib')
        self.assertEqual([[1, 2, 3, 5, 7]], found)
        self.assertEqual(
            catalog.STALE + catalog.COMMIT_BOUND, sum(self.slept))
        table = self.one.catalog.current().table('t')
        self.assertEqual([()], [i.columns for i in table.indexes
                                if i.entries])
        self.assertEqual([1, 2, 3, 5, 7], self.ids(self.one, 'b = 1'))

    def test_a_transaction_that_began_before_an_index_was_dropped(self):
        self.one.run('CREATE INDEX ib ON t (b)')
        self.two.now += catalog.REFRESH
        self.run_all(self.two, 'SELECT 1 FROM t')
        long = session.Session(self.two.database)
        self.addCleanup(long.close)
        for sql in ('BEGIN', 'SELECT a FROM t WHERE id = 2',
                    "UPDATE t SET a = 'mine' WHERE id = 2"):
            long.execute(sql, ())
        self.one.run('DROP INDEX ib')
        self.one.run("INSERT INTO t VALUES (7, 'v7', 1)")
        self.two.now += catalog.REFRESH
        self.assertEqual([1, 3, 5, 7], sorted(
            i for i, in long.execute(
                'SELECT id FROM t WHERE b = 1', ())[1].rows))
        long.execute('COMMIT', ())
        self.assertEqual([2], self.ids(self.one, "a = 'mine'"))

    def test_an_index_serves_until_the_one_that_replaces_it_does(self):
        self.one.run('CREATE INDEX ib ON t (b)')
        self.two.now += catalog.REFRESH
        self.two.run('SELECT 1 FROM t')
        states = []

        def meanwhile():
            self.one.run("INSERT INTO t VALUES (%d, 'v', 1)" % (
                10 + len(states)))
            table = self.one.catalog.current().table('t')
            states.append([(i.columns, i.public) for i in table.indexes
                           if i.columns and i.entries])
            self.assertIn(10, self.ids(self.one, 'b = 1'))

        self.meanwhile += [meanwhile] * 30
        self.one.run('CREATE INDEX iba ON t (b, a)')
        both = [(('b', 'a'), False), (('b',), True)]
        after = [(('b', 'a'), True), (('b',), False)]
        self.assertEqual([both, after], [
            s for n, s in enumerate(states) if not n or s != states[n - 1]])
        table = self.one.catalog.current().table('t')
        self.assertEqual([('b', 'a'), ()], [
            i.columns for i in table.indexes if i.entries])
        self.assertEqual(len(states) + 3, len(self.ids(self.one, 'b = 1')))

    def test_a_dropped_index_comes_back(self):
        self.one.run('CREATE INDEX ib ON t (b)')
        self.two.run('SELECT 1 FROM t')
        three = self.process()
        self.meanwhile.append(lambda: self.run_all(
            three, 'CREATE INDEX again ON t (b)',
            "INSERT INTO t VALUES (7, 'v7', 1)"))
        self.one.run('DROP INDEX ib')
        for process in (self.one, three):
            process.now += catalog.REFRESH
            table = process.catalog.current().table('t')
            self.assertEqual([(('b',), True)], [
                (i.columns, i.public) for i in table.indexes
                if i.entries and i.columns])
            self.assertEqual([1, 3, 5, 7], self.ids(process, 'b = 1'))

    def test_what_a_dead_process_left_leaving_goes(self):
        self.one.run('CREATE INDEX ib ON t (b)')
        self.two.run('SELECT 1 FROM t')

        def die():
            raise KeyboardInterrupt

        self.meanwhile.append(die)
        self.assertRaises(
            KeyboardInterrupt, self.one.run, 'DROP INDEX ib')
        self.two.now += catalog.REFRESH
        self.two.run('CREATE TABLE other (id INTEGER PRIMARY KEY)')
        self.assertEqual([()], [
            i.columns for i in self.two.catalog.current().table('t').indexes
            if i.entries])

    def test_a_process_that_ends_is_not_waited_for(self):
        self.two.run('SELECT 1 FROM t')
        self.meanwhile.append(self.two.catalog.close)
        self.one.run('CREATE INDEX ib ON t (b)')
        self.assertEqual([backfill.POLL], self.slept)

    def test_a_process_that_comes_is_not_waited_for(self):
        self.two.run('SELECT 1 FROM t')

        def change():
            self.two.catalog.close()
            self.process().run('SELECT 1 FROM t')

        self.meanwhile.append(change)
        self.one.run('CREATE INDEX ib ON t (b)')
        self.assertEqual([backfill.POLL], self.slept)

    def test_write_only_is_not_read(self):
        seen = []

        def look():
            self.two.now += catalog.REFRESH
            index = next(
                i for i in self.two.catalog.current().tables['t'].indexes
                if i.columns == ('b',))
            seen.append((index.public, self.ids(self.two, 'b = 1')))
            self.two.run("INSERT INTO t VALUES (7, 'v7', 1)")

        self.two.run('SELECT 1 FROM t')
        self.meanwhile.append(look)
        self.one.run('CREATE INDEX ib ON t (b)')
        self.assertEqual([(False, [1, 3, 5])], seen)
        self.assertEqual([1, 3, 5, 7], self.ids(self.one, 'b = 1'))

    def unique(self, *meanwhile):
        self.two.run('SELECT 1 FROM t')
        self.meanwhile.append(lambda: self.run_all(self.two, *meanwhile))
        self.one.run('CREATE UNIQUE INDEX ua ON t (a)')

    def taken(self, *values):
        for process in (self.one, self.two):
            process.now += catalog.REFRESH
            for value in values:
                error = self.assertRaises(
                    errors.IntegrityError, process.run,
                    "INSERT INTO t (a) VALUES ('%s')" % value)
                self.assertEqual(
                    'UNIQUE constraint failed: t.a', str(error))

    def test_unique(self):
        self.unique("INSERT INTO t VALUES (7, 'v7', 1)")
        self.taken('v1', 'v6', 'v7')
        self.run_all(self.two, "UPDATE t SET a = 'w1' WHERE id = 1",
                     "INSERT INTO t VALUES (8, 'v1', 1)",
                     'DELETE FROM t WHERE id = 2',
                     "INSERT INTO t VALUES (9, 'v2', 1)")
        self.taken('w1', 'v1', 'v2')

    def test_rows_change_while_a_key_is_write_only(self):
        self.two.run('SELECT 1 FROM t')

        def change():
            self.two.now += catalog.REFRESH  # it knows the key now
            self.run_all(self.two, "UPDATE t SET a = 'w1' WHERE id = 1",
                         'DELETE FROM t WHERE id = 2',
                         "INSERT INTO t VALUES (8, 'v2', 1)",
                         'UPDATE t SET b = 5 WHERE id = 3')

        self.meanwhile.append(change)
        self.one.run('CREATE UNIQUE INDEX ua ON t (a)')
        self.taken('w1', 'v2', 'v3', 'v4')
        self.run_all(self.one, "INSERT INTO t VALUES (9, 'v1', 1)",
                     'DELETE FROM t WHERE id = 8',
                     "INSERT INTO t VALUES (10, 'v2', 1)")

    def test_duplicate_that_comes_meanwhile(self):
        error = self.assertRaises(
            errors.IntegrityError, self.unique,
            "INSERT INTO t VALUES (7, 'v1', 1)")
        self.assertEqual('UNIQUE constraint failed: t.a', str(error))
        for process in (self.one, self.two):
            process.now += catalog.REFRESH
            self.assertEqual([], [
                i for i in process.catalog.current().tables['t'].indexes
                if i.unique_columns == ('a',)])
        self.run_all(self.two, "INSERT INTO t VALUES (8, 'v1', 1)")
        self.assertEqual([1, 7, 8], self.ids(self.one, "a = 'v1'"))
        # and again, when the rows allow it
        self.run_all(self.one, 'DELETE FROM t WHERE id > 6')
        self.unique()
        self.taken('v1')

    def test_dropped_table_leaves_nothing(self):
        store = self.one.database.store
        self.one.run('CREATE UNIQUE INDEX ua ON t (a)')
        self.one.run('DROP TABLE t')
        self.one.database.background.flush(10)
        file = apsw.Connection(store.file)
        self.assertEqual(0, file.execute(
            'SELECT count(*) FROM rows WHERE doc IS NOT NULL').get)
        file.close()
        self.one.run(TABLE)
        self.assertEqual([], self.one.run('SELECT * FROM t'))
        self.one.run("INSERT INTO t VALUES (1, 'v1', 1)")

    def test_new_column_in_old_rows(self):
        self.one.run("ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'old'")
        self.one.run("INSERT INTO t (id, c) VALUES (7, 'new')")
        self.one.run('CREATE INDEX ic ON t (c)')
        self.assertEqual([1, 2, 3, 4, 5, 6], self.ids(self.one, "c = 'old'"))
        self.assertEqual([7], self.ids(self.one, "c = 'new'"))

    def test_interrupted(self):
        """Killed between write-only and public: the next DDL finishes it."""
        self.two.run('SELECT 1 FROM t')

        def die():
            raise KeyboardInterrupt

        self.meanwhile.append(die)
        self.assertRaises(KeyboardInterrupt, self.one.run,
                          'CREATE INDEX ib ON t (b)')
        self.two.now += catalog.REFRESH
        self.assertEqual([1, 3, 5], self.ids(self.two, 'b = 1'))
        self.two.run('CREATE INDEX IF NOT EXISTS ib ON t (b)')
        index = next(
            i for i in self.two.catalog.current().tables['t'].indexes
            if i.columns == ('b',))
        self.assertTrue(index.public)
        self.assertEqual([1, 3, 5], self.ids(self.two, 'b = 1'))
