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
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import os
from typing import Any
from typing import TYPE_CHECKING

from luc_drivers.db import errors
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Kind
from luc_drivers.db.planner.plan import Parameters
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.planner.plan import Plan
from luc_drivers.db.rows import RowChange
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.transaction import compare_and_set
from luc_drivers.db.transaction import foreign_keys
from luc_drivers.db.transaction import paging
from luc_drivers.db.transaction import unique_keys
from luc_drivers.db.transaction.fetched import Fetched
from luc_drivers.db.transaction.fetched import merged
from luc_drivers.db.transaction.loaded import Loaded
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.transaction.written import Step
from luc_drivers.db.transaction.written import Written
from luc_drivers.db.workspace.functions import Draws
from luc_drivers.db.workspace.workspace import Outcome
from luc_drivers.db.workspace.workspace import Touch
from luc_drivers.db.workspace.workspace import Workspace

if TYPE_CHECKING:
    from luc_drivers.db.engine import Database

_INNER = 'luc statement'
_WRITES = (Kind.INSERT, Kind.UPDATE, Kind.DELETE)
#: parameters of a statement that is remembered
_KEYED = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """How much had been written and loaded when a savepoint was set.

    :ivar written: rows, and
    :ivar writes: how often one was.
    """

    name: str
    written: int
    writes: int
    loaded: int


def _key(plan: Plan, parameters: Parameters | None
         ) -> tuple[str, Parameters] | None:
    """Return what a statement is known by; None: it isn't remembered.

    What writes seldom comes again with the same values; long lists of keys
    neither, and they would take much memory.
    """
    if plan.kind is not Kind.SELECT or parameters is None or (
            len(parameters) > _KEYED):
        return None
    if isinstance(parameters, Mapping):
        key = plan.sql, tuple(sorted(parameters.items()))
    else:
        key = plan.sql, tuple(parameters)
    try:
        hash(key)
    except TypeError:
        # a bytearray, say
        return None
    return key


