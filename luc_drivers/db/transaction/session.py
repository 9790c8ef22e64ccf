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

"""A connection's transactions: begin, statements, savepoints, DDL, commit.

Transactions begin and end as those of the sqlite3 module: outside of one,
each statement is a transaction of its own, and can be run again as often as
conflicts ask for, since nobody has seen a result yet.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import logging
import re
from typing import Any
from typing import TYPE_CHECKING

from luc_drivers.db import errors
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.planner import planner
from luc_drivers.db.planner.plan import Kind
from luc_drivers.db.planner.plan import Parameters
from luc_drivers.db.planner.plan import Plan
from luc_drivers.db.transaction import commit
from luc_drivers.db.transaction import newer
from luc_drivers.db.transaction import pragmas
from luc_drivers.db.transaction import rebuild
from luc_drivers.db.transaction import temporary
from luc_drivers.db.transaction import unknown
from luc_drivers.db.transaction.replay import Attempts
from luc_drivers.db.transaction.replay import differs
from luc_drivers.db.transaction.replay import Entry
from luc_drivers.db.transaction.statements import Transaction
from luc_drivers.db.transaction.temporary import Temporary
from luc_drivers.db.workspace.workspace import Outcome

if TYPE_CHECKING:
    from luc_drivers.db.engine import Database

LOG = logging.getLogger(__name__)

_WRITES = (Kind.INSERT, Kind.UPDATE, Kind.DELETE)
_NOTHING = Outcome(None, [])
_DDL = re.compile(r'\s*(?:CREATE|ALTER|DROP)\s', re.I)


class Session:
    """Statements of one connection, one after the other.

    :param database: of this process.
    :param foreign_keys: whether they are checked at first; a PRAGMA may
        change it.
    :ivar functions: the connection's SQL functions.
    :ivar total_changes: rows changed so far.
    """

    def __init__(self, database: 'Database', foreign_keys: bool = True
                 ) -> None:
        self.database = database
        self.foreign_keys = foreign_keys
        self.functions: dict[tuple[str, int], Callable[..., Any]] = {}
        self.total_changes = 0
        self._open = False
        # SAVEPOINT outside of a transaction began it: its RELEASE ends it
        self._outermost = False
        self._run: Transaction | None = None
        self._log: list[Entry] = []
        # lost to another transaction: only ROLLBACK is left
        self._lost: errors.WriteConflict | None = None
        self._temporary = Temporary()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._open

    # --- statements

    def execute(self, sql: str, parameters: Parameters = (),
                implicit: bool = False) -> tuple[Plan, Outcome]:
        """Run a statement.

        :param implicit: begin a transaction before a statement that writes,
            if none is open (isolation_level other than None).
        :raises errors.Error: as PEP 249 has them, worded as sqlite3's.
        """
        plan = self._plan(sql)
        kind = plan.kind
        if kind is Kind.SELECT or kind in _WRITES:
            return plan, self._data(plan, Entry(sql, parameters), implicit)
        if kind is Kind.SCHEMA:
            return plan, self._schema(sql, parameters)
        if kind is Kind.DDL:
            self._ddl(sql, parameters)
        else:
            self._control(plan)
        return plan, _NOTHING

    def execute_many(self, sql: str, sets: Sequence[Parameters],
                     implicit: bool = False) -> tuple[Plan, Outcome]:
        """Run a writing statement with many sets of parameters."""
        plan = self._plan(sql)
        if plan.kind not in _WRITES or plan.returning:
            raise errors.ProgrammingError(
                'executemany() can only execute DML statements.')
        if not sets:
            return plan, Outcome(None, [], 0)
        return plan, self._data(plan, Entry(sql, sets=sets), implicit)

    def _plan(self, sql: str) -> Plan:
        if _DDL.match(sql):
            # says all; planners keep plans by schema, and DDL changes it
            return Plan(Kind.DDL, sql)
        run = self._run
        schema = run.schema if run is not None else self._schema_now()
        return planner.plan(sql, (), schema)

    def _schema_now(self) -> Schema:
        return self._temporary.over(self.database.catalog.current())

    def _data(self, plan: Plan, entry: Entry, implicit: bool) -> Outcome:
        if implicit and not self._open and (
                plan.kind in _WRITES or plan.lock):
            self._begin()
        with self._counted(entry.sql):
            if self._open:
                outcome = self._inside(entry)
            else:
                outcome = self._alone(entry)
        if outcome.changes > 0 and plan.kind in _WRITES:
            self.total_changes += outcome.changes
        return outcome

    @contextlib.contextmanager
    def _counted(self, what: str) -> Iterator[None]:
        """Log what a statement cost the store (level debug)."""
        here = self.database.store.here
        rounds, requests = here.rounds, here.requests
        yield
        if LOG.isEnabledFor(logging.DEBUG):
            # in one line, as SQLAlchemy's statements are not
            LOG.debug('%d rounds, %d requests: %s', here.rounds - rounds,
                      here.requests - requests, ' '.join(what.split()))

    def _schema(self, sql: str, parameters: Parameters) -> Outcome:
        setting = pragmas.foreign_keys(sql)
        if setting is not None:
            if setting != '':
                # without effect inside a transaction, as in SQLite
                if not self._open:
                    self.foreign_keys = pragmas.flag(setting)
                return _NOTHING
            return Outcome(('foreign_keys',), [(int(self.foreign_keys),)])
        description, rows = self.database.catalog.query(
            sql, parameters, self._temporary.texts())
        if not description:
            return Outcome(None, list(rows))
        return Outcome(tuple(c[0] for c in description), list(rows))

    # --- a statement inside a transaction, and alone

    def _inside(self, entry: Entry) -> Outcome:
        if self._lost is not None:
            raise errors.WriteConflict(str(self._lost)) from self._lost
        attempts = self.database.attempts()
        refused: errors.Refused | None = None
        known_version = None
        while True:
            try:
                if refused is not None:
                    attempts.again(refused)
                    self._replay(attempts, refused)
                    refused = None
                run = self._current(entry)
                outcome = self._do(run, entry)
                break
            except errors.Refused as exc:
                self._redraw(exc, [entry])
                refused = exc
            except errors.WriteConflict as exc:
                self._lose(exc)
                raise
            except errors.StoreUnavailable:
                raise
            except (errors.OperationalError,
                    errors.ProgrammingError) as exc:
                version = self._current(entry).schema.version
                if unknown.is_unknown(exc) and known_version != version and (
                        self.database.catalog.refresh().version != version):
                    known_version = version
                    refused = errors.Refused(str(exc))
                    continue
                self._failed(entry, exc)
                raise unknown.worded(exc, self.database) from exc
            except errors.Error as exc:
                self._failed(entry, exc)
                raise
        entry.outcome = outcome
        self._log.append(entry)
        return outcome

    def _failed(self, entry: Entry, exc: Exception) -> None:
        run = self._run
        if run is not None and not run.workspace.db.in_transaction:
            # OR ROLLBACK, or a limit of SQLite's
            self._end()
            return
        entry.error = type(exc)
        self._log.append(entry)

    def _alone(self, entry: Entry) -> Outcome:
        attempts = self.database.attempts()
        seen = None
        while True:
            run = None
            try:
                run = self._new(entry, alone=True)
                outcome = self._do(run, entry)
                self._commit_run(run)
                return outcome
            except errors.Refused as exc:
                self._redraw(exc, [entry])
                attempts.again(exc)
            except errors.StoreUnavailable:
                raise
            except (errors.OperationalError,
                    errors.ProgrammingError) as exc:
                version = run.schema.version if run is not None else None
                if not unknown.is_unknown(exc) or seen == version or (
                        self.database.catalog.refresh().version == version):
                    raise unknown.worded(exc, self.database) from exc
                seen = version
            finally:
                if run is not None:
                    run.close()

    def _new(self, first: Entry | None, alone: bool = False
             ) -> Transaction:
        schema = self._schema_now()
        tables: tuple[str, ...] = ()
        if first is not None and first.sql and first.ddl is None:
            tables = planner.plan(first.sql, (), schema).tables
        return Transaction(self.database, schema, self.foreign_keys,
                           self.functions, tables, alone,
                           self._temporary.workspace)

    def _current(self, entry: Entry | None = None) -> Transaction:
        if self._run is None:
            self._run = self._new(entry)
        return self._run

    def _do(self, run: Transaction, entry: Entry) -> Outcome:
        if entry.ddl is not None:
            self._temporary.adopt(run)
            query = None
            if entry.ddl.query:
                query = planner.plan(entry.ddl.query, (), run.schema)
            try:
                return run.define(
                    temporary.text(entry.ddl, query), query,
                    entry.parameters, entry.draws)
            finally:
                self._temporary.changed()
        plan = planner.plan(entry.sql, (), run.schema)
        if not newer.serves(self.database, run.schema, plan):
            raise errors.Refused('the schema has changed')
        if entry.sets is not None:
            return run.run_many(plan, entry.sets, entry.draws)
        return run.run(plan, entry.parameters, entry.draws)

    # --- begin, commit, savepoints

    def _control(self, plan: Plan) -> None:
        if plan.kind is Kind.BEGIN:
            if self._open:
                raise errors.OperationalError(
                    'cannot start a transaction within a transaction')
            self._begin()
        elif plan.kind is Kind.COMMIT:
            if not self._open:
                raise errors.OperationalError(
                    'cannot commit - no transaction is active')
            self.commit()
        elif plan.kind is Kind.ROLLBACK:
            if not self._open:
                raise errors.OperationalError(
                    'cannot rollback - no transaction is active')
            self.rollback()
        else:
            self._savepoint(plan.kind, plan.savepoint or '')

    def _begin(self) -> None:
        self._open = True
        self._outermost = False

    def _savepoint(self, kind: Kind, name: str) -> None:
        if not self._open:
            if kind is not Kind.SAVEPOINT:
                raise errors.OperationalError(f'no such savepoint: {name}')
            self._begin()
            self._outermost = True
        if self._lost is not None:
            return
        run = self._current()
        if kind is Kind.RELEASE and self._outermost and (
                run.savepoints[0].name.lower() == name.lower() and not any(
                    s.name.lower() == name.lower()
                    for s in run.savepoints[1:])):
            self.commit()
            return
        method = {Kind.SAVEPOINT: 'savepoint', Kind.RELEASE: 'release',
                  Kind.ROLLBACK_TO: 'rollback_to'}[kind]
        getattr(run, method)(name)
        self._log.append(Entry(savepoint=(method, name)))

    def commit(self) -> None:
        """Commit the open transaction; nothing without one.

        :raises WriteConflict: others committed first, and running the
            transaction again gave other results.
        :raises OutcomeUnknown: it may have been committed.
        """
        if not self._open:
            return
        attempts = self.database.attempts()
        try:
            if self._lost is not None:
                raise errors.WriteConflict(str(self._lost)) from self._lost
            while self._run is not None:
                try:
                    with self._counted('COMMIT'):
                        self._commit_run(self._run)
                    return
                except errors.Refused as exc:
                    attempts.again(exc)
                    self._replay(attempts, exc, last=True)
        finally:
            self._end()

    def rollback(self) -> None:
        """Roll the open transaction back; nothing without one."""
        self._end()

    def _end(self) -> None:
        run, self._run = self._run, None
        self._open = False
        self._lost = None
        self._log = []
        if run is not None:
            run.close()
            if not run.committed:
                self._temporary.changed()

    def _lose(self, why: errors.WriteConflict) -> None:
        run, self._run = self._run, None
        self._lost = why
        if run is not None:
            run.close()

    def _commit_run(self, run: Transaction) -> None:
        commit.send(run)
        run.committed = True

    # --- replay

    def _redraw(self, why: errors.Refused, log: list[Entry]) -> None:
        """A generated id was taken: draw another one."""
        if why.generated_id:
            for entry in log:
                entry.draws.forget(why.generated_id)

    def _replay(self, attempts: Attempts, why: errors.Refused,
                last: bool = False) -> None:
        """Run the open transaction again, up to where it was.

        :param last: only the commit follows. Then reads may differ if the
            transaction turns out to write only what is there already, in
            tables where the profile allows it: both logins of a user that
            note the same day, say.
        :raises WriteConflict: the caller has seen other results.
        """
        self._redraw(why, self._log)
        while True:
            run, self._run = self._run, None
            if run is not None:
                run.close()
            run = self._run = self._new(self._log[0] if self._log else None)
            try:
                for entry in self._log:
                    self._repeat(run, entry, why, last)
                LOG.debug('Replayed %d statements after a conflict: %s',
                          len(self._log), why)
                return
            except errors.Refused as exc:
                why = exc
                self._redraw(why, self._log)
                attempts.again(exc)

    def _repeat(self, run: Transaction, entry: Entry, why: Exception,
                last: bool) -> None:
        outcome, error = None, None
        if entry.savepoint is not None:
            method, name = entry.savepoint
            getattr(run, method)(name)
            return
        try:
            outcome = self._do(run, entry)
        except (errors.StoreUnavailable, errors.WriteConflict):
            raise
        except errors.Error as exc:
            error = type(exc)
        if entry.saw(outcome, error):
            return
        conflict = differs(entry, why)
        if run.conflict is None and entry.recounted(outcome):
            run.recounted = True
            return
        plan = planner.plan(entry.sql, (), run.schema)
        if not last or error or entry.error or plan.lock or (
                run.recounted or plan.kind is not Kind.SELECT):
            raise conflict
        run.conflict = run.conflict or conflict

    # --- DDL

    def _ddl(self, sql: str, parameters: Parameters) -> None:
        statement = sqltext.parse(sql)
        if self._temporary.concerns(statement):
            self._temporary.check(statement, self.database.catalog.current())
            entry = Entry(sql, parameters, ddl=statement)
            self._data(Plan(Kind.DDL, sql), entry, False)
        elif statement.kind is sqltext.Kind.CREATE_TABLE_AS:
            self._create_as(statement, parameters)
        else:
            self._change_schema(sql)

    def _create_as(self, statement: sqltext.Statement,
                   parameters: Parameters) -> None:
        """CREATE TABLE ... AS: make the table, then fill it."""
        self._change_schema()
        if statement.lenient and (
                self.database.catalog.current().table(statement.table)):
            return
        entry = Entry(statement.query, parameters)
        plan = planner.plan(statement.query, (), self._schema_now())
        run = self._new(entry)
        try:
            sql = temporary.made_as(run, statement, plan, parameters)
        finally:
            run.close()
        name = sqltext.quote(statement.table)
        self._change_schema(sql)
        try:
            self.execute(f'INSERT INTO {name} {statement.query}', parameters)
        except errors.Error:
            self._change_schema(f'DROP TABLE {name}')
            raise

    def _change_schema(self, sql: str | None = None) -> None:
        """Change the schema: ends the open transaction, as on MySQL.

        An explicit transaction goes on after it, with its savepoints.

        :param sql: None: only end the transaction.
        """
        was_open, outermost = self._open, self._outermost
        names = [] if self._run is None else [
            s.name for s in self._run.savepoints]
        self.commit()
        if sql is not None:
            try:
                self.database.catalog.apply_ddl(sql, self.database.services)
            except errors.NeedsCopy as exc:
                rebuild.alter_column(self, sqltext.parse(sql), exc)
        if was_open:
            self._begin()
            self._outermost = outermost
            for name in names:
                self._savepoint(Kind.SAVEPOINT, name)
            self._outermost = outermost

    def close(self) -> None:
        """Roll back and give everything back."""
        self._end()
        self._temporary.drop()
