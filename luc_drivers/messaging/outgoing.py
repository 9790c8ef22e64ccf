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

"""Our requests to one instance: numbering, acknowledgement, resending.

Runs in the I/O thread. What happens to a request is told to its slot as a
tuple: ``(ACK,)`` it is queued there, ``(REPLY, flags, body)``,
``(BEAT,)`` it still runs, ``(NACK, code, text)`` it did not run there and
never will (but for wire.LOST), ``(UNSENT,)`` it never left this process,
``(GONE,)`` the instance is proven dead (rule C1).
"""

import collections
import random
from typing import Any

from luc_drivers.messaging import channel
from luc_drivers.messaging import clock
from luc_drivers.messaging import wire

ACK = wire.ACK
NACK = wire.NACK
REPLY = wire.REPLY
BEAT = wire.BEAT
UNSENT = 100
GONE = 101

#: seconds that a REPLY_ACK waits for a frame to ride with
_REPLY_ACK_DELAY = 0.1
#: seconds without a connection after which what was never sent is given back
_UNSENT_AFTER = 1.0
_PROBE_EVERY = 1.0
_RESEND_MAX = 5.0
#: seconds for which a POKE is repeated; by then the mailbox was looked at
_POKE_FOR = 60.0
#: seconds for which a fanout is tried at a listener that can't be reached
FANOUT_WINDOW = 60.0


class Pending:
    """One request to one listener, until it is settled."""

    __slots__ = ('listener', 'target', 'body', 'deadline', 'monitor',
                 'flags', 'slot', 'expires', 'seq', 'sent', 'sent_at',
                 'acked', 'tries', 'done', 'counts')

    def __init__(self, listener: int, target: bytes, body: bytes,
                 deadline: int, monitor: int, flags: int, slot: Any,
                 expires: float = 0.0) -> None:
        """A request.

        :param deadline: microseconds of our monotonic clock, 0 for none.
        :param monitor: ms without a beat after which the caller gives up.
        :param slot: where events go; None if nobody waits.
        :param expires: time.monotonic() from which on it is given up
            silently; until then it waits for its instance.
        """
        self.listener = listener
        self.target = target
        self.body = body
        self.deadline = deadline
        self.monitor = monitor
        self.flags = flags
        self.slot = slot
        self.expires = expires
        self.seq = 0
        self.sent = False
        self.sent_at = 0.0
        self.acked = False
        self.tries = 0
        self.done = False
        self.counts: Any = None

    def encoded(self) -> bytes:
        """The body of its REQUEST record."""
        return wire.request_head(self.seq, self.listener, self.deadline,
                                 self.monitor, self.flags,
                                 self.target) + self.body

    def tell(self, *event: Any) -> None:
        """Report to whoever waits."""
        if self.slot is not None:
            self.slot.put(event)


