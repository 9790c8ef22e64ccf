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

"""The thread that does for a node what its I/O thread must not.

It logs, refreshes the registration, asks the registry again, empties
mailboxes, and finds out whether an unreachable peer is dead. A native thread
or a greenlet, as the program's threads are.
"""

from collections.abc import Callable
import heapq
import itertools
import logging
import random
import socket
import threading
import time
from typing import Any

from luc_drivers.messaging import fanout
from luc_drivers.messaging import incoming
from luc_drivers.messaging import peers
from luc_drivers.messaging import registrar
from luc_drivers.messaging import waiting
from luc_drivers.messaging import wire
from luc_drivers.messaging.matchmaker import base

LOG = logging.getLogger(__name__)

_PROBE_TIMEOUT = 1.0
_AFTER = 'after'
#: seconds before a mailbox that another process empties is looked at again
_MAIL_RETRY = 1.0
#: seconds between attempts to register while the store is down
_REGISTER_RETRY = 1.0


class Agent:
    """Housekeeping of one node."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.slot = waiting.slot()
        self._stopping = False
        self._probing: set[str] = set()
        # Listeners whose mailboxes are being emptied; True: once more.
        self._draining: dict[Any, bool] = {}
        self._mail_lock = threading.Lock()
        self._failing = False
        self._timers: list[tuple[float, int, Callable, tuple]] = []
        self._timer_numbers = itertools.count()
        self._refresh_at = time.monotonic() + self._interval()
        self._thread = threading.Thread(target=self._run, daemon=True,
                                        name='luc-bus-agent')

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it, once it has done what was asked."""
        self._stopping = True
        self.slot.put(None)

    def refresh_soon(self) -> None:
        """Register as soon as the store allows it."""
        self._failing = True
        self._refresh_at = time.monotonic() + _REGISTER_RETRY
        self.slot.put(('wake',))

    def after(self, seconds: float, function: Callable,
              *arguments: Any) -> None:
        """Have something done in this thread; it must not block.

        Any thread may call this, the I/O thread as well.
        """
        self.slot.put((_AFTER, time.monotonic() + seconds, function,
                       arguments))

    def _interval(self) -> float:
        # Jittered: all processes of a site must not come together.
        return (self.node.settings.refresh_interval *
                random.uniform(0.8, 1.0))

    def _run(self) -> None:
        while not self._stopping:
            due = self._refresh_at
            if self._timers:
                due = min(due, self._timers[0][0])
            event = self.slot.get(max(0.0, due - time.monotonic()))
            try:
                if event is not None:
                    self._handle(*event)
                while (self._timers and
                       self._timers[0][0] <= time.monotonic()):
                    _due, _n, function, arguments = heapq.heappop(
                        self._timers)
                    function(*arguments)
                if time.monotonic() >= self._refresh_at:
                    self._refresh()
            except Exception:
                LOG.exception('Housekeeping of the transport failed; it '
                              'goes on')

    def _handle(self, kind: Any, *details: Any) -> None:
        node = self.node
        if kind == peers.LOG_LINE:
            level, text, arguments = details
            LOG.log(level, text, *arguments)
        elif kind == _AFTER:
            due, function, arguments = details
            heapq.heappush(self._timers, (due, next(self._timer_numbers),
                                          function, arguments))
        elif kind == fanout.PASSAGE:
            attempt, event = details
            attempt.on_event(event)
        elif kind == incoming.RELAY:
            node.workers.submit(node.fanouts.relay, *details)
        elif kind == peers.PROBE:
            self._start_probe(details[0])
        elif kind == peers.DEAD:
            node.routing.instance_dead(details[0].instance)
        elif kind == wire.GOAWAY:
            instance, gone = details
            for listener in gone:
                node.routing.listener_left(instance.hex(), listener)
        elif kind == wire.LISTENERS:
            for topic in details[1]:
                node.routing.invalidate(*topic)
        elif kind == wire.POKE:
            self._on_poke(details[1])

    # -- registration -----------------------------------------------------

    def _refresh(self) -> None:
        node = self.node
        self._refresh_at = time.monotonic() + self._interval()
        if not node.bound:
            return
        try:
            again = node.registrar.refresh()
            if self._failing:
                # It may have been registered as draining, long ago.
                node.registrar.set_state(base.LIVE)
        except base.MatchmakerError as e:
            self._refresh_at = time.monotonic() + _REGISTER_RETRY
            if not self._failing:
                LOG.warning('Can\'t refresh the registration of this '
                            'process; trying again every %g s: %s',
                            _REGISTER_RETRY, e)
            self._failing = True
            return
        if self._failing:
            self._failing = False
            LOG.info('This process is registered again')
        elif again:
            LOG.warning('The registry had lost this process; it is '
                        'registered again')
        for listener in node.rpc_listeners():
            self.drain(listener)

    # -- mailboxes --------------------------------------------------------

    def _on_poke(self, body: bytes) -> None:
        try:
            namespace, exchange, topic, _server = wire.split_address(body)
        except wire.WireError as e:
            LOG.warning('Dropped a poke: %s', e)
            return
        for listener in self.node.rpc_listeners():
            if listener.key[:3] == (namespace, exchange, topic):
                self.drain(listener)
        for listener in self.node.notification_listeners():
            if listener.reads(namespace, exchange, topic):
                listener.wake(exchange, topic)

    def drain(self, listener: Any) -> None:
        """Empty a listener's mailboxes, in a thread of its own."""
        if listener.closed:
            return
        with self._mail_lock:
            if listener in self._draining:
                self._draining[listener] = True
                return
            self._draining[listener] = False
        threading.Thread(target=self._drain, args=(listener,), daemon=True,
                         name='luc-bus-mail').start()

    def _drain(self, listener: Any) -> None:
        while True:
            bars = listener.bars
            try:
                if not listener.drain():
                    # It may have missed what came a moment ago.
                    self.after(_MAIL_RETRY, self.drain, listener)
            except base.MatchmakerError as e:
                LOG.info('Mailboxes of %s can\'t be emptied now: %s',
                         listener.key.topic, e)
            except Exception:
                LOG.exception('Mailboxes of %s can\'t be emptied',
                              listener.key.topic)
            # If it failed, what waits behind it must not wait for ever.
            self.node.io.push(listener.lift, bars)
            with self._mail_lock:
                if not self._draining[listener] or listener.closed:
                    del self._draining[listener]
                    return
                self._draining[listener] = False

    # -- probes -----------------------------------------------------------

    def _start_probe(self, endpoint: base.Endpoint) -> None:
        if endpoint.instance in self._probing:
            return
        self._probing.add(endpoint.instance)
        threading.Thread(target=self._probe, args=(endpoint,), daemon=True,
                         name='luc-bus-probe').start()

    def _probe(self, endpoint: base.Endpoint) -> None:
        """Is it proven that the instance is gone (rule C1c)?"""
        try:
            if (refused(endpoint.addresses[0]) or
                    self._recorded_gone(endpoint)):
                self.node.io.push(self.node.io.instance_gone,
                                  bytes.fromhex(endpoint.instance))
        finally:
            self._probing.discard(endpoint.instance)

    def _recorded_gone(self, endpoint: base.Endpoint) -> bool:
        try:
            return registrar.proven_gone(self.node.matchmaker, endpoint)
        except base.MatchmakerError as e:
            LOG.debug('Can\'t ask for the state of %s: %s', endpoint, e)
            return False


def split_tcp(address: str) -> tuple[str, int]:
    """Host and port of ``tcp://host:port``."""
    host, _, port = address.removeprefix('tcp://').rpartition(':')
    return host.strip('[]'), int(port)


def refused(address: str) -> bool:
    """Does the host answer that nobody listens there?

    libzmq doesn't tell why it can't connect; a plain socket does.
    """
    try:
        with socket.create_connection(split_tcp(address),
                                      timeout=_PROBE_TIMEOUT):
            return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
