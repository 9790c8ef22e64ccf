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

"""How a table is stored: numbers, grouping, storage key, access paths.

A layout is chosen when a table is created (from what SQLite reflects and the
profile's rule) and kept in the catalog's log, in terms of column *numbers*,
so that it survives renames and later releases' profiles.  ``table()`` puts
layout and reflection together again.
"""

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
from typing import Any

from luc_drivers.db import errors
from luc_drivers.db.catalog.reflect import Reflected
from luc_drivers.db.catalog.reflect import ReflectedColumn
from luc_drivers.db.catalog.schema import Column
from luc_drivers.db.catalog.schema import ForeignKey
from luc_drivers.db.catalog.schema import Grouping
from luc_drivers.db.catalog.schema import Guard
from luc_drivers.db.catalog.schema import Index
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.profiles.base import Profile
from luc_drivers.db.profiles.base import Rule

#: partitions of a table's scan index, unless the profile says more
SCAN_BUCKETS = 4


@dataclasses.dataclass(frozen=True)
class IndexLayout:
    """An Index, in column numbers.

    :ivar leaving: nobody wants it any more, but processes that do not know
        that yet may read it: its entries are still written. It is public
        while it still serves until others are.
    """

    number: int
    name: str
    columns: tuple[int, ...]
    unique: tuple[int, ...] = ()
    guard: Guard | None = None
    entries: bool = True
    public: bool = True
    primary: bool = False
    buckets: int = 1
    order: tuple[int, ...] = ()
    leaving: bool = False


@dataclasses.dataclass(frozen=True)
class Layout:
    """A table's layout, in column numbers.

    :ivar columns: (number, name, initial value) of every column.
    :ivar next_column: the number that the next added column gets.
    """

    number: int
    columns: tuple[tuple[int, str, Any], ...]
    next_column: int
    group: str | int
    by: tuple[int, ...]
    key: tuple[int, ...]
    locality: str
    indexes: tuple[IndexLayout, ...] = ()

    def pack(self) -> list[Any]:
        """Return the layout as plain data for the log."""
        return [
            self.number, [list(c) for c in self.columns], self.next_column,
            self.group, list(self.by), list(self.key), self.locality,
            [[i.number, i.name, list(i.columns), list(i.unique),
              i.guard.value if i.guard else None, i.entries, i.public,
              i.primary, i.buckets, *(
                  [list(i.order), i.leaving] if i.order or i.leaving else [])]
             for i in self.indexes]]

    @classmethod
    def unpack(cls, data: list[Any]) -> 'Layout':
        """Return the layout of ``pack()``'s data."""
        number, columns, following, group, by, key, locality, indexes = data
        return cls(
            number, tuple(tuple(c) for c in columns), following, group,
            tuple(by), tuple(key), locality,
            tuple(IndexLayout(
                i[0], i[1], tuple(i[2]), tuple(i[3]),
                Guard(i[4]) if i[4] else None, *i[5:9],
                *((tuple(i[9]), *i[10:]) if i[9:] else ()))
                for i in indexes))

    @property
    def settled(self) -> bool:
        """Whether its indexes are all public, and none is leaving."""
        return all(i.public and not i.leaving for i in self.indexes)

    def place(self) -> tuple[Any, ...]:
        """Return what decides where rows lie."""
        return self.group, self.by, self.key, self.locality


Numbers = Callable[[], int]


@dataclasses.dataclass(frozen=True, slots=True)
class _Unique:
    """A unique key that the DDL asks for."""

    name: str
    columns: tuple[str, ...]
    primary: bool


def _unique_keys(reflected: Reflected) -> list[_Unique]:
    """Return the unique keys, the primary one first, each once.

    :raises NotSupportedError: one that can't be kept across processes.
    """
    found: dict[tuple[str, ...], _Unique] = {}
    if reflected.primary_key:
        found[reflected.primary_key] = _Unique(
            'primary', reflected.primary_key, True)
    for key in reflected.keys:
        if not key.unique:
            continue
        columns = key.columns
        if columns is None or any(
                c.generated for c in reflected.columns if c.name in columns):
            raise errors.NotSupportedError(
                'unique index %s of table %s: partial ones, expressions, '
                'generated columns and collations other than the '
                "column's own are not supported by sqlite+luc databases"
                % (key.name, reflected.name))
        found.setdefault(columns, _Unique(
            key.name, columns, key.origin == 'pk'))
    return list(found.values())


