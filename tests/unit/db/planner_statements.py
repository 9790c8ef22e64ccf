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

"""Random schemas, rows and statements for the planner's property tests.

Statements are such that SQL leaves no choice in their answer: a LIMIT comes
with a complete ORDER BY, columns with a collation take no part in DISTINCT,
groups or set operations, and no aggregate depends on the order of rows.
"""

from collections.abc import Iterator
import dataclasses
import random
from typing import Any

from luc_drivers.db.catalog import schema as schemas
from tests.unit.db import planner_fixtures as fixtures

KINDS = ('INTEGER', 'TEXT', 'NUMERIC', 'REAL', 'BLOB')
#: values that compare in surprising ways across affinities
VALUES = (None, 0, 1, 2, 5, 5.0, 1.5, -1, '', '5', '05', ' 5 ', '5.0', '1',
          '1.5', 'a', 'A', 'b', 'Abc', 'abc', b'5', b'a', 2 ** 53 + 1,
          float(2 ** 53), '9007199254740993', True, '0x10', '1e0')


def make_schema(rng: random.Random) -> schemas.Schema:
    """Return a schema of two to four tables."""
    made = []
    # few kinds: more joins that an index can serve
    kinds = rng.choice((KINDS + ('TEXT',), ('TEXT', 'INTEGER'), ('TEXT',)))
    for number in range(1, rng.randint(2, 4) + 1):
        shape = rng.random()
        columns = []
        primary: tuple[str, ...] = ()
        if shape < 0.5:
            columns.append(fixtures.column(0, 'id', 'INTEGER'))
            primary = ('id',)
        elif shape < 0.75:
            columns.append(fixtures.column(0, 'id', 'TEXT', not_null=True))
            primary = ('id',)
        elif shape < 0.9:
            columns.append(fixtures.column(0, 'id', 'TEXT', not_null=True))
            columns.append(fixtures.column(1, 'k', 'INTEGER', not_null=True))
            primary = ('id', 'k')
        for i in range(rng.randint(2, 4)):
            columns.append(fixtures.column(
                len(columns), f'c{i}', rng.choice(kinds),
                nocase=rng.random() < 0.08))
        names = [c.name for c in columns]
        plain = [c.name for c in columns if c.collation == 'BINARY']
        group: tuple[str, ...] | None = None
        if primary and rng.random() < 0.5 and plain:
            group = (rng.choice(plain),)
        elif rng.random() < 0.1:
            group = ()
        indexes = [
            tuple(rng.sample(names, rng.randint(1, min(3, len(names)))))
            for _ in range(rng.choice((0, 2, 4, 6)))]
        made.append(fixtures.table(
            number, f't{number}', columns, primary, group=group,
            indexes=indexes))
    return fixtures.schema(*made)


def make_pool(rng: random.Random) -> list[Any]:
    """Return the few values of one example, so that many are equal."""
    return [None, 5, '5', *rng.sample(VALUES[1:], 5)]


def make_rows(rng: random.Random, of: schemas.Schema,
              pool: list[Any]) -> dict[str, list[fixtures.Row]]:
    """Return rows as SQLite keeps them, conversions applied."""
    database = fixtures.connection(of)
    found = {}
    for name, one in of.tables.items():
        marks = ', '.join('?' * len(one.columns))
        for _ in range(rng.choice((0, 3, 6, 12))):
            values = []
            for column in one.columns:
                value = rng.choice(pool)
                if column.affinity is schemas.Affinity.BLOB and isinstance(
                        value, float):
                    value = 2  # 5 and 5.0 would be two equal values
                if column.name == one.rowid_column:
                    value = rng.randint(0, 20)
                values.append(value)
            database.execute(
                f'INSERT OR IGNORE INTO "{name}" VALUES ({marks})', values)
        found[name] = fixtures.dump(database, one)
    return found


@dataclasses.dataclass
class Source:
    """Something in a FROM clause: (column, may it be grouped).

    :ivar paths: columns of its table's group and indexes: conditions on
        them are likelier, so that plans have something to use.
    """

    alias: str
    columns: list[tuple[str, bool]]
    paths: list[tuple[str, ...]] = dataclasses.field(default_factory=list)


