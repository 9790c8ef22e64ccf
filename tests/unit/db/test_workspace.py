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

"""Workspaces: their tables, rows, savepoints and functions."""

import dataclasses

import testtools

from luc_drivers.db import document
from luc_drivers.db import errors
from luc_drivers.db.catalog import catalog
from luc_drivers.db.profiles import default
from luc_drivers.db.rows import Address
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.store import base
from luc_drivers.db.store import embedded
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.workspace import ddl
from luc_drivers.db.workspace import functions
from luc_drivers.db.workspace import pool
from luc_drivers.db.workspace import workspace


def schema_of(*statements):
    store = embedded.EmbeddedStore(
        'w', base.StoreSettings(kind='embedded', fresh=True))
    known = catalog.Catalog(store, default.PROFILE, fresh=True)
    schema = known.current()
    for statement in statements:
        schema = known.apply_ddl(statement)
    store.close()
    return schema


def row_of(table, created, *values):
    return StoredRow(
        table, Address(Group('global', b'g'), RowKey(
            table.number, str(created).encode())), b'v' * 16,
        document.encode({c.number: v for c, v in zip(
            table.columns, values)}, created), created)


class StripTestCase(testtools.TestCase):

    def check(self, sql, stripped):
        self.assertEqual(''.join(stripped.split()),
                         ''.join(ddl.strip(sql).split()))

    def test_references_go(self):
        self.check(
            'CREATE TABLE k (id INTEGER PRIMARY KEY AUTOINCREMENT, '
            'pid INT NOT NULL CONSTRAINT f REFERENCES p (id) ON DELETE SET '
            'NULL ON UPDATE CASCADE MATCH FULL NOT DEFERRABLE INITIALLY '
            'IMMEDIATE DEFAULT 3, q INT REFERENCES z)',
            'CREATE TABLE k (id INTEGER PRIMARY KEY, '
            'pid INT NOT NULL DEFAULT 3, q INT)')

    def test_table_constraints(self):
        self.check(
            'CREATE TABLE k (a TEXT, b INT, CONSTRAINT u UNIQUE (a, b), '
            'CONSTRAINT f FOREIGN KEY(b) REFERENCES p (x, y), '
            "FOREIGN KEY (a) REFERENCES q, CHECK (a IN ('(', ','))) "
            'WITHOUT ROWID',
            'CREATE TABLE k (a TEXT, b INT, CONSTRAINT u UNIQUE (a, b), '
            "CHECK (a IN ('(', ',')))")

    def test_what_only_looks_like_it(self):
        for sql in (
                'CREATE TABLE k ("references" TEXT DEFAULT \'REFERENCES p\')',
                'CREATE TABLE k (a INT CHECK (a > (1 + 2)), b '
                'VARCHAR(20) COLLATE NOCASE)',
                'CREATE TABLE k (a INT, b INT GENERATED ALWAYS AS (a * 2) '
                'STORED)'):
            self.check(sql, sql)


class WorkspaceTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.schema = schema_of(
            'CREATE TABLE p (id INTEGER PRIMARY KEY, a TEXT UNIQUE, '
            'b INT DEFAULT 7)',
            'CREATE TABLE m (a TEXT, b TEXT, rowid TEXT, PRIMARY KEY (a, b))',
            'CREATE INDEX m_b ON m (b)')
        self.space = workspace.Workspace()
        self.addCleanup(self.space.close)
        self.space.ensure(self.schema, ['p', 'M'])
        self.space.begin()
        self.p = self.schema.tables['p']
        self.m = self.schema.tables['m']

    def load(self, table, *rows):
        self.space.load(table.name, [
            (self.space.rowid(table.name, row.created, row.values),
             row.values) for row in rows])

    def test_rows_keep_their_ids(self):
        self.load(self.p, row_of(self.p, 90, 5, 'x', None))
        self.load(self.m, row_of(self.m, 90, 'x', 'y', 'own'))
        self.assertEqual([(5, 'x', None)],
                         self.space.query('SELECT * FROM p'))
        self.assertEqual([(90, 'x', 'y', 'own')],
                         self.space.query('SELECT _rowid_, * FROM m'))

    def test_columns_that_a_row_does_not_have(self):
        row = row_of(self.p, 90, 5, 'x')
        column = dataclasses.replace(self.p.columns[2], initial=42)
        newer = dataclasses.replace(
            self.p, columns=(*self.p.columns[:2], column))
        schema = dataclasses.replace(
            self.schema, tables={**self.schema.tables, 'p': newer})
        self.space.ensure(schema, ['p'])
        self.load(newer, row)
        self.assertEqual([(42,)], self.space.query('SELECT b FROM p'))

    def test_loads_touch_nothing_and_no_ops_do(self):
        self.load(self.p, row_of(self.p, 90, 5, 'x', 1),
                  row_of(self.p, 91, 6, 'y', 1))
        self.assertEqual([], self.space.take_touches())
        outcome = self.space.change('UPDATE p SET b = b WHERE id = ?', (6,))
        self.assertEqual(1, outcome.changes)
        self.assertEqual([('p', 6)], self.space.take_touches())
        self.assertEqual([], self.space.take_touches())

    def test_last_id_is_of_this_statement(self):
        self.load(self.p, row_of(self.p, 90, 5, 'x', 1))
        self.assertIsNone(self.space.change(
            'UPDATE p SET b = 2', ()).last_id)
        self.assertEqual(8, self.space.change(
            'INSERT INTO p (id) VALUES (8)', ()).last_id)

    def test_loads_that_contradict(self):
        self.load(self.p, row_of(self.p, 90, 5, 'x', 1))
        self.assertRaises(errors.IntegrityError, self.load, self.p,
                          row_of(self.p, 91, 6, 'x', 1))

    def test_reset_empties_it(self):
        self.load(self.p, row_of(self.p, 90, 5, 'x', 1))
        self.space.change('INSERT INTO p (id) VALUES (8)', ())
        self.space.reset()
        self.space.begin()
        self.assertEqual([], self.space.query('SELECT * FROM p'))
        self.assertEqual([], self.space.take_touches())

    def test_tables_made_inside_a_transaction_stay(self):
        wider = schema_of('CREATE TABLE p (id INTEGER PRIMARY KEY, z)',
                          'CREATE TABLE q (a)', 'CREATE INDEX q_a ON q (a)')
        self.space.savepoint('s')
        self.space.ensure(wider, ['q', 'p', 'm'])
        self.space.rollback_to('s')
        self.assertEqual([], self.space.query('SELECT a FROM q'))
        self.space.reset()
        self.space.begin()
        self.assertEqual([], self.space.query('SELECT a FROM q'))
        self.assertEqual([], self.space.query('SELECT z FROM p'))
        caught = self.assertRaises(
            errors.OperationalError, self.space.select, 'SELECT * FROM m', ())
        self.assertEqual('no such table: m', str(caught))

    def test_description(self):
        outcome = self.space.select('SELECT id AS x, a FROM p', ())
        self.assertEqual(('x', 'a'), outcome.columns)
        outcome = self.space.change(
            'DELETE FROM p WHERE id = 9 RETURNING id', ())
        self.assertEqual(('id',), outcome.columns)

    def test_one_statement_only(self):
        self.assertRaises(errors.ProgrammingError, self.space.select,
                          'SELECT 1; SELECT 2', ())

    def test_errors_have_codes(self):
        caught = self.assertRaises(
            errors.IntegrityError, self.space.change,
            "INSERT INTO p (id, a) VALUES (1, 'x'), (2, 'x')", ())
        self.assertEqual('SQLITE_CONSTRAINT_UNIQUE', caught.sqlite_errorname)
        self.assertEqual(2067, caught.sqlite_errorcode)


class FunctionsTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.space = workspace.Workspace()
        self.addCleanup(self.space.close)
        self.functions = self.space.functions
        self.functions.draws.now = 86400 * 365.25

    def value(self, sql):
        return self.space.query('SELECT ' + sql)[0][0]

    def test_time_is_frozen(self):
        now = '1971-01-01 06:00:00'
        for sql in ('CURRENT_TIMESTAMP', "datetime('now')", 'datetime()',
                    "strftime('%Y-%m-%d %H:%M:%S', 'now')"):
            self.assertEqual(now, self.value(sql), sql)
        self.assertEqual('1971-01-02', self.value("date('now', '+1 day')"))
        self.assertEqual('2020-02-29', self.value("date('2020-02-29')"))
        self.assertEqual(now[:10], self.value('CURRENT_DATE'))
        self.assertEqual(now[11:], self.value('CURRENT_TIME'))

    def test_draws_come_again(self):
        ids = iter(range(10, 20))
        self.functions.draw_id = lambda name: next(ids)
        sql = "luc_next('t') || '/' || luc_next('t') || '/' || random()"
        first = self.value(sql)
        self.functions.draws.restart()
        self.assertEqual(first, self.value(sql))
        self.assertEqual('10/11', first[:5])
        self.assertEqual(12, self.value("luc_next('t')"))
        self.assertEqual({('t', 10), ('t', 11), ('t', 12)},
                         self.functions.drawn)

    def test_forgotten_draws_are_drawn_anew(self):
        ids = iter(range(10, 20))
        self.functions.draw_id = lambda name: next(ids)
        self.value("luc_next('t')")
        self.assertTrue(self.functions.draws.forget('T'))
        self.functions.draws.restart()
        self.assertEqual(11, self.value("luc_next('t')"))

    def test_functions_change_hands(self):
        self.functions.use({('f', 1): lambda v: v + 1})
        self.assertEqual(3, self.value('f(2)'))
        self.functions.use({('f', 1): lambda v: v * 10})
        self.assertEqual(20, self.value('f(2)'))
        self.functions.use({})
        self.assertRaises(errors.OperationalError, self.value, 'f(2)')

    def test_a_function_that_fails(self):
        self.functions.use({('f', 1): lambda v: 1 / v})
        caught = self.assertRaises(
            errors.OperationalError, self.value, 'f(0)')
        self.assertEqual('user-defined function raised exception',
                         str(caught))

    def test_regexp(self):
        self.assertEqual(1, self.value("'abc' REGEXP '^a.c$'"))
        self.assertEqual(0, self.value("'abc' REGEXP 'd'"))
        self.assertIsNone(self.value("NULL REGEXP 'd'"))


class PoolTestCase(testtools.TestCase):

    def test_the_last_one_comes_first_and_empty(self):
        idle = pool.Pool(kept=1)
        one, two = idle.take(), idle.take()
        one.begin()
        one.query('CREATE TABLE t (a)')
        idle.give(one)
        idle.give(two)
        self.assertIs(one, idle.take())
        self.assertFalse(one.db.in_transaction)
        self.assertIsNot(two, idle.take())

    def test_names_of_rowid(self):
        schema = schema_of('CREATE TABLE t (RowID TEXT, oid TEXT)')
        self.assertEqual('_rowid_', ddl.rowid_name(schema.tables['t']))
        self.assertEqual(functions.regexp('b', 'abc'), True)
