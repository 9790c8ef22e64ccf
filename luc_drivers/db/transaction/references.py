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

"""Foreign keys at commit time (rule 25).

The session has checked every statement; what is left is the race with
transactions that commit at the same time: a child is inserted while its
parent is deleted elsewhere.  One of the two must see the other:

* a child writes its index entries, *then* looks at its parent, which must be
  there and unlocked;
* a deleter locks the parent, *then* looks for children.  An entry that leads
  to no child may be of a child about to come: its row gets a new version (or
  a tombstone), so that whoever based a commit on the old one is refused, and
  sees the lock when it begins again;
* a parent in the child's own group is a condition of the child's batch;
* where the child's table has no entries to be found by, the child's
  transaction writes the parent, too, without changing it.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import enum

from luc_drivers.db import errors
from luc_drivers.db import keys
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog.schema import ForeignKey
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.planner.plan import SQLValue
from luc_drivers.db.rows import RowChange
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import Row
from luc_drivers.db.transaction import changes as changes_module
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.changes import Plan
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.hooks import step
from luc_drivers.db.transaction.reader import Reader
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.transaction.resolve import place_reads
from luc_drivers.db.transaction.resolve import write_all
from luc_drivers.db.transaction.writes import Intent

Key = tuple[SQLValue, ...]


def access(table: Table, columns: Sequence[str], values: Key) -> BoundAccess:
    """Return how to find the rows with these values of these columns."""
    given = {c.lower(): v for c, v in zip(columns, values)}

    def covered(names: Iterable[str]) -> bool:
        return all(n.lower() in given for n in names)

    def key(names: Iterable[str]) -> Key:
        return tuple(given[n.lower()] for n in names)

    grouping = table.grouping.columns
    if covered(grouping):
        if table.key and covered(table.key):
            return BoundAccess(table, Path.ROW,
                               [key((*grouping, *table.key))])
        return BoundAccess(table, Path.GROUP, [key(grouping)])
    best, most = None, 0
    for index in table.indexes:
        if not (index.entries and index.public):
            continue
        length = 0
        while (length < len(index.columns) and
               index.columns[length].lower() in given):
            length += 1
        if length > most:
            best, most = index, length
    if best is not None:
        return BoundAccess(table, Path.INDEX, [key(best.columns[:most])],
                           index=best)
    return BoundAccess(table, Path.SCAN, [])


def matches(table: Table, columns: Sequence[str], values: Key
            ) -> Callable[[bytes], bool]:
    """Return a test of documents: whether they have these values."""
    wanted = _encoded(table, columns, values)

    def test(doc: bytes) -> bool:
        found = address.pick(table, columns, changes_module.values_of(doc))
        return keys.encode(found) == wanted

    return test


@dataclasses.dataclass(slots=True)
class ParentCheck:
    """A child that a transaction writes, and the parent it must have."""

    child: Table
    where: Group
    key: ForeignKey
    parent: Table
    values: Key


@dataclasses.dataclass(slots=True)
class ChildCheck:
    """A parent that goes, and the children it must not have."""

    parent: Table
    place: Place
    child: Table
    key: ForeignKey
    values: Key


def _key_of(table: Table, columns: Sequence[str],
            values: Mapping[int, SQLValue] | None) -> Key | None:
    """Return a row's values of a key; None if there is no row or a NULL."""
    if values is None:
        return None
    key = address.pick(table, columns, values)
    return None if None in key else key


class _Given:
    """The keys that changed rows have after a commit, each table's once."""

    def __init__(self, changes: Sequence[RowChange]) -> None:
        self._changes = changes
        self._keys: dict[tuple[int, tuple[str, ...]], set[Key]] = {}

    def keys(self, table: Table, columns: tuple[str, ...]) -> set[Key]:
        """Return the values of these columns, of rows without a NULL."""
        name = table.number, columns
        found = self._keys.get(name)
        if found is None:
            found = self._keys[name] = {
                key for change in self._changes
                if change.table.number == table.number and (
                    key := _key_of(table, columns, change.new)) is not None}
        return found


