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

"""The catalog: a database's schema, kept as a log of DDL in its store.

One object per process and database.  It holds the newest schema that the
process knows, answers reflection, and applies DDL.  How old its knowledge
may be is bounded (rule 26): it reads the log again every REFRESH seconds of
use, and refuses writes STALE seconds after it last could.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import logging
import os
import socket
import threading
import time
from typing import Any
import uuid
import weakref

from luc_drivers.db import errors
from luc_drivers.db.catalog import backfill
from luc_drivers.db.catalog import change
from luc_drivers.db.catalog import log
from luc_drivers.db.catalog import memo
from luc_drivers.db.catalog import reflect
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.profiles.base import Profile
from luc_drivers.db.store.base import Store

LOG = logging.getLogger(__name__)

#: seconds after which the log is read again
REFRESH = 5.0
#: seconds without a successful read after which writes are refused
STALE = 10.0
#: seconds that a commit may take after its last look at the catalog
COMMIT_BOUND = 10.0
#: seconds of a lease; it is taken anew with each read of the log
LEASE = 20
#: lost races with other processes' DDL before we give up
_TRIES = 50


class Catalog:
    """The schema of one database, as this process knows it. Thread-safe.

    :param store: where the log is.
    :param profile: how new tables are stored.
    :param fresh: nobody else uses the database: no leases, no re-reading,
        no purging.
    :param monotonic: clock, in seconds.
    :param sleep: waits so many seconds.
    """

    def __init__(self, store: Store, profile: Profile, fresh: bool = False,
                 monotonic: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        self.store = store
        self.profile = profile
        self.fresh = fresh
        self.holder = '%s:%d:%s' % (
            socket.gethostname(), os.getpid(), uuid.uuid4().hex[:8])
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.RLock()
        self._state = memo.EMPTY
        self._twin = reflect.Twin()
        self._read_at: float | None = None
        self._deltas = 0

    # --- reading

    def current(self, write: bool = False) -> Schema:
        """Return the newest known schema, at most REFRESH seconds old if the
        store answers.

        :param write: it is for a commit, about to be sent.
        :raises StoreUnavailable: the log can't be read, and never was or, for
            a write, not for STALE seconds.
        """
        read_at = self._read_at
        if read_at is not None and (
                self.fresh or self._monotonic() - read_at < REFRESH):
            return self._state.schema
        try:
            return self.refresh()
        except errors.StoreUnavailable:
            read_at = self._read_at
            if read_at is None or (
                    write and self._monotonic() - read_at > STALE):
                raise
            LOG.warning('The catalog of database %s can not be read; going '
                        'on with version %d', self.store.database,
                        self._state.schema.version)
            return self._state.schema

    def refresh(self) -> Schema:
        """Read the log now; return the newest schema."""
        with self._lock:
            self._refresh()
            return self._state.schema

    def _refresh(self) -> None:
        # the time *before* the read: that is what we know for sure; the
        # lease before the read, too: whoever changes the schema after it
        # sees the lease
        at = self._monotonic()
        if not self.fresh:
            self.store.lease(self.holder, LEASE)
            if self._read_at is None:
                # else the next command's DDL would wait for this process
                weakref.finalize(self, _give_back, self.store, self.holder,
                                 os.getpid())
        self._replay(self.store.catalog_read(self._state.schema.version))
        self._read_at = at

    def _replay(self, entries: list[tuple[int, bytes]]) -> None:
        """Take over entries of the log."""
        if not entries:
            return
        whole = self._state.schema.version == 0
        for version, entry in (
                log.since_snapshot(entries) if whole else
                [(v, log.Entry.decode(e)) for v, e in entries]):
            if entry.snapshot and not whole:
                self._state = self._state.at(version)
                continue
            self._deltas = 0 if entry.snapshot else self._deltas + 1
            self._twin.begin()
            try:
                for step in entry.steps:
                    self._twin.run(step)
                state = change.install(
                    self._state, self._twin, entry, version)
            except BaseException:
                self._twin.rollback()
                raise
            self._twin.commit()
            self._state = state

    def query(self, sql: str, parameters: Any = (),
              temporary: Sequence[str] = ()) -> tuple[
            reflect.Description, list[tuple[Any, ...]]]:
        """Answer a PRAGMA or a query of sqlite_master.

        :param temporary: DDL of the connection's temporary objects.
        :returns: ((column name, declared type), …), rows; both empty for a
            PRAGMA that sets something: it is accepted and means nothing.
        """
        self.current()
        with self._lock:
            if not temporary:
                return reflect.answer(self._twin, sql, parameters)
            self._twin.begin()
            try:
                for text in temporary:
                    self._twin.run(text)
                return reflect.answer(self._twin, sql, parameters)
            finally:
                self._twin.rollback()

    def close(self) -> None:
        """Give the lease back."""
        if self._read_at is not None and not self.fresh:
            self.store.lease(self.holder, 0)

    # --- changing

    def apply_ddl(self, sql: str,
                  services: backfill.Services | None = None) -> Schema:
        """Run a DDL statement; return the schema after it.

        :param services: for statements on tables that have rows; None: they
            are then refused where rows would have to be looked at.
        :raises OperationalError: as SQLite words it (no such table, …).
        :raises IntegrityError: the rows break a new constraint.
        :raises NotSupportedError: DDL that this layer refuses.
        """
        statement = sqltext.parse(sql)
        self.current()
        if not self.fresh and services is not None:
            self._finish_others(services)
        for _ in range(_TRIES):
            before = self._state
            try:
                done = self._try(statement, services)
            except errors.OperationalError as error:
                # perhaps only our knowledge is old
                if self.fresh or isinstance(error, errors.StoreUnavailable):
                    raise
                if self.refresh().version == before.schema.version:
                    raise
                continue
            if done is None:
                self.refresh()
                continue
            if done.changed:
                self._follow_up(done, before, services)
            return self._state.schema
        raise errors.OperationalError(
            'database %s: other processes change its schema all the time; '
            'gave up after %d attempts: %s' % (
                self.store.database, _TRIES, sql))

    def _try(self, statement: sqltext.Statement,
             services: backfill.Services | None) -> change.Done | None:
        """Apply a statement once; None if another process was faster."""
        with self._lock:
            rows = change.RowCheck(
                self.store, services, self.fresh, self.holder)
            self._twin.begin()
            try:
                done = self._apply(statement, rows)
                appended = done.entry is None or self._append(
                    done.entry)
            except BaseException:
                self._twin.rollback()
                raise
            if not appended:
                self._twin.rollback()
                return None
            self._twin.commit()
            if done.changed:
                self._state = done.state
                self._deltas += 1
                self._snapshot()
            return done

    def _apply(self, statement: sqltext.Statement,
               rows: change.RowCheck) -> change.Done:
        if self.fresh:
            done = memo.MEMO.find(
                self._state, self.profile, statement, rows)
            if done is not None:
                for step in done.entry.steps if done.entry else ():
                    self._twin.run(step)
                return done
        done = change.apply(
            self._state, self._twin, statement, self.profile, rows)
        if self.fresh:
            memo.MEMO.keep(self._state, self.profile, done, rows)
        return done

    def _append(self, entry: log.Entry) -> bool:
        return self.store.catalog_append(
            self._state.schema.version + 1, entry.encode())

    def _snapshot(self) -> None:
        """Append a snapshot now and then."""
        if self._deltas < log.SNAPSHOT_EVERY or self.fresh:
            return
        entry = self._state.snapshot()
        if self._append(entry):
            self._state = self._state.at(self._state.schema.version + 1)
            self._deltas = 0

    # --- what follows on tables with rows

    def _follow_up(self, done: change.Done, before: change.State,
                   services: backfill.Services | None) -> None:
        if done.dropped is not None:
            self._purge(before.schema, done.dropped, services)
        if done.write_only:
            self._publish(done, before, services)

    def _purge(self, schema: Schema, name: str,
               services: backfill.Services | None) -> None:
        table = schema.tables[name]
        if self.fresh or services is None:
            return
        if backfill.may_have_rows(self.store, table):
            bare = dataclasses.replace(
                table, foreign_keys=(), referenced_by=())
            backfill.purge(self.store, services, dataclasses.replace(
                schema, tables={**schema.tables, name: bare}), bare)

    def _publish(self, done: change.Done, before: change.State,
                 services: backfill.Services | None) -> None:
        """Fill a statement's write-only indexes and make them public."""
        assert done.write_only is not None and done.statement is not None
        try:
            self._fill(done.write_only, done.statement.sql, services)
        except errors.IntegrityError:
            self._amend(lambda s: change.undo(s, self._twin, done, before))
            raise

    def _fill(self, name: str, sql: str,
              services: backfill.Services | None) -> None:
        table = self._state.schema.tables[name]
        leaving = {i.number for i in self._state.layouts[name].indexes
                   if i.leaving}
        new = [i for i in table.indexes
               if not i.public and i.number not in leaving]
        if new:
            self._await(sql)
        if new and backfill.may_have_rows(self.store, table):
            if services is None:
                raise errors.NotSupportedError(
                    'table %s has rows: %s needs a session' % (
                        table.name, sql))
            plain = dataclasses.replace(table, indexes=tuple(
                i for i in table.indexes if i.public))
            backfill.fill(self.store, services, self._state.schema,
                          plain, table, new)
        self._amend(lambda s: change.publish(s, self._twin, name))
        if leaving:
            # whoever reads by them knows better then
            self._await(sql)
            self._amend(lambda s: change.leave(s, self._twin, name))

    def _await(self, what: str) -> None:
        """Wait until every process knows what the log says now."""
        if not self.fresh:
            backfill.await_writers(
                self.store, self.holder, STALE + COMMIT_BOUND, what,
                self._sleep)

    def _finish_others(self, services: backfill.Services | None) -> None:
        """Publish what a process that is gone has left write-only (or what
        one is just about to: doing it twice does no harm)."""
        for name, layout in self._state.layouts.items():
            if layout.settled:
                continue
            try:
                self._fill(name, 'unfinished index of ' + name, services)
            except errors.IntegrityError as error:
                LOG.warning('Database %s: a unique key of table %s was never '
                            'finished and can not be: %s',
                            self.store.database, name, error)

    def _amend(self, make: Callable[[change.State],
                                    change.Done]) -> None:
        """Append an entry of our own making."""
        for _ in range(_TRIES):
            with self._lock:
                self._twin.begin()
                try:
                    done = make(self._state)
                    assert done.entry is not None
                    appended = self._append(done.entry)
                except BaseException:
                    self._twin.rollback()
                    raise
                if appended:
                    self._twin.commit()
                    self._state = done.state
                    return
                self._twin.rollback()
                self._refresh()
        raise errors.OperationalError(
            'database %s: its catalog changes all the time' %
            self.store.database)


def _give_back(store: Store, holder: str, pid: int) -> None:
    """Give a lease back when its process ends."""
    # the driver's event loop may have ended by now: who had to connect would
    # wait in vain, for each of its databases
    if pid != os.getpid() or not store.connected:
        return
    try:
        store.lease(holder, 0)
    except errors.StoreUnavailable as error:
        LOG.debug('A lease of database %s ends by itself: %s',
                  store.database, error)
