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

"""The planner, example by example."""

import threading
import unittest

from luc_drivers.db.catalog import schema as schemas
from luc_drivers.db.planner import explain
from luc_drivers.db.planner import plan as plans
from luc_drivers.db.planner import planner
from tests.unit.db import planner_fixtures as fixtures
from tests.unit.db.planner_examples import keys
from tests.unit.db.planner_examples import make_schema
from tests.unit.db.planner_examples import paths
from tests.unit.db.planner_examples import plan
from tests.unit.db.planner_examples import SCHEMA

KIND = plans.Kind
PATH = plans.Path



class TestKinds(unittest.TestCase):

    def test_statements_without_tables(self):
        for sql, kind, name in (
                ('BEGIN', KIND.BEGIN, None),
                ('begin immediate', KIND.BEGIN, None),
                ('COMMIT', KIND.COMMIT, None),
                ('END TRANSACTION', KIND.COMMIT, None),
                ('ROLLBACK', KIND.ROLLBACK, None),
                ('ROLLBACK TRANSACTION', KIND.ROLLBACK, None),
                ('SAVEPOINT sa_savepoint_1', KIND.SAVEPOINT,
                 'sa_savepoint_1'),
                ('ROLLBACK TO SAVEPOINT sa_savepoint_1', KIND.ROLLBACK_TO,
                 'sa_savepoint_1'),
                ('rollback transaction to "a b"', KIND.ROLLBACK_TO, 'a b'),
                ('RELEASE SAVEPOINT sa_savepoint_1;', KIND.RELEASE,
                 'sa_savepoint_1'),
                ('RELEASE x', KIND.RELEASE, 'x'),
                ('CREATE TABLE x (a)', KIND.DDL, None),
                ('/* hm */ -- well\n ALTER TABLE x ADD y', KIND.DDL, None),
                ('DROP INDEX x', KIND.DDL, None),
                ('PRAGMA table_info("x")', KIND.SCHEMA, None),
                ('EXPLAIN QUERY PLAN SELECT 1', KIND.SCHEMA, None)):
            found = plan(sql)
            self.assertEqual((kind, name), (found.kind, found.savepoint), sql)
            self.assertEqual(sql, found.sql)
            self.assertEqual((), found.waves)

    def test_queries_of_the_schema(self):
        for sql in (
                "SELECT name FROM sqlite_master WHERE type = 'table'",
                'SELECT sql FROM (SELECT * FROM sqlite_master UNION ALL'
                ' SELECT * FROM sqlite_temp_master) WHERE name = ?',
                'SELECT * FROM "sqlite_schema"',
                "SELECT * FROM pragma_table_info('x')"):
            self.assertIs(KIND.SCHEMA, plan(sql).kind, sql)

    def test_rows(self):
        for sql, kind, target in (
                ('SELECT 1', KIND.SELECT, None),
                ('VALUES (1)', KIND.SELECT, None),
                ('WITH x AS (SELECT 1) SELECT * FROM x', KIND.SELECT, None),
                ('INSERT INTO plain VALUES (1, 2)', KIND.INSERT, 'plain'),
                ('REPLACE INTO plain VALUES (1, 2)', KIND.INSERT, 'plain'),
                ('WITH x AS (SELECT 1) UPDATE plain SET a = 1', KIND.UPDATE,
                 'plain'),
                ('DELETE FROM "Plain" WHERE a = 1', KIND.DELETE, 'plain')):
            found = plan(sql)
            self.assertEqual((kind, target), (found.kind, found.target), sql)

    def test_what_is_not_sql_is_left_to_sqlite(self):
        for sql in ('', 'SELEKT 1', 'SELECT FROM WHERE', "SELECT 'x",
                    'INSERT INTO', 'INSERT INTO nowhere VALUES (1)',
                    'SELECT * FROM nowhere'):
            found = plan(sql)
            self.assertEqual((), found.waves, sql)
            self.assertEqual(sql, found.sql)


