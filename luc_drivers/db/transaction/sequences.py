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

"""Numbers of tables' sequences, claimed in blocks.

Gaps are fine, duplicates never: a block belongs to one process.
"""

import dataclasses
import time

from luc_drivers import native
from luc_drivers.db.store.base import Store

#: largest block
_MOST = 1024
#: a block that lasted longer than this (seconds) was large enough
_BRISK = 30.0


@dataclasses.dataclass(slots=True)
class _Block:
    """What is left of a claimed block: ``next`` up to before ``end``."""

    next: int = 1
    end: int = 1
    size: int = 0
    claimed: float = 0.0


class Sequences:
    """The sequences of one database in one process. Thread-safe.

    :param private: nobody else uses the database: large blocks at once.
    """

    def __init__(self, store: Store, private: bool = False) -> None:
        self._store = store
        self._first = 256 if private else 1
        self._lock = native.lock()
        self._blocks: dict[int, _Block] = {}
        self._floors: dict[int, int] = {}

    def next(self, number: int) -> int:
        """Return the next number of a table's sequence.

        :param number: the table's.
        :raises StoreUnavailable: no block could be claimed.
        """
        while True:
            with self._lock:
                block = self._blocks.setdefault(number, _Block())
                if block.next < block.end:
                    block.next += 1
                    return block.next - 1
                size = self._size(block)
            first = self._store.claim(str(number), size)
            with self._lock:
                # of two threads that claim at once one block is lost
                block = self._blocks[number] = _Block(
                    max(first, self._floors.get(number, 0) + 1),
                    first + size, size, time.monotonic())

    def _size(self, block: _Block) -> int:
        if not block.size:
            return self._first
        if time.monotonic() - block.claimed < _BRISK:
            return min(block.size * 2, _MOST)
        return max(block.size // 2, self._first)

    def passed(self, number: int, value: int) -> None:
        """Tell that a row with this id, not drawn here, will be stored: all
        numbers drawn from now on are greater.
        """
        with self._lock:
            # a block that another thread is just claiming may begin below
            self._floors[number] = max(self._floors.get(number, 0), value)
            block = self._blocks.get(number)
            if block is not None and value < block.end:
                block.next = max(block.next, value + 1)
                return
        self._store.advance(str(number), value)
        with self._lock:
            block = self._blocks.setdefault(number, _Block())
            if block.end <= value:
                block.next = block.end = value + 1
