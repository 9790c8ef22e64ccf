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

"""One wave of accesses: what it needs, and what has been read of it."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from luc_drivers.db import document
from luc_drivers.db import keys
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog.schema import Index
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import Bound
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.rows import Address
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import Row
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.ahead import Ahead
from luc_drivers.db.transaction.habits import Item
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.transaction.resolve import place_reads

#: an index entry as read: the slice, and its rest and ref
Entry = tuple[IndexRead, bytes, bytes]


@dataclasses.dataclass(slots=True)
class Wants:
    """What one access needs: slices of groups, single rows, index slices."""

    table: Table
    slices: list[Group] = dataclasses.field(default_factory=list)
    places: list[Place] = dataclasses.field(default_factory=list)
    reads: list[IndexRead] = dataclasses.field(default_factory=list)
    index: Index | None = None
    #: the entries that the index slices gave, by the row they point to
    entries: dict[Place, list[Entry]] = dataclasses.field(
        default_factory=dict)
    #: the round of `Ahead` that gave them
    round: int = 0
    #: ``rest`` of the entry up to which all are read; None: all are
    boundary: bytes | None = None
    #: where the rows may be that the index slices lead to
    guesses: list[Place] = dataclasses.field(default_factory=list)
    #: all that the wave reads of the table is one slice, or one row: else a
    #: row may move meanwhile from a place that is read later to one that was
    #: read sooner (rule 13)
    alone: bool = False


def index_range(access: BoundAccess, rest: bytes, whole: bool
                 ) -> tuple[bytes | None, bytes | None]:
    def pair(bound: Bound | None) -> tuple | None:
        return None if bound is None else (bound.value, bound.inclusive)

    if access.lower is not None or access.upper is not None:
        return keys.index_range(
            rest, pair(access.lower), pair(access.upper))
    if not rest and not whole:
        return None, None
    return keys.prefix_range(rest)


def whole_key(entry: IndexEntry, index: Index) -> IndexRead:
    """Return the slice of all entries with the values of one."""
    return IndexRead(entry.locality, entry.table, entry.index, entry.first,
                     index.buckets, *keys.prefix_range(entry.rest))


def page(access: BoundAccess, read: IndexRead) -> IndexRead:
    """Return what to read of a slice now."""
    limit = access.limit
    if limit is None:
        return read
    lower, upper = read.lower, read.upper
    if limit.after is not None:
        if limit.descending:
            upper = limit.after
        else:
            lower = limit.after
    return dataclasses.replace(
        read, lower=lower, upper=upper, limit=limit.size,
        descending=limit.descending)


@dataclasses.dataclass(slots=True)
class Got:
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
                found = {row.key.pk: row for row in rows}
                for pk in read.pks:
                    self.put_row((group, RowKey(table, pk)), found.get(pk))
                    if ahead is not None:
                        ahead.keep_row((group, RowKey(table, pk)),
                                       found.get(pk))
                continue
            by_table: dict[int, list[Row]] = {n: [] for n in read.tables}
            for row in rows:
                by_table[row.key.table].append(row)
            for number, some in by_table.items():
                self.put(group, number, some)
                if ahead is not None:
                    ahead.keep(group, number, some)

    def add_rows(self, places: Iterable[Place],
                 rows: Mapping[Place, Row | None]) -> None:
        """Take single rows that were read again."""
        for place in places:
            self.put_row(place, rows.get(place))

    def put_row(self, place: Place, row: Row | None) -> None:
        """Take a single row."""
        self.tried.add(place)
        if row is not None:
            self.rows[place] = row
        else:
            self.rows.pop(place, None)

    def put(self, group: Group, number: int, rows: list[Row]) -> None:
        """Take a whole slice."""
        self.whole.add((group, number))
        self.slices[group, number] = rows
        for row in rows:
            self.rows[group, row.key] = row


def reads_of(wants: Sequence[Wants], got: Got, ahead: Ahead | None,
           slices: Sequence[IndexRead] = ()
           ) -> tuple[list[GroupRead], list[IndexRead]]:
    """Return the reads of what is wanted, its place known, and not got.

    What an index points to is not taken from rounds before the index was
    read: the row may have come there since, from a place where it was not
    found (rule 13).

    :param slices: index slices to be read in the same round.
    :returns: also further index slices, which will be wanted later.
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
            if ahead is not None:
                take(place, got, ahead, 0)
    for want in wants:
        number = want.table.number
        for place in [*want.places, *(want.guesses if slices else ())]:
            group = place[0]
            if (place not in got.tried and (group, number) not in got.whole
                    and number not in tables.get(group, ())):
                single[place] = None
        for place in want.entries:
            if place in want.guesses and (
                    place in got.tried or (place[0], number) in got.whole):
                # read in the round of the index
                continue
            if number not in tables.get(place[0], ()) and (
                    ahead is None or
                    not take(place, got, ahead, want.round)):
                single[place] = None
    more: list[IndexRead] = []
    if ahead is not None and (tables or single or slices):
        ahead.widen(tables, single)
        more = ahead.expect(tables, single, slices)
    return [GroupRead(group, tuple(sorted(numbers)))
            for group, numbers in tables.items()] + place_reads(single), more


