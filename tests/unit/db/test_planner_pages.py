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


"""Ordered slices that are read by pages: random statements.

Each is run over all rows by stock SQLite, and over the pages that its plan
reads: the answers, in their order, must be the same.
"""

import functools
import operator
import random
import unittest
from unittest import mock

import hypothesis
from hypothesis import strategies

from luc_drivers.db.planner import explain
from luc_drivers.db.planner import limits
from luc_drivers.db.planner import planner
from tests.unit.db import planner_fixtures as fixtures
from tests.unit.db.planner_statements import VALUES

_COLUMNS = ('id', 'a', 'b', 'c')
_COUNTS = ('statements', 'paged', 'several pages', 'less than all',
           'after a marker')


def make_schema(rng):
    """Return one table with indexes and orders over its columns."""
    kinds = rng.choice((('INTEGER', 'TEXT', 'NUMERIC', 'REAL', 'BLOB'),
                        ('TEXT', 'INTEGER')))
    columns = [fixtures.column(
        0, 'id', rng.choice(('INTEGER', 'TEXT')), not_null=True)]
    columns += [fixtures.column(n, name, rng.choice(kinds))
                for n, name in enumerate('abc', 1)]

    def some(most):
        return tuple(rng.sample(_COLUMNS, rng.randint(1, most)))

    return fixtures.schema(
        fixtures.table(
            1, 't', columns, ('id',),
            indexes=[some(4) for _ in range(rng.choice((1, 3, 5)))],
            orders=[some(2) for _ in range(rng.choice((0, 1, 2)))]),
        fixtures.table(
            2, 'u', [fixtures.column(0, 'x', 'INTEGER'),
                     fixtures.column(1, 'y', kinds[0])],
            ('x',), indexes=[('y',)]))


def make_rows(rng, of, pool):
    """Return rows as SQLite keeps them."""
    database = fixtures.connection(of)
    for number in range(rng.choice((0, 5, 30, 60))):
        database.execute(
            'INSERT OR IGNORE INTO t VALUES (?, ?, ?, ?)',
            (number, *(rng.choice(pool) for _ in 'abc')))
    for number in range(20):
        database.execute('INSERT INTO u VALUES (?, ?)',
                         (number, rng.choice(pool)))
    return {name: fixtures.dump(database, of.tables[name])
            for name in ('t', 'u')}