def parent_checks(schema: Schema, changes: Sequence[RowChange], site: str
                  ) -> list[ParentCheck]:
    """Return what must be checked for children that come or change."""
    checks = []
    given = _Given(changes)
    for change in changes:
        for key in change.table.foreign_keys:
            values = _key_of(change.table, key.columns, change.new)
            if values is None:
                continue
            if change.old is not None and values == _key_of(
                    change.table, key.columns, change.old.values):
                continue
            parent = schema.table(key.parent)
            if parent is None:
                raise errors.OperationalError(
                    f'no such table: {key.parent}')
            if address.fold(parent, key.parent_columns, values) in (
                    given.keys(parent, key.parent_columns)):
                continue
            assert change.new is not None
            where = address.address(
                change.table, change.new,
                change.created or 0 if change.old is None
                else change.old.created,
                address.locality(change.table, site) if change.old is None
                else change.old.address.group.locality)
            checks.append(ParentCheck(
                change.table, where.group, key, parent, values))
    return checks


def child_checks(schema: Schema, changes: Sequence[RowChange]
                 ) -> list[ChildCheck]:
    """Return what must be checked for parents that go or change."""
    checks = []
    given = _Given(changes)
    for change in changes:
        if change.old is None or not change.table.referenced_by:
            continue
        for name, key in change.table.referenced_by:
            before = _key_of(
                change.table, key.parent_columns, change.old.values)
            if before is None or before in given.keys(
                    change.table, key.parent_columns):
                continue
            child = schema.table(name)
            if child is not None:
                checks.append(ChildCheck(
                    change.table,
                    (change.old.address.group, change.old.address.key),
                    child, key, before))
    return checks


class Children(enum.Enum):
    """What a deleter found."""

    NONE = 'none'
    #: a child's state isn't decided yet: look again later
    BUSY = 'busy'


@dataclasses.dataclass(slots=True)
class Found:
    """The answer of a look for children.

    :ivar busy: the rows that are not decided yet.
    """

    children: Children
    busy: list[Place] = dataclasses.field(default_factory=list)


def _encoded(table: Table, columns: Sequence[str], values: Key) -> bytes:
    return keys.encode(address.fold(table, columns, values))


class _Parents:
    """Rows at hand, by the keys that children have of them.

    :param rows: of each table, by its number.
    """

    def __init__(self, rows: Mapping[int, Sequence[StoredRow]]) -> None:
        self._rows = rows
        self._found: dict[tuple[int, tuple[str, ...]],
                          dict[bytes, StoredRow]] = {}

    def find(self, check: ParentCheck) -> StoredRow | None:
        """Return the parent that a child must have."""
        columns = check.key.parent_columns
        name = check.parent.number, columns
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = {}
            for row in self._rows.get(check.parent.number, ()):
                found.setdefault(keys.encode(address.pick(
                    check.parent, columns, row.values)), row)
        return found.get(_encoded(check.parent, columns, check.values))


class _Children:
    """Rows that may reference parents which are to go."""

    def __init__(self, rows: Mapping[Place, Row]) -> None:
        self._documents: dict[int, list[bytes]] = {}
        for place, row in rows.items():
            if row.document is not None:
                self._documents.setdefault(place[1].table, []).append(
                    row.document)
        self._found: dict[tuple[int, tuple[str, ...]], set[bytes]] = {}

    def reference(self, check: ChildCheck) -> bool:
        """Tell whether one of them references the parent."""
        columns = check.key.columns
        name = check.child.number, columns
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = {
                keys.encode(address.pick(
                    check.child, columns, changes_module.values_of(doc)))
                for doc in self._documents.get(check.child.number, ())}
        return _encoded(check.child, columns, check.values) in found


