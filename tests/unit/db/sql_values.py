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

"""What a statement gives back, for the DB-API driver's tests."""

from testtools import matchers

from luc_drivers.db import dbapi
from tests.unit.db.sql_connection import ConnectionTests


class ValueTests(ConnectionTests):
    """Sizes, types, ids, row counts, order."""

    def test_large_text(self):
        """A request spec of a megabyte comes back, and can be changed."""
        self.connection.isolation_level = None
        text = 'é' * (1 << 19)
        self.run_sql('INSERT INTO k VALUES (1, ?, NULL)', (text,))
        self.assertEqual([(text,)], self.run_sql('SELECT v FROM k'))
        self.run_sql("UPDATE k SET v = v || 'x' WHERE id = 1")
        self.assertEqual([(text + 'x',)], self.run_sql(
            'SELECT v FROM k WHERE id = 1'))

    def test_too_large(self):
        """One clear error, and nothing is written."""
        self.connection.isolation_level = None
        large = 'x' * (16 << 20)
        self.run_sql("INSERT INTO k VALUES (1, 'small', NULL)")
        store = self.connection._session.database.store
        for sql, parameters in (
                ('INSERT INTO k VALUES (2, ?, NULL)', (large,)),
                ('UPDATE k SET v = ? WHERE id = 1', (large,))):
            before = store.here.rounds
            exc = self.assertRaises(
                dbapi.DataError, self.run_sql, sql, parameters)
            self.assertIn('a row of k would hold 167', str(exc))
            # nothing but what had to be read
            self.assertThat(store.here.rounds - before,
                            matchers.LessThan(3))
        self.assertEqual([(1, 'small')], self.run_sql(
            'SELECT id, v FROM k'))

    def test_long_keys(self):
        """Beyond Cassandra's 64 KiB, and told apart by their end."""
        self.connection.isolation_level = None
        for end in 'ab':
            self.run_sql("INSERT INTO m VALUES (?, 'y')", ('x' * 70000 + end,))
        self.assertEqual([('x' * 70000 + 'b',)], self.run_sql(
            'SELECT a FROM m WHERE a = ?', ('x' * 70000 + 'b',)))

    def test_long_lists(self):
        self.run_sql("INSERT INTO k VALUES (7, 'a', NULL)")
        marks = ', '.join(['?'] * 2000)
        self.assertEqual([(7,)], self.run_sql(
            f'SELECT id FROM k WHERE id IN ({marks})', range(2000)))
        marks = ', '.join(['?'] * 300000)
        exc = self.assertRaises(
            dbapi.OperationalError, self.run_sql,
            f'SELECT id FROM k WHERE id IN ({marks})', range(300000))
        self.assertIn('too many SQL variables', str(exc))

    def test_what_is_renamed_or_dropped_is_not_there(self):
        self.filled()
        self.run_sql('SELECT * FROM m')
        self.run_sql('ALTER TABLE m RENAME TO n')
        self.run_sql('SELECT * FROM n')
        self.run_sql('DROP TABLE r')
        for statement in ('SELECT * FROM m', "INSERT INTO m VALUES (1, 2)",
                          'UPDATE m SET a = 1', 'DELETE FROM m'):
            caught = self.assertRaises(
                dbapi.OperationalError, self.run_sql, statement)
            self.assertEqual('no such table: m', str(caught))
        self.run_sql('DROP TABLE n')
        caught = self.assertRaises(
            dbapi.OperationalError, self.run_sql, 'SELECT * FROM n')
        self.assertEqual('no such table: n', str(caught))

    def test_types_come_back_unchanged(self):
        self.run_sql('CREATE TABLE t (id INTEGER PRIMARY KEY, v)')
        values = [None, 0, -1, 2 ** 63 - 1, -2 ** 63, 1.5, 1e300,
                  float('inf'), '', 'a\0b', '\u20ac', b'', b'\0\xff',
                  '2026-01-02 03:04:05.000006']
        self.connection.executemany(
            'INSERT INTO t VALUES (?, ?)', list(enumerate(values, 1)))
        self.connection.commit()
        found = [row[0] for row in self.run_sql(
            'SELECT v FROM t ORDER BY id', (), self.connect())]
        self.assertEqual(values, found)
        self.assertEqual([type(v) for v in values],
                         [type(v) for v in found])

    def test_bool_becomes_int(self):
        self.assertEqual([(1, 'integer')], self.run_sql(
            'SELECT ?1, typeof(?1)', (True,)))

    def test_description_without_rows(self):
        cursor = self.connection.execute(
            'SELECT id AS x, name FROM p WHERE id = 77')
        self.assertEqual(['x', 'name'], [d[0] for d in cursor.description])
        cursor.execute('UPDATE p SET n = 1 WHERE id = 77 RETURNING n')
        self.assertEqual(['n'], [d[0] for d in cursor.description])
        cursor.execute('UPDATE p SET n = 1 WHERE id = 77')
        self.assertIsNone(cursor.description)
        self.assertEqual(0, cursor.rowcount)

    def test_row_counts_and_last_id(self):
        ids = self.filled()
        cursor = self.connection.execute('UPDATE p SET n = n')
        self.assertEqual(2, cursor.rowcount)
        cursor.execute("INSERT INTO p (name) VALUES ('c')")
        self.assertEqual(1, cursor.rowcount)
        self.assertNotIn(cursor.lastrowid, ids.values())
        self.assertEqual([(cursor.lastrowid,)], self.run_sql(
            "SELECT id FROM p WHERE name = 'c'"))
        cursor.executemany('DELETE FROM k WHERE v = ?', [('x',), ('no',)])
        self.assertEqual(1, cursor.rowcount)
        self.assertEqual(-1, cursor.execute('SELECT 1').rowcount)

    def test_returning(self):
        cursor = self.connection.execute(
            "INSERT INTO p (name) VALUES ('c'), ('d') RETURNING id, name")
        self.assertEqual(['c', 'd'], [row[1] for row in cursor])

    def test_explicit_id_moves_the_sequence(self):
        self.run_sql("INSERT INTO p (id, name) VALUES (5000, 'c')")
        self.connection.commit()
        cursor = self.connect().execute("INSERT INTO p (name) VALUES ('d')")
        self.assertGreater(cursor.lastrowid, 5000)

    def test_id_zero_stays_zero(self):
        self.run_sql("INSERT INTO p (id, name) VALUES (0, 'c')")
        self.connection.commit()
        self.assertEqual([(0,)], self.run_sql('SELECT id FROM p'))

    def test_many_parameters(self):
        self.connection.executemany(
            'INSERT INTO m VALUES (?, ?)', [(str(n), 'x') for n in range(50)])
        self.connection.commit()
        marks = ', '.join('?' * 2000)
        self.assertEqual(50, len(self.run_sql(
            f'SELECT a FROM m WHERE a IN ({marks})',
            [str(n) for n in range(2000)])))

    def test_rows_keep_the_order_of_insertion(self):
        names = ['z', 'b', 'y', 'a']
        for name in names:
            self.run_sql("INSERT INTO m VALUES (?, 'x')", (name,))
            self.connection.commit()
        self.assertEqual(names, [row[0] for row in self.run_sql(
            'SELECT a, b FROM m NOT INDEXED', (), self.connect())])
