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

"""Fanout: every live listener of a topic gets one copy, in every site.

In the own site each listener is sent its copy. Each other site is sent one,
to a *relay*: any listener of the topic there, which passes it on to the
others of its site, found in its own registry, and replies when they have it
(rule D6). If a relay fails, up to two others are tried, then each listener
is sent its copy from here. All copies carry the same origin, by which a
listener knows a second one.

The sender waits for none of this. What is known is sent at once; then the
registry is looked at again, for listeners that came a moment ago.
"""

from collections.abc import Callable
import itertools
import logging
import random
import threading
import time
from typing import Any

from luc_drivers.messaging import outgoing
from luc_drivers.messaging import routing
from luc_drivers.messaging import wire

LOG = logging.getLogger(__name__)

#: told to the agent: how a relay did
PASSAGE = 'passage'

#: seconds that a relay waits for its registry at most
_LOOKUP_WAIT = 5.0
#: seconds between looks into the registry for one topic
_LOOK_INTERVAL = 0.2
#: seconds before a listener that was busy is tried again
_BUSY_WAIT = 0.5
#: listeners of another site to choose relays from
_SAMPLE = 8
#: relays tried before all listeners are sent their copies from here
_RELAYS = 3
#: seconds within which a relay must have the message
_RELAY_ACK = 3.0
#: seconds within which it must have passed it on; itself it waits for less
_RELAY_DONE = 10.0
_RELAY_PATIENCE = 3.0


class _Copy:
    """The slot of one listener's copy; ``put`` runs in the I/O thread."""

    __slots__ = ('_fanouts', '_candidate', '_body', '_until', '_done')

    def __init__(self, fanouts: 'Fanouts', candidate: routing.Candidate,
                 body: bytes, until: float,
                 done: Callable[[], None] | None) -> None:
        self._fanouts = fanouts
        self._candidate = candidate
        self._body = body
        self._until = until
        self._done = done

    def submit(self) -> None:
        """Send it (again)."""
        if time.monotonic() < self._until:
            self._fanouts.submit(self._candidate, self._body, wire.F_CAST,
                                 self, self._until)

    def put(self, event: tuple) -> None:
        """Hear how it went."""
        if event[0] == wire.NACK and event[1] == wire.BUSY:
            self._fanouts.node.agent.after(
                _BUSY_WAIT * random.uniform(0.7, 1.0), self.submit)
        if self._done is not None:
            self._done()
            self._done = None


class _Passage:
    """One fanout on its way to one other site; runs in the agent's thread."""

    def __init__(self, fanouts: 'Fanouts', key: routing.Key, site: str,
                 body: bytes, candidates: list[routing.Candidate]) -> None:
        self._fanouts = fanouts
        self._key = key
        self._site = site
        self._body = body
        self._left = random.sample(candidates, min(len(candidates), _RELAYS))
        self._attempt: _Attempt | None = None

    def go_on(self) -> None:
        """Try the next relay; without any, send all copies from here."""
        if not self._left:
            self._attempt = None
            self._fanouts.node.workers.submit(
                self._fanouts.send_to_all, self._key, self._site, self._body)
            return
        self._attempt = _Attempt(self, self._fanouts, self._left.pop())
        self._attempt.start(self._body)

    def failed(self, attempt: '_Attempt', why: str) -> None:
        """A relay can't be relied on."""
        if attempt is self._attempt:
            LOG.info('A fanout on topic %s goes to site %s another way: the '
                     'relay on %s %s', self._key.topic, self._site,
                     attempt.candidate.endpoint.host, why)
            self._fanouts.node.io.count('relays_failed')
            self.go_on()

    def done(self, attempt: '_Attempt') -> None:
        """A relay has passed it on."""
        if attempt is self._attempt:
            self._attempt = None


class _Attempt:
    """One relay; the slot of its request."""

    def __init__(self, passage: _Passage, fanouts: 'Fanouts',
                 candidate: routing.Candidate) -> None:
        self.candidate = candidate
        self._passage = passage
        self._fanouts = fanouts
        self._received = False
        self._pending: outgoing.Pending | None = None

    def start(self, body: bytes) -> None:
        agent = self._fanouts.node.agent
        self._pending = self._fanouts.submit(
            self.candidate, body, wire.F_RELAY, self, 0.0)
        agent.after(_RELAY_ACK, self._check_receipt)
        agent.after(_RELAY_DONE, self._give_up, 'did not pass it on')

    def put(self, event: tuple) -> None:
        """Hear how it went, in the I/O thread: leave it to the agent."""
        self._fanouts.node.agent.slot.put((PASSAGE, self, event))

    def on_event(self, event: tuple) -> None:
        """The same in the agent's thread."""
        if event[0] == wire.ACK:
            self._received = True
        elif event[0] == wire.REPLY:
            self._passage.done(self)
        elif event[0] == outgoing.GONE:
            self._fanouts.node.routing.instance_dead(self.candidate.instance)
            self._passage.failed(self, 'is gone')
        elif event[0] == wire.NACK:
            self._passage.failed(self, wire.NACK_TEXT.get(
                event[1], 'refused it'))
        elif event[0] == outgoing.UNSENT:
            self._fanouts.node.routing.suspect(self.candidate.instance)
            self._passage.failed(self, "can't be reached")

    def _check_receipt(self) -> None:
        if not self._received:
            self._give_up('does not answer')

    def _give_up(self, why: str) -> None:
        io = self._fanouts.node.io
        if self._pending is not None and not self._pending.done:
            io.push(io.give_up, self.candidate.endpoint, self._pending)
            self._passage.failed(self, why)


