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

"""Does a database hold what it must?  (``luc db check``)

What one walk makes suspicious is looked at again, row by row, before it is
called a finding: transactions go on meanwhile.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import enum
from typing import TYPE_CHECKING

from luc_drivers.db import document
from luc_drivers.db import keys
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.rows import Address
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import Row
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.store.base import Store
from luc_drivers.db.tools import walk as walks
from luc_drivers.db.transaction import indexes
from luc_drivers.db.transaction import uniques
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.clock import micros
from luc_drivers.db.transaction.resolve import Place

if TYPE_CHECKING:
    from luc_drivers.db.engine import Database


class Kind(enum.Enum):
    """What is wrong."""

    MISSING_ENTRY = 'missing index entry'
    STALE_ENTRY = 'stale index entry'
    MISSING_UNIQUE = 'missing unique row'
    STALE_UNIQUE = 'unique row without owner'
    DUPLICATE = 'duplicate key'
    ORPHAN = 'broken foreign key'
    MISPLACED = 'misplaced row'
    DAMAGED = 'unreadable row'
    OLD_LOCK = 'old lock'
    OLD_MARKER = 'old transaction marker'
    LEFTOVER = 'left over from a dropped table'


#: what can be told from these does no harm to any statement's answer
HARMLESS = frozenset((Kind.STALE_ENTRY, Kind.OLD_LOCK, Kind.OLD_MARKER,
                      Kind.LEFTOVER))


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what a repair needs to know of it.

    :ivar table: name of the table; '' where it is not known.
    :ivar what: which index, key or row, in words.
    :ivar place: the row in question.
    :ivar entry: the index entry in question.
    :ivar version: the version of the row that was looked at.
    """

    kind: Kind
    table: str
    what: str
    place: Place
    entry: IndexEntry | None = None
    version: bytes | None = None


def describe(table: Table | None, place: Place) -> str:
    """Return a row's place for people: its key, and its locality."""
    group, key = place
    try:
        values = keys.decode(key.pk)
    except ValueError:
        return f'{key.pk.hex()} in {group.locality}'
    names = table.key if table is not None else ()
    if len(names) == len(values):
        shown = ', '.join(f'{n}={v!r}' for n, v in zip(names, values))
    else:
        shown = ', '.join(map(repr, values))
    return f'{shown} in {group.locality}'


def is_there(store: Store, entry: IndexEntry) -> bool:
    """Tell whether the store has an index entry."""
    found, = store.read_index([IndexRead(
        entry.locality, entry.table, entry.index, entry.first,
        entry.bucket + 1, entry.rest, entry.rest + b'\0')])
    return (entry.rest, entry.ref) in found