class OutPeer(channel.Channel):
    """An instance that we send requests to, over a DEALER of ours."""

    def __init__(self, io: Any, instance: bytes, endpoint: Any,
                 now: float) -> None:
        super().__init__(io, instance)
        self.endpoint = endpoint
        self.sock: Any = None
        self.welcomed = False
        #: did its socket take frames when last looked at?
        self.writable = False
        self.opened = 0.0
        self.down_since: float | None = None
        self.probed = 0.0
        self.requests: collections.deque[Pending] = collections.deque()
        self.outstanding: dict[int, Pending] = {}
        self.unacked: dict[int, Pending] = {}
        self.given_up: collections.deque[int] = collections.deque(maxlen=1000)
        #: POKEs that may not have come: target -> (stamp of the PING that
        #: follows the last one, when it was sent, when the first one was)
        self.pokes: dict[bytes, tuple[int, float, float]] = {}
        # Numbers never repeat within our life, even if this object is
        # dropped and made again: the clock runs faster than requests come.
        self.next_seq = clock.now_us()
        self.used = now
        if endpoint.boot and endpoint.boot == io.boot:
            self.clock.same_host()

    # -- commands ---------------------------------------------------------

    def submit(self, pending: Pending, now: float) -> None:
        """Take a request to send."""
        pending.seq = self.next_seq
        self.next_seq += 1
        self.outstanding[pending.seq] = pending
        pending.counts = self.io.topics.of(pending.target)
        pending.counts.sent += 1
        self.io.outstanding += 1
        self.requests.append(pending)
        self.used = now
        self.io.dirty[self] = None

    def settle(self, pending: Pending) -> None:
        """Forget a request: answered, refused, or given up."""
        pending.done = True
        seq = pending.seq
        if self.outstanding.pop(seq, None) is not None:
            self.io.outstanding -= 1
        self.unacked.pop(seq, None)
        if self.transfers:
            self.transfers.pop((wire.REQUEST, seq), None)

    def give_up(self, pending: Pending) -> None:
        """The caller no longer waits."""
        if not pending.done:
            self.settle(pending)
            pending.counts.timed_out += 1
            self.reassembly.drop(wire.REPLY, pending.seq)
            self.given_up.append(pending.seq)

    def poke(self, target: bytes, now: float) -> None:
        """Tell it that mail waits, until it has heard it."""
        first = self.pokes[target][2] if target in self.pokes else now
        stamp = clock.now_us()
        self.pokes[target] = stamp, now, first
        # In one piece: who answers the PING has seen the POKE.
        self.send(wire.record(wire.POKE, target) + wire.ping(stamp))

    def repeat_pokes(self, now: float, before: float = float('inf')) -> None:
        """Send those again that were last sent before that time."""
        for target, (_stamp, sent, first) in list(self.pokes.items()):
            if now - first > _POKE_FOR:
                del self.pokes[target]
            elif sent < before:
                self.poke(target, now)

    def floor(self) -> int:
        """All our requests below it are settled."""
        for seq in self.outstanding:
            return seq
        return self.next_seq

    # -- sending ----------------------------------------------------------

    def has_work(self) -> bool:
        return bool(self.requests) or super().has_work()

    def take(self, now: float) -> list[bytes]:
        records = super().take(now)
        settings = self.io.settings
        limit = settings.chunk_size
        size = sum(map(len, records))
        while self.requests and size <= limit:
            pending = self.requests[0]
            if pending.done:
                self.requests.popleft()
                continue
            body = pending.encoded()
            if len(body) <= limit:
                if size and size + len(body) > limit:
                    break
                records.append(wire.record(wire.REQUEST, body))
                size += len(body)
            elif (wire.REQUEST, pending.seq) not in self.transfers:
                self.transfer(wire.REQUEST, pending.seq, body)
            self.requests.popleft()
            pending.sent = True
            pending.sent_at = now
            if not pending.acked:
                self.unacked[pending.seq] = pending
        if self.transfers and not records:
            self._take_chunk(records, now)
        return records

    # -- receiving --------------------------------------------------------

    def on_frame(self, frame: wire.Frame, records: list, now: float,
                 now_us: int) -> None:
        """A frame came over our DEALER; raises WireError."""
        if frame.src != self.instance or frame.dst != self.io.instance:
            # Another process has this port now, or took us for another.
            for kind, _body in records:
                if kind == wire.WRONG_INSTANCE:
                    self.io.proven_gone(self)
                    return
            self.io.wrong_source(self)
            return
        self.heard = now
        self.clock.on_stamp(frame.stamp, now_us)
        for kind, body in records:
            if kind == wire.REPLY:
                self._on_reply(body)
            elif kind == wire.ACK:
                for seq in wire.parse_seqs(body):
                    self._on_ack(seq)
            elif kind == wire.NACK:
                self._on_nack(body)
            elif kind == wire.BEAT:
                for seq in wire.parse_seqs(body):
                    self._on_ack(seq)
                    pending = self.outstanding.get(seq)
                    if pending is not None:
                        pending.tell(BEAT)
            elif kind == wire.CHUNK_DATA:
                self._on_chunk(body, now)
            elif kind == wire.CREDIT:
                self.on_credit(body, now)
            elif kind == wire.PING:
                self.on_ping(body, now_us)
            elif kind == wire.PONG:
                self.on_pong(body, now_us)
            elif kind == wire.WELCOME:
                wire.parse_document(body)
                self.welcomed = True
            elif kind in (wire.GOAWAY, wire.LISTENERS):
                self.io.tell(kind, self.instance,
                             wire.parse_news(kind, body))

    def on_pong(self, body: bytes, now_us: int) -> None:
        super().on_pong(body, now_us)
        if self.pokes:
            echo = wire.parse_pong(body)[0]
            self.pokes = {target: poke for target, poke in self.pokes.items()
                          if poke[0] != echo}

    def _on_ack(self, seq: int) -> None:
        pending = self.unacked.pop(seq, None)
        if pending is None:
            return
        pending.acked = True
        pending.counts.acknowledged += 1
        if pending.flags & wire.F_CAST:
            self.settle(pending)
            pending.tell(ACK)

    def _on_nack(self, body: bytes) -> None:
        seq, code, text = wire.parse_nack(body)
        pending = self.outstanding.get(seq)
        if pending is not None:
            self.settle(pending)
            pending.counts.refused += 1
            pending.tell(NACK, code, text)
            if pending.slot is None:
                self.io.count('nacked')

    def _on_reply(self, body: bytes) -> None:
        seq, flags, message = wire.parse_reply(body)
        self.acknowledge(wire.REPLY_ACK, seq, _REPLY_ACK_DELAY)
        pending = self.outstanding.get(seq)
        if pending is not None:
            self._on_ack(seq)
            self.settle(pending)
            pending.tell(REPLY, flags, message)
        elif seq in self.given_up:
            self.given_up.remove(seq)
            self.io.note_late_reply(self, seq)

    def _on_chunk(self, body: bytes, now: float) -> None:
        chunk = wire.parse_chunk(body)
        kind, seq, total = chunk[:3]
        pending = self.outstanding.get(seq)
        if kind != wire.REPLY:
            raise wire.WireError('request chunk from a server')
        if pending is None:
            # Answered or given up already.
            self.acknowledge(wire.REPLY_ACK, seq)
            return
        if total > self.io.settings.max_message_size + wire.FRAME_SLACK:
            self.acknowledge(wire.REPLY_ACK, seq)
            self.settle(pending)
            pending.tell(NACK, wire.LOST, 'the reply of %d bytes is larger '
                         'than [bus]max_message_size' % total)
            return
        self._on_ack(seq)
        message = self.on_chunk(chunk, now)
        if message is not None:
            self._on_reply(message)

    # -- time -------------------------------------------------------------

    def tick(self, now: float, writable: bool) -> None:
        """Every 0.2 s while there is a socket."""
        settings = self.io.settings
        if writable:
            if self.down_since is not None:
                self.on_up(now)
        elif self.outstanding or self.pokes:
            self._while_down(now)
        if (writable and not self.welcomed and
                now - self.opened > settings.handshake_timeout):
            self.io.reopen(self)
            return
        self.expire(now)
        if self.pokes:
            # While it is down, only those that are too old go.
            self.repeat_pokes(now, now - settings.resend_interval
                              if writable else 0.0)
        if writable:
            self._resend(now)
            self.stalled_transfers(now)
        if self.outstanding and writable:
            self.used = now
            if now - self.pinged >= settings.heartbeat_interval:
                self.pinged = now
                self.send(wire.ping(clock.now_us()))
        self.reassembly.sweep(now)

    def on_up(self, now: float) -> None:
        """Connected again: what was under way may be lost."""
        since, self.down_since = self.down_since, None
        if not self.welcomed:
            self.opened = now
        for transfer in self.transfers.values():
            transfer.rewind(now)
        for pending in self.outstanding.values():
            # What was sent since then went over the new connection.
            if pending.sent and (since is None or pending.sent_at < since):
                self.requests.append(pending)
        self.repeat_pokes(now)
        self.io.dirty[self] = None

    def _while_down(self, now: float) -> None:
        if self.down_since is None:
            self.down_since = now
        down = now - self.down_since
        if now - self.probed >= _PROBE_EVERY:
            self.probed = now
            self.io.ask_probe(self)
        if down >= _UNSENT_AFTER:
            self.fail_unsent()
        if down >= self.io.settings.handshake_timeout:
            # libzmq may be at the end of its back-off, or know an old key.
            self.down_since = now
            self.io.reopen(self)

    def fail_unsent(self) -> None:
        """Give back what never left, so that it can go elsewhere."""
        for pending in list(self.outstanding.values()):
            # What expires by itself is for this instance and no other.
            if (not pending.sent and not pending.expires and
                    pending.slot is not None):
                self.settle(pending)
                pending.tell(UNSENT)

    def expire(self, now: float) -> None:
        """Give up what nobody waits for and is too old."""
        for pending in list(self.outstanding.values()):
            if pending.expires and now >= pending.expires:
                self.settle(pending)
                pending.counts.expired += 1

    def _resend(self, now: float) -> None:
        interval = self.io.settings.resend_interval
        for pending in self.unacked.values():
            wait = min(interval * 1.5 ** pending.tries,
                       max(_RESEND_MAX, interval))
            if now - pending.sent_at < wait:
                continue
            if (wire.REQUEST, pending.seq) in self.transfers:
                continue  # resends by itself
            pending.tries += 1
            # Jittered: 300 senders must not come together.
            pending.sent_at = now + random.uniform(0, interval / 4)
            self.requests.append(pending)
            pending.counts.retried += 1
            self.io.count('resent')
            self.io.dirty[self] = None

    def gone(self) -> None:
        """The instance is proven dead: nothing more will come from it."""
        for pending in list(self.outstanding.values()):
            self.settle(pending)
            pending.tell(GONE)
