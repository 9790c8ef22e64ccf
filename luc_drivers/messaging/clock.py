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

"""Clocks: our monotonic one, and a peer's mapped onto it (rule C4)."""

import time

_monotonic_ns = time.monotonic_ns


def now_us() -> int:
    """This host's monotonic clock in microseconds."""
    return _monotonic_ns() // 1000


def boot_id() -> str:
    """Names the running kernel: equal ids share one monotonic clock."""
    try:
        with open('/proc/sys/kernel/random/boot_id') as f:
            return f.read().strip()
    except OSError:
        return ''


class PeerClock:
    """Maps times of a peer's monotonic clock to ours.

    Two sources. Each frame carries its sender's stamp: the smallest
    difference seen is offset plus the shortest way. A PING's round trip
    bounds the offset to half of its duration; the shortest one counts.
    Peers of the same boot share the clock: offset 0.
    """

    __slots__ = ('_oneway', '_offset', '_rtt', '_same')

    def __init__(self) -> None:
        self._oneway: int | None = None
        self._offset: int | None = None
        self._rtt = 0
        self._same = False

    def same_host(self) -> None:
        """The peer runs on this kernel."""
        self._same = True

    def on_stamp(self, stamp: int, now: int) -> None:
        """A frame of the peer came; both in microseconds."""
        if not self._same:
            difference = now - stamp
            if self._oneway is None or difference < self._oneway:
                self._oneway = difference

    def on_pong(self, sent: int, remote: int, now: int) -> None:
        """Our PING of ``sent`` was answered at ``remote`` (its clock)."""
        rtt = now - sent
        if rtt < 0:
            return
        if self._offset is None or rtt <= self._rtt:
            self._rtt = rtt
            self._offset = (sent + now) // 2 - remote

    def to_local(self, remote: int) -> int:
        """A time on the peer's clock as one on ours, in microseconds."""
        if self._same:
            return remote
        if self._offset is not None:
            if self._oneway is not None:
                return remote + min(self._offset, self._oneway)
            return remote + self._offset
        return remote + (self._oneway or 0)
