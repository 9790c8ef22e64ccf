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

"""Reads what a statement may need: index slices, groups, single rows.

One wave of accesses costs one round for the index slices, if there are any,
and one for all groups.  What comes back may be too much, never too little.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import logging
import random
from typing import Any

import msgpack

from luc_drivers.db import document
from luc_drivers.db import errors
from luc_drivers.db import keys
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog.schema import Index
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import Bound
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.rows import Address
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import Row
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction import background as background_module
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.ahead import Ahead
from luc_drivers.db.transaction.bounds import Bounds
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.hooks import step
from luc_drivers.db.transaction.indexes import Cleaner
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.transaction.resolve import place_reads
from luc_drivers.db.transaction.resolve import Resolver

LOG = logging.getLogger(__name__)

#: slow index phases are repeated so often (rule 12)
_TRIES = 5
#: moves of a row that a reader follows (rule 13)
_HOPS = 16
#: live candidates of one access that are checked for stale entries
_CHECKED = 16


def encode_move(where: Address) -> bytes:
    """Return what a moved row's tombstone says of its new place."""
    return msgpack.packb(
        [where.group.locality, where.group.key, where.key.pk])


def decode_move(moved_to: bytes, table: int) -> Place:
    """Return the place that a tombstone of ``table`` points to."""
    locality, group, pk = msgpack.unpackb(moved_to)
    return Group(locality, group), RowKey(table, pk)


#: an index entry as read: the slice, and its rest and ref
_Entry = tuple[IndexRead, bytes, bytes]


@dataclasses.dataclass(slots=True)
class _Wants:
    """What one access needs: slices of groups, single rows, index slices."""

    table: Table
    slices: list[Group] = dataclasses.field(default_factory=list)
    places: list[Place] = dataclasses.field(default_factory=list)
    reads: list[IndexRead] = dataclasses.field(default_factory=list)
    index: Index | None = None
    #: the entries that the index slices gave, by the row they point to
    entries: dict[Place, list[_Entry]] = dataclasses.field(
        default_factory=dict)


def _index_range(access: BoundAccess, rest: bytes, whole: bool
                 ) -> tuple[bytes | None, bytes | None]:
    def pair(bound: Bound | None) -> tuple | None:
        return None if bound is None else (bound.value, bound.inclusive)

    if access.lower is not None or access.upper is not None:
        return keys.index_range(
            rest, pair(access.lower), pair(access.upper))
    if not rest and not whole:
        return None, None
    return keys.prefix_range(rest)


@dataclasses.dataclass(slots=True)
class _Got:
    """What a wave has read so far.

    :ivar slices: rows of tables in groups that were read whole, and
    :ivar whole: which those are.
    :ivar tried: single rows that were read.
    """

    rows: dict[Place, Row] = dataclasses.field(default_factory=dict)
    slices: dict[tuple[Group, int], list[Row]] = dataclasses.field(
        default_factory=dict)
    whole: set[tuple[Group, int]] = dataclasses.field(default_factory=set)
    tried: set[Place] = dataclasses.field(default_factory=set)

    def add(self, reads: Sequence[GroupRead],
            answers: Sequence[Sequence[Row]], ahead: Ahead | None) -> None:
        """Take what reads gave."""
        for read, rows in zip(reads, answers):
            group = read.group
            if read.pks is not None:
                table, = read.tables
                self.tried.update(
                    (group, RowKey(table, pk)) for pk in read.pks)
                for row in rows:
                    self.rows[group, row.key] = row
                continue
            by_table: dict[int, list[Row]] = {n: [] for n in read.tables}
            for row in rows:
                by_table[row.key.table].append(row)
            for number, some in by_table.items():
                self.put(group, number, some)
                if ahead is not None:
                    ahead.keep(group, number, some)

    def put(self, group: Group, number: int, rows: list[Row]) -> None:
        """Take a whole slice."""
        self.whole.add((group, number))
        self.slices[group, number] = rows
        for row in rows:
            self.rows[group, row.key] = row


def _reads(wants: Sequence[_Wants], got: _Got, ahead: Ahead | None
           ) -> list[GroupRead]:
    """Return the reads of what is wanted, its place known, and not got.

    What an index points to is never taken from what was read before: the row
    may have come there since, from a place where it was not found (rule 13).
    """
    tables: dict[Group, set[int]] = {}
    single: dict[Place, None] = {}
    for want in wants:
        number = want.table.number
        for group in want.slices:
            if (group, number) in got.whole:
                continue
            if ahead is not None and (group, number) in ahead.slices:
                got.put(group, number, ahead.slices[group, number])
            else:
                tables.setdefault(group, set()).add(number)
        for place in want.places:
            slot = (place[0], number)
            if ahead is not None and slot in ahead.slices:
                got.put(*slot, ahead.slices[slot])
    for want in wants:
        number = want.table.number
        for place in want.places:
            group = place[0]
            if (place not in got.tried and (group, number) not in got.whole
                    and number not in tables.get(group, ())):
                single[place] = None
        for place in want.entries:
            # whatever was read before or with the index slices is too old
            if number not in tables.get(place[0], ()):
                single[place] = None
    if ahead is not None and (tables or single):
        ahead.widen(tables, single)
    return [GroupRead(group, tuple(sorted(numbers)))
            for group, numbers in tables.items()] + place_reads(single)


