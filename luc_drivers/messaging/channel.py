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

"""What both ends of a connection have: queues of records, chunks, a clock.

Everything in this module and in ``outgoing`` and ``incoming`` runs in the
I/O thread only: no locks, no logging, nothing that blocks.
"""

import collections
from typing import Any

from luc_drivers.messaging import chunks
from luc_drivers.messaging import clock
from luc_drivers.messaging import wire

#: a chunk shares its frame with small records up to this size
_CHUNK_COMPANY = 2048


class Channel:
    """The sending half towards one peer, and what came from it."""

    def __init__(self, io: Any, instance: bytes) -> None:
        self.io = io
        self.instance = instance
        #: small records to send, encoded
        self.records: collections.deque[bytes] = collections.deque()
        #: numbers to acknowledge with the next frame, by record type
        self.acks: dict[int, list[int]] = {}
        self.transfers: dict[tuple[int, int], chunks.Transfer] = {}
        self.reassembly = chunks.Reassembly()
        self.clock = clock.PeerClock()
        #: time.monotonic() of the last frame that came
        self.heard = 0.0
        self.used = 0.0
        self.pinged = 0.0

    # -- sending ----------------------------------------------------------

    def send(self, record: bytes) -> None:
        """Queue a small record."""
        self.records.append(record)
        self.io.dirty[self] = None

    def acknowledge(self, kind: int, seq: int, delay: float = 0.0) -> None:
        """Queue an acknowledgement; delayed ones ride with other records."""
        numbers = self.acks.get(kind)
        if numbers is None:
            self.acks[kind] = [seq]
        else:
            numbers.append(seq)
        if delay:
            self.io.delay(self, delay)
        else:
            self.io.dirty[self] = None

    def transfer(self, kind: int, seq: int, data: bytes) -> None:
        """Queue a message that is too large for one frame."""
        settings = self.io.settings
        self.transfers[kind, seq] = chunks.Transfer(
            kind, seq, data, settings.chunk_size, settings.chunk_credit)
        self.io.dirty[self] = None

    def has_work(self) -> bool:
        """Is there anything that may be sent now?"""
        if self.records or self.acks:
            return True
        for transfer in self.transfers.values():
            if transfer.ready:
                return True
        return False

    def take(self, now: float) -> list[bytes]:
        """Remove from the queues what goes into the next frame."""
        records = []
        size = 0
        if self.acks:
            for kind, numbers in self.acks.items():
                records.append(wire.seqs(kind, numbers))
                size += len(records[-1])
            self.acks = {}
        limit = self.io.settings.chunk_size
        queue = self.records
        while queue and (not size or size + len(queue[0]) <= limit):
            records.append(queue.popleft())
            size += len(records[-1])
        if self.transfers and size <= _CHUNK_COMPANY:
            self._take_chunk(records, now)
        return records

    def _take_chunk(self, records: list[bytes], now: float) -> None:
        for key, transfer in self.transfers.items():
            if transfer.ready:
                records.append(transfer.next_chunk(now))
                if len(self.transfers) > 1:
                    # Round robin: this one goes to the end.
                    self.transfers[key] = self.transfers.pop(key)
                return

    def stalled_transfers(self, now: float) -> None:
        """Send again what has been on its way for too long."""
        for transfer in self.transfers.values():
            if transfer.stalled(now):
                transfer.rewind(now)
                self.io.dirty[self] = None

    # -- receiving --------------------------------------------------------

    def on_ping(self, body: bytes, now_us: int) -> None:
        """Answer with our clock."""
        self.send(wire.pong(wire.parse_ping(body), now_us))

    def on_pong(self, body: bytes, now_us: int) -> None:
        """The peer's clock came."""
        sent, remote = wire.parse_pong(body)
        self.clock.on_pong(sent, remote, now_us)

    def on_credit(self, body: bytes, now: float) -> None:
        """The peer tells how much of a large message it has."""
        kind, seq, have = wire.parse_credit(body)
        transfer = self.transfers.get((kind, seq))
        if transfer is not None:
            transfer.on_credit(have, now)
            if transfer.done:
                del self.transfers[kind, seq]
            self.io.dirty[self] = None

    def on_chunk(self, chunk: tuple, now: float) -> bytes | None:
        """Take a piece; the message when it is whole."""
        kind, seq, total, offset, data = chunk
        have, message = self.reassembly.add(kind, seq, total, offset, data,
                                            now)
        self.send(wire.credit(kind, seq, have))
        return message
