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

"""Constraints and the rows that they meet, for the DB-API driver's tests."""

from luc_drivers.db import dbapi
from tests.unit.db.sql_connection import ConnectionTests


class ConstraintTests(ConnectionTests):
    """Errors as sqlite3 words them; rows that no statement has loaded."""

    def fails(self, error, text, sql, parameters=()):
        caught = self.assertRaises(
            error, self.connection.execute, sql, parameters)
        self.assertEqual(text, str(caught))

    def test_constraint_errors(self):
        self.filled()
        refused = dbapi.IntegrityError
        self.fails(refused, 'UNIQUE constraint failed: p.uuid',
                   "INSERT INTO p (name, uuid) VALUES ('c', 'ua')")
        self.fails(refused, 'UNIQUE constraint failed: p.uuid',
                   "UPDATE p SET uuid = 'ua' WHERE name = 'b'")
        self.fails(refused, 'NOT NULL constraint failed: p.name',
                   'INSERT INTO p (name) VALUES (NULL)')
        self.fails(refused, 'FOREIGN KEY constraint failed',
                   'INSERT INTO k (pid) VALUES (77)')
        self.fails(dbapi.OperationalError, 'no such table: nope',
                   'SELECT * FROM nope')
        self.fails(dbapi.OperationalError, 'no such column: nope',
                   'SELECT nope FROM p')
        self.run_sql("INSERT INTO m VALUES ('a', 'b')")
        self.fails(refused, 'UNIQUE constraint failed: m.a, m.b',
                   "INSERT INTO m VALUES ('a', 'b')")

    def test_failed_statement_leaves_the_transaction(self):
        self.filled()
        self.run_sql("INSERT INTO p (name) VALUES ('c')")
        self.fails(dbapi.IntegrityError, 'UNIQUE constraint failed: p.uuid',
                   "INSERT INTO p (name, uuid) VALUES ('d', 'n'), ('e', 'ua')")
        self.connection.commit()
        self.assertEqual(['a', 'b', 'c'], [row[0] for row in self.run_sql(
            'SELECT name FROM p ORDER BY name')])

    def test_parameters_that_do_not_fit(self):
        self.assertRaises(dbapi.ProgrammingError,
                          self.connection.execute, 'SELECT ?', (1, 2))
        self.assertRaises(dbapi.ProgrammingError,
                          self.connection.execute, 'SELECT :a', {})
        self.assertRaises(dbapi.ProgrammingError,
                          self.connection.execute, 'SELECT ?', (object(),))
        self.assertEqual([(7,)], self.run_sql('SELECT :a', {'a': 7}))

    def test_upsert_meets_an_unloaded_row(self):
        self.filled()
        self.run_sql("INSERT INTO p (name, uuid) VALUES ('c', 'ua') "
                     'ON CONFLICT (uuid) DO UPDATE SET n = n + 10')
        self.run_sql("INSERT OR IGNORE INTO p (name, uuid) VALUES "
                     "('c', 'ub')")
        self.connection.commit()
        self.assertEqual([('a', 13), ('b', 3)], self.run_sql(
            'SELECT name, n FROM p ORDER BY name', (), self.connect()))

    def test_replace_deletes_the_row_it_meets(self):
        self.filled()
        self.run_sql("INSERT OR REPLACE INTO p (name, uuid) "
                     "VALUES ('c', 'ub')")
        self.connection.commit()
        self.assertEqual([('a',), ('c',)], self.run_sql(
            'SELECT name FROM p ORDER BY name', (), self.connect()))

    def test_delete_without_where(self):
        self.filled()
        self.assertEqual(2, self.connection.execute(
            'DELETE FROM k').rowcount)
        self.connection.commit()
        self.assertEqual([(0,)], self.run_sql(
            'SELECT count(*) FROM k', (), self.connect()))

    def test_update_of_the_id(self):
        self.filled()
        self.run_sql("UPDATE p SET id = 900 WHERE name = 'b'")
        self.connection.commit()
        self.assertEqual([('b', 900)], self.run_sql(
            "SELECT name, id FROM p WHERE name <> 'a'", (), self.connect()))

    def test_delete_and_insert_the_same_key(self):
        self.run_sql("INSERT INTO m VALUES ('a', 'b')")
        self.connection.commit()
        self.run_sql('DELETE FROM m')
        self.run_sql("INSERT INTO m VALUES ('a', 'b')")
        self.connection.commit()
        self.assertEqual([('a', 'b')], self.run_sql(
            'SELECT * FROM m', (), self.connect()))

    # --- foreign keys

    def test_cascade_and_refusal(self):
        ids = self.filled()
        self.run_sql('INSERT INTO r (pid) VALUES (?)', (ids['b'],))
        self.connection.commit()
        other = self.connect()
        self.assertEqual(1, other.execute(
            "DELETE FROM p WHERE name = 'a'").rowcount)
        self.assertRaises(dbapi.IntegrityError, other.execute,
                          "DELETE FROM p WHERE name = 'b'")
        other.commit()
        self.assertEqual([(0,)], self.run_sql('SELECT count(*) FROM k'))
        self.assertEqual([('b',)], self.run_sql('SELECT name FROM p'))

    def test_foreign_keys_off(self):
        off = self.connect(foreign_keys='off')
        self.assertEqual([(0,)], self.run_sql('PRAGMA foreign_keys', (), off))
        off.execute('INSERT INTO k (pid) VALUES (77)')
        off.commit()
        self.run_sql('PRAGMA foreign_keys = ON', (), off)
        self.assertRaises(dbapi.IntegrityError, off.execute,
                          'INSERT INTO k (pid) VALUES (78)')
