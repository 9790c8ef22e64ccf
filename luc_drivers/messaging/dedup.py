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

"""What of a peer's requests has been seen: rules C2, C3 and D6."""

import bisect
import collections
from collections.abc import Hashable

_MAX_GAPS = 4096
_MAX_RECENT = 200000


class Recent:
    """What has come within some seconds, whoever sent it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._seen: collections.OrderedDict[Hashable, float] = (
            collections.OrderedDict())

    def add(self, what: Hashable, now: float) -> bool:
        """Note that it has come; True if it is new.

        :param now: time.monotonic()
        """
        seen = self._seen
        while seen:
            oldest = next(iter(seen))
            if (now - seen[oldest] <= self.seconds and
                    len(seen) < _MAX_RECENT):
                break
            del seen[oldest]
        if what in seen:
            return False
        seen[what] = now
        return True

    def __len__(self) -> int:
        return len(self._seen)


class SeqWindow:
    """The sequence numbers of one sender that have come, in little memory.

    Kept as a high-water mark and the gaps below it (numbers not seen yet).
    Sequence numbers begin at 1 and are given out one by one per pair of
    processes, so there are few gaps.
    """

    __slots__ = ('high', 'floor', '_starts', '_ends')

    def __init__(self) -> None:
        self.high = 0
        self.floor = 0
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, seq: int) -> bool:
        """Note that seq has come; True if it is new."""
        if seq > self.high:
            if seq > self.high + 1:
                self._starts.append(self.high + 1)
                self._ends.append(seq - 1)
                if len(self._starts) > _MAX_GAPS:
                    # The oldest gap is given up: what it held counts as
                    # seen. Never a second run; at worst a lost request.
                    del self._starts[0], self._ends[0]
            self.high = seq
            return True
        at = bisect.bisect_right(self._starts, seq) - 1
        if at < 0 or self._ends[at] < seq:
            return False
        start, end = self._starts[at], self._ends[at]
        if start == end:
            del self._starts[at], self._ends[at]
        elif seq == start:
            self._starts[at] = seq + 1
        elif seq == end:
            self._ends[at] = seq - 1
        else:
            self._ends[at] = seq - 1
            self._starts.insert(at + 1, seq + 1)
            self._ends.insert(at + 1, end)
        return True

    def seen(self, seq: int) -> bool:
        """Has it come (or is it older than all that may still come)?"""
        if seq > self.high:
            return seq < self.floor
        at = bisect.bisect_right(self._starts, seq) - 1
        return at < 0 or self._ends[at] < seq

    def forget_below(self, floor: int) -> None:
        """The sender has settled all below floor: none of them will come."""
        if floor <= self.floor:
            return
        self.floor = floor
        if floor - 1 > self.high:
            self.high = floor - 1
        while self._starts and self._starts[0] < floor:
            if self._ends[0] < floor:
                del self._starts[0], self._ends[0]
            else:
                self._starts[0] = floor

    def gaps(self) -> int:
        """How many gaps are kept."""
        return len(self._starts)
