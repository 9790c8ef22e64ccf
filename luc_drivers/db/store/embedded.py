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

"""The embedded store: one SQLite file (or memory) instead of Cassandra.

For one machine and for tests.  Several processes may share the file: it is
in WAL mode, and a writer waits for another one.  Commits survive the death
of any process; what was committed in the last moments before a power cut may
be lost (``synchronous = NORMAL``), never half of it.

It behaves as the Cassandra store does, down to what a timestamp hides
(rules 9 to 12): an index entry is a register that the greatest timestamp
wins, a removal before a write at equal ones, and removals are remembered for
an hour, as Cassandra's tombstones are for gc_grace_seconds.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import os
import time
from typing import Any
from urllib import parse
import weakref

import apsw

from luc_drivers import native
from luc_drivers.db import errors
from luc_drivers.db.store import base
from luc_drivers.db.store import codec
from luc_drivers.db.store import embedded_rows

#: seconds for which a removed index entry is remembered
REMEMBER_REMOVAL = 3600
#: so many writes of vanishing things, then those that have vanished are purged
_PURGE_EVERY = 2000

_SUFFIX = '.luc'
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE rows (
    loc TEXT NOT NULL, grp BLOB NOT NULL, tbl INTEGER NOT NULL,
    pk BLOB NOT NULL, ver BLOB, doc BLOB, hist BLOB, moved BLOB, expires REAL,
    lock_tx BLOB, lock BLOB, PRIMARY KEY (loc, grp, tbl, pk)) WITHOUT ROWID;
CREATE INDEX rows_expires ON rows (expires) WHERE expires IS NOT NULL;
CREATE TABLE idx (
    loc TEXT NOT NULL, tbl INTEGER NOT NULL, idx INTEGER NOT NULL,
    first BLOB NOT NULL, rest BLOB NOT NULL, ref BLOB NOT NULL,
    bucket INTEGER NOT NULL, ts INTEGER NOT NULL, gone REAL,
    PRIMARY KEY (loc, tbl, idx, first, rest, ref, bucket)) WITHOUT ROWID;
CREATE INDEX idx_gone ON idx (gone) WHERE gone IS NOT NULL;
CREATE TABLE catalog (version INTEGER PRIMARY KEY, entry BLOB NOT NULL);
CREATE TABLE leases (holder TEXT PRIMARY KEY, expires REAL NOT NULL)
    WITHOUT ROWID;
CREATE TABLE sequences (name TEXT PRIMARY KEY, next INTEGER NOT NULL)
    WITHOUT ROWID;
"""
_TABLES = ('rows', 'idx', 'catalog', 'leases', 'sequences')

_READ_INDEX = ('SELECT rest, ref FROM idx WHERE loc = ? AND tbl = ?'
               ' AND idx = ? AND first = ? AND bucket < ?'
               ' AND gone IS NULL{} ORDER BY rest, ref')
_READ_INDEX_BY = {
    (False, False): _READ_INDEX.format(''),
    (True, False): _READ_INDEX.format(' AND rest >= ?'),
    (False, True): _READ_INDEX.format(' AND rest < ?'),
    (True, True): _READ_INDEX.format(' AND rest >= ? AND rest < ?'),
}
#: (descending): one bucket, by parameters 1 to 5; see _read_some
_READ_SOME = {
    descending: (
        'SELECT rest, ref FROM idx WHERE loc = ?1 AND tbl = ?2 AND idx = ?3'
        ' AND first = ?4 AND bucket = ?5 AND rest >= ?6'
        ' AND (?7 IS NULL OR rest < ?7) AND gone IS NULL'
        ' ORDER BY rest {0}, ref {0} LIMIT ?8').format(
            'DESC' if descending else 'ASC')
    for descending in (False, True)}
_WRITE_INDEX = (
    'INSERT INTO idx (loc, tbl, idx, first, rest, ref, bucket, ts, gone)'
    ' VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE'
    ' SET ts = excluded.ts, gone = excluded.gone WHERE excluded.ts > ts'
    ' OR (excluded.ts = ts AND excluded.gone IS NOT NULL)')

#: all instances of this process, for fork
_instances: 'weakref.WeakSet[EmbeddedStore]' = weakref.WeakSet()
_forking: list[Any] = []


def _before_fork() -> None:
    """Close the files: SQLite's connections must not cross a fork.

    A child that inherits one shares its bookkeeping of file locks without
    holding them (https://sqlite.org/howtocorrupt.html, section 2.7), even if
    it opens its own.
    """
    for store in list(_instances):
        store._lock.acquire()
        _forking.append(store)
        if not store.settings.fresh:
            store._close()