class References:
    """Checks foreign keys of one commit against the store."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self.reader = reader
        self.store = reader.store
        self.clock = clock
        self.bounds = reader.bounds

    # --- the child's side

    def join(self, schema: Schema, plan: Plan, checks: Sequence[ParentCheck],
             known: Iterable[StoredRow]) -> list[tuple[Place, Intent]]:
        """Find the parents; make conditions of those that can be one.

        Adds intents to ``plan``.

        :param known: rows that the session has at hand.
        :returns: what is left to be looked at after the index entries are
            written: places, and an intent that says what must be there.
        :raises Refused: a parent is not there any more.
        """
        if not checks:
            return []
        hints: dict[int, list[StoredRow]] = {}
        for one in known:
            hints.setdefault(one.table.number, []).append(one)
        parents = self._parents(schema, checks, hints)
        later: dict[Place, Intent] = {}
        for check, row in zip(checks, parents):
            if row is None:
                raise errors.Refused(self._gone(check))
            place = (row.address.group, row.address.key)
            there = plan.intents.get(place)
            if there is not None:
                if there.document is None:
                    raise errors.Refused(self._gone(check))
                continue
            intent = Intent(
                *place, Expect.VERSION, row.version, row.history,
                row.document,
                valid=matches(check.parent, check.key.parent_columns,
                              check.values),
                label=check.parent.name)
            if place[0] == check.where:
                intent.check = True
                plan.intents[place] = intent
            elif self._hidden(check):
                plan.intents[place] = intent
            else:
                later[place] = intent
        return list(later.items())

    @staticmethod
    def _gone(check: ParentCheck) -> str:
        return (f'the row of {check.parent.name} that a row of '
                f'{check.child.name} references is gone')

    @staticmethod
    def _hidden(check: ParentCheck) -> bool:
        """Tell whether no index entry says that a child is coming."""
        way = access(check.child, check.key.columns, check.values)
        return way.path is Path.GROUP or (
            way.path is Path.SCAN and way.table.scan_index is None)

    def _parents(self, schema: Schema, checks: Sequence[ParentCheck],
                 hints: Mapping[int, list[StoredRow]]
                 ) -> list[StoredRow | None]:
        known = _Parents(hints)
        found = [known.find(check) for check in checks]
        missing = [n for n, row in enumerate(found) if row is None]
        if missing:
            answers = self.reader.rows(schema, [
                access(checks[n].parent, checks[n].key.parent_columns,
                       checks[n].values) for n in missing])
            for n, rows in zip(missing, answers):
                found[n] = _Parents({checks[n].parent.number: rows}).find(
                    checks[n])
        return found

    def confirm(self, later: Sequence[tuple[Place, Intent]],
                priority: bytes, deadline: float) -> None:
        """Look whether parents in other groups are there and unlocked.

        An ordinary read will do: a deleter goes on only after its lock is
        on a quorum.

        :raises Refused: one is not.
        """
        if not later:
            return
        rows = self.reader.resolver.unlocked(
            [place for place, _ in later], priority, deadline, serial=False)
        step('references:parents-read')
        for place, intent in later:
            row = rows[place]
            assert intent.valid is not None
            if (row is None or row.document is None or
                    not intent.valid(row.document)):
                raise errors.Refused(
                    f'a row of {intent.label} that is referenced is gone')

    # --- the parent's side

    def children(self, plan: Plan, checks: Sequence[ChildCheck]) -> Found:
        """Look for children of locked parents that are about to go.

        :raises Refused: there is one.
        """
        ways = [access(c.child, c.key.columns, c.values) for c in checks]
        located = self.reader.places(ways)
        step('references:children-located')
        reads = [GroupRead(group, (check.child.number,))
                 for check, (groups, _) in zip(checks, located)
                 for group in groups]
        reads += place_reads(p for _, places in located for p in places)
        rows: dict[Place, Row] = {}
        for read, answer in zip(reads, self.store.read(reads)):
            rows.update(((read.group, row.key), row) for row in answer)
        step('references:children-read')
        busy = [place for place, row in rows.items()
                if row.lock is not None and place not in plan.intents]
        if busy:
            return Found(Children.BUSY, busy)
        doubtful: dict[Place, Row | None] = {}
        there = _Children({place: row for place, row in rows.items()
                           if place not in plan.intents})
        for check, (_, places) in zip(checks, located):
            if there.reference(check):
                raise errors.Refused(
                    f'a row of {check.child.name} references the row of '
                    f'{check.parent.name} that is to go')
            doubtful.update(
                (place, rows.get(place)) for place in places
                if place[0] != check.place[0] and
                place not in plan.intents)
        return self._supersede(doubtful)

    def _supersede(self, doubtful: Mapping[Place, Row | None]) -> Found:
        """Give rows new versions: commits based on the old ones fail."""
        if not doubtful:
            return Found(Children.NONE)
        txid = self.clock.new_id(
            row.version for row in doubtful.values() if row is not None)
        intents = []
        for place, row in doubtful.items():
            intent = Intent(*place, Expect.ABSENT, fresh=True)
            if row is not None and row.version is not None:
                intent = Intent(*place, Expect.VERSION, row.version,
                                row.history, row.document, row.moved_to)
            intents.append(intent)
        groups = writes.by_group(intents)
        outcomes = write_all(self.store, [
            writes.batch(group, *(
                writes.change(i, txid, self.bounds.tombstone_ttl)
                for i in members))
            for group, members in groups.items()])
        step('references:superseded')
        busy = [(i.group, i.key)
                for outcome, members in zip(outcomes, groups.values())
                if outcome is not Outcome.APPLIED for i in members]
        return Found(Children.BUSY if busy else Children.NONE, busy)
