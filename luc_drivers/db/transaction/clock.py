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

"""The clock that transaction ids come from: a hybrid logical clock.

An id is 16 bytes: microseconds since the epoch (big-endian) and the number
of its node, drawn at random per process, so that ids sort by time.  A new id
is later, in its *microseconds*, than every version that the transaction has
read and than every id before it in this process: index entries carry these
microseconds as their timestamp, and in Cassandra a removal wins over a write
of the same timestamp (rule 11).  Method: Kulkarni et al., "Logical Physical
Clocks", 2014, with the logical part folded into the microseconds.
"""

from collections.abc import Iterable
import os
import random
import struct
import threading
import time

from luc_drivers.db import errors

#: stands in a history for "nothing was before": earlier than any id
BEGINNING = bytes(16)

_MICROS = struct.Struct('>Q')


def micros(txid: bytes) -> int:
    """Return an id's microseconds since the epoch."""
    return _MICROS.unpack_from(txid)[0]


class Clock:
    """Time and ids of one process; thread-safe, aware of fork.

    :param max_ahead: seconds that a version may be ahead of this host's
        clock before a commit that depends on it is refused (rule 28).
    """

    def __init__(self, max_ahead: float = 10.0) -> None:
        self.max_ahead = max_ahead
        self._last = 0
        self._pid = 0
        self._node = b''
        self._lock = threading.Lock()
        if hasattr(os, 'register_at_fork'):
            os.register_at_fork(after_in_child=self._unlock)

    def _unlock(self) -> None:
        # another thread of the parent may have held it
        self._lock = threading.Lock()

    # what tests replace

    def now(self) -> int:
        """Return the wall clock's microseconds since the epoch."""
        # not time.time_ns(): what tests freeze must not reach the store
        return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000

    def monotonic(self) -> float:
        """Return seconds of a clock that never steps."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; cooperatively where threads are green."""
        time.sleep(seconds)

    def jitter(self) -> float:
        """Return a random number, at least 0 and less than 1."""
        return random.random()

    def node(self) -> bytes:
        """Return the 8 bytes that tell this process from all others."""
        return os.urandom(8)

    # ids

    def new_id(self, seen: Iterable[bytes | None] = ()) -> bytes:
        """Return an id later than all before it and all of ``seen``.

        :raises OperationalError: a seen version is further ahead of this
            host's clock than ``max_ahead``: some host's clock is wrong.
        """
        newest = max((v for v in seen if v), default=None)
        now = self.now()
        floor = micros(newest) + 1 if newest else 0
        if floor - now > self.max_ahead * 1e6:
            raise errors.OperationalError(
                f'a row was written {(floor - now) / 1e6:.0f} s ahead of '
                "this host's clock: synchronise the clocks of all hosts "
                '(NTP); the bound is max_clock_ahead = '
                f'{self.max_ahead:g} s')
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._node = self.node()
            self._last = max(now, floor, self._last + 1)
            return _MICROS.pack(self._last) + self._node