def _note(want: _Wants, read: IndexRead,
          answer: Iterable[tuple[bytes, bytes]]) -> None:
    """Note the places that an index slice points to."""
    locality, number = read.locality, want.table.number
    entries = want.entries
    for rest, ref in answer:
        group, pk = address.decode_ref(ref)
        place = (Group(locality, group), RowKey(number, pk))
        found = entries.get(place)
        if found is None:
            entries[place] = [(read, rest, ref)]
        else:
            found.append((read, rest, ref))


class Reader:
    """Fetches committed rows.  Thread-safe.

    :param background: runs the cleaning of stale index entries.
    """

    def __init__(self, store: Store, clock: Clock,
                 background: background_module.Background,
                 bounds: Bounds | None = None,
                 resolver: Resolver | None = None) -> None:
        self.store = store
        self.clock = clock
        self.bounds = bounds or Bounds()
        self.resolver = resolver or Resolver(store, clock, self.bounds)
        self.cleaner = Cleaner(store, clock, self.bounds, background.submit)

    def rows(self, schema: Schema, accesses: Sequence[BoundAccess],
             localities: Sequence[str] = (), ahead: Ahead | None = None
             ) -> list[list[StoredRow]]:
        """Fetch one wave of accesses.

        :param localities: where to look for rows of tables that are kept
            per site; those of global tables are in one place. Default: this
            site.
        :param ahead: what the transaction has read ahead; more is added.
        :returns: for each access its rows, in order of creation, then of
            their key (rule 27). There may be rows that don't match.
        :raises StoreUnavailable: from the store.
        :raises OperationalError: a bound was exceeded.
        """
        wants, got = self._settled(accesses, localities, ahead)
        found, slices = got.rows, got.slices
        answers = []
        for want in wants:
            rows: dict[Place, Row] = {}
            for group in want.slices:
                for row in slices.get((group, want.table.number), ()):
                    rows[group, row.key] = row
            for place in want.places:
                if place in found:
                    rows[place] = found[place]
            for place in want.entries:
                self._follow(place, found, rows)
            stored = self._decoded(want, rows)
            answers.append(stored)
            if want.entries:
                self._check(want, found, stored)
        return answers

    def _settled(self, accesses: Sequence[BoundAccess],
                 localities: Sequence[str], ahead: Ahead | None
                 ) -> tuple[list[_Wants], _Got]:
        """Do index phase and row phase, again if rows moved in between.

        Where a row has left a place that another one has taken, nothing says
        where it went; but its new index entry is there by now.
        """
        known: set[tuple[Place, bytes]] = set()
        for _ in range(_HOPS):
            wants, got = self._read(accesses, localities, ahead)
            found, ahead = got.rows, None
            moves = {
                (place, mark) for want in wants for place in want.entries
                if (row := found.get(place)) is not None
                and row.document is not None
                and not writes.is_plain(row.history)
                for mark in writes.moves(row.history)}
            if moves <= known:
                return wants, got
            known |= moves
        raise errors.OperationalError(
            f'rows of {accesses[0].table.name} moved {_HOPS} times while '
            'they were read')

    def places(self, accesses: Sequence[BoundAccess],
               localities: Sequence[str] = ()
               ) -> list[tuple[list[Group], list[Place]]]:
        """Return where the rows of each access can be, unread: groups whose
        slice of the table is meant, and single rows.
        """
        wants = [self._want(a, self.localities(a.table, localities))
                 for a in accesses]
        self._candidates(wants, _Got(), None)
        return [(w.slices, list(dict.fromkeys([*w.places, *w.entries])))
                for w in wants]

    # --- from accesses to places

    def localities(self, table: Table, given: Sequence[str]) -> list[str]:
        """Return the localities that may hold rows of a table."""
        here = address.locality(table, self.store.settings.site)
        if here == address.GLOBAL:
            return [here]
        return [one for one in given if one != address.GLOBAL] or [here]

    def _want(self, access: BoundAccess, localities: list[str]) -> _Wants:
        table = access.table
        want = _Wants(table)
        path, index = access.path, access.index
        if path is Path.SCAN:
            index = table.scan_index
            if index is None:
                if table.grouping.columns:
                    raise errors.InternalError(
                        f'table {table.name} has no scan index')
                path = Path.GROUP
        for one in localities:
            if path is Path.SCAN:
                assert index is not None
                want.index = index
                want.reads.append(IndexRead(
                    one, table.number, index.number, b'', index.buckets))
            elif path is Path.INDEX:
                assert index is not None
                want.index = index
                for key in access.keys:
                    first, rest = address.index_key(table, index, key)
                    lower, upper = _index_range(
                        access, rest, len(key) == len(index.columns))
                    want.reads.append(IndexRead(
                        one, table.number, index.number, first,
                        index.buckets, lower, upper))
            else:
                self._direct(want, access, path, one)
        return want

    @staticmethod
    def _direct(want: _Wants, access: BoundAccess, path: Path,
                locality: str) -> None:
        table = want.table
        n = len(table.grouping.columns)
        for key in access.keys if access.path is not Path.SCAN else [()]:
            group = Group(locality, address.group_key(table, key[:n]))
            if path is Path.GROUP:
                want.slices.append(group)
            else:
                want.places.append((group, RowKey(
                    table.number, address.row_key(table, key[n:]))))

    # --- from places to rows

    def _read(self, accesses: Sequence[BoundAccess],
              localities: Sequence[str], ahead: Ahead | None
              ) -> tuple[list[_Wants], _Got]:
        """Read all that a wave wants.

        Rows whose place is known are read with the index slices; those that
        the slices point to, after them.
        """
        wants = [self._want(a, self.localities(a.table, localities))
                 for a in accesses]
        got = _Got()
        self._candidates(wants, got, ahead)
        reads = _reads(wants, got, ahead)
        if reads:
            got.add(reads, self.resolver.read(reads), ahead)
            step('reader:rows-read')
        self._fetch_moved(wants, got.rows)
        return wants, got

    def _candidates(self, wants: Sequence[_Wants], got: _Got,
                    ahead: Ahead | None) -> None:
        """Read the index slices, as good as at once (rule 12), and with
        them the rows whose place is known already.

        Old entries are removed ``removal_delay`` after the new ones are
        there: a phase that took longer could miss a row that moves.
        """
        slices = list(dict.fromkeys(r for w in wants for r in w.reads))
        if not slices:
            return
        reads = _reads(wants, got, ahead)
        for _ in range(_TRIES):
            begin = self.clock.monotonic()
            rows, found = self.resolver.read_both(reads, slices)
            step('reader:index-read')
            if self.clock.monotonic() - begin < self.bounds.removal_delay:
                break
        else:
            raise errors.OperationalError(
                f'reading {len(slices)} index slices took longer than '
                f'index_removal_delay = {self.bounds.removal_delay:g} s, '
                f'{_TRIES} times')
        got.add(reads, rows, ahead)
        answers = dict(zip(slices, found))
        for want in wants:
            assert want.index is not None or not want.reads
            for read in want.reads:
                _note(want, read, answers[read])

    def _fetch_moved(self, wants: Sequence[_Wants],
                     found: dict[Place, Row]) -> None:
        """Read the rows that candidates moved to meanwhile (rule 13)."""
        frontier = [p for want in wants for p in want.entries]
        followed: set[tuple[Place, bytes | None]] = set()
        for _ in range(_HOPS):
            targets: dict[Place, None] = {}
            for place in frontier:
                row = found.get(place)
                if row is None or row.moved_to is None:
                    continue
                if (place, row.version) in followed:
                    continue
                followed.add((place, row.version))
                # read again even if it is a candidate itself: it may have
                # been read before the row had moved there
                targets[decode_move(row.moved_to, place[1].table)] = None
            if not targets:
                return
            reads = place_reads(targets)
            for read, rows in zip(reads, self.resolver.read(reads)):
                for row in rows:
                    found[read.group, row.key] = row
            frontier = list(targets)
        LOG.warning('A row of table %d moved more than %d times while it was '
                    'read', frontier[0][1].table, _HOPS)

    @staticmethod
    def _follow(place: Place, found: dict[Place, Row],
                rows: dict[Place, Row]) -> None:
        """Add a candidate's row, and those that it moved to, to ``rows``."""
        for _ in range(_HOPS + 1):
            row = found.get(place)
            if row is None or place in rows:
                return
            rows[place] = row
            if row.moved_to is None:
                return
            place = decode_move(row.moved_to, place[1].table)

    @staticmethod
    def _decoded(want: _Wants, rows: dict[Place, Row]) -> list[StoredRow]:
        stored = []
        for (group, key), row in rows.items():
            if row.document is None or row.version is None:
                continue
            values, created = document.decode(row.document)
            stored.append(StoredRow(
                want.table, Address(group, key), row.version, values,
                created, row.history))
        stored.sort(key=lambda r: (r.created, r.address.key.pk))
        return stored

    def _check(self, want: _Wants, found: dict[Place, Row],
               stored: Sequence[StoredRow]) -> None:
        """Look for stale entries among those that led here."""
        index = want.index
        assert index is not None
        # those of deleted rows all, a sample of the others
        checked: dict[Place, dict[int, Any] | None] = {}
        if len(stored) < len(want.entries):
            for place in want.entries:
                row = found.get(place)
                if row is None or row.document is None:
                    checked[place] = None
        if len(stored) > _CHECKED:
            stored = random.sample(stored, _CHECKED)
        for one in stored:
            checked[one.address.group, one.address.key] = one.values
        for place, values in checked.items():
            entries = want.entries.get(place)
            if entries is None:
                continue
            where = Address(*place)
            current = None
            if values is not None:
                current = address.index_entry(
                    want.table, index, values, where)
            for read, rest, ref in entries:
                entry = IndexEntry(
                    read.locality, read.table, read.index, read.first,
                    address.bucket(index, ref), rest, ref)
                if entry != current:
                    self.cleaner.stale(
                        entry, want.table, where, found.get(place))
