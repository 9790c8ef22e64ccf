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

"""Incoming requests on the side of the program: listeners and replies.

A listener's queue is filled by the I/O thread and emptied by oslo.messaging.
No more than ``[bus]rpc_prefetch`` requests are handed out unfinished (rule
C5): oslo's executor queues without limit and runs all of it when it is
stopped.
"""

import logging
import struct
import sys
import time
from typing import Any

from oslo_messaging._drivers import base as driver_base
from oslo_messaging._drivers import common
from oslo_messaging.rpc import dispatcher
from oslo_serialization import jsonutils

from luc_drivers.messaging import clock
from luc_drivers.messaging import incoming
from luc_drivers.messaging import mailbox
from luc_drivers.messaging import routing
from luc_drivers.messaging import waiting
from luc_drivers.messaging import wire
from luc_drivers.messaging.matchmaker import base

LOG = logging.getLogger(__name__)

_STORED = struct.Struct('!16sQB')
_STOP = ('stop',)
#: messages taken out of a mailbox at once
_MAIL_BATCH = 1000
_IO_TIMEOUT = 10.0


def stored_body(instance: bytes, seq: int, flags: int, body: bytes) -> bytes:
    """A cast as it lies in a mailbox."""
    return _STORED.pack(instance, seq, flags) + body


def parse_stored(data: bytes) -> tuple[bytes, int, int, bytes]:
    """The inverse: sender's instance, seq (0: never sent), flags, body."""
    instance, seq, flags = _STORED.unpack_from(data)
    return instance, seq, flags, data[_STORED.size:]


class RpcMessage(driver_base.RpcIncomingMessage):
    """One request, as oslo.messaging sees it."""

    # The base class's __init__ would make a uuid that nobody needs.
    def __init__(self, listener: 'RpcListener',
                 item: incoming.Incoming) -> None:
        self._listener = listener
        self._item = item
        self._decoded: dict[str, Any] | None = None
        self._finished = False
        self._expired = False
        self.client_timeout = item.monitor / 1000 if item.monitor else None
        self.msg_id = '%s-%d' % (item.instance.hex(), item.seq)

    def _content(self) -> dict[str, Any]:
        if self._decoded is None:
            try:
                self._decoded = _decode(self._item.body)
            except ValueError as e:
                # Raised in oslo's executor, it would be heard by nobody.
                LOG.warning('Dropped a malformed message on topic %s: %s',
                            self._listener.key.topic, e)
                self.reply(failure=sys.exc_info())
                raise
            self._item.body = b''
        return self._decoded

    @property
    def ctxt(self) -> dict[str, Any]:
        """The caller's context."""
        return self._content()['c']

    @property
    def message(self) -> dict[str, Any]:
        """Method and arguments.

        :raises ExpectedException: the request has expired since it was
            handed out. oslo.messaging's server runs nothing then, and does
            not take it for an error.
        """
        if self._expired:
            raise dispatcher.ExpectedException()
        return self._content()['m']

    def acknowledge(self) -> None:
        """It was acknowledged when it was queued.

        This is the library's last word before the method runs: if the
        caller timed out since it was handed out, as this process was stopped
        or very busy, ``message`` refuses itself from now on.
        """
        item = self._item
        if (item.deadline and not self._finished and
                clock.now_us() >= item.deadline):
            self._finished = self._expired = True
            self._listener.finished()
            io = self._listener.node.io
            io.push(io.refuse, item.instance, item.seq, wire.EXPIRED)
            LOG.info('Request %s on topic %s is not run: its caller timed '
                     'out before its turn came', self.msg_id,
                     self._listener.key.topic)

    def requeue(self) -> None:
        """Calls and casts are never put back."""

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """Send the result or the exception; a cast has neither."""
        if self._finished:
            return
        self._finished = True
        self._listener.finished()
        item = self._item
        if not item.is_call:
            return
        body, flags = _encode_reply(reply, failure)
        limit = self._listener.node.settings.max_message_size
        if len(body) > limit:
            text = ('The reply of %d bytes is larger than '
                    '[bus]max_message_size %d' % (len(body), limit))
            LOG.error('%s (topic %s)', text, self._listener.key.topic)
            body, flags = _encode_failure(ValueError(text))
        io = self._listener.node.io
        io.push(io.reply, item.instance, item.seq, flags, body)

    def heartbeat(self) -> None:
        """Tell the caller that the request still runs."""
        if self._finished:
            # The library's watchdog ends by this only.
            raise RuntimeError('the request was answered already')
        item = self._item
        if item.is_call:
            io = self._listener.node.io
            io.push(io.beat, item.instance, item.seq)


