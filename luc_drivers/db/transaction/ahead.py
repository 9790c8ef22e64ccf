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

"""What a transaction has read of the store before it needs it.

A service loads an instance with one statement, its metadata with the next.
Where a round costs more than some rows do, the first reads for all of them:
the tables that a profile says are used together, and what followed the same
statement the last time (`habits`), with the groups that the thread has used
since (`recent`).  What is read ahead is as committed at that moment, as all
that the transaction has loaded.

A compare-and-set makes all of this old.  But it waits for its turn: with that
goes what followed it the last time, and so is read anew.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from luc_drivers.db import keys
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.planner.plan import Parameters
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import Row
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.transaction import habits as habits_module
from luc_drivers.db.transaction import recent as recent_module
from luc_drivers.db.transaction.beside import Beside
from luc_drivers.db.transaction.habits import Habits
from luc_drivers.db.transaction.habits import Item
from luc_drivers.db.transaction.hints import Hints
from luc_drivers.db.transaction.recent import Groups
from luc_drivers.db.transaction.recent import Near
from luc_drivers.db.transaction.recent import Recent

Place = tuple[Group, RowKey]
Entries = list[tuple[bytes, bytes]]

#: groups of one wave, above which nothing is read ahead
_WIDE = 128
#: groups up to which a statement that names one table reads ahead: one that
#: counts a project's servers needs nothing else of them
_FEW = 4
#: slices that a transaction keeps at most
_KEPT = 8 * _WIDE
#: statements of one transaction whose habits are learnt
_LEADERS = 16


def together(schema: Schema, names: Sequence[Sequence[str]]
             ) -> dict[int, frozenset[int]]:
    """Return which tables are read together, by their numbers.

    :param names: sets of tables of one group, as a profile has them.
    """
    found = {}
    for some in names:
        tables = [t for t in map(schema.table, some) if t is not None]
        groups = {t.grouping.name for t in tables}
        if len(groups) != 1:
            # another release's tables
            continue
        numbers = frozenset(t.number for t in tables)
        found.update(dict.fromkeys(numbers, numbers))
    return found


#: the beginning of the keys of a table's groups, which a parent's row key
#: completes, and the table's number
Child = tuple[bytes, int]


def children(schema: Schema, names: Iterable[tuple[str, str]]
             ) -> dict[int, tuple[Child, ...]]:
    """Return which tables' groups are read with a row, by its table's number.

    :param names: (parent, child) pairs, as a profile has them.
    """
    found: dict[int, tuple[Child, ...]] = {}
    for one, other in names:
        parent, child = schema.table(one), schema.table(other)
        if parent is None or child is None or (
                parent.locality != child.locality):
            # another release's tables
            continue
        for key in child.foreign_keys:
            if schema.table(key.parent) is parent and (
                    _same(key.columns, child.grouping.columns) and
                    _same(key.parent_columns, parent.key)):
                found[parent.number] = (
                    *found.get(parent.number, ()),
                    (keys.encode((child.grouping.name,)), child.number))
    return found


def _same(some: Iterable[str], others: Iterable[str]) -> bool:
    return [c.lower() for c in some] == [c.lower() for c in others]


class Memory:
    """What a process remembers of a database's reads.  Thread-safe.

    :ivar habits: what followed a statement with its parameters.
    :ivar near: what followed a statement, said by the groups that its thread
        had used before.
    :ivar recent: which those are.
    :ivar parents: the row keys of a slice whose rows lead to children.
    """

    def __init__(self) -> None:
        self.habits: Habits[Item] = Habits()
        self.near: Habits[Near] = Habits()
        self.recent = Recent()
        self.parents: Hints[tuple[Group, int], tuple[bytes, ...]] = Hints()


@dataclasses.dataclass(slots=True)
class _Leader:
    """A statement that waited for the store, and what was read since.

    :ivar key: None: a compare-and-set, whose parameters don't come again.
    :ivar groups: what the thread had used when it began.
    :ivar own: what could not be read sooner; None: nothing was read yet.
    """

    sql: str
    key: tuple[str, Parameters] | None
    groups: Groups
    items: set[Item] = dataclasses.field(default_factory=set)
    own: set[Item] | None = None


def _locality(item: Item) -> str:
    where = item if isinstance(item, IndexRead) else item[0]
    return where.locality


@dataclasses.dataclass(slots=True)
class Ahead:
    """What was read; used by one transaction.

    What is read in one round has its number.  An index entry leads to a row
    of the same round or a later one: the row may have come there since
    earlier ones, from a place where it was not found (rule 13).

    :ivar tables: which are read together; see `together`.
    :ivar children: whose groups are read with a row; see `children`.
    :ivar memory: by which what follows is expected; None: nothing is.
    :ivar slices: tables' slices of groups.
    :ivar rows: single rows; None: there is none.
    :ivar index: index slices.
    :ivar rounds: of what is above, in which it was read.
    :ivar round: the number of the last one.
    :ivar named: numbers of the tables that the running statement names.
    """

    tables: Mapping[int, frozenset[int]]
    children: Mapping[int, tuple[Child, ...]] = dataclasses.field(
        default_factory=dict)
    memory: Memory | None = None
    slices: dict[tuple[Group, int], list[Row]] = dataclasses.field(
        default_factory=dict)
    rows: dict[Place, Row | None] = dataclasses.field(default_factory=dict)
    index: dict[IndexRead, Entries] = dataclasses.field(default_factory=dict)
    rounds: dict[Item, int] = dataclasses.field(default_factory=dict)
    round: int = 0
    named: frozenset[int] = frozenset()
    #: a compare-and-set has taken its turn: all is from since then
    _turned: bool = False
    _beside: Beside | None = None
    _key: tuple[str, Parameters] | None = None
    _leaders: list[_Leader] = dataclasses.field(default_factory=list)
    _expected: frozenset[Item] = frozenset()
    _adopted: set[int] = dataclasses.field(default_factory=set)

    def statement(self, schema: Schema, names: Iterable[str],
                  key: tuple[str, Parameters] | None = None) -> None:
        """Note a statement, before it reads.

        :param names: the tables that it names.
        :param key: what habits know it by.
        """
        found = map(schema.table, names)
        self.named = frozenset(t.number for t in found if t is not None)
        self._key = key

    # --- what is read in the next round

    def widen(self, wanted: dict[Group, set[int]],
              single: dict[Place, None]) -> None:
        """Add what is used together with what is wanted.

        :param wanted: slices to be read, by group: added to.
        :param single: rows to be read: those of widened groups are taken
            out.
        """
        count = len(wanted) + len(single)
        if count > _WIDE:
            return
        for numbers in wanted.values():
            for number in tuple(numbers):
                numbers |= self._more(number, count)
        for place in tuple(single):
            self._with_children(place, wanted, count)
            more = self._more(place[1].table, count)
            if more:
                wanted.setdefault(place[0], set()).update(more)
                del single[place]
        if self.memory is None or not self.children:
            return
        for group, numbers in tuple(wanted.items()):
            for number in self.children.keys() & numbers:
                for pk in self.memory.parents.find((group, number)) or ():
                    self._with_children(
                        (group, RowKey(number, pk)), wanted, count)

    def _with_children(self, place: Place, wanted: dict[Group, set[int]],
                       groups: int) -> None:
        """Add the groups that the key of a row leads to."""
        number = place[1].table
        for prefix, child in self.children.get(number, ()):
            if groups <= _FEW or {number, child} <= self.named:
                group = Group(place[0].locality, prefix + place[1].pk)
                wanted.setdefault(group, set()).add(child)
                self._adopted.add(child)

    def _more(self, number: int, groups: int) -> frozenset[int]:
        """Return what is used together with a table of some groups."""
        found = self.tables.get(number, frozenset())
        if groups > _FEW and len(found & self.named) < 2:
            return frozenset()
        return found

    def expect(self, wanted: dict[Group, set[int]],
               single: dict[Place, None], index: Sequence[IndexRead]
               ) -> list[IndexRead]:
        """Begin a round: add what the running statement is expected to be
        followed by.

        Only of localities that are read anyway, or were just used: another
        may be cut off.

        :param wanted, single: as for `widen`.
        :param index: index slices to be read.
        :returns: index slices to be read with them.
        """
        self.round += 1
        self._expected = frozenset()
        memory = self.memory
        if memory is None or self._key is None or (
                len(self._leaders) == _LEADERS):
            return []
        key, self._key = self._key, None
        groups = memory.recent.groups()
        self._leaders.append(_Leader(key[0], key, groups))
        expected = memory.habits.expected(key)
        near = recent_module.absolute(memory.near.expected(key[0]), groups)
        if not expected and not near:
            return []
        here = {group.locality for group in wanted}
        here.update(place[0].locality for place in single)
        here.update(one.locality for one in index)
        added = []
        more = {item for item in expected if _locality(item) in here}
        more.update(near)
        more.difference_update(self.rounds)
        more.difference_update(index)
        for item in more:
            if isinstance(item, IndexRead):
                added.append(item)
            elif isinstance(item[1], RowKey):
                single[item] = None
            else:
                wanted.setdefault(item[0], set()).add(item[1])
        self._expected = frozenset(more)
        return added

    # --- what is read with the turn of a compare-and-set

    def beside(self, sql: str) -> Beside | None:
        """Return what to read with the turn of a compare-and-set.

        :param sql: its text.
        :returns: None: nothing is expected to follow.
        """
        self._beside = None
        if self.memory is not None:
            items = recent_module.absolute(
                self.memory.near.expected(sql), self.memory.recent.groups())
            if items:
                self._beside = Beside(items)
        return self._beside

    def compared(self, sql: str) -> None:
        """Forget what was read before a compare-and-set; keep what was read
        with its turn.
        """
        self.clear()
        if self.memory is not None:
            self._turned = True
            self._leaders.append(_Leader(
                sql, None, self.memory.recent.groups(), own=set()))
        beside, self._beside = self._beside, None
        if beside is None or not beside.answered:
            return
        self.round += 1
        self.rows.update(beside.rows)
        self.slices.update(beside.slices)
        self.index.update(beside.index)
        self.rounds.update(dict.fromkeys(beside.items, self.round))

    def since_turn(self, number: int) -> list[tuple[Place, Row]]:
        """Return the rows of a table that were read since the turn of a
        compare-and-set; none if there was none.
        """
        if not self._turned:
            return []
        found = [(place, row) for place, row in self.rows.items()
                 if row is not None and place[1].table == number]
        found += [((group, row.key), row)
                  for (group, table), rows in self.slices.items()
                  if table == number for row in rows]
        return found

    # --- what was read

    def keep(self, group: Group, number: int, rows: list[Row]) -> None:
        """Note a slice that was read."""
        slot = (group, number)
        if self.memory is not None and number in self.children and (
                len(rows) <= _FEW):
            self.memory.parents.note(slot, tuple(
                row.key.pk for row in rows if row.document is not None))
        if slot in self._expected or (
                (number in self.tables or number in self._adopted) and
                len(self.slices) < _KEPT):
            self.slices[slot] = rows
            self.rounds[slot] = self.round

    def keep_row(self, place: Place, row: Row | None) -> None:
        """Note a single row that was read."""
        if place in self._expected:
            self.rows[place] = row
            self.rounds[place] = self.round

    def keep_index(self, read: IndexRead, entries: Entries) -> None:
        """Note an index slice that was read."""
        if read in self._expected:
            self.index[read] = entries
            self.rounds[read] = self.round

    def entries(self, reads: Sequence[IndexRead]) -> int | None:
        """Tell whether index slices were read already, in one round.

        They show a row that was in one of them all the time only if they
        were read at once (rule 12).

        :returns: the round; None: read them now.
        """
        found = {self.rounds.get(read) for read in reads}
        return found.pop() if len(found) == 1 else None

    # --- what was used

    def used(self, known: Iterable[Item], found: Iterable[Item]) -> None:
        """Note what a wave of accesses needed.

        :param known: what was known to be needed without reading.
        :param found: what index slices led to.
        """
        if not self._leaders:
            return
        known = set(known)
        items = known.union(found)
        for leader in self._leaders:
            if leader.own is None:
                leader.own = known
            if len(leader.items) <= habits_module.WIDE:
                leader.items |= items

    def learn(self) -> None:
        """Learn from what followed the statements so far."""
        if self.memory is not None:
            for leader in self._leaders:
                if len(leader.items) <= habits_module.WIDE:
                    self._learn(self.memory, leader)
        self._leaders.clear()

    @staticmethod
    def _learn(memory: Memory, leader: _Leader) -> None:
        own = leader.own or set()
        if leader.key is not None and (
                len(own) < len(leader.items) or
                memory.habits.expected(leader.key)):
            memory.habits.learn(leader.key, leader.items)
        near = recent_module.relative(leader.items - own, leader.groups)
        if near or memory.near.expected(leader.sql):
            memory.near.learn(leader.sql, near)

    def clear(self) -> None:
        """Forget all: what follows must see the latest rows."""
        self.learn()
        self._turned = False
        for memo in (self.slices, self.rows, self.index, self.rounds):
            memo.clear()
