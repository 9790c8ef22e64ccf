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

"""A small schema and a transaction stack for tests of the protocol."""

from collections.abc import Callable
import contextlib
import dataclasses
import heapq
import itertools
from typing import Any

from luc_drivers.db.catalog import schema as s
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.rows import RowChange
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.store.base import Store
from luc_drivers.db.store.base import StoreSettings
from luc_drivers.db.store.embedded import EmbeddedStore
from luc_drivers.db.transaction import bounds as bounds_module
from luc_drivers.db.transaction import clock
from luc_drivers.db.transaction import protocol
from luc_drivers.db.transaction import reader
from luc_drivers.db.transaction import sweeper
from tests.unit.db import collecting

TEXT = s.Affinity.TEXT
INTEGER = s.Affinity.INTEGER


def columns(*names: str) -> tuple[s.Column, ...]:
    """Return text columns; a name that starts with # is an integer's."""
    return tuple(
        s.Column(n, name.lstrip('#'), INTEGER if name[0] == '#' else TEXT)
        for n, name in enumerate(names, 1))


#: a row is a group; v is indexed
ITEMS = s.Table(
    10, 'items', columns('k', 'v', 'w'), ('k',), ('k',),
    s.Grouping(10, ('k',)),
    (s.Index(11, 'items_v', ('v',)),
     s.Index(12, 'items_scan', (), buckets=2),
     s.Index(13, 'items_pk', ('k',), entries=False, unique_columns=('k',),
             guard=s.Guard.PARTITION, primary=True)))

#: children of an item, in its group; (k, name) guarded by a row beside it
PARTS = s.Table(
    20, 'parts', columns('#id', 'k', 'name', 'note'), ('id',), ('id',),
    s.Grouping(10, ('k',)),
    (s.Index(21, 'parts_k', ('k',), entries=False),
     s.Index(22, 'parts_id', ('id',), unique_columns=('id',),
             guard=s.Guard.SEQUENCE, primary=True),
     s.Index(23, 'parts_name', ('name',), unique_columns=('k', 'name'),
             guard=s.Guard.GROUP),
     s.Index(24, 'parts_scan', ())),
    foreign_keys=(s.ForeignKey(('k',), 'items', ('k',)),),
    rowid_column='id')

#: the name is unique, kept by a row in a group of its own
USERS = s.Table(
    30, 'users', columns('id', 'name', 'team'), ('id',), ('id',),
    s.Grouping(30, ('id',)),
    (s.Index(31, 'users_name', ('name',), unique_columns=('name',),
             guard=s.Guard.OWN),
     s.Index(32, 'users_team', ('team',)),
     s.Index(33, 'users_scan', ())),
    foreign_keys=(s.ForeignKey(('team',), 'teams', ('id',)),))

#: the parent of users, in other groups
TEAMS = s.Table(
    40, 'teams', columns('id', 'name'), ('id',), ('id',),
    s.Grouping(40, ('id',)), (s.Index(41, 'teams_scan', ()),))

#: one group for the table, global, without a primary key; child of teams
LOGS = s.Table(
    50, 'logs', columns('text', 'team'), (), (), s.Grouping(50, ()), (),
    foreign_keys=(s.ForeignKey(('team',), 'teams', ('id',)),),
    locality='global')


def schema(*tables: s.Table) -> s.Schema:
    """Return the schema of these tables, back references filled in."""
    filled = {}
    for table in tables:
        children = tuple(
            (child.name, key) for child in tables
            for key in child.foreign_keys if key.parent == table.name)
        filled[table.name] = dataclasses.replace(
            table, referenced_by=children)
    return s.Schema(1, filled)


SCHEMA = schema(ITEMS, PARTS, USERS, TEAMS, LOGS)


def settings(**values: Any) -> StoreSettings:
    """Return settings of a private embedded store."""
    return StoreSettings(kind='embedded', fresh=True, url='test://', **values)


class ManualClock(clock.Clock):
    """A clock that only moves when told to, or when somebody sleeps."""

    def __init__(self, offset: float = 0.0,
                 base: 'ManualClock | None' = None) -> None:
        super().__init__()
        self._seconds = 1_700_000_000.0
        self.offset = offset
        self.base = base
        self.slept: list[float] = []

    @property
    def seconds(self) -> float:
        return self.base.seconds if self.base else self._seconds

    def advance(self, seconds: float) -> None:
        if self.base:
            self.base.advance(seconds)
        else:
            self._seconds += seconds

    def now(self) -> int:
        return int((self.seconds + self.offset) * 1e6)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)


