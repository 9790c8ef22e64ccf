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

"""A store whose conditional writes go wrong as Cassandra's do.

Wraps any store, for tests of the commit protocol.  What can happen to one
conditional batch:

* ``lost``: it never arrives; the caller is told UNKNOWN;
* ``answer_lost``: it is carried out (applied or refused), the caller is told
  UNKNOWN;
* ``late``: UNKNOWN, and it is carried out at some later time (rule 4), or
  never: before each later call of anybody, with probability ``late_step``,
  or when the test calls `land`;
* ``unavailable``: it is not sent; the caller gets StoreUnavailable (or
  UNKNOWN, if other batches of the same call were sent).

Reads and index writes can fail (StoreUnavailable), index writes half done.
All chance comes from one seeded generator; a test with one thread runs the
same each time.  `plan` says what happens next instead of chance.
"""

import collections
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import random
import threading
import time
from typing import Any

from luc_drivers.db import errors
from luc_drivers.db.store import base
from luc_drivers.db.store import codec
from luc_drivers.testing import store_wrapper

FAULTS = ('lost', 'answer_lost', 'late', 'unavailable')


@dataclasses.dataclass
class Faults:
    """Probabilities per batch (or per call), 0 to 1; delays in seconds."""

    lost: float = 0.0
    answer_lost: float = 0.0
    late: float = 0.0
    unavailable: float = 0.0
    #: per call and waiting batch: that it is carried out before the call
    late_step: float = 0.1
    read_error: float = 0.0
    index_error: float = 0.0
    #: the longest delay before and after a call, drawn evenly
    delay: float = 0.0


class FaultyStore(store_wrapper.StoreWrapper):
    """``inner`` with faults; everything else is passed through.

    :ivar faults: may be changed or replaced at any time.
    :ivar late: batches that wait to be carried out, oldest first.
    :ivar happened: how often each fault was injected.
    """

    def __init__(self, inner: base.Store, seed: int = 0,
                 faults: Faults | None = None) -> None:
        super().__init__(inner)
        self.faults = faults or Faults()
        self.late: list[base.Batch] = []
        self.happened: collections.Counter[str] = collections.Counter()
        self._random = random.Random(seed)
        self._planned: collections.deque[str | None] = collections.deque()
        self._lock = threading.RLock()

    # --- what tests say

    def plan(self, *faults: str | None) -> None:
        """Say what happens to the next batches; None = nothing.

        :raises ValueError: no such fault.
        """
        for fault in faults:
            if fault is not None and fault not in FAULTS:
                raise ValueError(f'{fault!r} is none of {FAULTS}')
        self._planned.extend(faults)

    def land(self) -> list[base.Outcome]:
        """Carry out all late batches now, in random order."""
        with self._lock:
            batches, self.late = self.late, []
            self._random.shuffle(batches)
        return self.inner.write(batches)

    def forget(self) -> None:
        """Let the late batches be lost for good."""
        with self._lock:
            self.late = []

    # --- chance

    def _chance(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability

    def _pause(self) -> None:
        if self.faults.delay > 0:
            with self._lock:
                seconds = self._random.uniform(0, self.faults.delay)
            time.sleep(seconds)

    def _before(self, requests: int) -> None:
        """Do what happens before any call: pause, late batches land."""
        self.count(requests)
        self._pause()
        landing = []
        with self._lock:
            for batch in self.late[:]:
                if self._chance(self.faults.late_step):
                    self.late.remove(batch)
                    landing.append(batch)
        for batch in landing:
            self.happened['landed'] += 1
            self.inner.write([batch])

    def _draw(self) -> str | None:
        """Return the fault of the next batch."""
        with self._lock:
            if self._planned:
                return self._planned.popleft()
            for fault in FAULTS:
                if self._chance(getattr(self.faults, fault)):
                    return fault
        return None

    def _fail(self, kind: str, probability: float) -> None:
        with self._lock:
            failing = self._chance(probability)
        if failing:
            self.happened[kind] += 1
            raise errors.StoreUnavailable(f'injected {kind}')

    # --- rows

    def write(self, batches: Sequence[base.Batch]) -> list[base.Outcome]:
        for batch in batches:
            codec.check(batch)
        self._before(len(batches))
        drawn = [self._draw() for __ in batches]
        self.happened.update(f for f in drawn if f)
        if drawn and all(f == 'unavailable' for f in drawn):
            raise errors.StoreUnavailable('injected: nothing was sent')
        sent = [(n, b) for n, (b, f) in enumerate(zip(batches, drawn))
                if f in (None, 'answer_lost')]
        outcomes = [base.Outcome.UNKNOWN] * len(batches)
        for (n, __), outcome in zip(
                sent, self.inner.write([b for __, b in sent])):
            if drawn[n] is None:
                outcomes[n] = outcome
        with self._lock:
            self.late += [b for b, f in zip(batches, drawn) if f == 'late']
        self._pause()
        return outcomes

    def read(self, reads: Sequence[base.GroupRead],
             serial: bool = False) -> list[list[base.Row]]:
        self._before(len(reads))
        self._fail('read_error', self.faults.read_error)
        rows = self.inner.read(reads, serial)
        self._pause()
        return rows

    def read_both(self, reads: Sequence[base.GroupRead],
                  index_reads: Sequence[base.IndexRead]) -> tuple[
                      list[list[base.Row]],
                      list[list[tuple[bytes, bytes]]]]:
        self._before(len(reads) + len(index_reads))
        self._fail('read_error', self.faults.read_error)
        found = self.inner.read_both(reads, index_reads)
        self._pause()
        return found

    # --- index entries

    def read_index(self, reads: Sequence[base.IndexRead]) -> list[
            list[tuple[bytes, bytes]]]:
        self._before(len(reads))
        self._fail('read_error', self.faults.read_error)
        found = self.inner.read_index(reads)
        self._pause()
        return found

    def put_index(self, entries: Iterable[base.IndexEntry],
                  timestamp: int) -> None:
        self._write_index(self.inner.put_index, list(entries), timestamp)

    def remove_index(self, entries: Iterable[base.IndexEntry],
                     timestamp: int) -> None:
        self._write_index(self.inner.remove_index, list(entries), timestamp)

    def _write_index(self, write: Any, entries: list[base.IndexEntry],
                     timestamp: int) -> None:
        self._before(len(entries))
        with self._lock:
            failing = self._chance(self.faults.index_error)
            if failing:
                done = self._random.randint(0, len(entries))
                entries = self._random.sample(entries, done)
        write(entries, timestamp)
        if failing:
            self.happened['index_error'] += 1
            raise errors.StoreUnavailable('injected index_error')
        self._pause()

    # --- passed through

    def catalog_read(self, after: int = 0) -> list[tuple[int, bytes]]:
        self._before(1)
        return self.inner.catalog_read(after)

    def catalog_append(self, version: int, entry: bytes) -> bool:
        self._before(1)
        return self.inner.catalog_append(version, entry)

    def claim(self, sequence: str, count: int) -> int:
        self._before(1)
        return self.inner.claim(sequence, count)

    def advance(self, sequence: str, floor: int) -> None:
        self._before(1)
        self.inner.advance(sequence, floor)