def _decode(body: bytes) -> dict[str, Any]:
    try:
        content = jsonutils.loads(body)
    except RecursionError as e:
        raise ValueError('it is nested too deeply') from e
    if (not isinstance(content, dict) or
            not isinstance(content.get('c'), dict) or
            not isinstance(content.get('m'), dict)):
        raise ValueError('it has no context or no message')
    return content


def _encode_reply(reply: Any, failure: Any) -> tuple[bytes, int]:
    if failure:
        try:
            return (common.serialize_remote_exception(failure).encode(),
                    wire.R_FAILURE)
        except (TypeError, ValueError) as e:
            LOG.exception('The exception of an RPC method can\'t be sent')
            return _encode_failure(e)
    try:
        return jsonutils.dump_as_bytes(reply), 0
    except (TypeError, ValueError) as e:
        LOG.exception('The result of an RPC method can\'t be sent')
        return _encode_failure(e)


def _encode_failure(error: Exception) -> tuple[bytes, int]:
    for what in (error, ValueError(str(error))):
        try:
            return (common.serialize_remote_exception(
                (type(what), what, what.__traceback__)).encode(),
                wire.R_FAILURE)
        except (TypeError, ValueError):
            continue  # its arguments can't be sent; the text can
    raise AssertionError('a ValueError of a string can be sent')


