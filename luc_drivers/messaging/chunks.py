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

"""Messages too large for one frame: sent in pieces, against credit.

Large messages on a connection would hold up everything behind them, and kill
it where ZeroMQ's heartbeats can't get past (rule B3). So they go in pieces,
few of which are on their way at a time; the
receiver tells how many bytes it has (go-back-n: what comes out of order is
dropped and asked for again).
"""

from luc_drivers.messaging import wire

#: seconds without progress after which what is missing is sent again
STALL = 1.0
#: seconds after which an unfinished message is forgotten by its receiver
ABANDONED = 60.0


class Transfer:
    """A message on its way out."""

    __slots__ = ('kind', 'seq', 'data', 'sent', 'have', 'stamp', 'size',
                 'window')

    def __init__(self, kind: int, seq: int, data: bytes,
                 size: int = wire.CHUNK, credit: int = 4) -> None:
        self.kind = kind
        self.seq = seq
        self.data = data
        self.size = size
        self.window = size * credit
        self.sent = 0
        self.have = 0
        self.stamp = 0.0

    @property
    def ready(self) -> bool:
        """May a chunk be sent now?"""
        return (self.sent < len(self.data) and
                self.sent - self.have < self.window)

    def next_chunk(self, now: float) -> bytes:
        """The record to send next (only while ``ready``)."""
        start = self.sent
        piece = self.data[start:start + self.size]
        self.sent = start + len(piece)
        self.stamp = now
        return wire.chunk(self.kind, self.seq, len(self.data), start, piece)

    def on_credit(self, have: int, now: float) -> None:
        """The receiver has this many bytes."""
        if have > len(self.data):
            return
        if have > self.have:
            self.have = have
            self.stamp = now
            self.sent = max(self.sent, have)
        elif have < self.have:
            # The receiver began anew (it had given up what it had).
            self.have = self.sent = have

    def rewind(self, now: float) -> None:
        """Send again what was not confirmed (the connection broke)."""
        self.sent = self.have
        self.stamp = now

    def stalled(self, now: float) -> bool:
        """Is something on its way for too long?"""
        return self.sent > self.have and now - self.stamp > STALL

    @property
    def done(self) -> bool:
        """Has the receiver got all of it?"""
        return self.have >= len(self.data)


class Reassembly:
    """Messages that come in pieces from one peer."""

    __slots__ = ('_partial', 'size')

    def __init__(self) -> None:
        self._partial: dict[tuple[int, int], list] = {}
        self.size = 0

    def add(self, kind: int, seq: int, total: int, offset: int,
            data: bytes, now: float) -> tuple[int, bytes | None]:
        """Take a piece.

        :returns: bytes received so far (the credit to send back), and the
            message once it is whole.
        """
        key = kind, seq
        entry = self._partial.get(key)
        if entry is None:
            entry = self._partial[key] = [[], 0, total, now]
        pieces, have, expected, _stamp = entry
        if offset != have or total != expected:
            return have, None
        pieces.append(data)
        have += len(data)
        self.size += len(data)
        entry[1] = have
        entry[3] = now
        if have < total:
            return have, None
        self.drop(kind, seq)
        return have, b''.join(pieces)

    def drop(self, kind: int, seq: int) -> None:
        """Forget a message that is no longer wanted."""
        entry = self._partial.pop((kind, seq), None)
        if entry is not None:
            self.size -= entry[1]

    def sweep(self, now: float) -> None:
        """Forget messages whose sender gave up."""
        for key, entry in list(self._partial.items()):
            if now - entry[3] > ABANDONED:
                self.drop(*key)