class Check:
    """One check of one database.

    :param database: of this process.
    :param localities: what to look at.
    :param report: told how far the walk is.
    """

    def __init__(self, database: 'Database', localities: Sequence[str],
                 report: walks.Report = lambda rows, entries: None) -> None:
        self.database = database
        self.localities = localities
        self.schema = database.catalog.current()
        self.resolver = database.reader.resolver
        self.walk = walks.Walk(database.store, self.schema, report)

    @property
    def _now(self) -> int:
        return self.database.clock.now()

    def findings(self) -> Iterator[Finding]:
        """Walk, and yield what is wrong.

        :raises StoreUnavailable: from the store.
        """
        with contextlib.closing(self.walk):
            self.walk.walk(self.localities)
            yield from self._rows()
            yield from self._leftovers()
            yield from self._entries()
            yield from self._uniques()
            yield from self._references()

    # --- looking again

    def _view(self, place: Place) -> Row | None:
        """Return a row as committed; None: there is none, not even a
        tombstone."""
        return self.resolver.views([place])[place]

    def _values(self, place: Place) -> dict | None:
        """Return a live row's values; None: it is deleted or absent."""
        row = self._view(place)
        if row is None or row.document is None:
            return None
        return document.decode(row.document)[0]

    def _finding(self, kind: Kind, place: Place, what: str = '',
                 **more: object) -> Finding:
        table = self.walk.tables.get(place[1].table)
        where = describe(table, place)
        return Finding(
            kind, table.name if table else '',
            f'{what}: {where}' if what else where, place,
            **more)  # type: ignore[arg-type]

    def _rows(self) -> Iterator[Finding]:
        for place, text in self.walk.damaged:
            yield self._finding(Kind.DAMAGED, place, text)
        for place in self.walk.misplaced:
            yield self._finding(Kind.MISPLACED, place)
        bounds = self.database.limits
        # nobody may hold one for longer: it waits, sends and is settled
        most = (bounds.lock_wait + bounds.send + bounds.settle
                + bounds.clock_skew)
        for place, txid in self.walk.locked:
            row = self.resolver.rows([place])[place]
            age = (self._now - micros(txid)) / 1e6
            if (row is not None and row.lock is not None
                    and row.lock.txid == txid and age > most):
                yield self._finding(
                    Kind.OLD_LOCK, place, f'for {age:.0f} s')
        for group, txid in self.walk.markers:
            age = (self._now - micros(txid)) / 1e6
            if age < bounds.marker_age + 2 * bounds.sweep:
                continue
            marker = self.resolver.markers([(group, txid)])[group, txid]
            if marker and marker.state is writes.State.COMMITTED:
                yield self._finding(
                    Kind.OLD_MARKER, (group, writes.marker_key(txid)),
                    f'for {age:.0f} s')

    def _leftovers(self) -> Iterator[Finding]:
        # what a schema change of this minute has left is on its way out
        current = self.database.catalog.refresh()
        known = {t.number for t in current.tables.values()} | {
            i.number for t in current.tables.values() for i in t.indexes}
        for place, version in self.walk.leftover_rows:
            if place[1].table not in known:
                yield self._finding(Kind.LEFTOVER, place, 'a row',
                                    version=version)
        for entry in self.walk.leftover_entries:
            if entry.index not in known:
                group, pk = address.decode_ref(entry.ref)
                yield self._finding(
                    Kind.LEFTOVER, (Group(entry.locality, group),
                                    RowKey(entry.table, pk)),
                    'an index entry', entry=entry)

    def _entries(self) -> Iterator[Finding]:
        for entry, place in self.walk.missing_entries():
            row = self._view(place)
            if row is None or row.document is None:
                continue
            values, _ = document.decode(row.document)
            table, index = self.walk.indexes[entry.index]
            where = Address(*place)
            if (entry in indexes.entries(table, values, where)
                    and not is_there(self.database.store, entry)):
                yield self._finding(Kind.MISSING_ENTRY, place, index.name,
                                    entry=entry, version=row.version)
        bounds = self.database.limits
        patience = (bounds.removal_delay + bounds.clock_skew) * 1e6
        for entry, place in self.walk.stale_entries():
            row = self._view(place)
            table, index = self.walk.indexes[entry.index]
            version = row.version if row is not None else None
            if version and self._now - micros(version) < patience:
                continue
            if row is not None and row.document is not None:
                values, _ = document.decode(row.document)
                if entry in indexes.entries(table, values, Address(*place)):
                    continue
            if is_there(self.database.store, entry):
                yield self._finding(Kind.STALE_ENTRY, place, index.name,
                                    entry=entry, version=version)

    def _owner(self, number: int, ref: bytes, locality: str) -> Place:
        """Return the place of a unique row's owner."""
        group, pk = address.decode_ref(ref)
        return Group(locality, group), RowKey(number, pk)

    def _owned(self, owner: Place, unique: Place) -> bool:
        """Tell whether a live row asks for a unique row."""
        values = self._values(owner)
        return values is not None and unique in uniques.owned(
            self.walk.tables[owner[1].table], values, Address(*owner))

    def _uniques(self) -> Iterator[Finding]:
        for unique, ref, number in self.walk.wrong_uniques():
            owner = self._owner(number, ref, unique[0].locality)
            if not self._owned(owner, unique):
                continue
            row = self._view(unique)
            name = self.walk.indexes[unique[1].table][1].name
            if row is None or row.document is None:
                yield self._finding(Kind.MISSING_UNIQUE, owner, name)
            elif row.document != ref and self._owned(self._owner(
                    number, row.document, unique[0].locality), unique):
                yield self._finding(Kind.DUPLICATE, owner, name)
        for unique in self.walk.stale_uniques():
            row = self._view(unique)
            if row is None or row.document is None:
                continue
            table, index = self.walk.indexes[unique[1].table]
            owner = self._owner(table.number, row.document,
                                unique[0].locality)
            if not self._owned(owner, unique):
                found = self._finding(Kind.STALE_UNIQUE, unique, index.name,
                                      version=row.version)
                yield dataclasses.replace(found, table=table.name)

    def _references(self) -> Iterator[Finding]:
        for one, place in self.walk.orphans():
            values = self._values(place)
            if values is None:
                continue
            key = walks.child_key(one, values)
            if None in key:
                continue
            where = ' AND '.join(f'{sqltext.quote(name)} = ?'
                                 for name in one.key.parent_columns)
            if not self.database.services.query(
                    f'SELECT 1 FROM {sqltext.quote(one.parent.name)} '
                    f'WHERE {where}', key):
                yield self._finding(
                    Kind.ORPHAN, place,
                    '%s → %s' % (', '.join(one.key.columns),
                                 one.parent.name))
