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

"""A store in plain Python, for the model test: fast, and it can be watched.

It keeps the contract of luc_drivers.db.store.base (the contract tests run
on it, too).  ``watch`` is called at every applied batch, at the very moment;
the model's checks hang there.  ``ignore_locks`` breaks rule 2 on purpose.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import threading
import time

from luc_drivers.db.store import base
from luc_drivers.db.store import codec
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import Row

Watch = Callable[[base.Batch, dict[base.RowKey, Row | None]], None]


class MemoryStore(base.Store):
    """Everything in dictionaries; nothing survives the object."""

    def __init__(self, database: str, settings: base.StoreSettings) -> None:
        super().__init__(database, settings)
        self.watch: Watch | None = None
        self.ignore_locks = False
        self.now: Callable[[], float] = time.time
        self.groups: dict[base.Group, dict[base.RowKey, Row]] = {}
        self.expires: dict[tuple[base.Group, base.RowKey], float] = {}
        #: (slice, bucket) → (rest, ref) → (timestamp, there?)
        self.index: dict[tuple, dict[tuple[bytes, bytes],
                                     tuple[int, bool]]] = {}
        self.log: dict[int, bytes] = {}
        self.holders: dict[str, float] = {}
        self.sequences: dict[str, int] = {}
        self._lock = threading.RLock()

    def prepare(self, localities: Sequence[str]) -> None:
        pass

    def drop(self) -> None:
        for kept in (self.groups, self.expires, self.index, self.log,
                     self.holders, self.sequences):
            kept.clear()

    # --- rows

    def row(self, group: base.Group, key: base.RowKey) -> Row | None:
        """Return a row as it is, its expired state gone."""
        row = self.groups.get(group, {}).get(key)
        end = self.expires.get((group, key))
        if row is None or end is None or end > self.now():
            return row
        if row.lock is None:
            return None
        return Row(key, None, None, (), row.lock)

    def read(self, reads: Sequence[base.GroupRead],
             serial: bool = False) -> list[list[Row]]:
        self.count(len(reads))
        with self._lock:
            return [self._read(one) for one in reads]

    def _read(self, one: base.GroupRead) -> list[Row]:
        found = []
        for key in list(self.groups.get(one.group, ())):
            if one.pks is not None and key.pk not in one.pks:
                continue
            if one.tables:
                if key.table not in one.tables:
                    continue
            elif key.table == base.MARKER_TABLE:
                continue
            row = self.row(one.group, key)
            if row is not None:
                found.append(row)
        found.sort(key=lambda row: (row.key.table, row.key.pk))
        return found

    def write(self, batches: Sequence[base.Batch]) -> list[Outcome]:
        for batch in batches:
            codec.check(batch)
            for write in batch.writes:
                codec.pack_ids(write.history)
        self.count(len(batches))
        with self._lock:
            return [self._write(batch) for batch in batches]

    def _write(self, batch: base.Batch) -> Outcome:
        before = {w.key: self.row(batch.group, w.key) for w in batch.writes}
        if not all(self._holds(w, before[w.key]) for w in batch.writes):
            return Outcome.REFUSED
        if self.watch is not None:
            self.watch(batch, before)
        rows = self.groups.setdefault(batch.group, {})
        for write in batch.writes:
            row = self._result(write, before[write.key])
            place = (batch.group, write.key)
            if row is None:
                rows.pop(write.key, None)
                self.expires.pop(place, None)
                continue
            rows[write.key] = row
            if write.prepare is None and not write.unlock:
                self.expires.pop(place, None)
                if write.ttl is not None:
                    self.expires[place] = self.now() + write.ttl
        return Outcome.APPLIED

    def _holds(self, write: base.RowWrite, row: Row | None) -> bool:
        if write.expect is Expect.LOCKED:
            return (row is not None and row.lock is not None and
                    row.lock.txid == write.expected)
        if row is not None and row.lock is not None:
            if not self.ignore_locks or row.version is None:
                return False
        if write.expect is Expect.ABSENT:
            return row is None or row.version is None
        return row is not None and row.version == write.expected

    @staticmethod
    def _result(write: base.RowWrite, row: Row | None) -> Row | None:
        if write.erase:
            return None
        if write.prepare is not None:
            if row is None:
                return Row(write.key, None, None, (), write.prepare)
            return row._replace(lock=write.prepare)
        if write.unlock:
            assert row is not None
            if row.version is None:
                return None
            return row._replace(lock=None)
        return Row(write.key, write.version, write.document, write.history,
                   None,
                   write.moved_to if write.document is None else None)

    # --- index entries

    def read_index(self, reads: Sequence[base.IndexRead]) -> list[
            list[tuple[bytes, bytes]]]:
        self.count(len(reads))
        with self._lock:
            return [self._slice(one) for one in reads]

    def read_both(self, reads: Sequence[base.GroupRead],
                  index_reads: Sequence[base.IndexRead]) -> tuple[
                      list[list[Row]], list[list[tuple[bytes, bytes]]]]:
        self.count(len(reads) + len(index_reads))
        with self._lock:
            return ([self._read(one) for one in reads],
                    [self._slice(one) for one in index_reads])

    def _slice(self, one: base.IndexRead) -> list[tuple[bytes, bytes]]:
        found = []
        for bucket in range(one.buckets):
            entries = self.index.get(
                (one.locality, one.table, one.index, one.first, bucket), {})
            found += [
                place for place, (_, there) in entries.items() if there and
                (one.lower is None or place[0] >= one.lower) and
                (one.upper is None or place[0] < one.upper)]
        return one.cut(found)

    def _register(self, entries: Iterable[base.IndexEntry], timestamp: int,
                  there: bool) -> None:
        entries = list(entries)
        self.count(len(entries))
        with self._lock:
            for e in entries:
                register = self.index.setdefault(
                    (e.locality, e.table, e.index, e.first, e.bucket), {})
                old = register.get((e.rest, e.ref))
                if old is None or timestamp > old[0] or (
                        timestamp == old[0] and not there):
                    register[e.rest, e.ref] = (timestamp, there)

    def put_index(self, entries: Iterable[base.IndexEntry],
                  timestamp: int) -> None:
        self._register(entries, timestamp, True)

    def remove_index(self, entries: Iterable[base.IndexEntry],
                     timestamp: int) -> None:
        self._register(entries, timestamp, False)

    # --- the rest

    def catalog_read(self, after: int = 0) -> list[tuple[int, bytes]]:
        return sorted((v, e) for v, e in self.log.items() if v > after)

    def catalog_append(self, version: int, entry: bytes) -> bool:
        with self._lock:
            return self.log.setdefault(version, entry) is entry

    def lease(self, holder: str, seconds: int) -> None:
        self.holders[holder] = self.now() + seconds

    def leases(self) -> set[str]:
        return {h for h, end in self.holders.items() if end > self.now()}

    def claim(self, sequence: str, count: int) -> int:
        if count < 1:
            raise ValueError(f'{count} numbers')
        with self._lock:
            first = self.sequences.get(sequence, 1)
            self.sequences[sequence] = first + count
            return first

    def advance(self, sequence: str, floor: int) -> None:
        with self._lock:
            first = self.sequences.get(sequence, 1)
            self.sequences[sequence] = max(first, floor + 1)

    @classmethod
    def databases(cls, settings: base.StoreSettings) -> list[str]:
        return []

    def group_keys(self, locality: str) -> Iterator[bytes]:
        yield from [group.key for group, rows in self.groups.items()
                    if group.locality == locality and rows]

    def index_partitions(self, locality: str
                         ) -> Iterator[base.IndexPartition]:
        for where, table, index, first, bucket in list(self.index):
            if where == locality:
                yield base.IndexPartition(table, index, first, bucket)

    def sizes(self, localities: Sequence[str]) -> list[base.Size]:
        return []
