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

"""The Cassandra store.

Consistency: a plain read or write of a locality uses its level (see
cassandra_schema.level), a conditional write SERIAL and that level for its
commit, a decision SERIAL; never LOCAL_SERIAL.  Conditions are always on
cells, never IF (NOT) EXISTS, and rows are written by UPDATE only: so a row is
absent exactly when it has neither a version nor a lock, also after a time to
live, since no row marker stays behind.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import time
from typing import Any

from luc_drivers import cql
from luc_drivers import native
from luc_drivers.db import errors
from luc_drivers.db.store import base
from luc_drivers.db.store import cassandra_schema as schema
from luc_drivers.db.store import codec
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.cassandra_requests import deal
from luc_drivers.db.store.cassandra_requests import deal_index
from luc_drivers.db.store.cassandra_requests import Requester
from luc_drivers.db.store.cassandra_requests import Requests

#: seconds for giving back a lease, which else ends by itself
_RELEASE = 2.0

#: rows of each group read, and entries of each index read
_Both = tuple[list[list[base.Row]], list[list[tuple[bytes, bytes]]]]


def _put(timestamp: int) -> Callable[[Any, tuple], tuple[str, tuple]]:
    """Return what makes the statement that writes an index entry."""
    return lambda texts, key: (texts.put_index, (*key, timestamp))


class CassandraStore(base.Store):
    """One database in Cassandra.

    What may be repeated (reads, index entries, leases) is sent again by the
    session, within the request's time-out; a conditional batch only if it
    was not begun.  Else its outcome is unknown, and the transaction settles
    it.

    A fresh name space (``settings.fresh``) vanishes by its time to live.  It
    is this object's alone, which so keeps its catalog's log and its
    sequences: neither costs a request.
    """

    def __init__(self, database: str, settings: base.StoreSettings) -> None:
        super().__init__(database, settings)
        self._cql_settings = cql.from_options(settings)
        self._requester = Requester(database, settings)
        self._localities = {schema.GLOBAL}
        #: lower bounds of the next number of sequences; of a fresh name
        #: space the numbers themselves
        self._next: dict[str, int] = {}
        #: the catalog's log, of a fresh name space
        self._log: list[tuple[int, bytes]] = []
        #: held for what of a fresh name space is kept here
        self._fresh_lock = native.lock()

    reads_ahead = True
    fills = True

    @property
    def native_background(self) -> bool:  # type: ignore[override]
        """Under eventlet connections belong to the hub's thread."""
        return not native.green()

    # --- sending

    def _session(self, locality: str) -> cql.Session:
        """Return a session with the site of a locality's replicas."""
        settings = self._cql_settings
        site = locality.removeprefix('at_')
        if locality != schema.GLOBAL and site != settings.site:
            settings = dataclasses.replace(settings, site=site)
        return cql.session(settings)

    def _unavailable(self, error: cql.Error) -> errors.StoreUnavailable:
        return errors.StoreUnavailable(f'database {self.database}: {error}')

    def _send(self, requests: Requests) -> list[Any]:
        """Run (locality, request) pairs in parallel; rows or errors."""
        self.count(len(requests))
        by_session: dict[int, list[int]] = {}
        sessions = {}
        for number, (locality, __) in enumerate(requests):
            session = self._session(locality)
            sessions[id(session)] = session
            by_session.setdefault(id(session), []).append(number)
        results: list[Any] = [None] * len(requests)
        for key, numbers in by_session.items():
            try:
                found = sessions[key].execute_many(
                    [requests[n][1] for n in numbers])
            except cql.Unavailable as exc:
                found = [exc] * len(numbers)
            for number, result in zip(numbers, found):
                results[number] = result
        return results

    def _all(self, requests: Requests) -> list[list[tuple]]:
        """Run requests that must all succeed; return their rows."""
        results = self._send(requests)
        for result in results:
            if isinstance(result, cql.Error):
                raise self._unavailable(result) from result
        return results

    # --- life

    def prepare(self, localities: Sequence[str]) -> None:
        self._localities.update(localities)
        names = {self._requester.keyspace(n): n for n in sorted(
            self._localities, key=lambda n: n == schema.GLOBAL)}
        self.count(1)
        try:
            schema.create(self._session(schema.GLOBAL), self.settings, names)
        except cql.Error as exc:
            raise self._unavailable(exc) from exc

    def drop(self) -> None:
        """Remove everything; nobody may use the database meanwhile.

        A fresh name space is left to its time to live.
        """
        self._next.clear()
        if self.settings.fresh:
            self._requester.renew()
            self._log = []
            return
        for locality in sorted(self._localities):
            self._empty(locality, 'rows', ('db', 'grp'))
            self._empty(locality, 'idx',
                        ('db', 'tbl', 'idx', 'first', 'bucket'))
        for table in ('catalog', 'leases'):
            self._empty(schema.GLOBAL, table, ('db',))
        self._empty(schema.GLOBAL, 'sequences', ('db', 'name'))

    def _empty(self, locality: str, table: str,
               columns: tuple[str, ...]) -> None:
        """Delete this database's partitions of a table, found by a scan."""
        keyspace = self._requester.keyspace(locality)
        delete = (f'DELETE FROM {keyspace}.{table} WHERE '
                  + ' AND '.join(f'{c} = ?' for c in columns))
        for keys in self._partitions(locality, table, columns):
            self._all([(locality, cql.Request(
                delete, key, consistency=schema.level(locality),
                idempotent=True)) for key in keys])

    def _partitions(self, locality: str, table: str,
                    columns: tuple[str, ...]) -> Iterator[list[tuple]]:
        """Yield the keys of this database's partitions, page by page."""
        keyspace, key = self._requester.keyspace(locality), ', '.join(columns)
        select = (f'SELECT DISTINCT {key}, token({key}) '
                  f'FROM {keyspace}.{table} WHERE token({key}) > ? LIMIT 5000')
        token = -2 ** 63
        while True:
            rows, = self._all([(locality, cql.Request(
                select, (token,), consistency=schema.level(locality),
                idempotent=True))])
            if not rows:
                return
            token = rows[-1][-1]
            yield [r[:-1] for r in rows
                   if r[0] == self._requester.db(locality)]

    @classmethod
    def databases(cls, settings: base.StoreSettings) -> list[str]:
        here = cls('', settings)
        keyspaces = here._global(
            'SELECT keyspace_name, table_name FROM system_schema.tables', (),
            consistency='LOCAL_ONE', idempotent=True)
        found: set[str] = set()
        for keyspace, table in keyspaces:
            # system keyspaces have no such table
            if table != 'catalog' or keyspace == schema.FRESH:
                continue
            found.update(name for name, in here._global(
                f'SELECT DISTINCT db FROM {keyspace}.catalog', (),
                idempotent=True) if keyspace == schema.keyspace_name(
                    settings.keyspace_template, name, schema.GLOBAL))
        return list(found)

    def group_keys(self, locality: str) -> Iterator[bytes]:
        for keys in self._partitions(locality, 'rows', ('db', 'grp')):
            for _, group in keys:
                yield group

    def index_partitions(self, locality: str
                         ) -> Iterator[base.IndexPartition]:
        for keys in self._partitions(
                locality, 'idx', ('db', 'tbl', 'idx', 'first', 'bucket')):
            for key in keys:
                yield base.IndexPartition(*key[1:])

    def sizes(self, localities: Sequence[str]) -> list[base.Size]:
        found = []
        for keyspace in dict.fromkeys(
                map(self._requester.keyspace, localities)):
            rows = self._global(
                'SELECT table_name, mebibytes FROM system_views.disk_usage '
                'WHERE keyspace_name = ?', (keyspace,),
                consistency='LOCAL_ONE', idempotent=True)
            found += [base.Size(f'{keyspace}.{table}', size << 20)
                      for table, size in sorted(rows)]
        return found

    # --- rows

    def read(self, reads: Sequence[base.GroupRead],
             serial: bool = False) -> list[list[base.Row]]:
        requests, targets = self._requester.row_requests(reads, serial)
        results: list[list[base.Row]] = [[] for __ in reads]
        if requests:
            for chunk, rows in zip(targets, self._all(requests)):
                deal(chunk, reads, rows, results)
        return results

    def read_both(self, reads: Sequence[base.GroupRead],
                  index_reads: Sequence[base.IndexRead]) -> tuple[
                      list[list[base.Row]],
                      list[list[tuple[bytes, bytes]]]]:
        requests, dealt = self._both(reads, index_reads)
        return dealt(self._all(requests) if requests else [])

    def _both(self, reads: Sequence[base.GroupRead],
              index_reads: Sequence[base.IndexRead]) -> tuple[
                  Requests, Callable[[list[Any]], _Both]]:
        """Return the requests of `read_both`, and what makes its results of
        their answers."""
        requests, targets = self._requester.row_requests(reads, False)
        more, index_targets = self._requester.index_requests(index_reads)

        def dealt(answers: list[Any]) -> _Both:
            results: list[list[base.Row]] = [[] for __ in reads]
            found: list[list[tuple[bytes, bytes]]] = [
                [] for __ in index_reads]
            for chunk, rows in zip(targets, answers):
                deal(chunk, reads, rows, results)
            for chunk, rows in zip(index_targets, answers[len(requests):]):
                deal_index(chunk, index_reads, rows, found)
            return results, found

        return requests + more, dealt

    def write(self, batches: Sequence[base.Batch]) -> list[Outcome]:
        if not batches:
            return []
        return self._outcomes(self._send(self._batches(batches)))

    def write_both(self, batches: Sequence[base.Batch],
                   entries: Sequence[base.IndexEntry], timestamp: int
                   ) -> list[Outcome]:
        requests = self._batches(batches)
        results = self._send(requests + self._requester.index_writes(
            entries, _put(timestamp)))
        for result in results[len(requests):]:
            if isinstance(result, cql.Error):
                raise self._unavailable(result) from result
        return self._outcomes(results[:len(requests)])

    def write_and_read(self, batches: Sequence[base.Batch],
                       reads: Sequence[base.GroupRead],
                       index_reads: Sequence[base.IndexRead]
                       ) -> tuple[list[Outcome], _Both | None]:
        requests = self._batches(batches)
        more, dealt = self._both(reads, index_reads)
        results = self._send(requests + more)
        outcomes = self._outcomes(results[:len(requests)])
        answers = results[len(requests):]
        if any(isinstance(answer, cql.Error) for answer in answers):
            return outcomes, None
        return outcomes, dealt(answers)

    def fill(self, batches: Sequence[base.Batch],
             entries: Sequence[base.IndexEntry], timestamp: int) -> None:
        # entries first, as ever
        self.put_index(entries, timestamp)
        requests = []
        for batch in batches:
            codec.check(batch)
            requests.append(self._requester.fill(batch, timestamp))
        if requests:
            self._all(requests)

    def _outcomes(self, results: Sequence[Any]) -> list[Outcome]:
        """Return what the answers to conditional batches say.

        :raises StoreUnavailable: there are some, and none was begun.
        """
        failed = [r for r in results if isinstance(r, cql.Error)]
        if failed and len(failed) == len(results) and all(
                cql.not_begun(e) for e in failed):
            raise self._unavailable(failed[0]) from failed[0]
        return [Outcome.UNKNOWN if isinstance(r, cql.Error)
                else Outcome.APPLIED if r[0][0] else Outcome.REFUSED
                for r in results]

    def _batches(self, batches: Sequence[base.Batch]) -> Requests:
        requests = []
        for batch in batches:
            codec.check(batch)
            locality = batch.group.locality
            statements = [self._requester.write_statement(batch.group, w)
                          for w in batch.writes]
            request = cql.Request(consistency=schema.level(locality),
                                  serial='SERIAL')
            if len(statements) == 1:
                request.cql, request.params = statements[0]
            else:
                request.batch = statements
            requests.append((locality, request))
        return requests

    # --- index entries

    def read_index(self, reads: Sequence[base.IndexRead]) -> list[
            list[tuple[bytes, bytes]]]:
        requests, targets = self._requester.index_requests(reads)
        results: list[list[tuple[bytes, bytes]]] = [[] for __ in reads]
        if requests:
            for chunk, rows in zip(targets, self._all(requests)):
                deal_index(chunk, reads, rows, results)
        return results

    def put_index(self, entries: Iterable[base.IndexEntry],
                  timestamp: int) -> None:
        self._write_index(entries, _put(timestamp))

    def remove_index(self, entries: Iterable[base.IndexEntry],
                     timestamp: int) -> None:
        self._write_index(
            entries,
            lambda texts, key: (texts.remove_index, (timestamp, *key)))

    def _write_index(self, entries: Iterable[base.IndexEntry],
                     statement: Any) -> None:
        requests = self._requester.index_writes(entries, statement)
        if requests:
            self._all(requests)

    # --- catalog's log

    def _global(self, text: str, params: Sequence[Any],
                **more: Any) -> list[tuple]:
        rows, = self._all([(schema.GLOBAL, cql.Request(
            text, params, **more))])
        return rows

    def catalog_read(self, after: int = 0) -> list[tuple[int, bytes]]:
        if self.settings.fresh:
            return [entry for entry in self._log if entry[0] > after]
        return self._global(
            self._requester.texts(schema.GLOBAL).catalog_read,
            (self._requester.db(schema.GLOBAL), after), consistency='SERIAL',
            idempotent=True)

    def catalog_append(self, version: int, entry: bytes) -> bool:
        if self.settings.fresh:
            # the name space is this object's: nobody else can read it
            with self._fresh_lock:
                if self._log and self._log[-1][0] >= version:
                    return (version, entry) in self._log
                self._log.append((version, entry))
                return True
        row = self._decide(
            self._requester.texts(schema.GLOBAL).catalog_append,
            (self._requester.db(schema.GLOBAL), version, entry))
        # refused: by another's entry, or by ours whose answer was lost
        return row[0] or row[-1] == entry

    def _decide(self, text: str, params: Sequence[Any]) -> tuple:
        """Run a conditional statement that may be run again until answered.

        :returns: its one row: (applied, existing values…).
        """
        deadline = time.monotonic() + 2 * self.settings.request_timeout
        while True:
            result, = self._send([(schema.GLOBAL, cql.Request(
                text, params, serial='SERIAL',
                consistency=schema.level(schema.GLOBAL)))])
            if not isinstance(result, cql.Error):
                return result[0]
            if cql.not_begun(result):
                raise self._unavailable(result) from result
            if time.monotonic() > deadline:
                raise errors.OutcomeUnknown(
                    f'database {self.database}: {result}') from result

    # --- leases

    @property
    def connected(self) -> bool:
        return self._session(schema.GLOBAL).connected

    def lease(self, holder: str, seconds: int) -> None:
        texts = self._requester.texts(schema.GLOBAL)
        db = self._requester.db(schema.GLOBAL)
        if seconds > 0:
            self._global(texts.lease, (db, holder, seconds),
                         idempotent=True)
        else:
            # who ends does not wait long for a courtesy
            self._global(texts.release, (db, holder), idempotent=True,
                         timeout=min(
                             _RELEASE, self.settings.request_timeout))

    def leases(self) -> set[str]:
        return {holder for holder, in self._global(
            self._requester.texts(schema.GLOBAL).leases,
            (self._requester.db(schema.GLOBAL),), idempotent=True)}

    # --- sequences

    def claim(self, sequence: str, count: int) -> int:
        if count < 1:
            raise ValueError('claim at least one number')
        return self._step(sequence, lambda first: first + count)

    def advance(self, sequence: str, floor: int) -> None:
        if self._next.get(sequence, 1) <= floor:
            self._step(sequence, lambda first: max(first, floor + 1))

    def _step(self, sequence: str, after: Any) -> int:
        """Set a sequence's next number to ``after(next)``; return the old.

        A step's condition is the number that it starts from, so an earlier
        try with an unknown outcome can't apply once this one has: both would
        claim the same numbers, for us.
        """
        if self.settings.fresh:
            # as with the log
            with self._fresh_lock:
                found = self._next.get(sequence, 1)
                self._next[sequence] = after(found)
                return found
        texts = self._requester.texts(schema.GLOBAL)
        db = self._requester.db(schema.GLOBAL)
        first = self._next.get(sequence)
        while True:
            if first is None:
                row = self._decide(texts.first_step,
                                   (after(1), db, sequence))
            else:
                row = self._decide(texts.step,
                                   (after(first), db, sequence, first))
            if row[0]:
                found = 1 if first is None else first
                self._next[sequence] = after(found)
                return found
            # refused: the row tells the number, or that there is none
            first = row[-1] if len(row) > 1 else None
