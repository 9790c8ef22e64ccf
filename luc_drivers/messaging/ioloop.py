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

"""The I/O loop's sockets: the only code that touches any.

It never logs, calls no store and no user code, and takes no lock that a
greenlet may hold (rule B12); what must be said or done elsewhere goes to the
agent's slot. Commands come in through ``push`` (see ``loop``).

ZeroMQ's sockets are waited for with edge-triggered epoll on their ZMQ_FD
(a ``zmq.Poller`` over thousands of DEALERs costs milliseconds a turn, rule
B1): after each send or receive on a socket its EVENTS are read again.
"""

import time
from typing import Any

import zmq

from luc_drivers.messaging import clock
from luc_drivers.messaging import incoming
from luc_drivers.messaging import loop
from luc_drivers.messaging import outgoing
from luc_drivers.messaging import sockets
from luc_drivers.messaging import wire

_SLOW_TICK = 1.0
#: seconds between attempts to make a socket that could not be made
_REOPEN_AFTER = 1.0
#: seconds after which a peer's full queue is tried again
_BLOCKED_RETRY = 0.005
#: frames taken from one socket before the others get their turn
_BURST = 100

_monotonic = time.monotonic
# pyzmq's enums cost microseconds at each use.
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_POLLOUT = int(zmq.POLLOUT)
_DONTWAIT = int(zmq.DONTWAIT)
_SNDMORE = int(zmq.SNDMORE)


