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


"""Views, temporary tables and CREATE TABLE AS, the same on every store."""

from luc_drivers.db import dbapi
from tests.unit.db import sql_connection


class ObjectTests(sql_connection.ConnectionTests):
    """Mixed into a TestCase that says where: ``options()``."""

    def filled(self):
        ids = super().filled()
        self.run_sql('CREATE VIEW pk AS SELECT p.name AS name, k.v AS v '
                     'FROM p JOIN k ON k.pid = p.id WHERE p.n > 0')
        return ids

    def refused(self, message, sql, parameters=()):
        caught = self.assertRaises(
            dbapi.OperationalError, self.run_sql, sql, parameters)
        self.assertEqual(message, str(caught))

    # --- views

    def test_a_view_is_its_query(self):
        self.filled()
        other = self.connect()
        self.assertEqual([('a', 'x'), ('a', 'y')], self.run_sql(
            'SELECT * FROM pk ORDER BY v', (), other))
        self.assertEqual([('y',)], self.run_sql(
            'SELECT z.v FROM main.pk AS z JOIN p ON p.name = z.name '
            'WHERE z.v > ? AND p.name IN (?, ?)', ('x', 'a', 'c'), other))
        self.assertEqual([(2,)], self.run_sql(
            'WITH c(n) AS (SELECT count(*) FROM pk) SELECT n FROM c',
            (), other))
        self.run_sql('INSERT INTO p (name) SELECT v FROM pk', (), other)
        self.assertEqual([(4,)], self.run_sql(
            'SELECT count(*) FROM p', (), other))
        self.run_sql("DELETE FROM p WHERE name IN (SELECT v FROM pk)",
                     (), other)
        self.assertEqual([(2,)], self.run_sql(
            'SELECT count(*) FROM p', (), other))

    def test_views_of_views(self):
        self.filled()
        # made before what it reads, as SQLite lets one
        self.run_sql("CREATE VIEW w (word) AS SELECT up FROM u WHERE up > 'X'")
        self.run_sql('CREATE VIEW u AS SELECT upper(v) AS up FROM pk')
        self.assertEqual([('Y',)], self.run_sql('SELECT word FROM w'))
        self.run_sql('DROP VIEW u')
        self.refused('no such table: u', 'SELECT * FROM w')

    def test_a_view_follows_what_is_renamed(self):
        self.filled()
        self.run_sql('ALTER TABLE k RENAME TO kk')
        self.run_sql('ALTER TABLE kk RENAME COLUMN v TO vv')
        other = self.connect()
        self.assertEqual([('x',), ('y',)], self.run_sql(
            'SELECT v FROM pk ORDER BY v', (), other))
        self.assertIn('"kk"', self.run_sql(
            "SELECT sql FROM sqlite_master WHERE type = 'view'",
            (), other)[0][0])

    def test_what_a_view_refuses(self):
        self.filled()
        for statement in ("INSERT INTO pk VALUES ('a', 'b')",
                          "UPDATE pk SET v = 'a'", 'DELETE FROM main.pk',
                          "REPLACE INTO pk VALUES ('a', 'b')"):
            self.refused('cannot modify pk because it is a view', statement)
        self.refused('use DROP VIEW to delete view pk', 'DROP TABLE pk')
        self.refused('use DROP TABLE to delete table p', 'DROP VIEW p')
        self.refused('no such view: nobody', 'DROP VIEW nobody')
        self.run_sql('DROP VIEW IF EXISTS nobody')
        self.run_sql('CREATE VIEW IF NOT EXISTS pk AS SELECT 1')
        self.assertEqual(2, len(self.run_sql('SELECT * FROM pk')))
        self.run_sql('CREATE VIEW one AS SELECT * FROM two')
        self.run_sql('CREATE VIEW two AS SELECT * FROM one')
        self.refused('view one is circularly defined', 'SELECT * FROM one')
        caught = self.assertRaises(
            dbapi.NotSupportedError, self.run_sql,
            'WITH k AS (SELECT 1 AS pid) SELECT * FROM pk, k')
        self.assertIn('the name k', str(caught))

    def test_own_names_come_before_views(self):
        self.filled()
        self.assertEqual([(1,)], self.run_sql(
            'WITH pk AS (SELECT 1 AS x) SELECT x FROM pk'))
        self.assertEqual([('p',)], self.run_sql(
            "SELECT pk FROM (SELECT 'p' AS pk)"))

    # --- temporary tables

    def test_a_temporary_table_is_the_connection_s(self):
        self.filled()
        self.run_sql('CREATE TEMP TABLE t (id INTEGER PRIMARY KEY, v TEXT)')
        self.run_sql('CREATE INDEX tv ON t (v)')
        self.run_sql("INSERT INTO t (v) VALUES ('x'), ('z')")
        self.connection.commit()
        self.assertEqual([('x', 1)], self.run_sql(
            'SELECT t.v, t.id FROM t JOIN k ON k.v = t.v'))
        other = self.connect()
        self.assertIn('no such table: t', str(self.assertRaises(
            dbapi.OperationalError, self.run_sql, 'SELECT * FROM t', (),
            other)))
        self.assertEqual([], self.run_sql(
            'SELECT name FROM sqlite_temp_master', (), other))
        self.assertEqual(
            [('table', 't'), ('index', 'tv')],
            self.run_sql('SELECT type, name FROM sqlite_temp_master'))
        self.assertEqual(['id', 'v'], [
            row[1] for row in self.run_sql('PRAGMA table_info(t)')])
        self.run_sql('DROP TABLE t')
        self.refused('no such table: t', 'SELECT * FROM t')

    def test_temporary_rows_are_transactional(self):
        self.filled()
        self.run_sql('CREATE TEMP TABLE t (a INTEGER)')
        self.run_sql('INSERT INTO t VALUES (1)')
        self.connection.commit()
        self.run_sql('INSERT INTO t VALUES (2)')
        self.run_sql("UPDATE p SET n = 9 WHERE name = 'a'")
        self.connection.rollback()
        self.assertEqual([(1,)], self.run_sql('SELECT a FROM t'))
        self.run_sql("UPDATE p SET n = 9 WHERE name = 'a'")
        self.run_sql('SAVEPOINT s')
        self.run_sql('INSERT INTO t VALUES (3)')
        self.run_sql('ROLLBACK TO s')
        self.run_sql('INSERT INTO t SELECT n FROM p WHERE name = ?', ('a',))
        self.run_sql('UPDATE t SET a = a + 1 WHERE a = 1')
        self.connection.commit()
        self.assertEqual([(2,), (9,)], self.run_sql(
            'SELECT a FROM t ORDER BY a'))
        # what is read from the database is read anew
        self.run_sql("UPDATE p SET n = 4 WHERE name = 'a'",
                     (), self.autocommit())
        self.assertEqual([(4,)], self.run_sql(
            "SELECT n FROM p WHERE name = 'a'"))

    def test_temporary_ddl_in_a_transaction(self):
        self.filled()
        connection = self.autocommit()
        for statement in ('BEGIN', "INSERT INTO p (name) VALUES ('c')",
                          'CREATE TEMP TABLE t AS SELECT name FROM p'):
            self.run_sql(statement, (), connection)
        self.assertEqual([('a',), ('b',), ('c',)], self.run_sql(
            'SELECT * FROM t ORDER BY 1', (), connection))
        self.run_sql('ROLLBACK', (), connection)
        self.assertEqual([(2,)], self.run_sql(
            'SELECT count(*) FROM p', (), connection))
        self.assertIn('no such table: t', str(self.assertRaises(
            dbapi.OperationalError, self.run_sql, 'SELECT * FROM t', (),
            connection)))

    def test_temporary_view(self):
        self.filled()
        self.run_sql('CREATE TEMP VIEW tv AS SELECT v FROM pk')
        self.assertEqual([('x',), ('y',)], self.run_sql(
            'SELECT v FROM tv ORDER BY v'))
        self.run_sql('DROP VIEW tv')
        self.refused('no such table: tv', 'SELECT v FROM tv')

    def test_a_temporary_table_hides_nothing(self):
        self.filled()
        caught = self.assertRaises(
            dbapi.NotSupportedError, self.run_sql,
            'CREATE TEMP TABLE p (a)')
        self.assertIn('p would hide', str(caught))

    # --- CREATE TABLE AS

    def test_create_table_as(self):
        self.filled()
        self.run_sql('CREATE TABLE made AS SELECT name, n * 2 AS twice, id '
                     'FROM p WHERE n = ?', (3,))
        other = self.connect()
        self.assertEqual([('a', 6), ('b', 6)], self.run_sql(
            'SELECT name, twice FROM made ORDER BY name', (), other))
        self.assertEqual([('CREATE TABLE made(name TEXT,twice,id INT)',)],
                         [tuple(''.join(part.split('\n')).replace('  ', '')
                                for part in row) for row in self.run_sql(
                             "SELECT sql FROM sqlite_master "
                             "WHERE name = 'made'", (), other)])
        self.refused('table made already exists',
                     'CREATE TABLE made AS SELECT 1')
        self.run_sql('CREATE TABLE IF NOT EXISTS made AS SELECT 1')
        self.assertEqual([(2,)], self.run_sql('SELECT count(*) FROM made'))
        self.refused('no such table: nobody',
                     'CREATE TABLE other AS SELECT * FROM nobody')
        self.refused('no such table: other', 'SELECT * FROM other')
