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

"""Outgoing calls and casts: whom to send to, and what to do with answers.

Runs in the caller's thread. A request goes to one listener; it goes to
another one only if it provably did not and will not run at the first (rule
C1): that one refused it, it never left this process, or the instance is
dead. In all other cases the I/O thread repeats it to the same instance until
the time-out.
"""

import itertools
import logging
import random
import time
from typing import Any

import oslo_messaging
from oslo_messaging._drivers import common
from oslo_serialization import jsonutils

from luc_drivers.messaging import clock
from luc_drivers.messaging import mailbox
from luc_drivers.messaging import outgoing
from luc_drivers.messaging import routing
from luc_drivers.messaging import server
from luc_drivers.messaging import waiting
from luc_drivers.messaging import wire
from luc_drivers.messaging.matchmaker import base

LOG = logging.getLogger(__name__)

#: seconds between look-ups for a target that is not there: first, longest
_ABSENT_FIRST = 0.3
_ABSENT_MAX = 2.0
#: seconds before a target whose listeners were all busy is tried again
_BUSY_FIRST = 0.02
_BUSY_MAX = 0.5
#: seconds in which a cast with retry=0 must be somewhere
_NO_RETRY_PATIENCE = 0.8
_STORE_RETRY_MAX = 2.0
#: the least that a store gets to answer in with retry=0
_STORE_PATIENCE = 0.15


class Turns:
    """Strict round robin over the listeners of each target (rule C12)."""

    def __init__(self) -> None:
        self._counters: dict[routing.Key, Any] = {}

    def pick(self, key: routing.Key, candidates: list[routing.Candidate]
             ) -> routing.Candidate:
        """The one whose turn it is."""
        if len(candidates) == 1:
            return candidates[0]
        counter = self._counters.get(key)
        if counter is None:
            # Clients start elsewhere, so that many load all alike.
            counter = self._counters.setdefault(
                key, itertools.count(random.randrange(len(candidates))))
        return candidates[next(counter) % len(candidates)]


def _where(key: routing.Key) -> str:
    return 'topic %s%s' % (key.topic,
                           ', server %s' % key.server if key.server else '')


class Request:
    """What calls and casts share: one message on its way to one target."""

    def __init__(self, node: Any, turns: Turns, key: routing.Key,
                 body: bytes, flags: int) -> None:
        self.node = node
        self.turns = turns
        self.key = key
        self.body = body
        self.flags = flags if key.server else flags | wire.F_TOPIC
        self.slot = waiting.slot()
        self._refused: set[tuple[str, int]] = set()
        self._busy_wait = _BUSY_FIRST
        self._absent_wait = _ABSENT_FIRST

    def candidate(self, end: float) -> routing.Candidate | None:
        """The listener to try next; None if there is none now.

        :param end: time.monotonic() after which nothing is waited for.
        """
        candidates = self.node.routing.live(
            self.key, self._absent_wait,
            None if end == float('inf') else end - time.monotonic())
        if not candidates:
            return None
        if self._refused:
            candidates = [c for c in candidates if
                          (c.endpoint.instance, c.listener)
                          not in self._refused]
            if not candidates:
                return None
        return self.turns.pick(self.key,
                               self.node.routing.trusted(candidates))

    def submit(self, candidate: routing.Candidate, deadline: int,
               monitor: int) -> outgoing.Pending:
        """Have it sent to a listener."""
        pending = outgoing.Pending(candidate.listener, candidate.target,
                                   self.body, deadline, monitor, self.flags,
                                   self.slot)
        io = self.node.io
        io.push(io.submit, candidate.endpoint, pending)
        return pending

    def give_up(self, candidate: routing.Candidate,
                pending: outgoing.Pending) -> None:
        """Nobody waits for it any more."""
        io = self.node.io
        io.push(io.give_up, candidate.endpoint, pending)

    def not_there(self, candidate: routing.Candidate, event: tuple) -> None:
        """It did not run at this listener: note why, for the next choice.

        :raises MessageDeliveryFailure: no other listener would take it.
        """
        kind = event[0]
        instance = candidate.endpoint.instance
        node = self.node
        if kind == outgoing.GONE:
            node.routing.instance_dead(instance)
        elif kind == outgoing.UNSENT:
            node.routing.suspect(instance)
            self._refused.add((instance, candidate.listener))
        elif event[1] in (wire.STOPPING, wire.NO_LISTENER):
            node.routing.listener_left(instance, candidate.listener)
        elif event[1] == wire.TOO_LARGE:
            raise oslo_messaging.MessageDeliveryFailure(
                'The server on %s refused the message of %d bytes: %s' % (
                    _where(self.key), len(self.body),
                    wire.NACK_TEXT[wire.TOO_LARGE]))
        else:
            self._refused.add((instance, candidate.listener))

    def pause(self, remaining: float) -> None:
        """Wait before the target is tried again."""
        if self._refused:
            wait = self._busy_wait
            self._busy_wait = min(self._busy_wait * 2, _BUSY_MAX)
            self._refused.clear()
        else:
            wait = self._absent_wait
            self._absent_wait = min(self._absent_wait * 1.5, _ABSENT_MAX)
        time.sleep(max(0.0, min(wait * random.uniform(0.8, 1.0),
                                remaining)))

    def undeliverable(self, end: float) -> bool:
        """Is it certain that nobody ever listened there?"""
        job = self.node.workers.submit(self.known)
        if not job.wait(max(0.0, min(end - time.monotonic(), 1e6))):
            return False
        try:
            return not job.result()
        except base.MatchmakerUnavailable:
            return False

    def known(self) -> bool:
        """Has anybody ever listened there?

        Straight from the store: a cached answer may be from before the
        server came.
        """
        servers = self.node.matchmaker.known(*self.key[:3])
        return (self.key.server in servers if self.key.server
                else bool(servers))


