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

"""Databases of this process: one object per store's settings and name.

What is expensive is here and shared by all connections: the store's session,
the catalog, blocks of sequences, idle workspaces.  After a fork the child
makes its own.
"""

from collections.abc import Sequence
import itertools
import logging
import os
import threading
from typing import Any
import weakref

from luc_drivers import native
from luc_drivers.db import errors
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog import catalog
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.profiles import registry
from luc_drivers.db.store import base
from luc_drivers.db.store import settings as store_settings
from luc_drivers.db.transaction import ahead
from luc_drivers.db.transaction import background
from luc_drivers.db.transaction import bounds
from luc_drivers.db.transaction import clock
from luc_drivers.db.transaction import hints
from luc_drivers.db.transaction import protocol
from luc_drivers.db.transaction import reader
from luc_drivers.db.transaction import replay
from luc_drivers.db.transaction import sequences
from luc_drivers.db.transaction import shared_turns
from luc_drivers.db.transaction import sweeper
from luc_drivers.db.transaction import turns
from luc_drivers.db.workspace import pool

LOG = logging.getLogger(__name__)


class Services:
    """What the catalog needs to change tables that have rows."""

    def __init__(self, database: 'Database') -> None:
        self._database = weakref.ref(database)
        self.reader: Any = database.reader
        self.committer: Any = database.committer

    def untouched(self, table: int) -> bool:
        """Tell, without looking, that a table has no rows.

        :param table: its number.
        """
        database = self._database()
        assert database is not None
        return database.settings.fresh and table not in database.written

    def query(self, sql: str, parameters: Sequence[Any] = ()
              ) -> list[tuple[Any, ...]]:
        """Run a SELECT on committed rows, in a transaction of its own."""
        from luc_drivers.db.transaction import session
        database = self._database()
        assert database is not None
        one = session.Session(database)
        return one.execute(sql, parameters)[1].rows


class Database:
    """One database, as one process sees it. Thread-safe.

    :param name: as in the connection URL.
    :param profile: name of a profile; None: by the database's name.
    """

    def __init__(self, name: str, settings: base.StoreSettings,
                 profile: str | None = None) -> None:
        conf = store_settings.host_config().database
        self.name = name
        self.settings = settings
        self.store = store_settings.open_store(name, settings)
        self.limits = bounds.Bounds(
            lock_age=conf.lock_timeout, lock_wait=conf.commit_timeout,
            removal_delay=conf.index_removal_delay,
            clock_skew=conf.max_clock_skew)
        self.commit_timeout = conf.commit_timeout
        self.clock = clock.Clock(max_ahead=conf.max_clock_skew)
        self.background = background.Background(
            native=self.store.native_background, flush=self.limits.flush)
        self._memory = ahead.Memory() if conf.remember_reads else None
        memory = self._memory if self.store.reads_ahead else None
        self.reader = reader.Reader(
            self.store, self.clock, self.background, self.limits,
            hints=hints.Hints() if memory is not None else None,
            recent=memory.recent if memory is not None else None)
        self.committer: Any = protocol.Committer(
            self.store, self.clock, self.reader, self.background)
        self.sequences = sequences.Sequences(self.store, settings.fresh)
        self.workspaces = pool.Pool()
        self.turns = turns.Turns()
        #: numbers of the tables that this process may have written
        self.written: set[int] = set()
        self.shared_turns = shared_turns.SharedTurns(
            self.store, self.clock, self.reader.resolver, self.background,
            self.limits)
        self._rowids = itertools.count()
        self._together: tuple[
            Schema | None, dict[int, frozenset[int]],
            dict[int, tuple[ahead.Child, ...]]] = (None, {}, {})
        self._prepared = False
        self._lock = threading.Lock()
        self._catalog = catalog.Catalog(
            self.store, registry.find(name, profile), settings.fresh)
        self.services = Services(self)

    @property
    def catalog(self) -> catalog.Catalog:
        """The catalog; the database is made in the store at first use."""
        if not self._prepared:
            with self._lock:
                if not self._prepared:
                    self._prepare()
                    self._prepared = True
        return self._catalog

    def _prepare(self) -> None:
        localities = [address.GLOBAL, 'at_' + self.settings.site]
        self.store.prepare(localities)
        if not self.settings.fresh and self.limits.sweep:
            cleaner = sweeper.Sweeper(
                self.store, self.clock, self.reader.resolver, self.limits)
            self.background.repeat(
                lambda: cleaner.sweep(localities), self.limits.sweep)

    def ahead(self, schema: Schema) -> ahead.Ahead | None:
        """Return what a new transaction reads ahead; None: nothing."""
        if not self.store.reads_ahead:
            return None
        known, tables, children = self._together
        if known is not schema:
            profile = self._catalog.profile
            tables = ahead.together(schema, profile.together)
            children = ahead.children(schema, profile.children)
            self._together = schema, tables, children
        return ahead.Ahead(tables, children, memory=self._memory)

    def attempts(self) -> replay.Attempts:
        """Return a new bound for replays."""
        return replay.Attempts(self.commit_timeout)

    def new_rowid(self) -> int:
        """Return a creation number for a new row: microseconds since the
        epoch << 12, and a count, so that rows order by their insertion.
        """
        number = next(self._rowids)
        return (self.clock.now() << 12) | (number & 0xFFF)

    def drop(self) -> None:
        """Remove a private database and all it holds."""
        self.workspaces.close()
        self.store.drop()


_databases: dict[tuple[Any, ...], Database] = {}
_pid = os.getpid()
_lock = native.lock()


def database(name: str, settings: base.StoreSettings,
             profile: str | None = None, private: str | None = None
             ) -> Database:
    """Return this process's object for a database.

    :param private: with fresh settings, an id of the engine that the name
        space belongs to.
    :raises OperationalError: the settings name an unknown store or profile.
    """
    global _databases, _lock, _pid
    if settings.fresh and not private:
        raise errors.InterfaceError(
            'fresh=1 needs an engine: use SQLAlchemy, or pass private=')
    if _pid != os.getpid():
        # a child: its parent's objects, and a lock that another of the
        # parent's threads may have held, are not ours
        _pid, _lock, _databases = os.getpid(), native.lock(), {}
    key = (name, settings, profile, private)
    with _lock:
        found = _databases.get(key)
    if found is not None:
        return found
    made = Database(name, settings, profile)
    with _lock:
        return _databases.setdefault(key, made)


def drop_private(private: str) -> None:
    """Drop the name spaces that belong to an engine that is gone."""
    if _pid != os.getpid():
        return
    with _lock:
        keys = [key for key in _databases if key[3] == private]
        gone = [_databases.pop(key) for key in keys]
    for one in gone:
        try:
            one.drop()
        except errors.Error as exc:
            LOG.warning('Could not drop the private database %s: %s',
                        one.name, exc)