class TestPaths(unittest.TestCase):

    def test_group_before_index_before_scan(self):
        self.assertEqual(
            [{('instances', 'row', ('uuid',))}],
            paths('SELECT * FROM instances WHERE uuid = ? AND host = ?'))
        self.assertEqual(
            [{('faults', 'group', ('instance_uuid',))}],
            paths('SELECT * FROM faults WHERE instance_uuid = ?'
                  ' AND code = ?'))
        self.assertEqual(
            [{('instances', 'index', ('project_id', 'deleted'))}],
            paths('SELECT * FROM instances WHERE deleted = 0'
                  ' AND project_id = ? AND lower(host) = ?'))
        self.assertEqual(
            [{('instances', 'scan', ())}],
            paths('SELECT * FROM instances WHERE deleted = 0'))
        self.assertEqual(
            [{('flavors', 'group', ())}],
            paths('SELECT * FROM flavors WHERE name = ?'))

    def test_a_scan_is_noted(self):
        self.assertIn('all of it is read',
                      plan('SELECT * FROM services').notes[0])

    def test_a_range_after_the_prefix(self):
        made = plan('SELECT * FROM instances WHERE project_id = ? AND'
                    ' deleted = ? AND size > ? AND size <= ?')
        (access,), = made.waves
        bound = access.bind(('p', 0, '5', 7.5), None)
        self.assertEqual([('p', 0)], bound.keys)
        self.assertEqual(plans.Bound(5, False), bound.lower)
        self.assertEqual(plans.Bound(7.5, True), bound.upper)
        self.assertEqual([], access.bind(('p', 0, None, 1), None).keys)

    def test_constants_travel_through_joins(self):
        self.assertEqual(
            [{('instances', 'row', ('uuid',)),
              ('faults', 'group', ('instance_uuid',)),
              ('tags', 'group', ('resource',))}],
            paths('SELECT * FROM instances i LEFT JOIN faults f'
                  ' ON f.instance_uuid = i.uuid JOIN tags t'
                  ' ON t.resource = f.instance_uuid WHERE i.uuid = ?'))

    def test_not_from_the_nullable_side(self):
        # f.instance_uuid = ? in ON says nothing of i
        self.assertEqual(
            [{('instances', 'scan', ()),
              ('faults', 'group', ('instance_uuid',))}],
            paths('SELECT * FROM instances i LEFT JOIN faults f'
                  ' ON f.instance_uuid = i.uuid AND f.instance_uuid = ?'))

    def test_where_does_not_narrow_the_nullable_side(self):
        self.assertEqual(
            [{('instances', 'row', ('uuid',))},
             {('services', 'index', ('host',))}],
            paths('SELECT * FROM instances i LEFT JOIN services s'
                  ' ON s.host = i.host WHERE s."binary" IS NULL'
                  ' AND i.uuid = ?'))

    def test_keys_come_from_the_workspace(self):
        made = plan('SELECT * FROM instances i JOIN services s'
                    ' ON s.host = i.host AND s."binary" = ?'
                    ' WHERE i.project_id = ? AND i.size > ?')
        asked = []

        def query(sql, parameters):
            asked.append((sql, list(parameters)))
            return [('h1',), (None,), ('h2',)]

        bound = made.waves[1][0].bind(('b', 'p', 3), query)
        self.assertEqual([('h1', 'b'), ('h2', 'b')], bound.keys)
        self.assertEqual([(
            'SELECT DISTINCT k0."host" FROM "instances" AS k0 WHERE'
            ' (k0."project_id" = ?) AND (k0."size" > ?)', ['p', 3])], asked)

    def test_a_limited_derived_table_drives_its_joins(self):
        sql = ('SELECT * FROM (SELECT i.id AS id, i.uuid AS uuid FROM'
               ' instances AS i WHERE i.project_id = ? ORDER BY {} LIMIT ?)'
               ' AS anon_1 LEFT OUTER JOIN faults AS f'
               ' ON f.instance_uuid = anon_1.uuid')
        for order, limited in (('i.size DESC, i.id', True),
                               ('i.size DESC', False)):
            made = plan(sql.format(order))
            found = []

            def query(text, parameters, found=found):
                found.append((text, list(parameters)))
                return [('u',)]

            bound = made.waves[1][0].bind(('p', 7), query)
            self.assertEqual([('u',)], bound.keys)
            (text, parameters), = found
            # ties may fall otherwise when the statement itself runs
            self.assertEqual(limited, 'LIMIT ?' in text, text)
            self.assertEqual(['p', 7] if limited else ['p'], parameters)

    def test_or_needs_a_path_in_every_branch(self):
        self.assertEqual(
            [{('instances', 'index', ('host',)),
              ('instances', 'index', ('project_id',))}],
            paths('SELECT * FROM instances WHERE host = ? OR'
                  ' project_id = ? AND size > 4'))
        self.assertEqual(
            [{('instances', 'scan', ())}],
            paths('SELECT * FROM instances WHERE host = ? OR size = ?'))
        self.assertEqual([('h',), (None,)], keys(
            'SELECT * FROM instances WHERE host = ? OR host IS NULL', ('h',)))

    def test_exists_and_its_negation(self):
        sql = ('SELECT * FROM instances i WHERE {} (SELECT 1 FROM faults f'
               ' WHERE f.instance_uuid = i.uuid AND f.code = ?)')
        self.assertEqual(
            [{('faults', 'index', ('code',))},
             {('instances', 'row', ('uuid',))}], paths(sql.format('EXISTS')))
        self.assertEqual(
            {('instances', 'scan', ())},
            paths(sql.format('NOT EXISTS'))[0] - {
                ('faults', 'index', ('code',))})

    def test_an_empty_list_reads_nothing(self):
        # as SQLAlchemy writes IN ()
        made = plan('SELECT * FROM instances WHERE uuid IN'
                    ' (SELECT 1 FROM (SELECT 1) WHERE 1!=1)')
        (access,), = made.waves
        self.assertEqual([], access.bind((), lambda sql, values: []).keys)

    def test_collation_and_functions_are_no_equality(self):
        for condition in ('nick = ?', 'host COLLATE NOCASE = ?',
                          'lower(host) = ?', 'host LIKE ?',
                          "host || '' = ?", 'NOT host = ?', 'host != ?',
                          'host NOT IN (?)', '(host = ?) IS NOT TRUE'):
            self.assertEqual(
                [{('services', 'scan', ())}],
                paths(f'SELECT * FROM services WHERE {condition}'),
                condition)

    def test_values_get_the_affinity_of_the_column(self):
        sql = 'SELECT * FROM instances WHERE host = ?'
        self.assertEqual([('5',)], keys(sql, (5,)))
        self.assertEqual([('5',)], keys(sql, ('5',)))
        self.assertEqual([('1',)], keys(sql, (True,)))
        self.assertEqual([(b'5',)], keys(sql, (bytearray(b'5'),)))
        self.assertEqual([], keys(sql, (None,)))
        sql = 'SELECT * FROM instances WHERE id = ?'
        self.assertEqual([(5,)], keys(sql, (5,)))
        self.assertEqual([(' 5 ',), (5,)], keys(sql, (' 5 ',)))
        self.assertEqual([('0x5',)], keys(sql, ('0x5',)))
        self.assertEqual([], keys(sql, (float('nan'),)))

    def test_a_text_column_is_not_driven_by_a_number(self):
        self.assertEqual(
            [{('faults', 'index', ('id',)), ('instances', 'scan', ())}],
            paths('SELECT * FROM faults f JOIN instances i'
                  ' ON i.host = f.code WHERE f.id = ?'))

    def test_unique(self):
        for sql, unique in (
                ('SELECT * FROM instances WHERE id = ?', True),
                ('SELECT * FROM instances WHERE uuid = ?', True),
                ('SELECT * FROM instances WHERE host = ?', False),
                ('SELECT * FROM tags WHERE resource = ?', False),
                ('SELECT * FROM tags WHERE resource = ? AND tag = ?', True)):
            (access,), = plan(sql).waves
            self.assertEqual(unique, access.step.unique, sql)

    def test_hidden_indexes_are_not_used(self):
        table = SCHEMA.tables['services']
        for change in ({'public': False}, {'entries': False}):
            index = schemas.Index(301, 'x', ('host',), **change)
            other = schemas.Table(
                table.number, table.name, table.columns, table.key,
                table.primary_key, table.grouping, (index,))
            made = planner.plan('SELECT * FROM services WHERE host = ?', (),
                                fixtures.schema(other))
            self.assertIs(PATH.SCAN, made.waves[0][0].step.path)

    def test_too_many_combinations_use_fewer_columns(self):
        marks = ', '.join('?' * 300)
        made = plan('SELECT * FROM instances WHERE project_id IN'
                    f' ({marks}) AND deleted IN ({marks})')
        (access,), = made.waves
        bound = access.bind([str(i) for i in range(300)]
                            + list(range(300)), None)
        self.assertEqual(('project_id',), bound.key_columns)
        self.assertEqual(300, len(bound.keys))

    def test_long_chains_of_conditions(self):
        chain = ' OR '.join('host = ?' for _ in range(2000))
        made = plan(f'SELECT * FROM instances WHERE {chain}')
        self.assertEqual(['instances'], [a.table.name for wave in made.waves
                                         for a in wave])