def call(node: Any, turns: Turns, key: routing.Key, body: bytes,
         timeout: float | None, monitor: float | None, retry: int | None,
         at_least_once: bool, exmods: list[str]) -> Any:
    """Send a request and wait for its result.

    :param timeout: seconds; None waits for ever.
    :param monitor: seconds without a sign of life from the server.
    :returns: what the method returned.
    :raises MessagingTimeout: no result within the time-out.
    :raises MessageUndeliverable: at_least_once, and nobody ever listened.
    :raises MessageDeliveryFailure: it can't be delivered at all.
    :raises Exception: what the method raised.
    """
    start = time.monotonic()
    end = float('inf') if timeout is None else start + timeout
    deadline = 0 if timeout is None else int(clock.now_us() + timeout * 1e6)
    request = Request(node, turns, key, body, 0)
    first = True
    while True:
        candidate = request.candidate(end)
        if candidate is None:
            if first and at_least_once and request.undeliverable(end):
                _undeliverable(key)
            first = False
            remaining = end - time.monotonic()
            if remaining <= 0:
                raise _timed_out(key, timeout, 'nobody there serves it')
            request.pause(remaining)
            continue
        first = False
        pending = request.submit(candidate, deadline,
                                 int((monitor or 0) * 1000))
        event = _await_reply(request, candidate, pending, end, timeout,
                             monitor)
        if event[0] == wire.REPLY:
            return _result(event[1], event[2], exmods)
        if event[0] == wire.NACK and event[1] == wire.LOST:
            raise oslo_messaging.RemoteError(
                'ResultLost', 'the server on %s ran the request, but its '
                'result is lost: %s' % (_where(key), event[2] or
                                        wire.NACK_TEXT[wire.LOST]))
        request.not_there(candidate, event)


def _await_reply(request: Request, candidate: routing.Candidate,
                 pending: outgoing.Pending, end: float,
                 timeout: float | None, monitor: float | None) -> tuple:
    """The event that decides; beats restart the monitor's timer only."""
    silent_at = time.monotonic() + monitor if monitor else float('inf')
    get = request.node.io.wait
    while True:
        until = min(end, silent_at)
        event = get(request.slot, None if until == float('inf')
                    else until - time.monotonic())
        if event is None:
            if time.monotonic() < until:
                continue  # woken a little early
            request.give_up(candidate, pending)
            if until == end:
                raise _timed_out(request.key, timeout,
                                 'no reply to request %d' % pending.seq)
            raise _timed_out(request.key, monitor, 'the server no longer '
                             'works on request %d' % pending.seq)
        if event[0] == outgoing.BEAT:
            silent_at = time.monotonic() + (monitor or float('inf'))
        elif event[0] == wire.NACK and event[1] == wire.EXPIRED:
            # Its clock says so; ours decides when the caller hears of it.
            continue
        elif event[0] != wire.ACK:
            return event


def _timed_out(key: routing.Key, seconds: float | None,
               why: str) -> Exception:
    return oslo_messaging.MessagingTimeout(
        'Timed out after %s s waiting for a reply on %s: %s' % (
            seconds, _where(key), why))


