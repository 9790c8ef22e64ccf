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

"""The DB-API module: arguments, parameters, scripts, rows."""

import datetime
import uuid

import testtools

from luc_drivers.db import dbapi
from luc_drivers.db import engine
from luc_drivers.db import script


class AdaptTestCase(testtools.TestCase):

    def test_values_become_those_of_sqlite(self):
        class Text(str):
            pass

        when = datetime.datetime(2026, 1, 2, 3, 4, 5, 6)
        given = [True, when, when.date(), Text('x'), bytearray(b'y'),
                 memoryview(b'z'), None, 1.5]
        found = dbapi.adapt(given)
        self.assertEqual((1, '2026-01-02 03:04:05.000006', '2026-01-02',
                          'x', b'y', b'z', None, 1.5), found)
        self.assertEqual([int, str, str, str, bytes, bytes],
                         [type(v) for v in found[:6]])
        self.assertEqual({'a': 1}, dbapi.adapt({'a': True}))

    def test_what_does_not_fit(self):
        caught = self.assertRaises(
            dbapi.ProgrammingError, dbapi.adapt, (1, {}))
        self.assertEqual("Error binding parameter 2: type 'dict' is not "
                         'supported', str(caught))


class ScriptTestCase(testtools.TestCase):

    def test_split(self):
        self.assertEqual(
            ('SELECT 1', "INSERT INTO t VALUES ('a;b')", 'SELECT "x;y"'),
            script.split("SELECT 1;;\n INSERT INTO t VALUES ('a;b'); -- no;"
                         '\n/* ; */ SELECT "x;y"'))


class ConnectionTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        private = uuid.uuid4().hex
        self.addCleanup(engine.drop_private, private)
        self.connection = dbapi.connect(
            'd', store='embedded', fresh='1', private=private, timeout=5,
            check_same_thread=False)
        self.connection.execute('CREATE TABLE t (a INTEGER PRIMARY KEY, b)')
        self.connection.executemany(
            'INSERT INTO t (b) VALUES (?)', [('x',), ('y',), ('z',)])

    def test_fetching(self):
        cursor = self.connection.execute('SELECT b FROM t ORDER BY a')
        self.assertEqual(('x',), cursor.fetchone())
        self.assertEqual([('y',)], cursor.fetchmany())
        self.assertEqual([('z',)], cursor.fetchall())
        self.assertIsNone(cursor.fetchone())
        self.assertEqual([], cursor.fetchmany(5))
        self.assertEqual(['x', 'y', 'z'], [row[0] for row in (
            self.connection.execute('SELECT b FROM t ORDER BY a'))])

    def test_rows_by_name(self):
        self.connection.row_factory = dbapi.Row
        row = self.connection.execute(
            'SELECT a, b AS Name FROM t ORDER BY a').fetchone()
        self.assertEqual(('x', 'x', ['a', 'Name']),
                         (row['name'], row[1], row.keys()))
        self.assertRaises(IndexError, lambda: row['nope'])

    def test_closed(self):
        cursor = self.connection.cursor()
        cursor.close()
        self.assertRaises(dbapi.ProgrammingError, cursor.execute, 'SELECT 1')
        self.connection.close()
        self.connection.close()
        self.assertRaises(dbapi.ProgrammingError, self.connection.cursor)

    def test_closing_rolls_back(self):
        self.connection.commit()
        self.connection.execute('DELETE FROM t')
        self.connection.close()
        self.assertRaises(dbapi.ProgrammingError, self.connection.commit)

    def test_isolation_level(self):
        self.assertEqual('', self.connection.isolation_level)
        self.assertTrue(self.connection.in_transaction)
        self.connection.isolation_level = None
        self.assertFalse(self.connection.in_transaction)
        self.assertRaises(ValueError, setattr, self.connection,
                          'isolation_level', 'nope')

    def test_as_context(self):
        self.connection.commit()
        try:
            with self.connection:
                self.connection.execute('DELETE FROM t')
                raise KeyError
        except KeyError:
            self.assertFalse(self.connection.in_transaction)
        with self.connection:
            self.connection.execute('DELETE FROM t WHERE a = 1')
        self.assertEqual([(2,)], self.connection.execute(
            'SELECT count(*) FROM t').fetchall())
        self.assertEqual(7, self.connection.total_changes)

    def test_only_writing_statements_many_times(self):
        self.assertRaises(dbapi.ProgrammingError,
                          self.connection.executemany, 'SELECT ?', [(1,)])
        self.assertEqual(0, self.connection.executemany(
            'DELETE FROM t WHERE a = ?', []).rowcount)

    def test_a_closed_cursor_keeps_its_counts(self):
        # SQLAlchemy closes it, and asks for the row count afterwards
        cursor = self.connection.cursor()
        cursor.execute('INSERT INTO t (b) SELECT b FROM t WHERE a = 1')
        last = cursor.lastrowid
        cursor.close()
        self.assertEqual(1, cursor.rowcount)
        self.assertEqual(last, cursor.lastrowid)
        cursor = self.connection.execute('SELECT a FROM t')
        cursor.close()
        self.assertEqual('a', cursor.description[0][0])
        self.assertRaises(dbapi.ProgrammingError, cursor.fetchall)

    def test_executemany_keeps_what_came_before_the_error(self):
        self.assertRaises(
            dbapi.IntegrityError, self.connection.executemany,
            'INSERT INTO t (a, b) VALUES (?, ?)',
            [(10, 'm'), (1, 'n'), (11, 'o')])
        self.assertEqual([(10,)], self.connection.execute(
            'SELECT a FROM t WHERE a > 3').fetchall())

    def test_fresh_needs_an_owner(self):
        self.assertRaises(dbapi.InterfaceError, dbapi.connect, 'd',
                          store='embedded', fresh='1')

    def test_module(self):
        self.assertEqual('2.0', dbapi.apilevel)
        self.assertTrue(issubclass(dbapi.IntegrityError, dbapi.DatabaseError))
        self.assertIs(dbapi.Error, self.connection.Error)
        self.assertGreater(dbapi.sqlite_version_info, (3, 40, 0))