class Maker:
    """Makes SELECTs that want the first rows of an order."""

    def __init__(self, rng, of, pool):
        self.rng = rng
        self.pool = pool
        table = of.tables['t']
        self.paths = [i.key_columns for i in table.indexes if i.key_columns]
        self.parameters = []
        self.joins = True

    def value(self, value):
        if self.rng.random() < 0.3 and type(value) is int:
            return str(value)
        self.parameters.append(value)
        return '?'

    def constant(self):
        return self.value(self.rng.choice(self.pool))

    def equals(self, column):
        kind = self.rng.random()
        if kind < 0.7:
            return f'{column} = {self.constant()}'
        if kind < 0.8:
            return f'{column} IS NULL'
        return f'{column} IN ({self.constant()}, {self.constant()})'

    def other(self):
        column = self.rng.choice(_COLUMNS)
        return self.rng.choice((
            lambda: f'{column} <> {self.constant()}',
            lambda: f'{column} IS NOT NULL',
            lambda: f'({column} >= {self.constant()} OR {column} IS NULL)',
            lambda: f'{column} LIKE {self.constant()}'))()

    def marker(self, order, down):
        """Return what a page after a marker has: a > 1 OR a = 1 AND b > 2.
        """
        sign = '<' if down else '>'
        values = [self.rng.choice(self.pool) for _ in order]
        branches = []
        for at, column in enumerate(order):
            same = [f'{c} = {self.value(v)}'
                    for c, v in zip(order[:at], values)]
            branches.append(' AND '.join(
                [*same, f'{column} {sign} {self.value(values[at])}']))
        return '(' + ' OR '.join(branches) + ')'

    def path(self):
        """Return conditions, and the columns that an index has after them.
        """
        columns = list(self.rng.choice(self.paths))
        given = columns[:self.rng.randint(0, len(columns) - 1)]
        order = [c for c in columns if c not in given]
        if self.rng.random() < 0.3:
            order = order[:1]
        return [self.equals(c) for c in given], given, order

    def select(self):
        conditions, _, order = self.path()
        down = self.rng.random() < 0.5
        if self.rng.random() < 0.4:
            conditions.append(self.marker(order, down))
        if self.rng.random() < 0.4:
            conditions.append(self.other())
        self.rng.shuffle(order)
        if self.rng.random() < 0.7:
            order += [c for c in _COLUMNS if c not in order]
        names = [c + (' DESC' if down is not (self.rng.random() < 0.1)
                      else '') for c in order]
        joined = ''
        if self.joins and self.rng.random() < 0.3:
            joined = (f' LEFT JOIN u ON u.y = t.{self.rng.choice("abc")}'
                      + self.rng.choice(('', ' AND u.x > 4')))
            names.append('u.x')
        return (f'SELECT {self.rng.choice(("*", "id, c", "b AS z, a"))} '
                f'FROM t{joined}{self.where(conditions)} '
                f'ORDER BY {", ".join(names)} '
                f'LIMIT {self.value(self.rng.randint(-1, 12))}'
                + self.rng.choice(('', ' OFFSET 0', ' OFFSET 3')))

    def lowest(self):
        conditions, given, order = self.path()
        if self.rng.random() < 0.5:
            conditions.append(self.other())
        grouped = [c for c in given if self.rng.random() < 0.5]
        by = f' GROUP BY {", ".join(grouped)}' if grouped else ''
        kind = self.rng.choice(('min', 'max'))
        return (f'SELECT {", ".join([*grouped, f"{kind}({order[0]})"])} '
                f'FROM t{self.where(conditions)}{by}')

    @staticmethod
    def where(conditions):
        return ' WHERE ' + ' AND '.join(conditions) if conditions else ''

    def statement(self):
        """Return a statement, and whether its answer's order counts."""
        kind = self.rng.random()
        if kind < 0.5:
            return self.select(), True
        if kind < 0.75:
            return self.lowest(), False
        self.joins = False
        inner = self.select().replace('SELECT *', 'SELECT id').replace(
            'SELECT id, c', 'SELECT id').replace(
                'SELECT b AS z, a', 'SELECT id')
        if kind < 0.85:
            return f'DELETE FROM t WHERE id IN ({inner})', False
        return (f'SELECT o.*, n.a FROM ({inner}) AS o '
                'LEFT JOIN t AS n ON n.id = o.id', False)


def check(test, seed, counts):
    """Make one schema, rows and statements from a seed and compare."""
    rng = random.Random(seed)
    of = make_schema(rng)
    pool = [None, *rng.sample(VALUES[1:], rng.choice((3, 12)))]
    rows = make_rows(rng, of, pool)
    for _ in range(4):
        maker = Maker(rng, of, pool)
        sql, ordered = maker.statement()
        store = fixtures.Store(rows)
        expected = fixtures.run_stock(of, rows, sql, maker.parameters)
        with mock.patch.object(
                limits, 'first_page',
                functools.partial(operator.add, rng.randint(1, 3))):
            answer, plan = fixtures.run_planned(
                of, rows, sql, maker.parameters, store)
        message = (f'seed {seed}: {sql!r} {maker.parameters!r}\n'
                   f'{of.tables["t"].indexes}\n{rows}\n{plan.waves}')
        key = list if ordered else lambda found: sorted(map(repr, found))
        test.assertEqual(key(expected.rows), key(answer.rows), message)
        test.assertEqual(expected.changes, answer.changes, message)
        test.assertEqual(expected.state, answer.state, message)
        counts['statements'] += 1
        counts['paged'] += store.paged > 0
        counts['several pages'] += store.paged > 1
        counts['less than all'] += store.left > 0
        counts['after a marker'] += store.skipped > 0