def _undeliverable(key: routing.Key) -> None:
    raise oslo_messaging.MessageUndeliverable(
        'nobody has ever listened on %s' % _where(key), key.exchange,
        key.topic, key.server)


def _result(flags: int, body: bytes, exmods: list[str]) -> Any:
    if flags & wire.R_FAILURE:
        raise common.deserialize_remote_exception(body.decode(), exmods)
    return jsonutils.loads(body)


def cast(node: Any, turns: Turns, key: routing.Key, body: bytes,
         retry: int | None, at_least_once: bool) -> None:
    """Send a message; returns when a server or its mailbox has it.

    :raises MessageUndeliverable: at_least_once, and nobody ever listened.
    :raises MessageDeliveryFailure: neither took it within the retries.
    """
    request = Request(node, turns, key, body, wire.F_CAST)
    patience = (min(_NO_RETRY_PATIENCE, node.settings.cast_timeout)
                if retry == 0 else node.settings.cast_timeout)
    end = time.monotonic() + patience
    stored = _Stored(request)
    while True:
        candidate = request.candidate(end)
        remaining = end - time.monotonic()
        if candidate is None:
            if not request._refused or remaining <= 0:
                break
            request.pause(remaining)
            continue
        pending = request.submit(candidate, 0, 0)
        event = node.io.wait(request.slot, max(0.0, remaining))
        if event is None:
            request.give_up(candidate, pending)
            node.routing.suspect(candidate.endpoint.instance)
            stored.suspect = candidate
            stored.suspect_seq = pending.seq
            break
        if event[0] == wire.ACK:
            return
        request.not_there(candidate, event)
    if retry != 0:
        stored.put(retry, at_least_once)
        return
    job = node.workers.submit(stored.put, retry, at_least_once)
    if not job.wait(max(_STORE_PATIENCE, end - time.monotonic())):
        raise oslo_messaging.MessageDeliveryFailure(
            'No server on %s took the message, and its mailbox does not '
            'answer' % _where(key))
    job.result()


class _Stored:
    """A cast that no server took: into a mailbox with it (rule C8)."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.suspect: routing.Candidate | None = None
        self.suspect_seq = 0

    def put(self, retry: int | None, at_least_once: bool) -> None:
        """Store it, repeating that as ``retry`` says while the store is down.
        """
        node = self.request.node
        message_id = mailbox.new_id(node.name, node.new_request())
        attempts = 0
        wait = 0.2
        while True:
            try:
                self._put_once(message_id, at_least_once)
                return
            except base.MatchmakerError as e:
                attempts += 1
                endless = retry is None or retry < 0
                if not endless and attempts > (retry or 0):
                    raise oslo_messaging.MessageDeliveryFailure(
                        'Neither a server on %s nor its mailbox took the '
                        'message: %s' % (_where(self.request.key), e)) from e
                if attempts == 1:
                    LOG.warning('A message for %s can be neither delivered '
                                'nor stored; trying on: %s',
                                _where(self.request.key), e)
            time.sleep(wait * random.uniform(0.7, 1.0))
            wait = min(wait * 2, _STORE_RETRY_MAX)

    def _put_once(self, message_id: str, at_least_once: bool) -> None:
        request = self.request
        key = request.key
        node = request.node
        if self.suspect is None and not request.known():
            if at_least_once:
                _undeliverable(key)
            LOG.warning('Dropped a message: nobody has ever listened on %s '
                        '(exchange %s, virtual host %s)', _where(key),
                        key.exchange, key.namespace)
            node.io.push(node.io.count_topic, wire.address(*key), 'dropped')
            return
        suspect = ''
        server_name = key.server or ''
        site = None
        if self.suspect is not None:
            # It may have come to that process, which alone can tell.
            suspect = self.suspect.endpoint.instance
            server_name = wire.split_address(self.suspect.target)[3] or ''
            site = self.suspect.endpoint.site
            if site == node.settings.site:
                site = None
        box = base.Box(key.namespace, key.exchange, key.topic, server_name)
        routes = node.mailbox.put(
            box, message_id, server.stored_body(
                node.instance, self.suspect_seq, request.flags,
                request.body), suspect, site)
        node.io.push(node.io.count_topic, wire.address(*key), 'stored')
        for route in routes:
            if not suspect or route.endpoint.instance == suspect:
                node.io.push(node.io.poke, route.endpoint,
                             wire.address(*key))
