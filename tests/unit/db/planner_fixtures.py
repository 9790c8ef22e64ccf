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

"""A tiny store in memory for the planner's tests.

It answers bound accesses as the real one does: by the bytes of keys.py, with
stored rows only, and nothing of SQL.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

import apsw

from luc_drivers.db import keys
from luc_drivers.db.catalog import schema as schemas
from luc_drivers.db.planner import limits
from luc_drivers.db.planner import plan as plans
from luc_drivers.db.planner import planner

AFFINITIES = {
    'INTEGER': schemas.Affinity.INTEGER,
    'TEXT': schemas.Affinity.TEXT,
    'BLOB': schemas.Affinity.BLOB,
    'REAL': schemas.Affinity.REAL,
    'NUMERIC': schemas.Affinity.NUMERIC,
}


def column(number: int, name: str, kind: str, *, nocase: bool = False,
           not_null: bool = False) -> schemas.Column:
    """Return a column of one of the five affinities."""
    return schemas.Column(
        number=number, name=name, affinity=AFFINITIES[kind],
        declared_type=kind, collation='NOCASE' if nocase else 'BINARY',
        not_null=not_null)


def table(number: int, name: str, columns: Sequence[schemas.Column],
          primary_key: Sequence[str] = (), *,
          group: Sequence[str] | None = None,
          key: Sequence[str] | None = None,
          indexes: Sequence[Sequence[str]] = (),
          uniques: Sequence[Sequence[str]] = (),
          orders: Sequence[Sequence[str]] = ()) -> schemas.Table:
    """Return a table; grouped by row (or as one group, if it has no key)
    where ``group`` doesn't say otherwise."""
    by_name = {c.name: c for c in columns}
    key = tuple(primary_key if key is None else key)
    rowid = None
    if len(primary_key) == 1 and by_name[
            primary_key[0]].declared_type == 'INTEGER':
        rowid = primary_key[0]
    grouping = key if group is None else tuple(group)
    made = [schemas.Index(number * 100 + i, f'{name}_{i}', tuple(c))
            for i, c in enumerate(indexes)]
    made.extend(
        schemas.Index(number * 100 + 50 + i, f'{name}_u{i}', tuple(c),
                      unique_columns=tuple(c), primary=c == primary_key)
        for i, c in enumerate((tuple(primary_key), *uniques)) if c)
    if grouping:
        plain = all(by_name[c].collation == 'BINARY' for c in primary_key)
        made.append(schemas.Index(
            number * 100 + 98, 'scan', (), buckets=3,
            order=tuple(primary_key) if plain else ()))
        made.extend(schemas.Index(number * 100 + 80 + i, f'{name}_by{i}', (),
                                  order=tuple(c))
                    for i, c in enumerate(orders))
    definitions = [
        f'"{c.name}" {c.declared_type}'
        + (' COLLATE NOCASE' if c.collation == 'NOCASE' else '')
        + (' NOT NULL' if c.not_null else '')
        for c in columns]
    if primary_key:
        definitions.append(
            'PRIMARY KEY (' + ', '.join(f'"{c}"' for c in primary_key) + ')')
    definitions.extend(
        'UNIQUE (' + ', '.join(f'"{c}"' for c in u) + ')' for u in uniques)
    return schemas.Table(
        number=number, name=name, columns=tuple(columns), key=key,
        primary_key=tuple(primary_key),
        grouping=schemas.Grouping(number, grouping), indexes=tuple(made),
        rowid_column=rowid,
        sql=f'CREATE TABLE "{name}" ({", ".join(definitions)})')


def schema(*tables: schemas.Table) -> schemas.Schema:
    """Return a schema of these tables."""
    return schemas.Schema(1, {t.name.lower(): t for t in tables})


@dataclasses.dataclass(frozen=True)
class Row:
    """A stored row: values in the table's order."""

    rowid: int
    values: tuple[Any, ...]


def connection(of: schemas.Schema) -> apsw.Connection:
    """Return an empty database with the schema and luc's functions."""
    made = apsw.Connection(':memory:')
    made.config(apsw.SQLITE_DBCONFIG_DQS_DML, 1)
    for one in of.tables.values():
        made.execute(one.sql)
    numbers = iter(range(10 ** 6, 10 ** 9))
    made.create_scalar_function('luc_next', lambda name: next(numbers), 1)
    made.create_scalar_function('luc_rowid', lambda: next(numbers), 0)
    return made


def load(database: apsw.Connection, one: schemas.Table,
         rows: Sequence[Row]) -> None:
    """Put rows into a table with their rowids."""
    marks = ', '.join('?' * (1 + len(one.columns)))
    names = ', '.join(f'"{c.name}"' for c in one.columns)
    for row in rows:
        database.execute(
            f'INSERT INTO "{one.name}" (_rowid_, {names}) VALUES ({marks})',
            (row.rowid, *row.values))


def dump(database: apsw.Connection, one: schemas.Table) -> list[Row]:
    """Return all rows of a table."""
    names = ', '.join(f'"{c.name}"' for c in one.columns)
    return [Row(found[0], found[1:]) for found in database.execute(
        f'SELECT _rowid_, {names} FROM "{one.name}"')]