class TestWithoutAnOrder(unittest.TestCase):
    """LIMIT alone: SQL leaves open which rows, not how many."""

    def test_any_rows_that_match(self):
        paged = less = 0
        for seed in range(300):
            rng = random.Random(seed)
            of = make_schema(rng)
            pool = [None, *rng.sample(VALUES[1:], 3)]
            rows = make_rows(rng, of, pool)
            maker = Maker(rng, of, pool)
            where = maker.where([maker.equals(c) for c in rng.sample(
                'abc', rng.randint(0, 2))])
            most = rng.randint(0, 8)
            skipped = rng.choice((0, 0, 2))
            store = fixtures.Store(rows)
            with mock.patch.object(limits, 'SMALL', 0), mock.patch.object(
                    limits, 'first_page', functools.partial(operator.add, 1)):
                answer, _ = fixtures.run_planned(
                    of, rows, f'SELECT * FROM t{where} LIMIT ? OFFSET ?',
                    [*maker.parameters, most, skipped], store)
            expected = fixtures.run_stock(
                of, rows, f'SELECT * FROM t{where} LIMIT -1 OFFSET ?',
                [*maker.parameters, skipped]).rows
            self.assertEqual(min(most, len(expected)), len(answer.rows), seed)
            if skipped:
                self.assertEqual(expected[:most], answer.rows, seed)
            self.assertLessEqual(set(answer.rows), set(fixtures.run_stock(
                of, rows, f'SELECT * FROM t{where}', maker.parameters).rows))
            paged += store.paged > 0
            less += store.left > 0
        self.assertGreater(paged, 50)
        self.assertGreater(less, 30)