def _storage_key(reflected: Reflected, rule: Rule,
                 uniques: list[_Unique]) -> tuple[str, ...]:
    """Return the columns of the unique key that rows are stored under."""
    for unique in uniques:
        if rule.key and set(unique.columns) == set(rule.key):
            return rule.key
    if reflected.primary_key:
        return reflected.primary_key
    # NULLs are no problem: see address()
    return uniques[0].columns if uniques else ()


def _guard(unique: _Unique, reflected: Reflected, by: tuple[str, ...],
           key: tuple[str, ...]) -> Guard:
    """Return how a unique key is kept unique."""
    columns = set(unique.columns)
    if key and columns >= set(key) and columns >= set(by):
        return Guard.PARTITION
    if unique.columns == (reflected.rowid_column,):
        return Guard.SEQUENCE
    return Guard.GROUP if columns >= set(by) else Guard.OWN


@dataclasses.dataclass(frozen=True, slots=True)
class _Path:
    """An access path that wants entries."""

    columns: tuple[str, ...]
    name: str
    order: tuple[str, ...] = ()


def _paths(reflected: Reflected, rule: Rule, profile: Profile,
           by: tuple[str, ...]) -> dict[tuple[str, ...], str]:
    """Return {declared columns: name} of all that may want entries, with
    None for the whole key where it needs none.
    """
    wanted: dict[tuple[str, ...], str] = {}
    if reflected.primary_key:
        wanted[reflected.primary_key] = 'primary'
    for key in reflected.keys:
        if key.columns is not None:
            wanted.setdefault(key.columns, key.name)
    for foreign in reflected.foreign_keys:
        wanted.setdefault(foreign.columns, 'fk_' + '_'.join(foreign.columns))
    for columns in rule.indexes:
        wanted.setdefault(columns, 'luc_' + '_'.join(columns))
    return wanted


def _trim(columns: tuple[str, ...], profile: Profile) -> tuple[str, ...]:
    """Leave out leading columns with few values."""
    while columns and columns[0].lower() in profile.leave_out:
        columns = columns[1:]
    return columns


def _access_paths(reflected: Reflected, rule: Rule, profile: Profile,
                  by: tuple[str, ...]) -> list[_Path]:
    """Return the paths that need entries, longest first, then the scans.

    None where the group gives the access already: for a table in one group,
    and for paths that start with the grouping columns.
    """
    if not by:
        return []
    generated = {c.name for c in reflected.columns if c.generated}
    known = {c.name.lower() for c in reflected.columns}
    without = {tuple(c.lower() for c in w) for w in rule.without}
    paths: dict[tuple[str, ...], str] = {}
    for columns, name in _paths(reflected, rule, profile, by).items():
        lower = tuple(c.lower() for c in columns)
        if lower in without or not known.issuperset(lower):
            continue
        columns = _trim(columns, profile)
        for at, column in enumerate(columns):
            if column in generated:
                columns = columns[:at]
                break
        if columns and set(columns[:len(by)]) != set(by):
            paths.setdefault(columns, name)
    ordered = sorted(paths.items(), key=lambda p: -len(p[0]))
    return [*(_Path(c, n) for c, n in ordered),
            *_scans(reflected, rule, generated)]


def _scans(reflected: Reflected, rule: Rule,
           generated: set[str]) -> list[_Path]:
    """Return the table's scan, in the order of its primary key, and those
    in other orders that the profile wants."""
    names = {c.name.lower(): c for c in reflected.columns}
    scans: list[_Path] = []
    for columns in (reflected.primary_key, *rule.orders):
        found = [names.get(c.lower()) for c in columns]
        order = tuple(c.name for c in found if c is not None)
        # texts that a collation calls equal have one key, in its order
        if len(order) < len(columns) or generated.intersection(order) or any(
                c is not None and c.collation.upper() != 'BINARY'
                for c in found):
            order = ()
        name = 'scan' if not scans else 'luc_by_' + '_'.join(order)
        if order or not scans:
            scans.append(_Path((), name, order))
    return scans


