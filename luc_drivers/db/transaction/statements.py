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

"""One run of a transaction: its workspace, what it has loaded and touched.

Statements are run here; when the transaction begins, commits or is replayed
is the session's business.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import functools
import itertools
import os
from typing import Any
from typing import TYPE_CHECKING

from luc_drivers.db import errors
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Kind
from luc_drivers.db.planner.plan import Parameters
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.planner.plan import Plan
from luc_drivers.db.rows import Address
from luc_drivers.db.rows import RowChange
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.transaction import compare_and_set
from luc_drivers.db.transaction import foreign_keys
from luc_drivers.db.transaction import unique_keys
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.workspace.functions import Draws
from luc_drivers.db.workspace.workspace import Outcome
from luc_drivers.db.workspace.workspace import Touch
from luc_drivers.db.workspace.workspace import Workspace

if TYPE_CHECKING:
    from luc_drivers.db.engine import Database

_INNER = 'luc statement'
_WRITES = (Kind.INSERT, Kind.UPDATE, Kind.DELETE)


@dataclasses.dataclass(slots=True)
class Step:
    """A row that a statement wrote, before and after it.

    :ivar before: {column number: value}; None if there was no such row.
    :ivar moved: an UPDATE gave the row another rowid: its values there.
    """

    table: Table
    touch: Touch
    before: dict[int, Any] | None
    after: dict[int, Any] | None
    moved: dict[int, Any] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """How much had been touched and loaded when a savepoint was set."""

    name: str
    touched: int
    loaded: int


@functools.lru_cache(maxsize=4096)
def _present(table: str, columns: tuple[str, ...]) -> str:
    where = ' AND '.join(sqltext.quote(c) + ' = ?' for c in columns)
    return f'SELECT 1 FROM {sqltext.quote(table)} WHERE {where} LIMIT 1'


class Transaction:
    """Rows loaded, statements run, rows touched.

    :param enforce: check foreign keys.
    :param user: SQL functions of the connection.
    :param tables: that it will need first.
    :param alone: it is one statement, whose result nobody sees before the
        commit.
    :param own: the workspace of a connection that has temporary tables;
        None: one of the pool's.
    :ivar committed: what it did stands: temporary tables keep it, too.
    :ivar conflict: a read differs from what the caller saw; to be raised
        unless the transaction changes nothing.
    :ivar checked_keys: (index number, key) that no unloaded row has.
    :ivar holder: tells the transaction from others; see `shared_turns`.
    :ivar held: rows whose turns it has.
    """

    def __init__(self, database: 'Database', schema: Schema, enforce: bool,
                 user: dict[tuple[str, int], Any],
                 tables: Iterable[str] = (), alone: bool = False,
                 own: Workspace | None = None) -> None:
        self.database = database
        self.schema = schema
        self.enforce = enforce
        self.alone = alone
        self.holder = os.urandom(16)
        self.held: set[Place] = set()
        self.committed = False
        self.conflict: errors.WriteConflict | None = None
        self.pooled = own is None
        self.workspace = database.workspaces.take() if own is None else own
        self.workspace.functions.use(user)
        self.workspace.functions.draw_id = self._draw_id
        self.workspace.functions.draw_rowid = database.new_rowid
        self.tables: set[str] = set()
        self.savepoints: list[Mark] = []
        self.checked_keys: set[tuple[int, tuple[Any, ...]]] = set()
        self.newest: bytes = b''
        self._known: dict[str, dict[int, StoredRow]] = {}
        self._addresses: set[Any] = set()
        # None: replaced by a later one
        self._loaded: list[tuple[str, int, StoredRow] | None] = []
        self._refreshed: set[Touch] = set()
        # rows that others changed after they had been read: as first read
        self._outdated: dict[Any, bytes] = {}
        self._compared: set[Touch] = set()
        self._turns: list[Any] = []
        # touched rows, in order, and their values now
        self._images: dict[Touch, dict[int, Any] | None] = {}
        self._whole: set[int] = set()
        self._fetched: set[Any] = set()
        # of what may follow: nothing follows a statement alone
        self._ahead = None if alone else database.ahead(schema)
        # groups that the transaction found to have no root row
        self._absent: set[tuple[Any, tuple[Any, ...]]] = set()
        self.workspace.use(schema)
        # cheaper now than inside the transaction
        self.ensure(tables)
        self.workspace.begin()

    def _draw_id(self, name: str) -> int:
        return self.database.sequences.next(self.schema.tables[name].number)

    def close(self) -> None:
        """Forget everything; the workspace goes back to the pool."""
        if self.held:
            self.database.shared_turns.give(self.holder, self.held)
        while self._turns:
            self.database.turns.give(self._turns.pop())
        if self.pooled:
            self.database.workspaces.give(self.workspace)
        else:
            self.workspace.reset(keep_temporary=self.committed)

    # --- fetching

    def ensure(self, names: Iterable[str]) -> None:
        """Make tables in the workspace."""
        new = [n.lower() for n in names]
        self.workspace.ensure(self.schema, new)
        self.tables.update(new)

    def fetch(self, accesses: Sequence[BoundAccess]) -> None:
        """Load what these accesses find and what is not loaded yet."""
        wanted = [w for w in map(self.unfetched, accesses) if w is not None]
        if wanted:
            answers = self.database.reader.rows(
                self.schema, wanted, ahead=self._ahead)
            for access, rows in zip(wanted, answers):
                self.load(access.table, rows)
                self.note(access)

    def unfetched(self, access: BoundAccess) -> BoundAccess | None:
        """Return what of an access has still to be fetched."""
        table = access.table
        if table.number in self._whole:
            return None
        if access.path is Path.SCAN:
            return access
        keys = access.keys
        left = [key for key in keys if not self._has(access, key)]
        if not left:
            return None
        if len(left) < len(keys):
            return dataclasses.replace(access, keys=left)
        return access

    def _has(self, access: BoundAccess, key: tuple[Any, ...]) -> bool:
        table = access.table
        number = table.number
        if access.path is Path.INDEX:
            assert access.index is not None
            if (number, access.index.number, key, access.lower,
                    access.upper) in self._fetched:
                return True
        else:
            group = key[:len(table.grouping.columns)]
            if (number, group) in self._fetched:
                return True
            if access.path is Path.ROW and (
                    number, 'row', key) in self._fetched:
                return True
            if (self._absent and (table.grouping.name, group)
                    in self._absent and self._depends(table)):
                return True
        if access.unique and len(key) == len(access.key_columns) and (
                None not in key):
            self.ensure((table.name,))
            return bool(self.workspace.query(
                _present(table.name, access.key_columns), key))
        return False

    def note(self, access: BoundAccess) -> None:
        """Remember that an access has been fetched."""
        table = access.table
        number = table.number
        if access.path is Path.SCAN:
            self._whole.add(number)
        elif access.path is Path.INDEX:
            assert access.index is not None
            index = access.index.number
            self._fetched.update(
                (number, index, key, access.lower, access.upper)
                for key in access.keys)
        elif access.path is Path.ROW:
            self._fetched.update((number, 'row', key) for key in access.keys)
        else:
            self._fetched.update((number, key) for key in access.keys)
            if not table.grouping.columns:
                self._whole.add(number)

    def _depends(self, table: Table) -> bool:
        """Tell whether rows of a table need their group's root row."""
        if not self.enforce:
            return False
        columns = [c.lower() for c in table.grouping.columns]
        for key in table.foreign_keys:
            parent = self.schema.table(key.parent)
            if parent is not None and (
                    parent.grouping.name == table.grouping.name and
                    [c.lower() for c in key.columns] == columns and
                    [c.lower() for c in key.parent_columns] ==
                    [c.lower() for c in parent.grouping.columns]):
                return True
        return False

    # --- loading

    def load(self, table: Table, rows: Sequence[StoredRow]) -> None:
        """Put rows into the workspace, except those that it knows.

        :raises Refused: one contradicts what the transaction has read or
            written: others have committed since.
        """
        fresh = [r for r in rows if r.address not in self._addresses]
        if not fresh:
            return
        name = table.name.lower()
        self.ensure((name,))
        known = self._known.setdefault(name, {})
        pairs = []
        for row in fresh:
            rowid = self.workspace.rowid(name, row)
            if table.rowid_column is None:
                while rowid in known or not self.workspace.is_free(
                        name, rowid):
                    rowid += 1
            elif rowid in known:
                raise errors.Refused(
                    f'row {rowid} of {table.name} has moved')
            known[rowid] = row
            self._addresses.add(row.address)
            pairs.append((rowid, row))
            if row.version > self.newest:
                self.newest = row.version
        try:
            self.workspace.load(name, pairs)
        except errors.IntegrityError as exc:
            raise errors.Refused(
                f'rows read at different times do not fit together: {exc}'
                ) from exc
        self._loaded += [(name, rowid, row) for rowid, row in pairs]

    # --- savepoints

    def mark(self, name: str) -> Mark:
        """Set a savepoint in the workspace."""
        self.workspace.savepoint(name)
        return Mark(name, len(self._images), len(self._loaded))

    def undo(self, mark: Mark) -> None:
        """Roll back to a mark, and load again what was loaded since."""
        self.workspace.rollback_to(mark.name)
        self.workspace.take_touches()
        if self._refreshed:
            kept = set(itertools.islice(self._images, mark.touched))
            for touch in self._refreshed - kept:
                if self.stored(touch) is None:
                    self.workspace.forget(*touch)
        again = [one for one in self._loaded[mark.loaded:] if one]
        for name, rowid, _ in again:
            if (name, rowid) in self._refreshed:
                self.workspace.forget(name, rowid)
        for name, group in itertools.groupby(again, lambda one: one[0]):
            self.workspace.load(name, [one[1:] for one in group])

    def savepoint(self, name: str) -> None:
        """SAVEPOINT."""
        self.savepoints.append(self.mark(name))

    def _find(self, name: str) -> int:
        for place in reversed(range(len(self.savepoints))):
            if self.savepoints[place].name.lower() == name.lower():
                return place
        raise errors.OperationalError(f'no such savepoint: {name}')

    def rollback_to(self, name: str) -> None:
        """ROLLBACK TO."""
        place = self._find(name)
        del self.savepoints[place + 1:]
        mark = self.savepoints[place]
        self.undo(mark)
        while len(self._images) > mark.touched:
            self._images.popitem()
        for touch in self._images:
            self._images[touch] = self._read(touch)

    def release(self, name: str) -> None:
        """RELEASE."""
        place = self._find(name)
        self.workspace.release(self.savepoints[place].name)
        del self.savepoints[place:]

    # --- statements

    def run(self, plan: Plan, parameters: Parameters, draws: Draws
            ) -> Outcome:
        """Run a statement.

        :raises errors.Error: as SQLite words it; its effects are undone.
        :raises Refused: run the whole transaction again.
        """
        functions = self.workspace.functions
        functions.draws = draws
        draws.restart()
        self.ensure(plan.tables)
        if plan.compares or plan.lock:
            # decided on the latest rows
            self._ahead = None
        if plan.compares:
            return compare_and_set.run(self, plan, parameters, draws)
        self.fetch_waves(plan, parameters)
        if plan.kind in _WRITES:
            return self._write(plan, [parameters], draws)
        outcome = self.workspace.select(plan.sql, parameters)
        if plan.lock:
            self._lock(plan, parameters)
        return outcome

    def define(self, sql: str, query: Plan | None, parameters: Parameters,
               draws: Draws) -> Outcome:
        """Run DDL of temporary objects.

        :param query: plan of the SELECT of CREATE TABLE ... AS.
        """
        self.workspace.functions.draws = draws
        draws.restart()
        if query is not None:
            self.ensure(query.tables)
            self.fetch_waves(query, parameters)
        self.workspace.define(sql, parameters)
        return Outcome(None, [])

    def run_many(self, plan: Plan, sets: Sequence[Parameters], draws: Draws
                 ) -> Outcome:
        """Run a writing statement with many sets of parameters."""
        self.workspace.functions.draws = draws
        draws.restart()
        self.ensure(plan.tables)
        query = self.workspace.query
        if len(plan.waves) < 2 and not plan.conflict and not plan.compares:
            self.fetch(merged(
                [access.bind(parameters, query)
                 for wave in plan.waves for access in wave
                 for parameters in sets]))
            try:
                return self._write(plan, sets, draws)
            except errors.IntegrityError:
                if len(sets) == 1:
                    raise
                # so that the sets before the bad one take effect
                draws.restart()
        changes = 0
        outcome = Outcome(None, [])
        for parameters in sets:
            if plan.compares:
                outcome = compare_and_set.run(
                    self, plan, parameters, draws, restart=False)
            else:
                self.fetch_waves(plan, parameters)
                outcome = self._write(
                    plan, [parameters], draws, restart=False)
            changes += outcome.changes
        outcome.changes = changes
        return outcome

    def fetch_waves(self, plan: Plan, parameters: Parameters) -> None:
        """Load what a statement needs."""
        query = self.workspace.query
        for wave in plan.waves:
            self.fetch([a.bind(parameters, query) for a in wave])

    def take_turn(self, name: Any, seconds: float) -> None:
        """Wait for other threads' compare-and-sets; see `turns`."""
        if name not in self._turns and self.database.turns.take(
                name, seconds):
            self._turns.append(name)

    def knows(self, name: str) -> bool:
        """Tell whether any row of a table is loaded."""
        return bool(self._known.get(name))

    def stored(self, touch: Touch) -> StoredRow | None:
        """Return a row of the workspace as it was read."""
        return self._known.get(touch[0], {}).get(touch[1])

    def has_written(self, touch: Touch) -> bool:
        """Tell whether the transaction has written a row."""
        return touch in self._images

    def refresh(self, accesses: Sequence[BoundAccess],
                suspects: Iterable[StoredRow] = ()) -> set[Touch]:
        """Read rows anew; return those that others have changed since.

        :param suspects: rows of these accesses that may be gone.
        """
        changed: set[Touch] = set()
        for access, rows in zip(accesses, self.database.reader.rows(
                self.schema, accesses)):
            changed |= self._refresh(access.table, rows, [
                row.address for row in suspects
                if row.table.number == access.table.number])
        return changed

    def _refresh(self, table: Table, rows: Sequence[StoredRow],
                 suspects: Iterable[Address]) -> set[Touch]:
        """Put newer versions of loaded, unwritten rows in their place."""
        name = table.name.lower()
        there: dict[Address, StoredRow | None] = {
            row.address: row for row in rows}
        gone = set(suspects).difference(there)
        changed: set[Touch] = set()
        for place, one in enumerate(self._loaded):
            if one is None or one[0] != name or (
                    (name, one[1]) in self._images):
                continue
            row = there.get(one[2].address)
            if one[2].address in gone or (
                    row is not None and row.version > one[2].version):
                changed.add(self._forget(place))
        if changed:
            self.load(table, rows)
        return changed

    def _forget(self, place: int) -> Touch:
        """Take a loaded, unwritten row out of the workspace."""
        one = self._loaded[place]
        assert one is not None
        name, rowid, row = one
        self._loaded[place] = None
        self.workspace.forget(name, rowid)
        self._known[name].pop(rowid)
        self._addresses.discard(row.address)
        self._refreshed.add((name, rowid))
        self._outdated.setdefault(row.address, row.version)
        return name, rowid

    def renew(self) -> None:
        """Forget what was read and not written: it is read anew when it is
        needed.

        For a transaction that was told that its compare-and-set lost: what
        it reads now must not be older than what it lost to. A row that it
        has read before and then writes, without comparing it, must still be
        as at the first time: see `changes`.
        """
        for place, one in enumerate(self._loaded):
            if one is not None and one[:2] not in self._images:
                self._forget(place)
        for memo in (self._fetched, self._whole, self._absent,
                     self.checked_keys):
            memo.clear()

    def compares(self, touches: Iterable[Touch]) -> None:
        """Note rows that the caller writes because they are as it says."""
        self._compared.update(touches)

    def _lock(self, plan: Plan, parameters: Parameters) -> None:
        for table, sql in plan.lock_queries:
            name = table.lower()
            for (rowid,) in self.workspace.query(sql, parameters):
                # NULL: the other side of an outer join
                if isinstance(rowid, int) and (
                        name, rowid) not in self._images:
                    self._images[name, rowid] = self._read((name, rowid))

    def _write(self, plan: Plan, sets: Sequence[Parameters], draws: Draws,
               restart: bool = True) -> Outcome:
        outcome = self.write_rows(plan, sets, draws, restart)
        assert outcome is not None
        return outcome

    def write_rows(self, plan: Plan, sets: Sequence[Parameters],
                   draws: Draws, restart: bool = True,
                   confirm: Callable[[list[Step]], bool] | None = None
                   ) -> Outcome | None:
        """Run a statement that writes, with each set of parameters.

        :param confirm: asked, when all else is well, whether the rows may be
            written.
        :returns: None: they may not; the statement is undone.
        """
        workspace = self.workspace
        while True:
            if restart:
                draws.restart()
            mark = self.mark(_INNER)
            try:
                changes = 0
                for parameters in sets:
                    outcome = workspace.change(plan.sql, parameters)
                    changes += outcome.changes
                outcome.changes = changes
                steps = self._steps(plan)
                clash = self._check(steps)
                if clash is None and confirm is not None and (
                        not confirm(steps)):
                    self._undo_statement(mark)
                    return None
                if clash is None:
                    if self.enforce:
                        foreign_keys.follow(self, steps)
                    workspace.release(_INNER)
                    return outcome
            except errors.IntegrityError:
                if not workspace.db.in_transaction:
                    # OR ROLLBACK
                    raise
                self._undo_statement(mark)
                if not self._upsert_needs_all(plan):
                    raise
                continue
            except BaseException:
                if workspace.db.in_transaction:
                    self._undo_statement(mark)
                raise
            self._undo_statement(mark)
            for table, rows in clash:
                self.load(table, rows)

    def _upsert_needs_all(self, plan: Plan) -> bool:
        """Load the whole target of an upsert that failed.

        A row that is not loaded may match the conflict target, which SQLite
        looks at before other keys; the failed statement does not tell the
        values to look for.

        :returns: False if there is nothing to load.
        """
        table = self.schema.table(plan.target or '')
        if not plan.conflict or plan.replaces or table is None:
            return False
        access = self.unfetched(BoundAccess(table, Path.SCAN, []))
        if access is None:
            return False
        self.fetch([access])
        return True

    def _undo_statement(self, mark: Mark) -> None:
        self.undo(mark)
        self.workspace.release(_INNER)
        while len(self._images) > mark.touched:
            self._images.popitem()
        for touch in self._images:
            self._images[touch] = self._read(touch)

    def write(self, table: Table, sql: str, parameters: Parameters
              ) -> list[Step]:
        """Run a statement of our own (an action of a foreign key)."""
        self.workspace.change(sql, parameters)
        return self._record(self.workspace.take_touches())

    def _read(self, touch: Touch) -> dict[int, Any] | None:
        name, rowid = touch
        values = self.workspace.read(name, rowid)
        if values is None:
            return None
        return dict(zip(self.workspace.layout(name).numbers, values))

    def _before(self, touch: Touch) -> dict[int, Any] | None:
        """Return a row as it was before the statement now recorded."""
        if touch in self._images:
            return self._images[touch]
        row = self._known.get(touch[0], {}).get(touch[1])
        return None if row is None else row.values

    def _record(self, touches: Iterable[Touch]) -> list[Step]:
        steps = []
        for touch in touches:
            before, after = self._before(touch), self._read(touch)
            if before is None and after is None:
                continue
            self._images[touch] = after
            steps.append(Step(
                self.schema.tables[touch[0]], touch, before, after))
        return steps

    def _steps(self, plan: Plan) -> list[Step]:
        touches = self.workspace.take_touches()
        target = (plan.target or '').lower()
        if target not in self.schema.tables:
            # a temporary table
            return self._record(touches)
        silent = plan.replaces or (plan.kind is Kind.DELETE and not touches)
        if plan.kind is Kind.UPDATE and self.schema.tables[
                target].rowid_column:
            # an UPDATE of the rowid tells the new one only
            silent = silent or any(
                self._before(t) is None for t in touches)
        if silent and target:
            touches += self._vanished(target, touches)
        steps = self._record(touches)
        if plan.replaces and plan.kind is Kind.INSERT:
            # the row in place was deleted, with what follows from that
            return [part for s in steps for part in (
                (dataclasses.replace(s, after=None),
                 dataclasses.replace(s, before=None))
                if s.before is not None and s.after is not None else (s,))]
        if silent and plan.kind is Kind.UPDATE:
            gone = [s for s in steps if s.after is None]
            came = [s for s in steps if s.before is None]
            if len(gone) == len(came):
                # SQLite moves them in this order
                for old, new in zip(gone, came):
                    old.moved = new.after
        return steps

    def _vanished(self, name: str, touches: Iterable[Touch]) -> list[Touch]:
        """Return rows that are gone without having been reported."""
        there = {(name, rowid) for rowid in self.workspace.rowids(name)}
        reported = set(touches)
        known = {(name, rowid): None for rowid in self._known.get(name, ())}
        known.update({t: None for t in self._images if t[0] == name})
        return [t for t in known if t not in there and t not in reported and
                self._before(t) is not None]

    def is_generated(self, step: Step) -> bool:
        """Tell whether a row's id was drawn from the sequence."""
        return (step.table.rowid_column is not None and
                step.touch in self.workspace.functions.drawn)

    def _check(self, steps: list[Step]
               ) -> list[tuple[Table, list[StoredRow]]] | None:
        """Look for what a statement must not have done.

        :returns: None if all is well; rows to be loaded, before the
            statement is run again, if not.
        :raises IntegrityError: a parent row is missing.
        """
        lookups = unique_keys.lookups(self, steps)
        wanted = foreign_keys.needs(self, steps) if self.enforce else []
        parents = [
            w for w in (self.unfetched(n.access()) for n in wanted)
            if w is not None]
        accesses = [*(one.access for one in lookups), *parents]
        if accesses:
            answers = self.database.reader.rows(self.schema, accesses)
            clash = []
            for lookup, rows in zip(lookups, answers):
                found = [r for r in lookup.clashing(rows)
                         if r.address not in self._addresses]
                if found:
                    clash.append((lookup.table, found))
                else:
                    self._found_none(lookup, rows)
            if clash:
                return clash
            for access, rows in zip(parents, answers[len(lookups):]):
                self.load(access.table, rows)
                self.note(access)
        foreign_keys.require(self, wanted)
        return None

    def _found_none(self, lookup: unique_keys.Lookup,
                    rows: list[StoredRow]) -> None:
        self.checked_keys.add((lookup.index.number, lookup.key))
        table = lookup.table
        columns = table.grouping.columns
        if not rows and columns and {
                c.lower() for c in columns} == {
                c.lower() for c in lookup.index.unique_columns}:
            given = dict(zip(
                [c.lower() for c in lookup.index.unique_columns],
                lookup.key))
            self._absent.add((table.grouping.name, tuple(
                given[c.lower()] for c in columns)))

    # --- what to commit

    def changes(self) -> list[RowChange]:
        """Return the rows to be written.

        :raises Refused: others have changed one since it was first read
            (first committer wins).
        """
        drawn = self.workspace.functions.drawn
        found = []
        for touch, image in self._images.items():
            name, rowid = touch
            old = self._known.get(name, {}).get(rowid)
            if old is None and image is None:
                continue
            table = self.schema.tables[name]
            if old is not None and self._outdated.get(
                    old.address, old.version) != old.version and (
                        touch not in self._compared):
                raise errors.Refused(
                    f'a row of {table.name} was changed by others after '
                    'this transaction had read it')
            new = image
            if image is not None and old is not None:
                # also columns that only a newer catalog knows
                new = {**old.values, **image}
            own = table.rowid_column is not None
            found.append(RowChange(
                table, old, new,
                generated=own and touch in drawn,
                created=rowid if not own and old is None and
                ('', rowid) in drawn else None))
        return found

    def parents(self, changes: Iterable[RowChange]) -> list[StoredRow]:
        """Return loaded rows that may be parents of changed rows."""
        names = {key.parent.lower() for change in changes
                 for key in change.table.foreign_keys}
        return [row for name in names
                for row in self._known.get(name, {}).values()]


def merged(accesses: Sequence[BoundAccess]) -> list[BoundAccess]:
    """Put accesses that differ only in their keys together."""
    found: dict[Any, BoundAccess] = {}
    for access in accesses:
        name = (access.table.number, access.path, access.unique,
                access.index and access.index.number, access.lower,
                access.upper, access.key_columns)
        first = found.get(name)
        if first is None:
            found[name] = access
        else:
            have = set(first.keys)
            first.keys.extend(k for k in access.keys if k not in have)
    return list(found.values())
