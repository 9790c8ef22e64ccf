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

"""The SQLite file of the embedded matchmaker, shared by processes."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import functools
import os
import time
import typing as ty
import weakref

import apsw

from luc_drivers import native
from luc_drivers.messaging import registrar
from luc_drivers.messaging.matchmaker import base

#: Milliseconds to wait for another process that writes.
BUSY_TIMEOUT = 5000
#: Seconds between removals of rows whose time is over.
SWEEP_INTERVAL = 60.0

SCHEMA = '''
CREATE TABLE IF NOT EXISTS endpoints (
    site TEXT, instance TEXT, boot TEXT, until REAL, plane TEXT, doc TEXT,
    PRIMARY KEY (site, instance)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS boots (
    site TEXT, host TEXT, boot TEXT, PRIMARY KEY (site, host)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS subscriptions (
    site TEXT, namespace TEXT, exchange TEXT, topic TEXT, kind TEXT,
    server TEXT, instance TEXT, listener TEXT, pool TEXT, until REAL,
    PRIMARY KEY (site, namespace, exchange, topic, kind, server, instance,
                 listener, pool)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known (
    site TEXT, namespace TEXT, exchange TEXT, topic TEXT, server TEXT,
    until REAL, PRIMARY KEY (site, namespace, exchange, topic, server))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mailbox (
    site TEXT, namespace TEXT, exchange TEXT, topic TEXT, server TEXT,
    id TEXT, suspect TEXT, stored REAL, until REAL, body BLOB,
    PRIMARY KEY (site, namespace, exchange, topic, server, id));
CREATE TABLE IF NOT EXISTS claims (
    site TEXT, namespace TEXT, exchange TEXT, topic TEXT, server TEXT,
    owner TEXT, boot TEXT, until REAL,
    PRIMARY KEY (site, namespace, exchange, topic, server)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
    site TEXT, namespace TEXT, exchange TEXT, topic TEXT, stripe INTEGER,
    bucket INTEGER, position INTEGER, id TEXT, count INTEGER, pool TEXT,
    until REAL, body BLOB,
    PRIMARY KEY (site, namespace, exchange, topic, stripe, bucket,
                 position));
CREATE INDEX IF NOT EXISTS log_until ON log (until);
CREATE TABLE IF NOT EXISTS heads (
    site TEXT, namespace TEXT, exchange TEXT, topic TEXT, bucket INTEGER,
    stripe INTEGER, position INTEGER, until REAL,
    PRIMARY KEY (site, namespace, exchange, topic, bucket, stripe))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pools (
    site TEXT, namespace TEXT, exchange TEXT, topic TEXT, pool TEXT,
    start INTEGER, PRIMARY KEY (site, namespace, exchange, topic, pool))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (
    site TEXT, namespace TEXT, exchange TEXT, topic TEXT, pool TEXT,
    stripe INTEGER, owner TEXT, boot TEXT, until REAL, state TEXT,
    PRIMARY KEY (site, namespace, exchange, topic, pool, stripe))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (last INTEGER);
INSERT INTO positions SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM positions);
'''


def uptime() -> float:
    """Return seconds since the host's start, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def guarded(function: Callable) -> Callable:
    """Turn SQLite's errors in a matchmaker's method into its own."""
    @functools.wraps(function)
    def wrapper(self: ty.Any, *args: ty.Any, **kwargs: ty.Any) -> ty.Any:
        try:
            return function(self, *args, **kwargs)
        except (apsw.BusyError, apsw.LockedError, apsw.IOError,
                apsw.FullError) as e:
            raise base.MatchmakerUnavailable(
                'the matchmaker\'s file %s: %s' % (self.file.path, e)) from e
        except apsw.Error as e:
            raise base.MatchmakerRefused(
                'the matchmaker\'s file %s: %s; [DEFAULT]state_path must be '
                'a folder that this user may write'
                % (self.file.path, e)) from e
    return wrapper


class File:
    """A file, and this process's connection to it.

    Made anew in a forked child; the parent's connection stays there open
    and untouched.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = os.path.join(folder, 'bus.sqlite')
        # Native: it is held only while SQLite runs.
        self._lock = native.lock()
        self._connection: apsw.Connection | None = None
        self._swept = 0.0
        _files.add(self)

    def after_fork(self) -> None:
        """Let go of what belongs to the parent."""
        self._lock = native.lock()
        if self._connection is not None:
            # Kept, or the garbage collector would close it.
            _inherited.append(self._connection)
            self._connection = None

    def _connect(self) -> apsw.Connection:
        if self._connection is None:
            try:
                os.makedirs(self.folder, mode=0o770, exist_ok=True)
            except OSError as e:
                raise base.MatchmakerRefused(
                    '[DEFAULT]state_path %s: %s' % (self.folder, e)) from e
            new = not os.path.exists(self.path)
            connection = apsw.Connection(self.path)
            connection.set_busy_timeout(BUSY_TIMEOUT)
            if new:
                # Services of one group share it, whatever their umask.
                os.chmod(self.path, 0o660)
            # What was written survives the end of any process. After a
            # power cut the last of it may be missing.
            connection.execute('PRAGMA journal_mode = WAL')
            connection.execute('PRAGMA synchronous = NORMAL')
            connection.execute('BEGIN IMMEDIATE;' + SCHEMA + 'COMMIT')
            self._connection = connection
        return self._connection

    def open(self) -> None:
        """Make the file if it is not there."""
        with self._lock:
            self._connect()

    def close(self) -> None:
        """Close this process's connection; the next use opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """Hold the file's write lock; all or nothing is written."""
        with self._lock:
            connection = self._connect()
            connection.execute('BEGIN IMMEDIATE')
            try:
                yield connection
                connection.execute('COMMIT')
            except BaseException:
                if connection.in_transaction:
                    connection.execute('ROLLBACK')
                raise

    def rows(self, sql: str, *bindings: ty.Any) -> list[tuple]:
        """Return what a query gives."""
        with self._lock:
            return self._connect().execute(sql, bindings).fetchall()

    def sweep(self, connection: apsw.Connection) -> None:
        """Remove what is over, now and then, in the caller's transaction."""
        now = time.time()
        if abs(now - self._swept) < SWEEP_INTERVAL:
            return
        self._swept = now
        for table in ('subscriptions', 'known', 'mailbox', 'log', 'heads'):
            connection.execute('DELETE FROM %s WHERE until <= ?' % table,
                               (now,))
        for table in ('endpoints', 'claims'):
            connection.execute(
                'DELETE FROM %s WHERE until <= ? OR boot <> ?' % table,
                (uptime(), registrar.boot_id()))


_files: 'weakref.WeakSet[File]' = weakref.WeakSet()
# Connections of parent processes.
_inherited: list[ty.Any] = []


def _after_fork() -> None:
    for file in list(_files):
        file.after_fork()


os.register_at_fork(after_in_child=_after_fork)
