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

"""Transactions and their conflicts, for the DB-API driver's tests."""

import threading

from luc_drivers.db import dbapi
from luc_drivers.db import errors
from tests.unit.db.sql_connection import ConnectionTests


class TransactionTests(ConnectionTests):
    """COMMIT, ROLLBACK, savepoints, and two connections at once."""

    def test_others_see_it_at_commit(self):
        other = self.connect()
        self.run_sql("INSERT INTO p (name) VALUES ('a')")
        self.assertEqual([], self.run_sql('SELECT * FROM p', (), other))
        self.assertTrue(self.connection.in_transaction)
        self.connection.commit()
        self.assertFalse(self.connection.in_transaction)
        self.assertEqual(1, len(self.run_sql('SELECT * FROM p', (), other)))

    def test_rollback(self):
        self.run_sql("INSERT INTO p (name) VALUES ('a')")
        self.connection.rollback()
        self.assertEqual([], self.run_sql('SELECT * FROM p'))

    def test_autocommit(self):
        one = self.autocommit()
        one.execute("INSERT INTO p (name) VALUES ('a')")
        self.assertFalse(one.in_transaction)
        self.assertEqual(1, len(self.run_sql('SELECT * FROM p')))
        one.execute('BEGIN')
        one.execute('DELETE FROM p')
        self.assertTrue(one.in_transaction)
        one.execute('ROLLBACK')
        self.assertEqual(1, len(self.run_sql('SELECT * FROM p')))

    def test_rollback_to_savepoint_keeps_stored_rows(self):
        # rule 1: the row is loaded inside of the savepoint
        self.filled()
        one = self.autocommit()
        one.execute('BEGIN')
        one.execute('SAVEPOINT s')
        one.execute("UPDATE p SET n = 9 WHERE name = 'a'")
        one.execute('ROLLBACK TO SAVEPOINT s')
        self.assertEqual([('a', 3)], self.run_sql(
            "SELECT name, n FROM p WHERE uuid = 'ua'", (), one))
        one.execute("UPDATE p SET n = 5 WHERE name = 'b'")
        one.execute('RELEASE SAVEPOINT s')
        one.execute('COMMIT')
        self.assertEqual([('a', 3), ('b', 5)], self.run_sql(
            'SELECT name, n FROM p ORDER BY name'))

    def test_outermost_savepoint(self):
        one = self.autocommit()
        one.execute('SAVEPOINT s')
        one.execute("INSERT INTO p (name) VALUES ('a')")
        self.assertTrue(one.in_transaction)
        self.assertEqual([], self.run_sql('SELECT * FROM p'))
        one.execute('RELEASE s')
        self.assertFalse(one.in_transaction)
        self.assertEqual(1, len(self.run_sql('SELECT * FROM p')))

    def test_ddl_commits(self):
        self.run_sql("INSERT INTO p (name) VALUES ('a')")
        self.run_sql('CREATE TABLE t2 (a)')
        self.connection.rollback()
        self.assertEqual(1, len(self.run_sql('SELECT * FROM p')))

    def test_statement_after_a_column_was_added(self):
        self.filled()
        other = self.connect()
        self.run_sql('SELECT * FROM p', (), other)
        self.run_sql("ALTER TABLE p ADD COLUMN z TEXT DEFAULT 'q'")
        self.assertEqual([('q',), ('q',)], self.run_sql(
            'SELECT z FROM p', (), other))

    # --- conflicts

    def test_both_writers_of_different_columns_succeed(self):
        self.filled()
        one, two = self.connect(), self.connect()
        one.execute("UPDATE p SET n = 7 WHERE name = 'a'")
        two.execute("UPDATE p SET uuid = 'new' WHERE name = 'a'")
        one.commit()
        two.commit()
        self.assertEqual([(7, 'new')], self.run_sql(
            "SELECT n, uuid FROM p WHERE name = 'a'"))

    def test_write_conflict_if_what_was_read_has_changed(self):
        self.filled()
        one, two = self.connect(), self.connect()
        for connection in (one, two):
            connection.isolation_level = None
            connection.execute('BEGIN')
            connection.execute("SELECT n FROM p WHERE name = 'a'")
            connection.execute("UPDATE p SET n = n + 1 WHERE name = 'a'")
        one.execute('COMMIT')
        self.assertRaises(errors.WriteConflict, two.execute, 'COMMIT')
        self.assertFalse(two.in_transaction)
        self.assertEqual([(4,)], self.run_sql(
            "SELECT n FROM p WHERE name = 'a'"))

    def test_deleted_twice(self):
        self.filled()
        for look in (False, True):
            self.run_sql("INSERT INTO p (name) VALUES ('z')")
            self.connection.commit()
            one, two = self.connect(), self.connect()
            cursors = [c.execute("DELETE FROM p WHERE name = 'z'")
                       for c in (one, two)]
            if look:
                self.assertEqual(1, cursors[1].rowcount)
            one.commit()
            if look:
                self.assertRaises(errors.WriteConflict, two.commit)
            else:
                two.commit()
                self.assertEqual([1, 0], [c.rowcount for c in cursors])
            self.assertEqual([], self.run_sql(
                "SELECT * FROM p WHERE name = 'z'"))

    def test_same_new_key_twice(self):
        one, two = self.connect(), self.connect()
        one.execute("INSERT INTO p (name, uuid) VALUES ('a', 'u')")
        two.execute("INSERT INTO p (name, uuid) VALUES ('b', 'u')")
        one.commit()
        self.assertRaises((errors.WriteConflict, dbapi.IntegrityError),
                          two.commit)
        self.assertEqual([('a',)], self.run_sql('SELECT name FROM p'))

    def test_child_of_a_parent_that_goes(self):
        ids = self.filled()
        one, two = self.connect(), self.connect()
        one.execute('INSERT INTO r (pid) VALUES (?)', (ids['b'],))
        two.execute('DELETE FROM p WHERE id = ?', (ids['b'],))
        one.commit()
        self.assertRaises(dbapi.DatabaseError, two.commit)
        self.assertEqual([(1,)], self.run_sql(
            'SELECT count(*) FROM r JOIN p ON p.id = r.pid'))

    def test_parallel_increments_all_count(self):
        self.filled()
        failed = []

        def count():
            connection = self.autocommit()
            try:
                for _ in range(10):
                    connection.execute(
                        "UPDATE p SET n = n + 1 WHERE uuid = 'ua'")
            except Exception as exc:
                failed.append(exc)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], failed)
        self.assertEqual([(43,)], self.run_sql(
            "SELECT n FROM p WHERE uuid = 'ua'"))

    def test_parallel_inserts_have_ids_of_their_own(self):
        ids, failed = [], []

        def insert():
            connection = self.autocommit()
            try:
                for _ in range(10):
                    ids.append(connection.execute(
                        "INSERT INTO p (name) VALUES ('t')").lastrowid)
            except Exception as exc:
                failed.append(exc)

        threads = [threading.Thread(target=insert) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], failed)
        self.assertEqual(40, len(set(ids)))
        self.assertEqual(sorted(ids), [row[0] for row in self.run_sql(
            'SELECT id FROM p ORDER BY id')])

    def test_for_update_makes_the_reader_a_writer(self):
        self.filled()
        one, two = self.autocommit(), self.connect()
        one.execute('BEGIN')
        one.execute("SELECT n FROM p WHERE name = 'a' /*luc:lock*/")
        two.execute("UPDATE p SET n = 8 WHERE name = 'a'")
        two.commit()
        self.assertRaises(errors.WriteConflict, one.commit)