class TestCache(unittest.TestCase):

    def test_one_plan_per_text_and_schema(self):
        sql = 'SELECT * FROM instances WHERE uuid = ?'
        first = plan(sql)
        self.assertIs(first, plan(sql))
        other = make_schema()
        self.assertIsNot(first, planner.plan(sql, (), other))

    def test_lists_of_any_length_share_an_analysis(self):
        one, three = (plan(
            f'SELECT * FROM instances WHERE uuid IN ({marks}) AND host = ?')
            for marks in ('?', '?,  ?, ?'))
        (short,), = one.waves
        (long,), = three.waves
        self.assertIs(short.step, long.step)
        self.assertEqual([('a', 'a')], short.bind(('a', 'h'), None).keys)
        self.assertEqual(
            [('a', 'a'), ('b', 'b')],
            long.bind(('a', 'b', 'a', 'h'), None).keys)

    def test_it_is_bounded(self):
        small = planner.Planner(size=3)
        for number in range(20):
            small.plan(f'SELECT {number} FROM plain', (), SCHEMA)
        self.assertEqual(3, len(small._plans))
        self.assertEqual(3, len(small._analyses))

    def test_threads(self):
        shared = planner.Planner(size=4)
        failures = []

        def work(seed):
            for number in range(60):
                name = ('host', 'uuid', 'id', 'project_id', 'deleted')[
                    (number * seed) % 5]
                made = shared.plan(
                    f'SELECT * FROM instances WHERE {name} = ?', (), SCHEMA)
                (access,), = made.waves
                if name not in access.step.columns and name != 'deleted':
                    failures.append(name)

        threads = [threading.Thread(target=work, args=(s,))
                   for s in (1, 2, 3, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], failures)