class TestPlans(unittest.TestCase):
    """Which statements are read by pages, and by which columns."""

    def pages(self, sql):
        columns = [fixtures.column(0, 'id', 'INTEGER'),
                   *(fixtures.column(n, name, 'TEXT', nocase=name == 'f')
                     for n, name in enumerate('abcdf', 1))]
        of = fixtures.schema(fixtures.table(
            1, 't', columns, ('id',), orders=[('d', 'c')],
            indexes=[('a', 'b', 'c'), ('b', 'f')]))
        steps = [a.step for wave in planner.plan(sql, (), of).waves
                 for a in wave]
        return [None if s.pages is None else (s.columns, s.pages.columns)
                for s in steps]

    def test_paged(self):
        for sql, expected in (
                ('SELECT * FROM t ORDER BY id LIMIT 5', ((), ('id',))),
                ('SELECT * FROM t AS x WHERE x.f LIKE ? ORDER BY x.id DESC '
                 'LIMIT ? OFFSET ?', ((), ('id',))),
                ('SELECT * FROM t LIMIT 5', ((), ('id',))),
                ('SELECT * FROM t WHERE d IS NULL LIMIT ? OFFSET ?',
                 ((), ('id',))),
                ('SELECT * FROM t ORDER BY d, c, id LIMIT 5',
                 ((), ('d', 'c'))),
                ('SELECT * FROM t ORDER BY d, c DESC LIMIT 5', ((), ('d',))),
                ('SELECT * FROM t ORDER BY d, lower(c) LIMIT 5',
                 ((), ('d',))),
                ('SELECT c AS d, d AS x FROM t ORDER BY x LIMIT 5',
                 ((), ('d',))),
                ('SELECT * FROM t WHERE a = ? ORDER BY b, c LIMIT 5',
                 (('a',), ('b', 'c'))),
                ('SELECT * FROM t WHERE a IN (?, ?) AND b IS NULL '
                 'ORDER BY c LIMIT 5', (('a', 'b'), ('c',))),
                ('SELECT * FROM t LEFT JOIN (t AS x JOIN t AS y '
                 'ON y.id = x.id) ON x.a = t.b WHERE t.a = ? '
                 'ORDER BY t.b, x.c LIMIT 5', (('a',), ('b',))),
                ('SELECT * FROM t WHERE a = ? AND b = ? AND '
                 '(c > ? OR c = ? AND id > ?) ORDER BY c, id LIMIT ?',
                 (('a', 'b'), ('c',))),
                ('SELECT a, min(b) FROM t WHERE a IN (?, ?) GROUP BY a',
                 (('a',), ('b',))),
                ('SELECT max(id) FROM t', ((), ('id',)))):
            self.assertEqual([expected], self.pages(sql)[:1], sql)

    def test_not_paged(self):
        for sql in (
                'SELECT * FROM t ORDER BY id',
                'SELECT * FROM t LEFT JOIN t AS x ON x.a = t.a '
                'WHERE x.b = 1 LIMIT 5',
                'SELECT * FROM t WHERE a = ? LIMIT 5',
                'SELECT * FROM t ORDER BY a LIMIT 5',
                'SELECT * FROM t ORDER BY lower(id) LIMIT 5',
                'SELECT * FROM t ORDER BY id NULLS LAST LIMIT 5',
                'SELECT * FROM t ORDER BY id COLLATE NOCASE LIMIT 5',
                'SELECT DISTINCT a FROM t ORDER BY id LIMIT 5',
                'SELECT a AS id FROM t ORDER BY id LIMIT 5',
                'SELECT * FROM t ORDER BY id LIMIT 5 + 1',
                'SELECT * FROM t JOIN t AS x ON x.a = t.a '
                'ORDER BY t.id LIMIT 5',
                'SELECT * FROM t, t AS x ORDER BY t.id LIMIT 5',
                'SELECT * FROM t LEFT JOIN t AS x ON x.a = t.a '
                'JOIN t AS y ON y.a = t.a ORDER BY t.id LIMIT 5',
                'SELECT * FROM t LEFT JOIN t AS x ON x.a = t.a '
                'WHERE x.b = 1 ORDER BY t.id LIMIT 5',
                'SELECT * FROM t LEFT JOIN t AS x ON x.a = t.a '
                'ORDER BY x.id LIMIT 5',
                'SELECT min(t.id) FROM t LEFT JOIN t AS x ON x.a = t.a',
                # conditions that a page can not be checked against
                'SELECT * FROM t WHERE lower(a) = ? ORDER BY id LIMIT 5',
                'SELECT * FROM t WHERE EXISTS (SELECT 1) '
                'ORDER BY id LIMIT 5',
                # who is locked may be another one by then
                'SELECT * FROM t ORDER BY id LIMIT 5 /*luc:lock*/',
                # a better way
                'SELECT * FROM t WHERE id = ? ORDER BY d LIMIT 5',
                'SELECT * FROM t WHERE b = ? ORDER BY id LIMIT 5',
                'SELECT b, f FROM t WHERE b = ? ORDER BY f LIMIT 5',
                'SELECT min(id), count(*) FROM t',
                'SELECT min(id), a FROM t',
                'SELECT min(id) FROM t HAVING min(id) > 3',
                'SELECT a, max(id) FROM t GROUP BY a',
                'SELECT min(id, 5) FROM t',
                'SELECT min(id) FILTER (WHERE a = 1) FROM t'):
            self.assertEqual([None], self.pages(sql)[:1], sql)

    def test_every_reference_has_its_own(self):
        self.assertEqual(
            [((), ('id',)), None], self.pages(
                'SELECT * FROM (SELECT id FROM t ORDER BY id LIMIT 2) AS x '
                'JOIN t ON t.id = x.id'))
        # the table is read whole for the other reference anyway
        self.assertEqual(
            [None], self.pages(
                'SELECT * FROM (SELECT id FROM t ORDER BY id LIMIT 2) AS x, '
                't AS y'))

    def test_explained(self):
        of = fixtures.schema(fixtures.table(
            1, 't', [fixtures.column(0, 'id', 'INTEGER')], ('id',)))
        row = explain.explain(
            'SELECT * FROM t WHERE id < 9 ORDER BY id DESC LIMIT 5', of)[0]
        self.assertEqual(('index', 'scan ()'), (row.path, row.by))
        self.assertEqual(
            'range on id, page by page in descending order of id', row.notes)


class TestPages(unittest.TestCase):

    @hypothesis.settings(max_examples=150, deadline=None, database=None)
    @hypothesis.given(strategies.integers(0, 2 ** 40))
    def test_answers_are_those_of_stock_sqlite(self, seed):
        check(self, seed, dict.fromkeys(_COUNTS, 0))

    def test_pages_are_read(self):
        """The property is about something: these seeds' statements are
        read by pages, many of them not to the end."""
        counts = dict.fromkeys(_COUNTS, 0)
        for seed in range(100):
            check(self, seed, counts)
        self.assertEqual(400, counts['statements'])
        self.assertGreater(counts['paged'], 100)
        self.assertGreater(counts['several pages'], 25)
        self.assertGreater(counts['less than all'], 25)
        self.assertGreater(counts['after a marker'], 10)