class Maker:
    """Makes one statement.

    :ivar parameters: of the placeholders so far.
    """

    def __init__(self, rng: random.Random, of: schemas.Schema,
                 pool: list[Any]) -> None:
        self.rng = rng
        self._pool = pool
        self.schema = of
        self.parameters: list[Any] = []
        self._aliases = 0
        self._ctes: list[Source] = []

    def statement(self) -> str:
        """Return a SELECT, UPDATE or DELETE."""
        kind = self.rng.random()
        if kind < 0.75:
            text = self.with_clause() if self.rng.random() < 0.1 else ''
            return text + self.top()
        one = self.rng.choice(list(self.schema.tables.values()))
        source = self._source(one, one.name)
        alias = ''
        if self.rng.random() < 0.3:
            source.alias = self._alias()
            alias = f' AS {source.alias}'
        if kind < 0.9:
            return self._update(one, source, alias)
        where = self._where([source], [], 2)
        text = f'DELETE FROM {one.name}{alias}{where}'
        if self.rng.random() < 0.2:
            text += ' RETURNING *'
        return text

    def top(self) -> str:
        """Return a SELECT whose answer is certain."""
        text, width = self.select([], 2)
        if self.rng.random() < 0.25:
            order = ', '.join(
                f'{i + 1} COLLATE BINARY' for i in range(width))
            text = f'SELECT * FROM ({text}) ORDER BY {order}'
            if self.rng.random() < 0.7:
                text += f' LIMIT {self._constant(3)}'
        return text

    def with_clause(self) -> str:
        """Return ``WITH name AS (…)``, its name usable from now on."""
        text, width = self.select([], 1)
        names = [f'w{i}' for i in range(width)]
        self._ctes.append(Source('cte', [(n, True) for n in names]))
        return f'WITH cte({", ".join(names)}) AS ({text}) '

    def _update(self, one: schemas.Table, source: Source,
                alias: str) -> str:
        free = [c for c in one.columns if c.name not in one.primary_key]
        column = self.rng.choice(free)
        if self.rng.random() < 0.3:
            value = '(' + self._scalar([source], 1) + ')'
        else:
            value = self._constant()
        text = f'UPDATE {one.name}{alias} SET "{column.name}" = {value}'
        if self.rng.random() < 0.15:
            joined = self._table()
            text += f' FROM {joined[1]}'
            return text + self._where([source, joined[0]], [], 1)
        text += self._where([source], [], 2)
        if self.rng.random() < 0.2:
            text += f' RETURNING "{column.name}"'
        return text

    # --- SELECT

    def select(self, outer: list[Source], depth: int,
               prefix: str = '') -> tuple[str, int]:
        """Return a SELECT and its number of columns.

        :param prefix: name the columns so, with their numbers.
        """
        if depth and self.rng.random() < 0.12:
            word = self.rng.choice(
                ('UNION', 'UNION ALL', 'EXCEPT', 'INTERSECT'))
            width = self.rng.randint(1, 2)
            left = self._simple(outer, depth - 1, width, prefix)
            return f'{left} {word} {self._simple(outer, depth - 1, width)}', (
                width)
        width = self.rng.randint(1, 3)
        return self._simple(outer, depth, width, prefix), width

    def _simple(self, outer: list[Source], depth: int, width: int,
                prefix: str = '') -> str:
        sources, items = self._from(outer, depth)
        # placeholders are numbered by their place in the text: what stands
        # before FROM has none
        columns = [(f'{s.alias}.{c}', g) for s in sources
                   for c, g in s.columns]
        groupable = [c for c, g in columns if g]
        head = 'SELECT '
        tail = ''
        if not groupable:
            chosen = ['1'] * width
        elif self.rng.random() < 0.15:
            by = self.rng.choice(groupable)
            chosen = [by] + [self.rng.choice((
                'count(*)', f'min({self.rng.choice(groupable)})',
                f'max({self.rng.choice(groupable)})',
                f'count({self.rng.choice(groupable)})'))
                for _ in range(width - 1)]
            if self.rng.random() < 0.3:
                chosen[0] = 'count(*)'
            else:
                tail = f' GROUP BY {by}'
                if self.rng.random() < 0.3:
                    tail += ' HAVING count(*) > 1'
        else:
            chosen = [self.rng.choice(groupable) for _ in range(width)]
            if self.rng.random() < 0.2:
                head += 'DISTINCT '
        if prefix:
            chosen = [f'{c} AS {prefix}{i}' for i, c in enumerate(chosen)]
        where = self._where(sources, outer, depth)
        return head + ', '.join(chosen) + items + where + tail

    def _from(self, outer: list[Source],
              depth: int) -> tuple[list[Source], str]:
        sources: list[Source] = []
        text = ' FROM '
        for position in range(self.rng.choice((1, 1, 2, 2, 3))):
            if position == 0:
                source, item = self._item(depth)
                sources.append(source)
                text += item
                continue
            join = self.rng.choice((
                ' JOIN ', ' JOIN ', ' JOIN ', ' LEFT JOIN ', ' LEFT JOIN ',
                ' LEFT OUTER JOIN ', ' LEFT OUTER JOIN ', ', ',
                ' CROSS JOIN ', self.rng.choice((' RIGHT JOIN ',
                                                 ' FULL JOIN '))))
            if join.strip() in ('LEFT JOIN', 'JOIN') and (
                    self.rng.random() < 0.2):
                one, first = self._item(0)
                two, second = self._item(0)
                inner = self.rng.choice((' JOIN ', ' LEFT JOIN '))
                on = self._condition([one, two], [], 0)
                item = f'({first}{inner}{second} ON {on})'
                added = [one, two]
            else:
                source, item = self._item(depth)
                added = [source]
            sources.extend(added)
            text += join + item
            if join not in (', ', ' CROSS JOIN '):
                text += ' ON ' + self._on(sources, added, outer)
        return sources, text

    def _on(self, sources: list[Source], added: list[Source],
            outer: list[Source]) -> str:
        left = self._column(sources[:-len(added)])
        right = self._column(added)
        text = f'{left} = {right}'
        if self.rng.random() < 0.3:
            text += ' AND ' + self._condition(sources, outer, 0)
        return text

    def _item(self, depth: int) -> tuple[Source, str]:
        if self._ctes and self.rng.random() < 0.4:
            alias = self._alias()
            return Source(alias, self._ctes[0].columns), f'cte AS {alias}'
        if depth and self.rng.random() < 0.25:
            return self._derived(depth - 1)
        return self._table()

    def _derived(self, depth: int) -> tuple[Source, str]:
        alias = self._alias()
        if self.rng.random() < 0.5:
            one = self.rng.choice(list(self.schema.tables.values()))
            if one.primary_key:
                inner = self._alias()
                source = self._source(one, inner)
                plain = [c for c, g in source.columns if g]
                listed = ', '.join(
                    f'{inner}.{c} AS a{i}' for i, c in enumerate(plain))
                order = ', '.join(f'{inner}.{c}' for c in one.primary_key)
                where = self._where([source], [], depth)
                text = (f'(SELECT {listed} FROM {one.name} AS {inner}'
                        f'{where} ORDER BY {order}'
                        f' LIMIT {self._constant(2)}) AS {alias}')
                return Source(alias, [
                    (f'a{i}', True) for i in range(len(plain))]), text
        text, width = self.select([], depth, 'd')
        names = [f'd{i}' for i in range(width)]
        if self.rng.random() < 0.15:
            text = f'WITH q({", ".join(names)}) AS ({text}) SELECT * FROM q'
        return (Source(alias, [(n, True) for n in names]),
                f'({text}) AS {alias}')

    def _table(self) -> tuple[Source, str]:
        one = self.rng.choice(list(self.schema.tables.values()))
        alias = self._alias()
        return self._source(one, alias), f'{one.name} AS {alias}'

    def _source(self, one: schemas.Table, alias: str) -> Source:
        paths = [i.columns or i.unique_columns for i in one.indexes]
        paths.append(one.grouping.columns)
        return Source(
            alias, [(c.name, c.collation == 'BINARY') for c in one.columns],
            [p for p in paths if p])

    def _alias(self) -> str:
        self._aliases += 1
        return f'x{self._aliases}'

    # --- conditions

    def _where(self, sources: list[Source], outer: list[Source],
               depth: int) -> str:
        if self.rng.random() < 0.15:
            return ''
        parts = []
        source = self.rng.choice(sources)
        if source.paths and self.rng.random() < 0.3:
            parts = list(self._along(source))
        while not parts or self.rng.random() < 0.4:
            parts.append(self._condition(sources, outer, depth))
        return ' WHERE ' + ' AND '.join(parts)

    def _along(self, source: Source) -> Iterator[str]:
        """Yield equalities on an index's columns and a range on the next."""
        path = self.rng.choice(source.paths)
        count = self.rng.randint(1, len(path))
        for name in path[:count]:
            yield f'{source.alias}.{name} = {self._constant()}'
        if count < len(path):
            column = f'{source.alias}.{path[count]}'
            yield (f'{column} {self.rng.choice(("<", "<=", ">", ">="))}'
                   f' {self._constant()}')

    def _column(self, sources: list[Source]) -> str:
        source = self.rng.choice(sources)
        if source.paths and self.rng.random() < 0.5:
            return f'{source.alias}.{self.rng.choice(source.paths)[0]}'
        return f'{source.alias}.{self.rng.choice(source.columns)[0]}'

    def _constant(self, limit: int | None = None) -> str:
        value = self.rng.choice(self._pool) if limit is None else (
            self.rng.randint(0, limit + 1))
        if limit is None and self.rng.random() < 0.25:
            if isinstance(value, str):
                return "'" + value + "'"
            if isinstance(value, (int, float)):
                return repr(float(value) if isinstance(value, float)
                            else int(value))
            if value is None:
                return 'NULL'
        self.parameters.append(value)
        return '?'

    def _condition(self, sources: list[Source], outer: list[Source],
                   depth: int) -> str:
        column = self._column(sources)
        pick = self.rng.random()
        if pick < 0.35:
            if self.rng.random() < 0.2:
                return f'{self._constant()} = {column}'
            return f'{column} = {self._constant()}'
        if pick < 0.47:
            other = self._column(sources + outer * 3)
            return f'{column} = {other}'
        if pick < 0.54:
            items = ', '.join(self._constant()
                              for _ in range(self.rng.randint(1, 4)))
            word = 'NOT IN' if self.rng.random() < 0.15 else 'IN'
            return f'{column} {word} ({items})'
        if pick < 0.59:
            word = 'NOT NULL' if self.rng.random() < 0.3 else 'NULL'
            return f'{column} IS {word}'
        if pick < 0.62:
            word = self.rng.choice(('<', '<=', '>', '>=', '<>', '!='))
            return f'{column} {word} {self._constant()}'
        if pick < 0.65:
            return (f'{column} BETWEEN {self._constant()} AND '
                    f'{self._constant()}')
        if pick < 0.75:
            count = self.rng.randint(2, 3)
            return '(' + ' OR '.join(
                ' AND '.join(self._condition(sources, outer, 0)
                             for _ in range(self.rng.choice((1, 1, 2))))
                for _ in range(count)) + ')'
        if pick < 0.77:
            return f'NOT ({self._condition(sources, outer, 0)})'
        if pick < 0.8 or not depth:
            return self._odd(column)
        return self._with_query(column, sources, outer, depth)

    def _odd(self, column: str) -> str:
        value = self._constant()
        return self.rng.choice((
            f'{column} IS {value}', f'{column} IS NOT {value}',
            f'{column} COLLATE NOCASE = {value}', f'lower({column}) = {value}',
            f'{column} LIKE {value}', f'+{column} = {value}',
            f'CAST({column} AS TEXT) = {value}',
            f'{column} = CAST({value} AS INTEGER)',
            f'coalesce({column}, 1) = {value}', f'{column} == {value}',
            f'{column} + 0 = {value}', f'{column} = -{value}',
            f'({column}, 1) = ({value}, 1)',
            f'CASE WHEN {column} IS NULL THEN 1 ELSE {value} END',
        ))

    def _with_query(self, column: str, sources: list[Source],
                    outer: list[Source], depth: int) -> str:
        pick = self.rng.random()
        if pick < 0.6:
            word = self.rng.choice(('EXISTS', 'EXISTS', 'NOT EXISTS'))
            inner = self._simple(sources + outer, depth - 1, 1)
            return f'{word} ({inner})'
        reach = sources + outer if self.rng.random() < 0.4 else []
        if pick < 0.85:
            word = self.rng.choice(('IN', 'IN', 'NOT IN'))
            if self.rng.random() < 0.8:
                inner = self._simple(reach, depth - 1, 1)
            else:
                inner, width = self.select(reach, depth)
                inner = f'SELECT 5 FROM ({inner})' if width > 1 else inner
            return f'{column} {word} ({inner})'
        return f'{column} = ({self._scalar(reach, depth)})'

    def _scalar(self, outer: list[Source], depth: int) -> str:
        sources, items = self._from(outer, max(depth - 1, 0))
        plain = [f'{s.alias}.{c}' for s in sources for c, g in s.columns
                 if g] or ['1']
        word = self.rng.choice(('max', 'min', 'count'))
        where = self._where(sources, outer, 0)
        return f'SELECT {word}({self.rng.choice(plain)}){items}{where}'