def _provided(path: tuple[str, ...],
              indexes: Iterable[tuple[str, ...]]) -> bool:
    """Tell whether one of these column lists starts with ``path``."""
    return any(other[:len(path)] == path for other in indexes)


def create(reflected: Reflected, profile: Profile,
           number: Numbers) -> Layout:
    """Choose the layout of a new table.

    :param number: draws the next number of the database.
    """
    columns = tuple(
        (n, c.name, None) for n, c in enumerate(reflected.columns, 1))
    own = number()
    group, by, key, locality = _place(reflected, profile, own)
    numbers = {name: n for n, name, _ in columns}
    layout = Layout(
        number=own, columns=columns, next_column=len(columns) + 1,
        group=group, by=tuple(numbers[c] for c in by),
        key=tuple(numbers[c] for c in key), locality=locality)
    return dataclasses.replace(layout, indexes=_indexes(
        layout, reflected, profile, number, public=True))


def _place(reflected: Reflected, profile: Profile, number: int) -> tuple[
        str | int, tuple[str, ...], tuple[str, ...], str]:
    """Return (group, by, key, locality) that the profile wants."""
    rule = profile.rule(reflected.name)
    names = {c.name.lower(): c.name for c in reflected.columns}
    uniques = _unique_keys(reflected)
    key = tuple(names[c.lower()]
                for c in _storage_key(reflected, rule, uniques))
    group: str | int = number
    if rule.by is not None and names.keys() >= {c.lower() for c in rule.by}:
        by = tuple(names[c.lower()] for c in rule.by)
        group = rule.group or number
    else:
        by = key
    return group, by, key, rule.locality or profile.locality


def _indexes(layout: Layout, reflected: Reflected, profile: Profile,
             number: Numbers, public: bool) -> tuple[IndexLayout, ...]:
    """Return the indexes of a table; those it has keep their numbers.

    :param public: whether new ones can be read at once (a new table).
    """
    names = {n: name for n, name, _ in layout.columns}
    numbers = {name: n for n, name in names.items()}
    by = tuple(names[n] for n in layout.by)
    key = tuple(names[n] for n in layout.key)
    rule = profile.rule(reflected.name)
    paths = _access_paths(reflected, rule, profile, by)
    columns = [p.columns for p in paths]
    kept: list[IndexLayout] = []
    for unique in _unique_keys(reflected):
        unique_columns = tuple(numbers[c] for c in unique.columns)
        guard = _guard(unique, reflected, by, key)
        old = next((i for i in layout.indexes
                    if i.unique == unique_columns and i.guard is guard), None)
        if old is not None:
            kept.append(dataclasses.replace(
                old, name=unique.name, primary=unique.primary))
            continue
        path = _trim(unique.columns, profile)
        # entries if it is a wanted path that no longer one serves as well
        entries = path in columns and path != () and not any(
            len(other) > len(path) and other[:len(path)] == path
            for other in columns)
        kept.append(IndexLayout(
            number(), unique.name, tuple(numbers[c] for c in path),
            unique=unique_columns, guard=guard, entries=entries,
            public=public, primary=unique.primary,
            buckets=rule.buckets.get(path, 1)))
    for wanted in paths:
        if wanted.columns and _provided(wanted.columns, [
                tuple(names[n] for n in i.columns)
                for i in kept if i.entries]):
            continue
        path_numbers = tuple(numbers[c] for c in wanted.columns)
        order = tuple(numbers[c] for c in wanted.order)
        # the scan of a table with rows stays in the order that it has
        old = next((i for i in layout.indexes if i.entries and not i.unique
                    and i.columns == path_numbers
                    and (wanted.name == i.name == 'scan'
                         or i.order == order)), None)
        if old is not None:
            kept.append(dataclasses.replace(
                old, name=wanted.name, leaving=False))
            continue
        kept.append(IndexLayout(
            number(), wanted.name, path_numbers, public=public,
            buckets=rule.buckets.get(
                wanted.columns, 1 if wanted.columns else SCAN_BUCKETS),
            order=order))
    return tuple(kept)