class _Countdown:
    """Calls back once after so many events, or when told to wait no more."""

    def __init__(self, count: int, function: Callable[[], None]) -> None:
        self._left = count
        self._function: Callable[[], None] | None = function

    def one(self) -> None:
        """One more has it (in the I/O thread)."""
        self._left -= 1
        if self._left <= 0:
            self.end()

    def end(self) -> None:
        """Call back, unless that was done."""
        function, self._function = self._function, None
        if function is not None:
            function()


class Fanouts:
    """The fanouts of a node: those it sends and those it passes on."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self._numbers = itertools.count(1)
        # Topic -> fanouts for which the own site is looked at again, and
        # who has had them.
        self._looks: dict[routing.Key, list[tuple[bytes, set]]] = {}
        self._starting = 0
        self._lock = threading.Lock()

    @property
    def starting(self) -> int:
        """How many looks into registries are under way."""
        return self._starting

    def send(self, key: routing.Key, body: bytes) -> None:
        """Send a message to every listener of a topic in every site.

        Returns at once. Listeners that can't be reached get it if they come
        back within a minute.
        """
        node = self.node
        body = wire.origin(node.instance, next(self._numbers)) + body
        sites = node.routing.sites()
        self._in_own_site(
            key, body, node.routing.cached(key, sites[0]) or [], None)
        for site in sites[1:]:
            candidates = node.routing.cached(key, site, _SAMPLE)
            if candidates is None:
                self._start(self._begin, key, site, body)
            elif candidates:
                self._pass_to(key, site, body, candidates)

    def _start(self, function: Callable, *arguments: Any) -> None:
        """Have a registry looked at, in another thread."""
        with self._lock:
            self._starting += 1
        self.node.routing.ask(self._started, function, arguments)

    def _started(self, function: Callable, arguments: tuple) -> None:
        try:
            function(*arguments)
        finally:
            with self._lock:
                self._starting -= 1

    def _begin(self, key: routing.Key, site: str, body: bytes) -> None:
        node = self.node
        node.routing.refresh(routing.Query(key, site, _SAMPLE))
        candidates = node.routing.cached(key, site, _SAMPLE)
        if candidates:
            self._pass_to(key, site, body, candidates)
        elif candidates is None:
            LOG.warning('A fanout on topic %s did not reach site %s: its '
                        'registry does not answer', key.topic, site)

    def _pass_to(self, key: routing.Key, site: str, body: bytes,
                 candidates: list[routing.Candidate]) -> None:
        passage = _Passage(self, key, site, body,
                           self.node.routing.trusted(candidates))
        self.node.agent.after(0.0, passage.go_on)

    def send_to_all(self, key: routing.Key, site: str, body: bytes) -> None:
        """Send each listener of another site its copy; may block."""
        self._copies(self.node.routing.in_site(key, site, _LOOKUP_WAIT)
                     or [], body, None)

    def _in_own_site(self, key: routing.Key, body: bytes,
                     candidates: list[routing.Candidate],
                     done: Callable[[], None] | None,
                     own: tuple[str, int] | None = None) -> None:
        """Send it to these listeners, then to those that are new.

        :param own: listener that has it already, as its relay.
        """
        self._copies(candidates, body, done)
        had = {(c.instance, c.listener) for c in candidates}
        if own is not None:
            had.add(own)
        with self._lock:
            waiting = self._looks.get(key)
            if waiting is not None:
                waiting.append((body, had))
                return
            self._looks[key] = [(body, had)]
        self._start(self._look_again, key)

    def _look_again(self, key: routing.Key) -> None:
        node = self.node
        site = node.settings.site
        while True:
            with self._lock:
                batch = self._looks[key]
                if not batch:
                    del self._looks[key]
                    return
                self._looks[key] = []
            node.routing.refresh(routing.Query(key, site))
            found = node.routing.cached(key, site)
            if found is None:
                LOG.warning('A fanout on topic %s reaches known listeners '
                            'only: the registry does not answer', key.topic)
            for body, had in batch:
                self._copies([c for c in found or []
                              if (c.instance, c.listener) not in had],
                             body, None)
            time.sleep(_LOOK_INTERVAL)

    def _copies(self, candidates: list[routing.Candidate], body: bytes,
                done: Callable[[], None] | None) -> None:
        until = time.monotonic() + outgoing.FANOUT_WINDOW
        for candidate in candidates:
            _Copy(self, candidate, body, until, done).submit()

    def submit(self, candidate: routing.Candidate, body: bytes, flags: int,
               slot: Any, expires: float) -> outgoing.Pending:
        """Have one copy sent."""
        pending = outgoing.Pending(
            candidate.listener, candidate.target, body, 0, 0,
            flags | wire.F_FANOUT, slot, expires)
        io = self.node.io
        io.push(io.submit, candidate.endpoint, pending)
        return pending

    # -- as a relay -------------------------------------------------------

    def relay(self, sender: bytes, request: wire.Request) -> None:
        """Pass a fanout on to the other listeners of this site; may block.

        Its sender hears when all have it, or after some seconds; those that
        can't be reached are tried for as long as any fanout.
        """
        node = self.node
        key = routing.Key(*wire.split_address(request.target)[:3], None)
        candidates = node.routing.in_site(key, node.settings.site,
                                          _LOOKUP_WAIT)
        io = node.io
        if candidates is None:
            io.push(io.refuse, sender, request.seq, wire.BUSY)
            return
        own = (node.name, request.listener)
        others = [c for c in candidates if (c.instance, c.listener) != own]
        io.count('relayed')
        countdown = _Countdown(len(others), lambda: io.push(
            io.reply, sender, request.seq, 0, b''))
        if others:
            node.agent.after(_RELAY_PATIENCE, countdown.end)
        else:
            countdown.end()
        self._in_own_site(key, request.body, others, countdown.one, own)