class Transaction:
    """Statements run on rows that are fetched for them.

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
    :ivar recounted: a replayed statement changed another number of rows,
        which the caller had not looked at.
    :ivar loaded: rows of the store in the workspace.
    :ivar fetched: what need not be fetched again.
    :ivar written: rows to be committed.
    :ivar holder: tells the transaction from others; see `shared_turns`.
    :ivar held: rows whose turns it has.
    :ivar ahead: what was read ahead; None: nothing is.
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
        self.recounted = False
        self.pooled = own is None
        self.workspace = database.workspaces.take() if own is None else own
        self.workspace.functions.use(user)
        self.workspace.functions.draw_id = self._draw_id
        self.workspace.functions.draw_rowid = database.new_rowid
        self.loaded = Loaded(schema, self.workspace)
        self.fetched = Fetched(schema, enforce, self.loaded.present)
        self.written = Written(self.loaded)
        self.savepoints: list[Mark] = []
        self._turns: list[Any] = []
        # of what may follow: nothing follows a statement alone
        self.ahead = None if alone else database.ahead(schema)
        # the running statement must see the latest rows
        self._latest = False
        self.workspace.use(schema)
        # cheaper now than inside the transaction
        self.loaded.ensure(tables)
        self.workspace.begin()

    def _draw_id(self, name: str) -> int:
        return self.database.sequences.next(self.schema.tables[name].number)

    def close(self) -> None:
        """Forget everything; the workspace goes back to the pool."""
        if self.ahead is not None:
            self.ahead.learn()
        if self.held:
            self.database.shared_turns.give(self.holder, self.held)
        while self._turns:
            self.database.turns.give(self._turns.pop())
        if self.pooled:
            self.database.workspaces.give(self.workspace)
        else:
            self.workspace.reset(keep_temporary=self.committed)

    # --- fetching

    def fetch(self, accesses: Sequence[BoundAccess]) -> None:
        """Load what these accesses find and what is not loaded yet."""
        wanted = [w for w in map(self.fetched.left, accesses) if w is not None]
        for access, rows, complete in paging.fetch(
                self.database.reader, self.schema, wanted,
                None if self._latest else self.ahead, self.workspace.query):
            self.loaded.load(access.table, rows)
            if complete:
                self.fetched.note(access)

    # --- savepoints

    def mark(self, name: str) -> Mark:
        """Set a savepoint in the workspace."""
        self.workspace.savepoint(name)
        return Mark(name, len(self.written), self.written.writes,
                    len(self.loaded))

    def undo(self, mark: Mark) -> None:
        """Roll back to a mark, and load again what was loaded since."""
        self.workspace.rollback_to(mark.name)
        self.workspace.take_touches()
        self.loaded.again(mark.loaded, self.written.first(mark.written))
        self.written.cut(mark.written, mark.writes)

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
        self.undo(self.savepoints[place])

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
        self.loaded.ensure(plan.tables)
        with self._reading(plan, parameters):
            if plan.compares:
                return compare_and_set.run(self, plan, parameters, draws)
            self.fetch_waves(plan, parameters)
            if plan.kind in _WRITES:
                return self._write(plan, [parameters], draws)
            outcome = self.workspace.select(plan.sql, parameters)
            if plan.lock:
                self._lock(plan, parameters)
            return outcome

    @contextlib.contextmanager
    def _reading(self, plan: Plan, parameters: Parameters | None = None
                 ) -> Iterator[None]:
        """Say what a statement may take from what was read ahead.

        What locks or compares is decided on the latest rows, and what
        follows sees nothing older.
        """
        ahead = self.ahead
        if ahead is None:
            yield
        elif plan.compares or plan.lock:
            self._latest = True
            try:
                yield
            finally:
                self._latest = False
                if plan.compares:
                    ahead.compared(plan.sql)
                else:
                    ahead.clear()
        else:
            ahead.statement(self.schema, plan.tables,
                            _key(plan, parameters))
            yield

    def define(self, sql: str, query: Plan | None, parameters: Parameters,
               draws: Draws) -> Outcome:
        """Run DDL of temporary objects.

        :param query: plan of the SELECT of CREATE TABLE ... AS.
        """
        self.workspace.functions.draws = draws
        draws.restart()
        if query is not None:
            self.loaded.ensure(query.tables)
            self.fetch_waves(query, parameters)
        self.workspace.define(sql, parameters)
        return Outcome(None, [])

    def run_many(self, plan: Plan, sets: Sequence[Parameters], draws: Draws
                 ) -> Outcome:
        """Run a writing statement with many sets of parameters."""
        self.workspace.functions.draws = draws
        draws.restart()
        self.loaded.ensure(plan.tables)
        with self._reading(plan):
            return self._run_many(plan, sets, draws)

    def _run_many(self, plan: Plan, sets: Sequence[Parameters], draws: Draws
                  ) -> Outcome:
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
        """Wait for other threads' transactions; see `turns`."""
        if name not in self._turns and self.database.turns.take(
                name, seconds):
            self._turns.append(name)

    def refresh(self, accesses: Sequence[BoundAccess],
                suspects: Iterable[StoredRow] = ()) -> set[Touch]:
        """Read rows anew; return those that others have changed since.

        :param suspects: rows of these accesses that may be gone.
        """
        changed: set[Touch] = set()
        for access, rows in zip(accesses, self.database.reader.rows(
                self.schema, accesses)):
            changed |= self.loaded.refresh(access.table, rows, [
                row.address for row in suspects
                if row.table.number == access.table.number], self.written)
        return changed

    def renew(self) -> None:
        """Forget what was read and not written: it is read anew when it is
        needed.

        For a transaction that was told that its compare-and-set lost: what
        it reads now must not be older than what it lost to. A row that it
        has read before and then writes, without comparing it, must still be
        as at the first time: see `Written.changes`.
        """
        self.loaded.forget(self.written)
        self.fetched.clear()

    def _lock(self, plan: Plan, parameters: Parameters) -> None:
        for table, sql in plan.lock_queries:
            name = table.lower()
            for (rowid,) in self.workspace.query(sql, parameters):
                # NULL: the other side of an outer join
                if isinstance(rowid, int):
                    self.written.lock((name, rowid))

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
                steps = self.written.steps(plan)
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
                self.loaded.load(table, rows)

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
        access = self.fetched.left(BoundAccess(table, Path.SCAN, []))
        if access is None:
            return False
        self.fetch([access])
        return True

    def _undo_statement(self, mark: Mark) -> None:
        self.undo(mark)
        self.workspace.release(_INNER)

    def write(self, table: Table, sql: str, parameters: Parameters
              ) -> list[Step]:
        """Run a statement of our own (an action of a foreign key)."""
        self.workspace.change(sql, parameters)
        return self.written.record(self.workspace.take_touches())

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
        unique_keys.take_turns(self, lookups)
        wanted = foreign_keys.needs(self, steps) if self.enforce else []
        parents = [
            w for w in (self.fetched.left(n.access()) for n in wanted)
            if w is not None]
        accesses = [*(one.access for one in lookups), *parents]
        if accesses:
            answers = self.database.reader.rows(self.schema, accesses)
            clash = []
            for lookup, rows in zip(lookups, answers):
                found = [r for r in lookup.clashing(rows)
                         if r.address not in self.loaded]
                if found:
                    clash.append((lookup.table, found))
                else:
                    self.fetched.note_none(
                        lookup.table, lookup.index, lookup.key, not rows)
            if clash:
                return clash
            for access, rows in zip(parents, answers[len(lookups):]):
                self.loaded.load(access.table, rows)
                self.fetched.note(access)
        foreign_keys.require(self, wanted)
        return None

    # --- what to commit

    def parents(self, changes: Iterable[RowChange]) -> list[StoredRow]:
        """Return loaded rows that may be parents of changed rows."""
        names = {key.parent.lower() for change in changes
                 for key in change.table.foreign_keys}
        return [row for name in names
                for row in self.loaded.rows(name).values()]