class RpcListener(driver_base.PollStyleListener):
    """The queue of one RPC server."""

    def __init__(self, node: Any, key: routing.Key, prefetch: int) -> None:
        """A listener that gets messages once it is with ``node``.

        :param key: its address; ``server`` is a string, maybe empty.
        :param prefetch: how many may be handed out unfinished.
        """
        super().__init__(prefetch)
        self.node = node
        self.key = key
        self.number = node.new_number()
        self.address = wire.address(*key)
        self.closed = False
        self.subscription = base.Subscription(
            key.namespace, key.exchange, key.topic, key.server or '',
            node.name, str(self.number))
        self._most = node.settings.queue_max_messages
        self._most_bytes = node.settings.queue_max_bytes
        self._slot = waiting.slot()
        self._credit = waiting.Credit(prefetch)
        # Each is written by one thread only: no lock is needed.
        self._bytes_in = 0
        self._bytes_out = 0
        self._leftover: list[incoming.Incoming] = []
        #: how many POKEs came (written in the I/O thread)
        self.bars = 0
        self._lifted = 0
        # Casts that came after one whose mail is not fetched yet.
        self._held: list[incoming.Incoming] = []

    # -- the I/O thread ---------------------------------------------------

    def accepts(self, target: bytes) -> bool:
        """Is it addressed to this listener?"""
        return target == self.address

    def full(self, size: int) -> bool:
        """Is there no room for a message of so many bytes?"""
        queued = len(self._slot) + len(self._held)
        return (queued >= self._most or
                queued > 0 and self._bytes_in - self._bytes_out + size >
                self._most_bytes)

    def depth(self) -> int:
        """How many requests wait."""
        return len(self._slot) + len(self._held)

    def shares_mail(self, target: bytes) -> bool:
        """Does its mail come from a mailbox of this target's topic?"""
        return (target.rpartition(b'\0')[0] ==
                self.address.rpartition(b'\0')[0])

    def bar(self) -> None:
        """Mail waits: casts that come from now on come after it."""
        self.bars += 1

    def lift(self, bars: int) -> None:
        """The mail of the first so many POKEs was fetched."""
        self._lifted = max(self._lifted, bars)
        if self._lifted == self.bars:
            held, self._held = self._held, []
            for item in held:
                self._slot.put(item)

    def _surrender(self, slot: Any) -> None:
        held, self._held = self._held, []
        slot.put((held,))

    def put(self, item: incoming.Incoming) -> None:
        """Queue a request."""
        self._bytes_in += len(item.body)
        if (self._lifted < self.bars and not item.message_id and
                item.flags & wire.F_CAST and
                not item.flags & wire.F_FANOUT):
            self._held.append(item)
        else:
            self._slot.put(item)

    def put_mail(self, instance: bytes, seq: int, item: incoming.Incoming,
                 slot: Any) -> None:
        """Queue a message from the mailbox, unless it was had directly."""
        if self.closed:
            slot.put(False)
            return
        peer = self.node.io.in_peers.get(instance)
        if seq and peer is not None and not peer.window.add(seq):
            self.node.io.count('duplicate')
        else:
            self.put(item)
        slot.put(True)

    # -- oslo.messaging ---------------------------------------------------

    @driver_base.batch_poll_helper
    def poll(self, timeout: float | None = None) -> RpcMessage | None:
        """The next request to run; None at the time-out or the end."""
        if self.closed:
            return self._next_leftover()
        if not self._credit.acquire(timeout=timeout):
            return None
        while not self.closed:
            item = self.node.io.wait(self._slot, timeout)
            if item is None or item is _STOP:
                break
            self._bytes_out += len(item.body)
            if item.deadline and clock.now_us() >= item.deadline:
                self.node.io.push(self.node.io.refuse, item.instance,
                                  item.seq, wire.EXPIRED)
                continue
            return RpcMessage(self, item)
        self._credit.release()
        return None

    def _next_leftover(self) -> RpcMessage | None:
        if self._leftover:
            return RpcMessage(self, self._leftover.pop(0))
        return None

    def finished(self) -> None:
        """A request that was handed out is done."""
        self._credit.release()

    def stop(self) -> None:
        """Take no more; what was not begun goes elsewhere."""
        if self.closed:
            return
        self.closed = True
        self.node.remove_listener(self, [self.subscription])
        slot = waiting.slot()
        self.node.io.push(self._surrender, slot)
        held: list[incoming.Incoming] = (slot.get(1.0) or ([],))[0]
        left = []
        while True:
            item = self._slot.get(0)
            if item is None:
                break
            left.append(item)
        left += held
        io = self.node.io
        for item in left:
            if item.is_call:
                io.push(io.refuse, item.instance, item.seq, wire.STOPPING)
            elif not item.flags & wire.F_FANOUT:
                self._hand_back(item)
        self._slot.put(_STOP)
        # Whoever waits for it may be in the I/O loop.
        io.push(io.look)
        self._credit.release()

    def _hand_back(self, item: incoming.Incoming) -> None:
        """An accepted cast that didn't run: into the mailbox, else run it."""
        server = '' if item.flags & wire.F_TOPIC else self.key.server
        box = base.Box(*self.key[:3], server or '')
        message_id = item.message_id or mailbox.new_id(
            item.instance.hex(), item.seq)
        try:
            routes = self.node.mailbox.put(
                box, message_id, stored_body(item.instance, 0, item.flags,
                                             item.body))
        except base.MatchmakerError as e:
            LOG.warning('A cast on topic %s runs while its server stops: it '
                        'can\'t be stored: %s', self.key.topic, e)
            self._leftover.append(item)
            return
        for route in routes[:1]:
            self.node.io.push(self.node.io.poke, route.endpoint,
                              wire.address(*self.key))

    def cleanup(self) -> None:
        """All requests are done: see that the callers get their replies."""
        self.stop()
        self.node.flush(self.node.settings.stop_timeout)

    # -- mail -------------------------------------------------------------

    def drain(self) -> bool:
        """Take what waits in the mailboxes; blocks.

        :returns: False if there may be more: another process empties one
            of them just now, or it was a lot.
        :raises MatchmakerUnavailable: the store is down.
        """
        complete = True
        for server in ([self.key.server, ''] if self.key.server else ['']):
            got = self.node.mailbox.drain(
                base.Box(*self.key[:3], server), self.node.name,
                self._deliver, _MAIL_BATCH, lambda: not self.closed)
            if got is None or got == _MAIL_BATCH:
                complete = False
        return complete

    def _deliver(self, message: base.StoredMessage) -> None:
        try:
            instance, seq, flags, body = parse_stored(message.body)
        except struct.error:
            LOG.warning('Dropped a malformed message %s from the mailbox of '
                        'topic %s', message.id, self.key.topic)
            return
        request = wire.Request(seq, self.number, 0, 0,
                               flags | wire.F_CAST, self.address, body)
        item = incoming.Incoming(self.node.io, instance, request, 0)
        item.message_id = message.id
        # Not the held ones: they wait for this message.
        while (len(self._slot) >= self._most and
               not self.closed):
            time.sleep(0.05)
        slot = waiting.slot()
        self.node.io.push(self.put_mail, instance,
                          seq if message.suspect else 0, item, slot)
        if not slot.get(_IO_TIMEOUT):
            self._hand_back(item)
