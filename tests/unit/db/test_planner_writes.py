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

"""The planner, example by example: statements that write or lock."""

import unittest

from luc_drivers.db.catalog import schema as schemas
from luc_drivers.db.planner import plan as plans
from luc_drivers.db.planner import planner
from tests.unit.db import planner_fixtures as fixtures
from tests.unit.db.planner_examples import paths
from tests.unit.db.planner_examples import plan
from tests.unit.db.planner_examples import SCHEMA

KIND = plans.Kind
PATH = plans.Path


class TestWrites(unittest.TestCase):

    def _run(self, sql, parameters=(), rows=None):
        """Run a rewritten statement; return all rows of its target."""
        made = plan(sql)
        database = fixtures.connection(SCHEMA)
        for statement in rows or ():
            database.execute(statement)
        database.execute(made.sql, parameters).fetchall()
        return fixtures.dump(database, SCHEMA.tables[made.target])

    def test_ids_are_drawn(self):
        million = 10 ** 6
        for sql, parameters, expected in (
                ('INSERT INTO flavors (name) VALUES (?)', ('a',),
                 [(million, 'a')]),
                ('INSERT INTO flavors (name) VALUES (?), (?)', ('a', 'b'),
                 [(million, 'a'), (million + 1, 'b')]),
                ('INSERT INTO flavors (id, name) VALUES (?, ?), (?, ?)',
                 (7, 'a', None, 'b'), [(7, 'a'), (million, 'b')]),
                ('INSERT INTO flavors VALUES (?, ?)', (None, 'a'),
                 [(million, 'a')]),
                ("INSERT INTO flavors (ID, name) VALUES (0, 'a(b),')", (),
                 [(0, 'a(b),')]),
                ('INSERT INTO flavors DEFAULT VALUES', (),
                 [(million, None)]),
                ('INSERT INTO flavors (name) SELECT ? UNION SELECT ?',
                 ('a', 'b'), [(million, 'a'), (million + 1, 'b')]),
                ('INSERT INTO flavors SELECT NULL, ? WHERE 1', ('a',),
                 [(million, 'a')]),
                ('INSERT INTO main.flavors AS f (name) SELECT a FROM plain'
                 ' ORDER BY b DESC', (), [(million, 'y'), (million + 1, 'x')]),
                ('WITH q AS (SELECT 5 AS v) INSERT INTO flavors (rowid, name)'
                 ' SELECT v, v FROM q', (), [(5, '5')]),
                ('INSERT INTO flavors (name) VALUES ((SELECT max(b) FROM'
                 ' plain))', (), [(million, '2')]),
                ('INSERT INTO "flavors" (name) VALUES (:n), (:n)',
                 {'n': 'z'}, [(million, 'z'), (million + 1, 'z')])):
            found = self._run(sql, parameters, [
                "INSERT INTO plain VALUES ('x', 1), ('y', 2)"])
            self.assertEqual(expected, [r.values for r in found], sql)

    def test_rowids_are_drawn(self):
        for sql, parameters in (
                ('INSERT INTO plain VALUES (?, ?)', ('a', 1)),
                ('INSERT INTO plain (b, a) VALUES (?, ?)', (1, 'a')),
                ('INSERT INTO plain SELECT ?, ?', ('a', 1))):
            self.assertEqual([fixtures.Row(10 ** 6, ('a', 1))],
                             self._run(sql, parameters), sql)

    def test_conflict_clauses_are_kept(self):
        sql = ("INSERT INTO flavors (id, name) SELECT 1, 'new' WHERE 1"
               ' ON CONFLICT (id) DO UPDATE SET name = excluded.name')
        self.assertEqual(
            [(1, 'new')], [r.values for r in self._run(
                sql, (), ["INSERT INTO flavors VALUES (1, 'old')"])])
        self.assertTrue(plan(sql).conflict)

    def test_flags(self):
        for sql, flags in (
                ('INSERT INTO plain VALUES (1, 2)', ''),
                ('INSERT OR REPLACE INTO plain VALUES (1, 2)', 'rc'),
                ('REPLACE INTO plain VALUES (1, 2)', 'rc'),
                ('INSERT OR IGNORE INTO plain VALUES (1, 2)', 'c'),
                ('INSERT INTO plain VALUES (1, 2) ON CONFLICT DO NOTHING',
                 'c'),
                ('INSERT INTO plain VALUES (1, 2) RETURNING a', 't'),
                ('UPDATE OR REPLACE plain SET a = 1', 'rc'),
                ('UPDATE plain SET a = 1 RETURNING b', 't'),
                ('DELETE FROM plain RETURNING *', 't')):
            made = plan(sql)
            self.assertEqual(
                ('r' in flags, 'c' in flags, 't' in flags),
                (made.replaces, made.conflict, made.returning), sql)

    def test_a_table_that_replaces_by_itself(self):
        one = fixtures.table(1, 'x', [fixtures.column(0, 'a', 'TEXT')], ['a'])
        one = schemas.Table(
            1, 'x', one.columns, one.key, one.primary_key, one.grouping,
            one.indexes,
            sql='CREATE TABLE x (a TEXT PRIMARY KEY ON CONFLICT REPLACE)')
        made = planner.plan('INSERT INTO x VALUES (1)', (),
                            fixtures.schema(one))
        self.assertTrue(made.replaces)

    def test_delete_without_where_tells_the_update_hook(self):
        made = plan('DELETE FROM plain')
        database = fixtures.connection(SCHEMA)
        database.execute('INSERT INTO plain VALUES (1, 2), (3, 4)')
        touched = []
        database.set_update_hook(lambda *what: touched.append(what))
        database.execute('DELETE FROM plain')
        self.assertEqual([], touched)
        database.execute('INSERT INTO plain VALUES (1, 2), (3, 4)')
        touched.clear()
        database.execute(made.sql)
        self.assertEqual(2, len(touched))

    def test_a_plain_insert_reads_nothing(self):
        self.assertEqual([], paths('INSERT INTO tags VALUES (?, ?)'))

    def test_what_an_insert_selects_is_read(self):
        self.assertEqual(
            [{('instances', 'row', ('uuid',))}],
            paths('INSERT INTO plain (a) SELECT host FROM instances'
                  ' WHERE uuid = ?'))
        self.assertEqual(
            [{('flavors', 'row', ('id',))}],
            paths('INSERT INTO plain (a) VALUES ((SELECT name FROM flavors'
                  ' WHERE id = ?)) ON CONFLICT DO NOTHING'))

    def test_update_from(self):
        self.assertEqual(
            [{('services', 'row', ('id',))},
             {('instances', 'index', ('host',))}],
            paths('UPDATE instances SET size = 1 FROM services AS s'
                  ' WHERE s.id = ? AND instances.host = s.host'))

    def test_delete_by_a_subselect(self):
        self.assertEqual(
            [{('instances', 'index', ('project_id',))},
             {('faults', 'group', ('instance_uuid',))}],
            paths('DELETE FROM faults WHERE instance_uuid IN'
                  ' (SELECT uuid FROM instances WHERE project_id = ?)'))