class TestPlaceholders(unittest.TestCase):

    def test_named_and_numbered(self):
        for sql, parameters in (
                ('SELECT * FROM tags WHERE tag = :t AND resource = :r',
                 {'r': 'x', 't': 'y'}),
                ('SELECT * FROM tags WHERE tag = @t AND resource = $r',
                 {'r': 'x', 't': 'y'}),
                ('SELECT * FROM tags WHERE tag = :t AND resource = :r',
                 ('y', 'x')),
                ('SELECT * FROM tags WHERE tag = ?2 AND resource = ?1',
                 ('x', 'y')),
                ('SELECT * FROM tags WHERE tag = ? /* ? */ AND "resource"'
                 " = ? AND '?' = '?' -- ?", ('y', 'x'))):
            self.assertEqual([('x', 'x', 'y')], keys(sql, parameters), sql)

    def test_literals(self):
        self.assertEqual([("it's",)], keys(
            "SELECT * FROM instances WHERE host = 'it''s'"))
        self.assertEqual([(-5,)], keys(
            'SELECT * FROM instances WHERE id = -5'))
        self.assertEqual([], keys(
            'SELECT * FROM instances WHERE host = NULL'))

    def test_our_own_names_in_a_text(self):
        made = plan('SELECT * FROM services WHERE host = :luc_7')
        self.assertIs(PATH.SCAN, made.waves[0][0].step.path)


class TestExplain(unittest.TestCase):

    def test_rows(self):
        rows = explain.explain(
            'SELECT * FROM instances i JOIN services s ON s.host = i.host'
            ' WHERE i.uuid = ?', SCHEMA)
        self.assertEqual(
            [(1, 'instances AS i', 'row', 'uuid', 'parameter 1'),
             (2, 'services AS s', 'index', 'services_0 (host)', 'from i')],
            [r[:5] for r in rows if r.wave])
        self.assertIn('2 waves, 3 rounds', rows[-1].notes)

    def test_scan_and_rewrite(self):
        text = '\n'.join(r.notes for r in explain.explain(
            'DELETE FROM services', SCHEMA))
        for part in ('the whole table', 'writes services', 'WHERE 1',
                     'all of it is read'):
            self.assertIn(part, text)
