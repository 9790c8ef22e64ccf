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

"""One walk over all that a database holds, noted down to be compared.

A database may be larger than memory: what index entries, unique rows and
foreign keys there are, and which ones the rows ask for, goes to a temporary
SQLite file, which also does the comparing.  The walk is no snapshot: what it
makes suspicious has to be looked at again (check.py).
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools
from typing import Any

import apsw

from luc_drivers.db import document
from luc_drivers.db import keys
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog.schema import ForeignKey
from luc_drivers.db.catalog.schema import Guard
from luc_drivers.db.catalog.schema import Index
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.rows import Address
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import MARKER_TABLE
from luc_drivers.db.store.base import Row
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction import indexes
from luc_drivers.db.transaction import uniques
from luc_drivers.db.transaction.resolve import Place

#: groups, or index partitions, that are read at once
_AT_ONCE = 100

#: bytes of a transaction's id
_ID = 16

_ENTRY = 'loc, tbl, idx, first, bucket, rest, ref'
_PLACE = 'loc, grp, tbl, pk'
# There: found in the store; wanted: what the rows found ask for.
_TABLES = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE entries_there ({_ENTRY}, PRIMARY KEY ({_ENTRY})) WITHOUT ROWID;
CREATE TABLE entries_wanted ({_ENTRY}, grp, pk, public,
    PRIMARY KEY ({_ENTRY})) WITHOUT ROWID;
CREATE TABLE uniques_there ({_PLACE}, ref, PRIMARY KEY ({_PLACE}))
    WITHOUT ROWID;
CREATE TABLE uniques_wanted ({_PLACE}, ref, owner, needed);
CREATE INDEX uniques_wanted_by_place ON uniques_wanted ({_PLACE});
CREATE TABLE parents (fk, key, PRIMARY KEY (fk, key)) WITHOUT ROWID;
CREATE TABLE children (fk, key, {_PLACE});
BEGIN;
"""