def update(layout: Layout, reflected: Reflected, profile: Profile,
           number: Numbers, *, renamed: tuple[str, str] | None = None,
           initial: Callable[[ReflectedColumn], Any] = lambda column: None,
           leave: Callable[[], bool] = lambda: False) -> Layout:
    """Return a table's layout after DDL.

    :param renamed: (old, new) name of a renamed column.
    :param initial: gives the value that old rows have in an added column.
    :param leave: tells whether others may still read by indexes that are
        not wanted any more.
    :raises NotSupportedError: the table's rows lie by a key or column that
        the DDL takes away.
    """
    old = {name.lower(): (n, value) for n, name, value in layout.columns}
    if renamed:
        old[renamed[1].lower()] = old.pop(renamed[0].lower())
    columns, following = [], layout.next_column
    for column in reflected.columns:
        if column.name.lower() in old:
            n, value = old[column.name.lower()]
        else:
            n, value = following, initial(column)
            following += 1
        columns.append((n, column.name, value))
    left = {n for n, _, _ in columns}
    names = {n: name for n, name, _ in columns}
    by_key = {names.get(n) for n in layout.key}
    unique = not layout.key or any(
        by_key.issuperset(u.columns) for u in _unique_keys(reflected))
    scan = next((i.order for i in layout.indexes if i.name == 'scan'), ())
    fixed = (*layout.by, *layout.key, *scan)
    if not unique or not left.issuperset(fixed):
        raise errors.NotSupportedError(
            'table %s has rows, which are stored by (%s): that key can not '
            'be dropped; copy the rows into a new table instead' % (
                reflected.name,
                ', '.join(name for n, name, _ in layout.columns
                          if n in fixed)))
    new = dataclasses.replace(
        layout, columns=tuple(columns), next_column=following,
        indexes=tuple(
            i for i in layout.indexes
            if left.issuperset((*i.columns, *i.unique, *i.order))))
    wanted = _indexes(new, reflected, profile, number, public=False)
    numbers = {i.number for i in wanted}
    gone = [i for i in new.indexes if i.entries and i.number not in numbers]
    if gone and leave():
        wanted += tuple(dataclasses.replace(
            i, unique=(), guard=None, primary=False, leaving=True)
            for i in gone)
    return dataclasses.replace(new, indexes=wanted)


def fits(layout: Layout, reflected: Reflected, profile: Profile) -> bool:
    """Tell whether rows lie where the profile wants them."""
    numbers = {name: n for n, name, _ in layout.columns}
    group, by, key, locality = _place(reflected, profile, layout.number)
    return layout.place() == (group, tuple(numbers[c] for c in by),
                              tuple(numbers[c] for c in key), locality)


def published(layout: Layout) -> Layout:
    """Return the layout with its indexes public, but those that leave."""
    return dataclasses.replace(layout, indexes=tuple(
        dataclasses.replace(i, public=not i.leaving)
        for i in layout.indexes))


def left(layout: Layout) -> Layout:
    """Return the layout without the indexes that were leaving."""
    return dataclasses.replace(layout, indexes=tuple(
        i for i in layout.indexes if i.public or not i.leaving))


def table(layout: Layout, reflected: Reflected,
          referenced_by: tuple[tuple[str, ForeignKey], ...] = ()) -> Table:
    """Put layout and reflection together."""
    stored = {name.lower(): (n, initial) for n, name, initial
              in layout.columns}
    columns = []
    for column in reflected.columns:
        n, initial = stored[column.name.lower()]
        columns.append(Column(
            number=n, name=column.name, affinity=column.affinity,
            declared_type=column.declared_type, collation=column.collation,
            not_null=column.not_null, default=column.default,
            initial=initial, generated=column.generated))
    names = {c.number: c.name for c in columns}
    return Table(
        number=layout.number, name=reflected.name, columns=tuple(columns),
        key=tuple(names[n] for n in layout.key),
        primary_key=reflected.primary_key,
        grouping=Grouping(layout.group, tuple(names[n] for n in layout.by)),
        indexes=tuple(Index(
            number=i.number, name=i.name,
            columns=tuple(names[n] for n in i.columns), buckets=i.buckets,
            entries=i.entries, public=i.public,
            unique_columns=tuple(names[n] for n in i.unique),
            guard=i.guard, primary=i.primary,
            order=tuple(names[n] for n in i.order)) for i in layout.indexes),
        foreign_keys=reflected.foreign_keys, referenced_by=referenced_by,
        rowid_column=reflected.rowid_column, locality=layout.locality,
        sql=reflected.sql)
