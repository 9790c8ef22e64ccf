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

import collections
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import logging
import random
from typing import Any

import msgpack

from luc_drivers.db import errors
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
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
from luc_drivers.db.transaction import hints as hints_module
from luc_drivers.db.transaction import recent as recent_module
from luc_drivers.db.transaction import wave
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.ahead import Ahead
from luc_drivers.db.transaction.bounds import Bounds
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.hooks import step
from luc_drivers.db.transaction.indexes import Cleaner
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.transaction.resolve import Resolver

#: where the row of an index slice is
Hints = hints_module.Hints[IndexRead, Place]

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


def _twins(found: Sequence[Sequence[StoredRow]]) -> list[StoredRow]:
    """Return rows at several places that have one creation number."""
    places: dict[int, dict[Address, StoredRow]] = {}
    for rows in found:
        for row in rows:
            places.setdefault(row.table.number, {})[row.address] = row
    twins = []
    for by_address in places.values():
        if len({row.created for row in by_address.values()}) < len(
                by_address):
            times = collections.Counter(
                row.created for row in by_address.values())
            twins += [row for row in by_address.values()
                      if times[row.created] > 1]
    return twins


class Reader:
    """Fetches committed rows.  Thread-safe.

    :param background: runs the cleaning of stale index entries.
    :param hints: where rows are expected; None: nowhere.
    :param recent: gets to know the groups that a thread uses.
    """

    def __init__(self, store: Store, clock: Clock,
                 background: background_module.Background,
                 bounds: Bounds | None = None,
                 resolver: Resolver | None = None,
                 hints: Hints | None = None,
                 recent: recent_module.Recent | None = None) -> None:
        self.store = store
        self.clock = clock
        self.bounds = bounds or Bounds()
        self.resolver = resolver or Resolver(store, clock, self.bounds)
        self.hints = hints
        self.recent = recent
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
        whole = [a if a.limit is None else dataclasses.replace(a, limit=None)
                 for a in accesses]
        return [rows for rows, _ in self.pages(
            schema, whole, localities, ahead)]

    def pages(self, schema: Schema, accesses: Sequence[BoundAccess],
              localities: Sequence[str] = (), ahead: Ahead | None = None
              ) -> list[tuple[list[StoredRow], bytes | None]]:
        """As `rows`, but accesses with a limit read one page only.

        :returns: for each access its rows, and ``rest`` of the index entry
            at the page's end; None if there are no more.
        """
        wants, got = self._settled(accesses, localities, ahead)
        found = self._apart(wants, got)
        for access, want, stored in zip(accesses, wants, found):
            if want.entries:
                self._check(want, got.rows, stored)
                if self.hints is not None and access.unique and (
                        len(want.reads) <= hints_module.MANY):
                    self._remember(self.hints, want, got.rows)
            if self.recent is not None and stored:
                first, last = stored[0].address, stored[-1].address
                if first.group == last.group:
                    self._use(access.table, first)
        return [(stored, want.boundary)
                for want, stored in zip(wants, found)]

    @staticmethod
    def _remember(hints: Hints, want: wave.Wants,
                  found: dict[Place, Row]) -> None:
        """Note where the rows of a look-up by a unique key are."""
        for place, entries in want.entries.items():
            row = found.get(place)
            if row is not None and row.document is not None:
                for read, _, _ in entries:
                    hints.note(read, place)

    def committed(self, table: Table, values: Mapping[int, Any],
                  where: Address) -> None:
        """Take note of a row that this process has inserted."""
        self._use(table, where)
        if self.hints is None:
            return
        for index in table.unique_keys:
            if index.entries and index.public:
                entry = address.index_entry(table, index, values, where)
                self.hints.note(wave.whole_key(entry, index), (
                    where.group, where.key))

    def _use(self, table: Table, where: Address) -> None:
        """Note the group of a row that this thread uses."""
        if self.recent is not None and table.grouping.columns:
            self.recent.note(table.grouping.name, where.group)

    def _settled(self, accesses: Sequence[BoundAccess],
                 localities: Sequence[str], ahead: Ahead | None
                 ) -> tuple[list[wave.Wants], wave.Got]:
        """Do index phase and row phase, again if rows moved in between.

        Where a row has left a place that another one has taken, nothing says
        where it went; but its new index entry is there by now.
        """
        known: set[tuple[Place, bytes]] = set()
        for _ in range(_HOPS):
            wants, got = self._read(accesses, localities, ahead)
            ahead = None
            moves = {(place, mark) for want in wants
                     for place, row in wave.settled(want, got)
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
        self._candidates(wants, wave.Got(), None)
        return [(w.slices, list(dict.fromkeys([*w.places, *w.entries])))
                for w in wants]

    # --- from accesses to places

    def localities(self, table: Table, given: Sequence[str]) -> list[str]:
        """Return the localities that may hold rows of a table."""
        here = address.locality(table, self.store.settings.site)
        if here == address.GLOBAL:
            return [here]
        return [one for one in given if one != address.GLOBAL] or [here]

    def _want(self, access: BoundAccess, localities: list[str]) -> wave.Wants:
        table = access.table
        want = wave.Wants(table)
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
                    lower, upper = wave.index_range(
                        access, rest, len(key) == len(index.columns))
                    want.reads.append(wave.page(access, IndexRead(
                        one, table.number, index.number, first,
                        index.buckets, lower, upper)))
            else:
                self._direct(want, access, path, one)
        if self.hints is not None and access.unique and (
                len(want.reads) <= hints_module.MANY):
            want.guesses = [place for read in want.reads if (
                place := self.hints.find(read)) is not None]
        return want

    @staticmethod
    def _direct(want: wave.Wants, access: BoundAccess, path: Path,
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
              ) -> tuple[list[wave.Wants], wave.Got]:
        """Read all that a wave wants.

        Rows whose place is known are read with the index slices; those that
        the slices point to, after them.
        """
        wants = [self._want(a, self.localities(a.table, localities))
                 for a in accesses]
        wave.mark_alone(wants)
        got = wave.Got()
        self._candidates(wants, got, ahead)
        reads, more = wave.reads_of(wants, got, ahead)
        if reads or more:
            self._round(reads, more, got, ahead)
            step('reader:rows-read')
        self._fetch_moved(
            [place for want in wants for place in wave.left(want, got)], got)
        if ahead is not None:
            wave.note_used(wants, got, ahead)
        return wants, got

    def _round(self, reads: Sequence[GroupRead], slices: Sequence[IndexRead],
               got: wave.Got, ahead: Ahead | None
               ) -> dict[IndexRead, list[tuple[bytes, bytes]]]:
        """Read groups and index slices at once; return the latter."""
        begin = self.clock.monotonic()
        if slices:
            rows, found = self.resolver.read_both(reads, slices)
        else:
            rows, found = self.resolver.read(reads), []
        got.add(reads, rows, ahead)
        answers = dict(zip(slices, found))
        if ahead is not None and self.is_quick(begin):
            for read, entries in answers.items():
                ahead.keep_index(read, entries)
        return answers

    def is_quick(self, begin: float) -> bool:
        """Tell whether no index entry that was stale since ``begin``, by
        the monotonic clock, can have been removed (rule 12)."""
        return self.clock.monotonic() - begin < self.bounds.removal_delay

    def _candidates(self, wants: Sequence[wave.Wants], got: wave.Got,
                    ahead: Ahead | None) -> None:
        """Read the index slices, as good as at once (rule 12), and with
        them the rows whose place is known already.

        Old entries are removed ``removal_delay`` after the new ones are
        there: a phase that took longer could miss a row that moves.
        """
        slices = list(dict.fromkeys(r for w in wants for r in w.reads))
        if not slices:
            return
        number = ahead.entries(slices) if ahead is not None else None
        if ahead is not None and number is not None:
            answers = {read: ahead.index[read] for read in slices}
        else:
            reads, more = wave.reads_of(wants, got, ahead, slices)
            for _ in range(_TRIES):
                begin = self.clock.monotonic()
                answers = self._round(reads, slices + more, got, ahead)
                step('reader:index-read')
                if self.is_quick(begin):
                    break
            else:
                raise errors.OperationalError(
                    f'reading {len(slices)} index slices took longer than '
                    f'index_removal_delay = {self.bounds.removal_delay:g} '
                    f's, {_TRIES} times')
            number = ahead.round if ahead is not None else 0
        for want in wants:
            assert want.index is not None or not want.reads
            want.round = number
            for read in want.reads:
                wave.note(want, read, answers[read])

    def _fetch_moved(self, left: Iterable[Place], got: wave.Got) -> None:
        """Read the rows that have left for other places (rule 13)."""
        found = got.rows
        frontier = list(left)
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
            got.add_rows(targets, self.resolver.views(targets))
            frontier = list(targets)
        LOG.warning('A row of table %d moved more than %d times while it was '
                    'read', frontier[0][1].table, _HOPS)

    def _apart(self, wants: Sequence[wave.Wants], got: wave.Got
               ) -> list[list[StoredRow]]:
        """Return the live rows of each access.

        Rows of a table with one creation number may be one row: at the place
        that it has left since, and at the one that it came to. They are read
        again.
        """
        versions: dict[Place, bytes] = {}
        for _ in range(_HOPS):
            found = [self._stored(want, got) for want in wants]
            twins = {(row.address.group, row.address.key): row.version
                     for row in _twins([
                         rows for want, rows in zip(wants, found)
                         if not want.alone])}
            if twins == versions:
                # none, or by chance: they stay
                return found
            versions = twins
            got.add_rows(twins, self.resolver.views(twins))
            self._fetch_moved(twins, got)
        raise errors.OperationalError(
            f'rows of {wants[0].table.name} moved {_HOPS} times while they '
            'were read')

    @staticmethod
    def _stored(want: wave.Wants, got: wave.Got) -> list[StoredRow]:
        """Return the live rows of an access, also those that moved."""
        rows: dict[Place, Row] = {}
        hops = 1 if want.alone else _HOPS + 1
        for place in wave.candidates(want, got):
            for _ in range(hops):
                row = got.rows.get(place)
                if row is None or place in rows:
                    break
                rows[place] = row
                if row.moved_to is None:
                    break
                place = decode_move(row.moved_to, place[1].table)
        stored = [one for place, row in rows.items() if (
            one := wave.stored(want.table, place, row)) is not None]
        stored.sort(key=lambda r: (r.created, r.address.key.pk))
        return stored

    def _check(self, want: wave.Wants, found: dict[Place, Row],
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