def stored(table: Table, place: Place, row: Row) -> StoredRow | None:
    """Return a row as a transaction keeps it; None: it is deleted."""
    if row.document is None or row.version is None:
        return None
    return StoredRow(table, Address(*place), row.version, row.document,
                     document.created_of(row.document), row.history)


def candidates(want: Wants, got: Got) -> Iterator[Place]:
    """Return where rows of an access were found, or looked for."""
    number = want.table.number
    for group in want.slices:
        for row in got.slices.get((group, number), ()):
            yield group, row.key
    yield from want.places
    yield from want.entries


def mark_alone(wants: Sequence[Wants]) -> None:
    """Find the accesses whose table is read in one place only."""
    places: dict[int, int] = {}
    for want in wants:
        number = want.table.number
        # an index may lead anywhere
        count = 2 if want.reads else len(want.slices) + len(want.places)
        places[number] = places.get(number, 0) + count
    for want in wants:
        want.alone = places[want.table.number] < 2


def left(want: Wants, got: Got) -> Iterator[Place]:
    """Return the candidates whose row has left for another place."""
    for place in () if want.alone else candidates(want, got):
        row = got.rows.get(place)
        if row is not None and row.moved_to is not None:
            yield place


def settled(want: Wants, got: Got) -> Iterator[tuple[Place, Row]]:
    """Return the candidates, and their rows, that may have come to a place
    which another row has left.
    """
    for place in () if want.alone else candidates(want, got):
        row = got.rows.get(place)
        if row is not None and row.document is not None and (
                not writes.is_plain(row.history)):
            yield place, row


def take(place: Place, got: Got, ahead: Ahead, since: int) -> bool:
    """Take a row that was read ahead, in a round not before ``since``.

    :returns: whether it was.
    """
    slot = (place[0], place[1].table)
    if slot in ahead.slices and ahead.rounds[slot] >= since:
        got.put(*slot, ahead.slices[slot])
    elif place in ahead.rows and ahead.rounds[place] >= since:
        got.put_row(place, ahead.rows[place])
    else:
        return False
    return True


def note(want: Wants, read: IndexRead,
          answer: Iterable[tuple[bytes, bytes]]) -> None:
    """Note the places that an index slice points to."""
    locality, number = read.locality, want.table.number
    entries = want.entries
    answer = list(answer)
    if read.limit is not None and len(answer) >= read.limit:
        last = answer[-1][0]
        nearest = max if read.descending else min
        want.boundary = last if want.boundary is None else nearest(
            want.boundary, last)
    for rest, ref in answer:
        group, pk = address.decode_ref(ref)
        place = (Group(locality, group), RowKey(number, pk))
        found = entries.get(place)
        if found is None:
            entries[place] = [(read, rest, ref)]
        else:
            found.append((read, rest, ref))


def note_used(wants: Sequence[Wants], got: Got, ahead: Ahead) -> None:
    """Note what a wave needed: what the next will be expected to need."""
    def item(place: Place) -> Item:
        slot = (place[0], place[1].table)
        return slot if slot in got.whole else place

    known: list[Item] = []
    found: list[Item] = []
    for want in wants:
        known += want.reads
        known += ((group, want.table.number) for group in want.slices)
        known += map(item, want.places)
        found += map(item, want.entries)
    ahead.used(known, found)