def _after_fork() -> None:
    while _forking:
        _forking.pop()._lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork,
                    after_in_child=_after_fork)


class EmbeddedStore(base.Store):
    """One database in a SQLite file, or in the memory of this instance.

    With ``settings.fresh`` it is a private one in memory, shared by all
    threads; a forked child gets a copy of it.  Otherwise the file is
    ``settings.path``/DATABASE.luc.

    One connection per process; calls exclude each other by a native lock,
    which is held for some tens of microseconds and never across a yield.
    """

    def __init__(self, database: str, settings: base.StoreSettings) -> None:
        super().__init__(database, settings)
        if settings.fresh:
            self.file = ':memory:'
        else:
            name = parse.quote(database, safe='') + _SUFFIX
            self.file = os.path.join(settings.path, name)
        self._lock = native.lock()
        self._sqlite: apsw.Connection | None = None
        self._pid = os.getpid()
        #: connections of a parent that forked behind Python's back: they
        #: must be neither used nor closed here
        self._inherited: list[apsw.Connection | None] = []
        self._vanishing = 0
        _instances.add(self)

    # --- the connection

    def _close(self) -> None:
        if self._sqlite is not None:
            self._sqlite.close()
            self._sqlite = None

    def close(self) -> None:
        """Close the file; the next call opens it again.

        What a fresh store holds is gone.
        """
        with self._lock:
            self._close()

    def _forked(self) -> None:
        """Start anew in a child; after Python's own fork just note it."""
        self._pid = os.getpid()
        if self._sqlite is not None and not self.settings.fresh:
            self._inherited.append(self._sqlite)
            self._sqlite = None
            self._lock = native.lock()

    def _open(self) -> apsw.Connection:
        """Open the file and create the tables if there are none."""
        if not self.settings.fresh:
            os.makedirs(self.settings.path or '.', exist_ok=True)
        sqlite = apsw.Connection(self.file)
        try:
            if not self.settings.fresh:
                sqlite.set_busy_timeout(
                    int(self.settings.request_timeout * 1000))
                sqlite.pragma('journal_mode', 'WAL')
                sqlite.pragma('synchronous', 'NORMAL')
            if sqlite.pragma('user_version') != _SCHEMA_VERSION:
                self._create(sqlite)
        except BaseException:
            sqlite.close()
            raise
        self._sqlite = sqlite
        return sqlite

    def _create(self, sqlite: apsw.Connection) -> None:
        with self._transaction(sqlite):
            version = sqlite.pragma('user_version')
            if version == _SCHEMA_VERSION:
                return  # another process was faster
            if version != 0:
                raise errors.StoreUnavailable(
                    f'{self.file} has format {version}, this release reads '
                    f'{_SCHEMA_VERSION}: move it away or use the release '
                    'that wrote it')
            sqlite.execute(_SCHEMA)
            sqlite.pragma('user_version', _SCHEMA_VERSION)

    @contextlib.contextmanager
    def _transaction(self, sqlite: apsw.Connection) -> Iterator[None]:
        sqlite.execute('BEGIN IMMEDIATE')
        try:
            yield
        except BaseException:
            if sqlite.in_transaction:
                sqlite.execute('ROLLBACK')
            raise
        sqlite.execute('COMMIT')

    def _run(self, work: Callable[[apsw.Connection], Any],
             requests: int = 1) -> Any:
        """Call ``work(connection)`` alone; SQLite's errors become ours."""
        self.count(requests)
        if self._pid != os.getpid():
            self._forked()
        with self._lock:
            try:
                return work(self._sqlite or self._open())
            except (apsw.Error, OSError) as exc:
                raise self._unavailable(exc) from exc

    def _unavailable(self, exc: Exception) -> errors.StoreUnavailable:
        hint = ('is the folder writable? It is set by [database] path in '
                'luc.conf or path= in the connection URL')
        if isinstance(exc, apsw.BusyError):
            hint = ('another process has kept it locked for '
                    f'{self.settings.request_timeout:g} s ([cassandra] '
                    'request_timeout in luc.conf)')
        return errors.StoreUnavailable(
            f'embedded store {self.file}: {exc}; {hint}')

    # --- life

    def prepare(self, localities: Sequence[str]) -> None:
        del localities  # a column here, not a place
        self._run(lambda sqlite: None)

    def drop(self) -> None:
        if self.settings.fresh:
            self.close()
            return

        def work(sqlite: apsw.Connection) -> None:
            with self._transaction(sqlite):
                for table in _TABLES:
                    sqlite.execute(f'DELETE FROM {table}')
        self._run(work)

    def _purge(self, sqlite: apsw.Connection, count: int) -> None:
        """Now and then remove what has vanished; in a transaction."""
        self._vanishing += count
        if self._vanishing < _PURGE_EVERY:
            return
        self._vanishing = 0
        now = time.time()
        sqlite.execute('DELETE FROM idx WHERE gone < ?',
                       (now - REMEMBER_REMOVAL,))
        sqlite.execute('DELETE FROM rows WHERE expires <= ?'
                       ' AND lock_tx IS NULL', (now,))

    # --- rows

    def read(self, reads: Sequence[base.GroupRead],
             serial: bool = False) -> list[list[base.Row]]:
        del serial  # SQLite's reads are
        if not reads:
            return []
        return self._run(lambda sqlite: self._read(sqlite, reads),
                         len(reads))

    def _read(self, sqlite: apsw.Connection,
              reads: Sequence[base.GroupRead]) -> list[list[base.Row]]:
        if self.settings.fresh or len(reads) == 1 and (
                len(reads[0].tables if reads[0].pks is None
                    else reads[0].pks) < 2):
            return embedded_rows.read(sqlite, reads)
        # one snapshot, and its price paid once
        sqlite.execute('BEGIN')
        try:
            return embedded_rows.read(sqlite, reads)
        finally:
            if sqlite.in_transaction:
                sqlite.execute('COMMIT')

    def read_both(self, reads: Sequence[base.GroupRead],
                  index_reads: Sequence[base.IndexRead]) -> tuple[
                      list[list[base.Row]],
                      list[list[tuple[bytes, bytes]]]]:
        def work(sqlite: apsw.Connection) -> Any:
            return (self._read(sqlite, reads) if reads else [],
                    [_read_index(sqlite, r) for r in index_reads])
        return self._run(
            work, len(reads) + sum(r.buckets for r in index_reads))

    def write(self, batches: Sequence[base.Batch]) -> list[base.Outcome]:
        for batch in batches:
            codec.check(batch)

        def work(sqlite: apsw.Connection) -> list[base.Outcome]:
            return [self._write(sqlite, batch) for batch in batches]
        return self._run(work, len(batches)) if batches else []

    def _write(self, sqlite: apsw.Connection,
               batch: base.Batch) -> base.Outcome:
        group, now = batch.group, time.time()
        vanishing = 0
        sqlite.execute('BEGIN IMMEDIATE')
        try:
            for write in batch.writes:
                kind = codec.write_kind(write)
                row = (group.locality, group.key, write.key.table,
                       write.key.pk)
                sqlite.execute(embedded_rows.WRITE[write.expect, kind],
                               (*row, write.expected, now,
                                *embedded_rows.new_values(write, kind, now)))
                if sqlite.changes() != 1:
                    sqlite.execute('ROLLBACK')
                    return base.Outcome.REFUSED
                if kind == 'unlock':
                    sqlite.execute(embedded_rows.DROP_EMPTY, (*row, now))
                if write.ttl is not None:
                    vanishing += 1
            if vanishing:
                self._purge(sqlite, vanishing)
            sqlite.execute('COMMIT')
        except BaseException:
            if sqlite.in_transaction:
                sqlite.execute('ROLLBACK')
            raise
        return base.Outcome.APPLIED

    # --- index entries

    def read_index(self, reads: Sequence[base.IndexRead]) -> list[
            list[tuple[bytes, bytes]]]:
        if not reads:
            return []
        return self._run(
            lambda sqlite: [_read_index(sqlite, r) for r in reads],
            sum(r.buckets for r in reads))

    def put_index(self, entries: Iterable[base.IndexEntry],
                  timestamp: int) -> None:
        self._write_index(entries, timestamp, None)

    def remove_index(self, entries: Iterable[base.IndexEntry],
                     timestamp: int) -> None:
        self._write_index(entries, timestamp, time.time())

    def _write_index(self, entries: Iterable[base.IndexEntry],
                     timestamp: int, gone: float | None) -> None:
        values = [(e.locality, e.table, e.index, e.first, e.rest, e.ref,
                   e.bucket, timestamp, gone) for e in entries]

        def work(sqlite: apsw.Connection) -> None:
            if len(values) == 1 and gone is None:
                sqlite.execute(_WRITE_INDEX, values[0])
                return
            with self._transaction(sqlite):
                sqlite.executemany(_WRITE_INDEX, values)
                if gone is not None:
                    self._purge(sqlite, len(values))
        if values:
            self._run(work, len(values))

    # --- catalog's log

    def catalog_read(self, after: int = 0) -> list[tuple[int, bytes]]:
        return self._run(lambda sqlite: sqlite.execute(
            'SELECT version, entry FROM catalog WHERE version > ?'
            ' ORDER BY version', (after,)).fetchall())

    def catalog_append(self, version: int, entry: bytes) -> bool:
        def work(sqlite: apsw.Connection) -> bool:
            sqlite.execute('INSERT INTO catalog VALUES (?, ?)'
                           ' ON CONFLICT DO NOTHING', (version, entry))
            return sqlite.changes() == 1
        return self._run(work)

    # --- leases

    def lease(self, holder: str, seconds: int) -> None:
        self._run(lambda sqlite: sqlite.execute(
            'INSERT INTO leases VALUES (?, ?) ON CONFLICT DO UPDATE'
            ' SET expires = excluded.expires',
            (holder, time.time() + seconds)))

    def leases(self) -> set[str]:
        return {holder for holder, in self._run(lambda sqlite: sqlite.execute(
            'SELECT holder FROM leases WHERE expires > ?',
            (time.time(),)).fetchall())}

    # --- sequences

    def claim(self, sequence: str, count: int) -> int:
        if count < 1:
            raise ValueError('claim at least one number')
        return self._run(lambda sqlite: sqlite.execute(
            'INSERT INTO sequences VALUES (?1, 1 + ?2) ON CONFLICT DO UPDATE'
            ' SET next = next + ?2 RETURNING next - ?2',
            (sequence, count)).fetchall())[0][0]

    def advance(self, sequence: str, floor: int) -> None:
        self._run(lambda sqlite: sqlite.execute(
            'INSERT INTO sequences VALUES (?1, max(1, 1 + ?2))'
            ' ON CONFLICT DO UPDATE SET next = max(next, 1 + ?2)',
            (sequence, floor)))

    # --- the whole

    @classmethod
    def databases(cls, settings: base.StoreSettings) -> list[str]:
        try:
            files = os.listdir(settings.path)
        except FileNotFoundError:
            return []
        return [parse.unquote(name.removesuffix(_SUFFIX))
                for name in files if name.endswith(_SUFFIX)]

    def _pages(self, sql: str, start: tuple[Any, ...],
               width: int) -> Iterator[tuple[Any, ...]]:
        """Yield a query's rows by pages; the first ``width`` columns are
        where the next page begins."""
        while True:
            def work(sqlite: apsw.Connection,
                     after: tuple[Any, ...] = start) -> list[Any]:
                return sqlite.execute(sql, after).fetchall()
            rows = self._run(work)
            if not rows:
                return
            yield from rows
            start = (start[0], *rows[-1][:width])

    def group_keys(self, locality: str) -> Iterator[bytes]:
        for group, in self._pages(
                'SELECT DISTINCT grp FROM rows WHERE loc = ?1 AND grp > ?2'
                ' ORDER BY grp LIMIT 1000', (locality, b''), 1):
            yield group

    def index_partitions(self, locality: str
                         ) -> Iterator[base.IndexPartition]:
        for row in self._pages(
                'SELECT DISTINCT tbl, idx, first, bucket FROM idx'
                ' WHERE loc = ?1 AND gone IS NULL'
                ' AND (tbl, idx, first, bucket) > (?2, ?3, ?4, ?5)'
                ' ORDER BY tbl, idx, first, bucket LIMIT 1000',
                (locality, -1, -1, b'', -1), 4):
            yield base.IndexPartition(*row)

    def sizes(self, localities: Sequence[str]) -> list[base.Size]:
        del localities
        size: int = self._run(lambda sqlite: sqlite.pragma('page_count')
                              * sqlite.pragma('page_size'))
        return [base.Size(self.file, size)]


def _read_index(sqlite: apsw.Connection,
                read: base.IndexRead) -> list[tuple[bytes, bytes]]:
    if read.limit is not None:
        return _read_some(sqlite, read)
    values: list[Any] = [read.locality, read.table, read.index,
                         read.first, read.buckets]
    if read.lower is not None:
        values.append(read.lower)
    if read.upper is not None:
        values.append(read.upper)
    found: Any = sqlite.execute(
        _READ_INDEX_BY[read.lower is not None,
                       read.upper is not None], values).fetchall()
    return found


def _read_some(sqlite: apsw.Connection,
               read: base.IndexRead) -> list[tuple[bytes, bytes]]:
    """Read the first entries of each bucket, and return the first of all."""
    found: list[Any] = []
    for bucket in range(read.buckets):
        found += sqlite.execute(_READ_SOME[read.descending], (
            read.locality, read.table, read.index, read.first, bucket,
            read.lower or b'', read.upper, read.limit))
    return read.cut(found)
