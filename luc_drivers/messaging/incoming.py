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

"""Requests of one other instance to us: at most one run of each.

Runs in the I/O thread. A request is acknowledged once it is queued at its
listener; its id is remembered for as long as its sender may repeat it, its
reply until the sender has it (rules C1 to C4).
"""

from typing import Any

from luc_drivers.messaging import channel
from luc_drivers.messaging import counters
from luc_drivers.messaging import dedup
from luc_drivers.messaging import wire

#: seconds that the ACK of a call waits for the reply, which implies it, but
#: for no more than this part of resend_interval: each wait costs a wake-up
_ACK_DELAY = 0.1
_ACK_PART = 0.25
#: seconds after its deadline for which an unfetched reply is kept
_REPLY_GRACE = 5.0
#: the same for calls without a time-out, counted from the peer's last frame
_SILENT = 60.0

#: told to the agent: a fanout that is to be passed on
RELAY = 'relay'

# States of an entry.
QUEUED = 0
DONE = 1
REFUSED = 2


class Entry:
    """What is remembered of a request."""

    __slots__ = ('state', 'deadline', 'reply', 'code', 'acked', 'stamp')

    def __init__(self, deadline: int, now: float) -> None:
        #: microseconds on our clock, 0 for none
        self.deadline = deadline
        self.stamp = now
        self.state = QUEUED
        self.reply: bytes | None = None
        self.code = 0
        self.acked = False


class Incoming:
    """A request on its way to a listener's queue."""

    __slots__ = ('node', 'instance', 'seq', 'deadline', 'monitor', 'flags',
                 'body', 'message_id')

    def __init__(self, node: Any, instance: bytes, request: wire.Request,
                 deadline: int) -> None:
        self.node = node
        self.instance = instance
        self.seq = request.seq
        self.deadline = deadline
        self.monitor = request.monitor
        self.flags = request.flags
        self.body = request.body
        if self.flags & wire.F_FANOUT:
            self.body = self.body[wire.ORIGIN_SIZE:]
        #: set for messages that came out of a mailbox
        self.message_id = ''

    @property
    def is_call(self) -> bool:
        """Does its sender wait for the method's result?"""
        return not self.flags & (wire.F_CAST | wire.F_FANOUT)