#: (rows, index entries) walked so far
Report = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key with the tables that it is between."""

    child: Table
    key: ForeignKey
    parent: Table


def references(schema: Schema) -> list[Reference]:
    """Return all foreign keys whose parent exists."""
    found = []
    for table in schema.tables.values():
        for key in table.foreign_keys:
            parent = schema.table(key.parent)
            if parent is not None and key.parent_columns:
                found.append(Reference(table, key, parent))
    return found


def wanted_uniques(table: Table, values: dict[int, Any], where: Address
                   ) -> Iterator[tuple[Place, bytes, bool]]:
    """Yield (place, content, whether it must be there) of a row's unique
    rows; those of ids may not be there: nobody knows which ids were drawn.
    """
    guards = {index.number: index.guard for index in table.unique_keys}
    for place, ref in uniques.owned(table, values, where).items():
        yield place, ref, guards[place[1].table] is not Guard.SEQUENCE


class Walk:
    """The walk and its notes; close() removes the temporary file."""

    def __init__(self, store: Store, schema: Schema,
                 report: Report = lambda rows, entries: None) -> None:
        self.store = store
        self.schema = schema
        self.report = report
        self.rows = 0
        self.entries = 0
        self.tables = {t.number: t for t in schema.tables.values()}
        self.indexes: dict[int, tuple[Table, Index]] = {
            i.number: (t, i) for t in schema.tables.values()
            for i in t.indexes}
        self.references = references(schema)
        #: what needs no comparing
        self.locked: list[tuple[Place, bytes]] = []
        self.markers: list[tuple[Group, bytes]] = []
        self.damaged: list[tuple[Place, str]] = []
        self.misplaced: list[Place] = []
        self.leftover_rows: list[tuple[Place, bytes]] = []
        self.leftover_entries: list[IndexEntry] = []
        # '': a temporary file that SQLite removes by itself
        self._notes = apsw.Connection('')
        # rows of PRAGMAs have to be taken before the next statement runs
        self._notes.execute(_TABLES).fetchall()

    def close(self) -> None:
        """Remove the temporary file."""
        self._notes.close()

    # --- walking

    def walk(self, localities: Iterable[str]) -> None:
        """Note down all of these localities.

        :raises StoreUnavailable: from the store.
        """
        for locality in localities:
            # entries first: a row that is written meanwhile has its entry
            # before; a suspicion the less
            self._walk_entries(locality)
            self._walk_rows(locality)

    def _walk_rows(self, locality: str) -> None:
        keys_left = self.store.group_keys(locality)
        while chunk := list(itertools.islice(keys_left, _AT_ONCE)):
            groups = [Group(locality, key) for key in chunk]
            answers = self.store.read([
                read for group in groups for read in (
                    GroupRead(group), GroupRead(group, (MARKER_TABLE,)))])
            for number, group in enumerate(groups):
                for row in answers[2 * number]:
                    self._row((group, row.key), row)
                # what has a longer key there are turns (shared_turns.py)
                self.markers += [(group, row.key.pk)
                                 for row in answers[2 * number + 1]
                                 if len(row.key.pk) == _ID]
            self.report(self.rows, self.entries)

    def _row(self, place: Place, row: Row) -> None:
        if row.lock is not None:
            # what it will be is decided elsewhere: looked at later
            self.locked.append((place, row.lock.txid))
            return
        if row.document is None or row.version is None:
            return
        self.rows += 1
        number = row.key.table
        if number in self.tables:
            self._table_row(self.tables[number], place, row.document)
        elif number in self.indexes:
            self._note('uniques_there', *_columns(place), row.document)
        else:
            self.leftover_rows.append((place, row.version))

    def _table_row(self, table: Table, place: Place, doc: bytes) -> None:
        try:
            values, created = document.decode(doc)
        except (ValueError, TypeError) as exc:
            self.damaged.append((place, str(exc)))
            return
        where = Address(*place)
        if where != address.address(
                table, values, created, place[0].locality):
            self.misplaced.append(place)
            return
        by_number = {i.number: i for i in table.indexes}
        for entry in indexes.entries(table, values, where):
            self._note('entries_wanted', *_fields(entry), place[0].key,
                       place[1].pk, by_number[entry.index].public)
        for there, ref, needed in wanted_uniques(table, values, where):
            self._note('uniques_wanted', *_columns(there), ref, table.number,
                       needed)
        for number, one in enumerate(self.references):
            if one.parent is table:
                self._note('parents', number, keys.encode(address.pick(
                    table, one.key.parent_columns, values)))
            if one.child is table:
                key = child_key(one, values)
                if None not in key:
                    self._note('children', number, keys.encode(address.fold(
                        one.parent, one.key.parent_columns, key)),
                        *_columns(place))

    def _walk_entries(self, locality: str) -> None:
        several: set[tuple[int, int, bytes]] = set()
        reads = []
        for part in self.store.index_partitions(locality):
            if part.table == MARKER_TABLE:
                continue
            _, index = self.indexes.get(part.index, (None, None))
            buckets = index.buckets if index else part.bucket + 1
            if buckets > 1:
                # the buckets of one value are read together
                name = (part.table, part.index, part.first)
                if name in several:
                    continue
                several.add(name)
            reads.append(IndexRead(locality, part.table, part.index,
                                   part.first, buckets))
            if len(reads) == _AT_ONCE:
                self._read_entries(reads)
                reads = []
        self._read_entries(reads)

    def _read_entries(self, reads: Sequence[IndexRead]) -> None:
        if not reads:
            return
        for read, found in zip(reads, self.store.read_index(reads)):
            table, index = self.indexes.get(read.index, (None, None))
            for rest, ref in found:
                self.entries += 1
                entry = IndexEntry(
                    read.locality, read.table, read.index, read.first,
                    address.bucket(index, ref) if index else 0, rest, ref)
                if table is None or index is None or not index.entries:
                    self.leftover_entries.append(entry)
                else:
                    self._note('entries_there',
                               *_fields(entry))
        self.report(self.rows, self.entries)

    def _note(self, table: str, *values: Any) -> None:
        marks = ','.join('?' * len(values))
        self._notes.execute(
            f'INSERT OR IGNORE INTO {table} VALUES ({marks})', values)

    # --- comparing

    def missing_entries(self) -> Iterator[tuple[IndexEntry, Place]]:
        """Yield entries that rows ask for and that are not there, with the
        row's place; those of indexes that are being filled may be missing.
        """
        for *entry, group, pk, _ in self._notes.execute(
                f'SELECT * FROM entries_wanted WHERE public AND ({_ENTRY}) '
                'NOT IN entries_there'):
            found = IndexEntry(*entry)
            yield found, (Group(found.locality, group),
                          RowKey(found.table, pk))

    def stale_entries(self) -> Iterator[tuple[IndexEntry, Place]]:
        """Yield entries that no row asks for, with the place that they
        refer to."""
        for entry in self._notes.execute(
                f'SELECT * FROM entries_there WHERE ({_ENTRY}) NOT IN '
                f'(SELECT {_ENTRY} FROM entries_wanted)'):
            found = IndexEntry(*entry)
            group, pk = address.decode_ref(found.ref)
            yield found, (Group(found.locality, group),
                          RowKey(found.table, pk))

    def wrong_uniques(self) -> Iterator[tuple[Place, bytes, int]]:
        """Yield (place, owner's reference, owner's table) of unique rows
        that are missing or another's."""
        for *place, ref, owner in self._notes.execute(
                f'SELECT {_PLACE}, w.ref, w.owner FROM uniques_wanted AS w '
                f'LEFT JOIN uniques_there AS t USING ({_PLACE}) '
                'WHERE t.ref IS NOT w.ref AND (w.needed OR t.ref NOT NULL)'):
            yield _place(place), ref, owner

    def stale_uniques(self) -> Iterator[Place]:
        """Yield unique rows that no row asks for."""
        for place in self._notes.execute(
                f'SELECT {_PLACE} FROM uniques_there WHERE ({_PLACE}) '
                f'NOT IN (SELECT {_PLACE} FROM uniques_wanted)'):
            yield _place(place)

    def orphans(self) -> Iterator[tuple[Reference, Place]]:
        """Yield rows whose parent was not met."""
        for number, *place in self._notes.execute(
                f'SELECT fk, {_PLACE} FROM children WHERE (fk, key) '
                'NOT IN parents'):
            yield self.references[number], _place(place)


def child_key(one: Reference, values: dict[int, Any]) -> list[Any]:
    """Return a child row's values of a foreign key's columns."""
    columns = [one.child.column(name) for name in one.key.columns]
    return [values.get(c.number, c.initial) for c in columns]


def _fields(entry: IndexEntry) -> tuple[Any, ...]:
    # as in _ENTRY
    return (entry.locality, entry.table, entry.index, entry.first,
            entry.bucket, entry.rest, entry.ref)


def _columns(place: Place) -> tuple[Any, ...]:
    group, key = place
    return group.locality, group.key, key.table, key.pk


def _place(columns: Sequence[Any]) -> Place:
    locality, group, table, pk = columns
    return Group(locality, group), RowKey(table, pk)