class IoLoop(loop.SharedLoop):
    """The loop and its sockets."""

    def __init__(self, settings: Any, instance: bytes, boot: str,
                 security: Any, agent: Any) -> None:
        """Nothing is opened before ``start``; see PeerTable."""
        super().__init__(settings, instance, boot, security, agent)
        self._router: Any = None
        self._zap: Any = None
        self._next_sweep = 0.0

    # -- sockets ---------------------------------------------------------

    def attach_router(self, fd: int, address: str, slot: Any) -> None:
        """Serve on a listening TCP socket; the slot gets None or an error."""
        try:
            if self.security is not None:
                # It must be there before a socket that asks it is bound.
                self._zap = self.security.authenticator(self._context)
                self._register(self._zap.socket, self._zap)
            sock = sockets.serve(self._context, self.settings, self.security,
                                 fd, address)
        except Exception as e:  # whatever it is, the caller must hear of it
            slot.put((str(e),))
            return
        self._router = sock
        self._register(sock, sock)
        slot.put((None,))

    def stop(self) -> None:
        """End the thread and close all sockets."""
        self._running = False
        self._rouse()

    def reopen(self, peer: outgoing.OutPeer) -> None:
        """Connect anew: the peer doesn't answer."""
        self.count('reopened')
        self.close(peer)
        self.open(peer, _monotonic())

    def _register(self, sock: Any, owner: Any) -> None:
        fd = sock.getsockopt(zmq.FD)
        self._by_fd[fd] = owner
        self._epoll.register(fd, self._select.EPOLLIN | self._select.EPOLLET)
        self._ready[owner] = None

    def open(self, peer: outgoing.OutPeer, now: float) -> None:
        self._limit_sockets(now)
        peer.opened = now
        try:
            sock = sockets.connect(self._context, self.settings,
                                   self.security, peer.endpoint)
        except Exception as e:  # no descriptors, bad address, no trust
            self.log(40, 'connect' + peer.endpoint.instance,
                     'Can\'t connect to %s (%s): %s', peer.endpoint.host,
                     peer.endpoint.addresses[0], str(e))
            peer.fail_unsent()
            return
        peer.sock = sock
        peer.writable = False
        peer.welcomed = False
        peer.down_since = now if peer.outstanding else None
        peer.records.appendleft(
            wire.document(wire.HELLO, self.introduction()))
        peer.repeat_pokes(now)
        for transfer in peer.transfers.values():
            transfer.rewind(now)
        self._register(sock, peer)
        self.dirty[peer] = None

    def close(self, peer: outgoing.OutPeer) -> None:
        sock = peer.sock
        if sock is None:
            return
        peer.sock = None
        fd = sock.getsockopt(zmq.FD)
        self._epoll.unregister(fd)
        del self._by_fd[fd]
        self._ready.pop(peer, None)
        self.dirty.pop(peer, None)
        sock.close()
        peer.records.clear()

    def _limit_sockets(self, now: float) -> None:
        """Close the connection that was idle longest, beyond the limit."""
        if len(self._by_fd) <= self.settings.max_peers:
            return
        idle = [p for p in self.out_peers.values()
                if p.sock is not None and not (p.outstanding or p.pokes)]
        if idle:
            self.close(min(idle, key=lambda p: p.used))

    def _close_all(self) -> None:
        for peer in list(self.out_peers.values()):
            if peer.sock is not None:
                peer.sock.close()
            peer.gone()
        if self._router is not None:
            self._router.close()
        if self._zap is not None:
            self._zap.close()

    # -- sending and receiving --------------------------------------------

    def _flush(self) -> None:
        now = _monotonic()
        dirty = list(self.dirty)
        self.dirty.clear()
        for channel in dirty:
            if type(channel) is outgoing.OutPeer:
                self._flush_out(channel, now)
            else:
                self._flush_in(channel, now)

    def _frame(self, channel: Any, floor: int, records: list) -> bytes:
        self._delayed.pop(channel, None)
        return wire.frame(clock.now_us(), self.instance, channel.instance,
                          floor, records)

    def _flush_out(self, peer: outgoing.OutPeer, now: float) -> None:
        sock = peer.sock
        if sock is None:
            if not (peer.outstanding or peer.acks or peer.pokes):
                return
            self.open(peer, now)
            return
        while peer.writable and peer.has_work():
            records = peer.take(now)
            if not records:
                continue
            try:
                sock.send(self._frame(peer, peer.floor(), records),
                          _DONTWAIT)
            except zmq.Again:
                # The connection ended since its EVENTS were read.
                peer.records.extendleft(reversed(records))
                break
        if self._look_out(peer, now):
            self._ready[peer] = None

    def _flush_in(self, peer: incoming.InPeer, now: float) -> None:
        router = self._router
        # After a send its ZMQ_FD tells of nothing before EVENTS are read.
        self._ready[router] = None
        while peer.has_work():
            if peer.rid is None:
                peer.records.clear()
                peer.acks = {}
                return
            try:
                router.send(peer.rid, _SNDMORE | _DONTWAIT)
            except zmq.Again:
                self._blocked[peer] = None
                self._due = min(self._due, now + _BLOCKED_RETRY)
                break
            except zmq.ZMQError:
                # It is not connected now; replies wait in peer.active.
                peer.rid = None
                continue
            # A part that follows the first is never refused.
            router.send(self._frame(peer, 0, peer.take(now)), _DONTWAIT)

    def _receive(self) -> None:
        ready = list(self._ready)
        self._ready.clear()
        now = _monotonic()
        now_us = clock.now_us()
        for owner in ready:
            if owner is self._router:
                self._receive_in(now, now_us)
            elif owner is self._zap:
                for line in owner.handle():
                    self.log(30, 'zap' + line, '%s', line)
            elif owner.sock is not None:
                self._receive_out(owner, now, now_us)

    def _look_out(self, peer: outgoing.OutPeer, now: float) -> bool:
        """Read a peer's state, else its ZMQ_FD won't tell of changes.

        :returns: is there anything to receive?
        """
        events = peer.sock.getsockopt(_EVENTS)
        peer.writable = bool(events & _POLLOUT)
        if peer.writable:
            if peer.down_since is not None:
                peer.on_up(now)
            if (peer.records or peer.requests or peer.transfers) and (
                    peer.has_work()):
                self.dirty[peer] = None
        return bool(events & _POLLIN)

    def _receive_out(self, peer: outgoing.OutPeer, now: float,
                     now_us: int) -> None:
        sock = peer.sock
        for _ in range(_BURST):
            if not self._look_out(peer, now):
                return
            try:
                data = sock.recv(_DONTWAIT)
            except zmq.Again:
                break  # the connection ended since its EVENTS were read
            try:
                frame, records = wire.parse(data)
                peer.on_frame(frame, records, now, now_us)
            except wire.WireError as e:
                self._malformed(peer.endpoint.addresses[0], e)
            except Exception as e:
                self._failed(e)
            if peer.sock is not sock:
                return
        self._ready[peer] = None

    def _receive_in(self, now: float, now_us: int) -> None:
        router = self._router
        for _ in range(_BURST):
            if not router.getsockopt(_EVENTS) & _POLLIN:
                return
            try:
                rid = router.recv(_DONTWAIT)
            except zmq.Again:
                break  # as in _receive_out
            # Parts come all or none; each frame is one, after the sender's
            # id, which the socket has put before it. Only this one's
            # metadata are looked at.
            part = router.recv(_DONTWAIT, copy=False)
            try:
                if part.more:
                    self._skip_parts(router)
                    raise wire.WireError('message of several parts')
                frame, records = wire.parse(part.bytes)
                self._on_request_frame(rid, part, frame, records, now,
                                       now_us)
            except wire.WireError as e:
                self._malformed(sockets.peer_address(part), e)
            except Exception as e:
                self._failed(e)
        self._ready[router] = None

    @staticmethod
    def _skip_parts(router: Any) -> None:
        while router.recv(_DONTWAIT, copy=False).more:
            pass

    def _on_request_frame(self, rid: bytes, part: Any, frame: wire.Frame,
                          records: list, now: float, now_us: int) -> None:
        if frame.dst != self.instance:
            self.count('wrong_instance')
            self._answer_stranger(rid, frame)
            return
        peer = self.routes.get(rid)
        if peer is None or peer.instance != frame.src:
            if not self._authorised(part, frame):
                return
            peer = self.in_peers.get(frame.src)
            if peer is None:
                peer = incoming.InPeer(self, frame.src)
                peer.user = sockets.user_id(part)
                self.in_peers[frame.src] = peer
            self.routes[rid] = peer
            peer.on_route(rid, now)
        elif self.security and not self._authorised(part, frame):
            return
        peer.on_frame(frame, records, now, now_us)

    def _authorised(self, part: Any, frame: wire.Frame) -> bool:
        """May whoever holds this connection speak as this instance?"""
        security = self.security
        if security is None:
            return True
        user = sockets.user_id(part)
        peer = self.in_peers.get(frame.src)
        if (not security.user_allowed(user) or
                peer is not None and peer.user != user):
            self.count('refused')
            self.log(30, 'refused' + user,
                     'Dropped a frame of %s (key of host %s): it is not '
                     'allowed, or speaks for another process',
                     sockets.peer_address(part), user or '?')
            return False
        return True

    def _answer_stranger(self, rid: bytes, frame: wire.Frame) -> None:
        """The frame is for a process that had this port before."""
        answer = wire.frame(clock.now_us(), self.instance, frame.src, 0,
                            [wire.record(wire.WRONG_INSTANCE, frame.dst)])
        try:
            self._router.send(rid, _SNDMORE | _DONTWAIT)
            self._router.send(answer, _DONTWAIT)
        except zmq.ZMQError:
            self.count('unsent_answers')

    def _malformed(self, sender: str, error: wire.WireError) -> None:
        self.count('malformed')
        self.log(30, 'malformed' + sender,
                 'Dropped a frame from %s: %s', sender, error)

    # -- time -------------------------------------------------------------

    def _tick(self, now: float) -> None:
        busy = False
        for peer in list(self.out_peers.values()):
            sock = peer.sock
            if sock is None:
                if peer.outstanding or peer.pokes:
                    busy = True
                    peer.expire(now)
                    if now - peer.opened > _REOPEN_AFTER:
                        self.open(peer, now)
                continue
            writable = bool(sock.getsockopt(_EVENTS) & _POLLOUT)
            peer.tick(now, writable)
            if peer.sock is not None:
                self._ready[peer] = None
            if peer.outstanding or peer.pokes or not peer.welcomed:
                busy = True
            elif now - peer.used > self.settings.peer_idle_timeout:
                self.close(peer)
        for back in self.in_peers.values():
            if back.transfers:
                back.stalled_transfers(now)
                busy = True
        if self._router is not None:
            self._ready[self._router] = None
        if now >= self._next_sweep:
            self._next_sweep = now + _SLOW_TICK
            self._sweep(now)
        self._next_tick = now + (loop.TICK if busy else _SLOW_TICK)

    def _sweep(self, now: float) -> None:
        now_us = clock.now_us()
        window = self.settings.dedup_window
        for instance, back in list(self.in_peers.items()):
            back.tick(now, now_us)
            if back.idle(now, window):
                del self.in_peers[instance]
                for rid in back.rids:
                    self.routes.pop(rid, None)
        for instance, peer in list(self.out_peers.items()):
            if (peer.sock is None and not peer.outstanding and
                    now - peer.used > window):
                del self.out_peers[instance]