class PassingClock(ManualClock):
    """One whose microseconds pass: two commits are never at the same time."""

    def __init__(self, offset: float = 0.0,
                 base: ManualClock | None = None) -> None:
        super().__init__(offset, base)
        self._asked = 0

    def now(self) -> int:
        self._asked += 1
        return super().now() + self._asked


class ManualBackground(collecting.Background):
    """Background work that runs when the test says so."""

    def __init__(self, clock_: clock.Clock) -> None:
        super().__init__()
        self.clock = clock_
        self.heap: list = []
        self.order = itertools.count()

    def submit(self, task: Callable[[], Any], delay: float = 0.0,
               needed: bool = False) -> None:
        heapq.heappush(self.heap, (
            self.clock.monotonic() + delay, next(self.order), task))

    def run(self) -> int:
        """Run what is due; return the number of tasks."""
        n = 0
        while self.heap and self.heap[0][0] <= self.clock.monotonic():
            heapq.heappop(self.heap)[2]()
            n += 1
        return n


class Process:
    """One process's transaction stack over a store."""

    def __init__(self, store: Store, clock_: clock.Clock | None = None,
                 bounds: bounds_module.Bounds | None = None,
                 background: Any = None,
                 schema_: s.Schema = SCHEMA) -> None:
        self.store = store
        self.clock = clock_ or PassingClock()
        self.bounds = bounds or bounds_module.Bounds()
        self.background = background or ManualBackground(self.clock)
        self.reader = reader.Reader(
            store, self.clock, self.background, self.bounds)
        self.committer = protocol.Committer(
            store, self.clock, self.reader, self.background)
        self.sweeper = sweeper.Sweeper(
            store, self.clock, self.reader.resolver, self.bounds)
        self.schema = schema_

    # reading

    def table(self, name: str) -> s.Table:
        return self.schema.tables[name]

    def access(self, name: str, path: Path, *keys: tuple,
               index: str | None = None, **kwargs: Any) -> BoundAccess:
        table = self.table(name)
        found = next((i for i in table.indexes if i.name == index), None)
        return BoundAccess(table, path, list(keys), index=found, **kwargs)

    def find(self, name: str, index: str | None, *keys: Any
             ) -> list[StoredRow]:
        """Return the rows with one of these values of an index; all rows
        without an index.
        """
        if index is None:
            access = self.access(name, Path.SCAN)
        else:
            access = self.access(
                name, Path.INDEX,
                *[k if isinstance(k, tuple) else (k,) for k in keys],
                index=index)
        return self.reader.rows(self.schema, [access])[0]

    def get(self, name: str, *key: Any) -> StoredRow | None:
        """Return one row by its grouping columns and storage key; one value
        where they are the same column.
        """
        if self.table(name).grouping.columns == self.table(name).key:
            key = (*key, *key)
        rows = self.reader.rows(
            self.schema, [self.access(name, Path.ROW, key)])[0]
        return rows[0] if rows else None

    def values(self, row: StoredRow | None) -> tuple | None:
        if row is None:
            return None
        return tuple(row.values.get(c.number) for c in row.table.columns)

    # changes

    def insert(self, name: str, *values: Any, **kwargs: Any) -> RowChange:
        return RowChange(self.table(name), None,
                         dict(enumerate(values, 1)), **kwargs)

    def update(self, row: StoredRow, **values: Any) -> RowChange:
        new = dict(row.values)
        for name, value in values.items():
            new[row.table.column(name).number] = value
        return RowChange(row.table, row, new)

    def delete(self, row: StoredRow) -> RowChange:
        return RowChange(row.table, row, None)

    def commit(self, *changes: RowChange, **kwargs: Any) -> bytes | None:
        return self.committer.commit(self.schema, list(changes), **kwargs)


@contextlib.contextmanager
def embedded() -> Any:
    """Return a private embedded store, closed at the end."""
    store = EmbeddedStore('test', settings())
    store.prepare(['global', 'at_site1'])
    try:
        yield store
    finally:
        store.close()