class InPeer(channel.Channel):
    """An instance that sends us requests, over a connection to our ROUTER."""

    def __init__(self, io: Any, instance: bytes) -> None:
        super().__init__(io, instance)
        self.rid: bytes | None = None
        self.rids: list[bytes] = []
        self.window = dedup.SeqWindow()
        self.active: dict[int, Entry] = {}
        self.blocked = False
        self.user = ''

    # -- connection -------------------------------------------------------

    def on_route(self, rid: bytes, now: float) -> None:
        """It has a new connection: the old one's messages may be lost."""
        self.rid = rid
        self.rids.append(rid)
        if len(self.rids) > 4:
            self.io.routes.pop(self.rids.pop(0), None)
        for transfer in self.transfers.values():
            transfer.rewind(now)
        if len(self.rids) > 1:
            for seq, entry in self.active.items():
                if entry.reply is not None:
                    self._send_reply(seq, entry.reply)
        self.io.dirty[self] = None

    def on_frame(self, frame: wire.Frame, records: list, now: float,
                 now_us: int) -> None:
        """A frame came to our ROUTER; raises WireError."""
        self.heard = now
        self.clock.on_stamp(frame.stamp, now_us)
        for kind, body in records:
            if kind == wire.REQUEST:
                self.on_request(wire.parse_request(body), now, now_us)
            elif kind == wire.REPLY_ACK:
                for seq in wire.parse_seqs(body):
                    self._on_reply_ack(seq)
            elif kind == wire.CHUNK_DATA:
                self._on_chunk(body, now, now_us)
            elif kind == wire.CREDIT:
                self.on_credit(body, now)
            elif kind == wire.HELLO:
                self._on_hello(body, now_us)
            elif kind == wire.PING:
                self.on_ping(body, now_us)
            elif kind == wire.PONG:
                self.on_pong(body, now_us)
            elif kind in (wire.GOAWAY, wire.LISTENERS):
                self.io.tell(kind, self.instance,
                             wire.parse_news(kind, body))
            elif kind == wire.POKE:
                for listener in self.io.listeners.values():
                    if listener.shares_mail(body):
                        listener.bar()
                self.io.tell(kind, self.instance, body)
        if frame.floor > self.window.floor:
            self.window.forget_below(frame.floor)
            self._forget_below(frame.floor)

    def _on_hello(self, body: bytes, now_us: int) -> None:
        hello = wire.parse_document(body)
        boot = hello.get('boot')
        if boot and boot == self.io.boot:
            self.clock.same_host()
        self.send(wire.document(wire.WELCOME, self.io.introduction()))
        self.send(wire.ping(now_us))

    # -- requests ---------------------------------------------------------

    def on_request(self, request: wire.Request, now: float,
                   now_us: int) -> None:
        """Queue it, or answer what is known of it."""
        seq = request.seq
        if not self.window.add(seq):
            self._on_duplicate(request)
            return
        deadline = 0
        if request.deadline:
            deadline = self.clock.to_local(request.deadline)
        is_call = not request.flags & wire.F_CAST
        code = self._accept(request, deadline, now, now_us)
        if code:
            entry = Entry(deadline, now)
            entry.state = REFUSED
            entry.code = code
            self.active[seq] = entry
            self.send(wire.nack(seq, code))
            return
        if is_call:
            self.active[seq] = Entry(deadline, now)
            self.io.running += 1
            self.acknowledge(wire.ACK, seq, min(
                _ACK_DELAY, _ACK_PART * self.io.settings.resend_interval))
        else:
            self.acknowledge(wire.ACK, seq)

    def _accept(self, request: wire.Request, deadline: int, now: float,
                now_us: int) -> int:
        """Queue a new request; 0, or the code of the NACK."""
        if deadline and now_us >= deadline:
            self.io.count('expired')
            self._counts(request).expired += 1
            return wire.EXPIRED
        listener = self.io.listeners.get(request.listener)
        if listener is None:
            return wire.NO_LISTENER
        if not listener.accepts(request.target):
            return wire.NO_LISTENER
        if listener.closed:
            return wire.STOPPING
        if listener.full(len(request.body)):
            self.io.count('busy')
            self.io.topics.of(request.target).busy += 1
            return wire.BUSY
        if request.flags & wire.F_FANOUT:
            if len(request.body) < wire.ORIGIN_SIZE:
                raise wire.WireError('truncated fanout')
            if request.flags & wire.F_RELAY:
                self.io.tell(RELAY, self.instance, request)
            if not self.io.origins.add(
                    (request.body[:wire.ORIGIN_SIZE], request.listener), now):
                # It came another way already: by another relay.
                self.io.count('duplicate')
                self.io.topics.of(request.target).duplicate += 1
                return 0
        self.io.count('received')
        self.io.topics.of(request.target).received += 1
        listener.put(Incoming(self.io, self.instance, request, deadline))
        return 0

    def _counts(self, request: wire.Request) -> counters.Topic:
        """The counts of what it is addressed to, if that is here."""
        listener = self.io.listeners.get(request.listener)
        if listener is None or not listener.accepts(request.target):
            return counters.Topic()
        return self.io.topics.of(request.target)

    def _on_duplicate(self, request: wire.Request) -> None:
        seq = request.seq
        self.io.count('duplicate')
        self._counts(request).duplicate += 1
        entry = self.active.get(seq)
        if entry is None:
            if request.flags & wire.F_CAST:
                self.acknowledge(wire.ACK, seq)
            else:
                self.send(wire.nack(seq, wire.LOST))
        elif entry.state == REFUSED:
            self.send(wire.nack(seq, entry.code))
        elif entry.reply is not None:
            self._send_reply(seq, entry.reply)
        elif entry.state == DONE:
            self.send(wire.nack(seq, wire.LOST))
        else:
            self.acknowledge(wire.ACK, seq)

    def _on_chunk(self, body: bytes, now: float, now_us: int) -> None:
        chunk = wire.parse_chunk(body)
        kind, seq, total, offset, data = chunk
        if kind != wire.REQUEST:
            raise wire.WireError('reply chunk from a client')
        if self.window.seen(seq):
            # It is whole already; its head is in the first chunk.
            if offset == 0:
                self._on_duplicate(wire.parse_request(data))
            return
        if total > self.io.settings.max_message_size + wire.FRAME_SLACK:
            self._refuse(seq, wire.TOO_LARGE, now)
            return
        if (self.reassembly.size >
                self.io.settings.queue_max_bytes):
            self._refuse(seq, wire.BUSY, now)
            self.reassembly.drop(kind, seq)
            return
        message = self.on_chunk(chunk, now)
        if message is not None:
            self.on_request(wire.parse_request(message), now, now_us)

    def _refuse(self, seq: int, code: int, now: float) -> None:
        self.window.add(seq)
        entry = Entry(0, now)
        entry.state = REFUSED
        entry.code = code
        self.active[seq] = entry
        self.send(wire.nack(seq, code))

    # -- replies ----------------------------------------------------------

    def reply(self, seq: int, flags: int, body: bytes) -> None:
        """The request was run (command of ``Incoming``'s owner)."""
        entry = self.active.get(seq)
        if entry is None or entry.state != QUEUED:
            return
        self.io.running -= 1
        entry.state = DONE
        entry.reply = wire.reply_body(seq, flags, body)
        pending = self.acks.get(wire.ACK)
        if pending and seq in pending:
            pending.remove(seq)
            if not pending:
                del self.acks[wire.ACK]
        self._send_reply(seq, entry.reply)
        self.io.replies.keep(self, seq, len(body))

    def _send_reply(self, seq: int, body: bytes) -> None:
        if len(body) > self.io.settings.chunk_size:
            if (wire.REPLY, seq) not in self.transfers:
                self.transfer(wire.REPLY, seq, body)
        else:
            self.send(wire.record(wire.REPLY, body))

    def refuse(self, seq: int, code: int) -> None:
        """It was queued but will not run here (stopping, expired)."""
        entry = self.active.get(seq)
        if entry is not None and entry.state == QUEUED:
            self.io.running -= 1
            entry.state = REFUSED
            entry.code = code
            self.send(wire.nack(seq, code))

    def beat(self, seq: int) -> None:
        """It still runs."""
        self.send(wire.seqs(wire.BEAT, [seq]))

    def _on_reply_ack(self, seq: int) -> None:
        entry = self.active.pop(seq, None)
        if entry is not None:
            if entry.state == QUEUED:
                self.io.running -= 1
            self.io.replies.release(self, seq)
        if self.transfers:
            self.transfers.pop((wire.REPLY, seq), None)

    def drop_reply(self, seq: int) -> None:
        """The cache is full: a repeated request gets LOST from now on."""
        entry = self.active.get(seq)
        if entry is not None:
            entry.reply = None
        self.transfers.pop((wire.REPLY, seq), None)

    def unanswered(self) -> int:
        """How many replies have not been confirmed by their caller."""
        return sum(1 for entry in self.active.values()
                   if entry.reply is not None)

    # -- time -------------------------------------------------------------

    def _forget_below(self, floor: int) -> None:
        settled = []
        for seq, entry in self.active.items():
            if seq >= floor:
                break  # they come in order, nearly; tick() gets the others
            # If it is queued, its caller gave up, but it may still run; the
            # window's floor keeps it from being repeated.
            if entry.state != QUEUED:
                settled.append(seq)
        for seq in settled:
            self._on_reply_ack(seq)

    def tick(self, now: float, now_us: int) -> None:
        """Every second or so."""
        self.stalled_transfers(now)
        self.reassembly.sweep(now)
        grace = int(_REPLY_GRACE * 1e6)
        silent = now - self.heard > _SILENT
        for seq, entry in list(self.active.items()):
            if entry.state == QUEUED:
                continue
            if (seq < self.window.floor or
                    now_us > entry.deadline + grace if entry.deadline
                    else silent):
                self._on_reply_ack(seq)

    def idle(self, now: float, limit: float) -> bool:
        """May it be forgotten?"""
        return not self.active and now - self.heard > limit