class TestLocks(unittest.TestCase):

    def _locked(self, sql, parameters, rows, plan=plan):
        made = plan(sql)
        self.assertTrue(made.lock)
        database = fixtures.connection(SCHEMA)
        for name, values in rows:
            marks = ', '.join('?' * len(values))
            database.execute(f'INSERT INTO {name} VALUES ({marks})', values)
        found = {}
        for table, text in made.lock_queries:
            for (rowid,) in database.execute(text, parameters):
                found.setdefault(table, set()).add(rowid)
        return found

    ROWS = (('instances', (1, 'u1', 'h', 'p', 0, 5)),
            ('instances', (2, 'u2', 'h', 'p', 0, 4)),
            ('instances', (3, 'u3', 'h', 'q', 0, 3)),
            ('faults', (8, 'u1', 500, 'k')),
            ('faults', (9, 'u3', 500, 'k')))

    def test_only_with_the_comment(self):
        self.assertFalse(plan('SELECT * FROM plain').lock)
        self.assertEqual((), plan('SELECT * FROM plain').lock_queries)

    def test_matching_rows(self):
        self.assertEqual({'instances': {1, 2}}, self._locked(
            'SELECT id + ? FROM instances WHERE project_id IN (?, ?)'
            ' AND size > ?  /*luc:lock*/', (1, 'p', 'z', 0), self.ROWS))
        self.assertEqual({'instances': {3}}, self._locked(
            'SELECT id FROM instances WHERE project_id = :p /*luc:lock*/',
            {'p': 'q'}, self.ROWS))

    def test_lists_of_other_lengths(self):
        """A statement is analysed once for all lengths of its lists."""
        shared = planner.Planner()
        for projects, locked in ((('p', 'z'), {1, 2}), (('q',), {3}),
                                 (('p', 'q', 'z'), {1, 2, 3})):
            marks = ', '.join('?' * len(projects))
            self.assertEqual({'instances': locked}, self._locked(
                'SELECT id FROM instances WHERE size > ? AND project_id IN'
                f' ({marks}) /*luc:lock*/', (0, *projects), self.ROWS,
                lambda sql: shared.plan(sql, (), SCHEMA)))

    def test_limit(self):
        self.assertEqual({'instances': {2}}, self._locked(
            'SELECT i.id FROM instances AS i WHERE i.project_id = ?'
            ' ORDER BY i.size LIMIT ? OFFSET ? /*luc:lock*/',
            ('p', 1, 0), self.ROWS))

    def test_joins_and_derived_tables(self):
        self.assertEqual({'instances': {1, 2}, 'faults': {8}}, self._locked(
            'SELECT anon_1.id FROM (SELECT i.id AS id, i.uuid AS uuid FROM'
            ' instances AS i WHERE i.project_id = ? ORDER BY i.id LIMIT ?)'
            ' AS anon_1 LEFT OUTER JOIN faults AS f'
            ' ON f.instance_uuid = anon_1.uuid AND f.code = ? /*luc:lock*/',
            ('p', 5, 500), self.ROWS))

    def test_groups_lock_all_their_rows(self):
        self.assertEqual({'instances': {1, 2, 3}}, self._locked(
            'SELECT count(*), project_id FROM instances WHERE host = ?'
            ' GROUP BY project_id HAVING count(*) > ? LIMIT ? /*luc:lock*/',
            ('h', 5, 1), self.ROWS))