class Store:
    """Rows of all tables, found by accesses.

    :ivar fetched: the accesses so far.
    :ivar paged: how many pages were read, and
    :ivar left: how many entries of ordered slices were after them,
    :ivar skipped: and how many before them.
    """

    def __init__(self, rows: Mapping[str, Sequence[Row]]) -> None:
        self.rows = rows
        self.fetched: list[plans.BoundAccess] = []
        self.paged = 0
        self.left = 0
        self.skipped = 0

    def pages(self, access: plans.BoundAccess, query: plans.RunQuery,
              load: Callable[[list[Row]], None]) -> None:
        """Load what an access means, page by page where it has a limit."""
        for one in limits.split(access):
            page: plans.BoundAccess | None = one
            while page is not None:
                boundary = self._page(page, load)
                page = None if boundary is None or limits.enough(
                    page, boundary, query) else limits.following(
                        page, boundary)

    def _page(self, access: plans.BoundAccess,
              load: Callable[[list[Row]], None]) -> bytes | None:
        if access.limit is None:
            load(self.fetch(access))
            return None
        limit = access.limit
        self.fetched.append(access)
        found = self._entries(access)
        count = len(found)
        if limit.descending:
            found = [f for f in found
                     if limit.after is None or f[0] < limit.after][::-1]
        else:
            found = [f for f in found
                     if limit.after is None or f[0] >= limit.after]
        self.skipped += count - len(found)
        load([row for _, row in found[:limit.size]])
        self.paged += 1
        if len(found) < limit.size:
            return None
        self.left += len(found) - limit.size
        return found[limit.size - 1][0]

    def fetch(self, access: plans.BoundAccess) -> list[Row]:
        """Return the rows that an access means."""
        self.fetched.append(access)
        one = access.table
        rows = self.rows[one.name.lower()]
        if access.path is plans.Path.SCAN:
            assert not access.keys
            return list(rows)
        places = {c.name: i for i, c in enumerate(one.columns)}
        grouping = one.grouping.columns
        if access.path is plans.Path.INDEX:
            return [row for _, row in self._entries(access)]
        columns = list(grouping)
        if access.path is plans.Path.ROW:
            columns += one.key
        assert tuple(columns) == access.key_columns
        wanted = {keys.encode(k) for k in access.keys}
        assert all(len(k) == len(columns) for k in access.keys)
        assert not any(None in k for k in access.keys)
        return [r for r in rows if keys.encode(
            [r.values[places[c]] for c in columns]) in wanted]

    def _entries(self, access: plans.BoundAccess
                 ) -> list[tuple[bytes, Row]]:
        """Return the entries of a slice, with their rows, in order."""
        rows = self.rows[access.table.name.lower()]
        places = {c.name: i for i, c in enumerate(access.table.columns)}
        index = access.index
        assert index is not None and index.entries and index.public
        count = len(access.key_columns)
        assert count or not index.columns and index.order
        assert index.columns[:count] == access.key_columns
        found = []
        lower = (access.lower.value, access.lower.inclusive
                 ) if access.lower else None
        upper = (access.upper.value, access.upper.inclusive
                 ) if access.upper else None
        for row in rows:
            values = [row.values[places[c]] for c in index.key_columns]
            one = 1 if index.columns else 0
            first = keys.encode_index(values[:one])
            rest = keys.encode_index(values[one:])
            for key in access.keys:
                assert len(key) == count
                if first != keys.encode_index(key[:one]):
                    continue
                low, high = keys.index_range(
                    keys.encode_index(key[1:]), lower, upper)
                if low <= rest < high:
                    found.append((rest, row))
                    break
        # equal ones in an order that is not SQLite's
        return sorted(found, key=lambda f: (f[0], -f[1].rowid))


@dataclasses.dataclass
class Answer:
    """What a statement gave.

    :ivar state: all rows of all tables afterwards.
    """

    rows: list[tuple[Any, ...]]
    changes: int
    state: dict[str, dict[int, tuple[Any, ...]]]


def run_stock(of: schemas.Schema, rows: Mapping[str, Sequence[Row]],
              sql: str, parameters: Any) -> Answer:
    """Run a statement on stock SQLite over all rows."""
    database = connection(of)
    for one in of.tables.values():
        load(database, one, rows[one.name.lower()])
    return _finish(database, of, sql, parameters, {})


def run_planned(of: schemas.Schema, rows: Mapping[str, Sequence[Row]],
                sql: str, parameters: Any,
                store: Store | None = None) -> tuple[Answer, plans.Plan]:
    """Run a statement over the rows that its plan fetches."""
    database = connection(of)
    made = planner.plan(sql, parameters, of)
    store = store or Store(rows)
    loaded: dict[str, set[int]] = {name: set() for name in of.tables}

    def query(text: str, arguments: Any) -> list[tuple[Any, ...]]:
        return database.execute(text, arguments).fetchall()

    for wave in made.waves:
        for bound in [a.bind(parameters, query) for a in wave]:
            def new(rows: list[Row], one: schemas.Table = bound.table
                    ) -> None:
                known = loaded[one.name.lower()]
                fresh = [r for r in rows if r.rowid not in known]
                known.update(r.rowid for r in fresh)
                load(database, one, fresh)

            store.pages(bound, query, new)
    outside = {
        name: {r.rowid: r.values for r in rows[name]
               if r.rowid not in loaded[name]} for name in of.tables}
    return _finish(database, of, made.sql, parameters, outside), made


def _finish(database: apsw.Connection, of: schemas.Schema, sql: str,
            parameters: Any, outside: Mapping[str, Mapping]) -> Answer:
    before = database.total_changes()
    found = database.execute(sql, parameters).fetchall()
    changes = database.total_changes() - before
    state = {}
    for name, one in of.tables.items():
        state[name] = dict(outside.get(name, {}))
        state[name].update({r.rowid: r.values for r in dump(database, one)})
    return Answer(found, changes, state)
