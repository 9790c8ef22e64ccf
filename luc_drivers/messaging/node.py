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

"""The process's one endpoint: what all transports of a process share.

There is one node per process and settings. It binds when the first listener
comes and connects when the first message is sent, so that a process may fork
before: a forked child gets a node of its own, with a new instance id, and
only closes the parent's listening socket (rule B11).
"""

import atexit
import errno
import itertools
import logging
import os
import random
import socket
import sys
import threading
import time
from typing import Any
import uuid

from luc_drivers.messaging import agent as agent_module
from luc_drivers.messaging import control
from luc_drivers.messaging import fanout
from luc_drivers.messaging import ioloop
from luc_drivers.messaging import mailbox
from luc_drivers.messaging import matchmaker as matchmaker_module
from luc_drivers.messaging import notifications
from luc_drivers.messaging import opts
from luc_drivers.messaging import registrar
from luc_drivers.messaging import routing
from luc_drivers.messaging import sockets
from luc_drivers.messaging import waiting
from luc_drivers.messaging import wire
from luc_drivers.messaging import workers
from luc_drivers.messaging.matchmaker import base

LOG = logging.getLogger(__name__)

#: seconds that a process which ends waits for its last frames to leave
_EXIT_FLUSH = 1.0
_BIND_TIMEOUT = 5.0
#: threads of a node that ask the store
_STORE_THREADS = 4
#: files that a process has beside its peers, and that each of them takes
_FILES_BESIDE = 200
_FILES_PER_PEER = 2
_warned: list[str] = []


class BindError(Exception):
    """No address to listen on; the text names the setting."""


class Node:
    """Sockets, registration and caches of one process."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.pid = os.getpid()
        self.instance = uuid.uuid4().bytes
        self.name = self.instance.hex()
        self.host = settings.host or socket.gethostname()
        self.matchmaker = matchmaker_module.load(settings)
        self.security = _security(settings)
        cipher = self.security.cipher if self.security else None
        sign = self.security.sign if self.security else None
        check = (self.security.check if self.security
                 else routing.only_plain)
        self.registrar = registrar.Registrar(self.matchmaker, settings, sign)
        self.mailbox = mailbox.Mailbox(self.matchmaker, settings, cipher)
        self.notifications = notifications.Sender(self.matchmaker, settings,
                                                  cipher)
        self.cipher = cipher
        self.agent = agent_module.Agent(self)
        self.io = ioloop.IoLoop(settings, self.instance,
                                registrar.boot_id(), self.security,
                                self.agent.slot)
        self.workers = workers.Workers(_STORE_THREADS, 'luc-bus-store')
        self.routing = routing.Routing(self.matchmaker, settings,
                                       self.workers, check,
                                       self._connected)
        self.fanouts = fanout.Fanouts(self)
        self.addresses: tuple[str, ...] = ()
        self.bound = False
        self.listening_fd: int | None = None
        self._listeners: dict[int, Any] = {}
        self._numbers = itertools.count(1)
        self._requests = itertools.count(1)
        self._lock = threading.Lock()
        self._closed = False
        self.metrics: Any = None
        if settings.switch_interval:
            sys.setswitchinterval(settings.switch_interval)

    def start(self) -> None:
        """Start the threads."""
        warning = sockets.raise_file_limit(
            _FILES_BESIDE + _FILES_PER_PEER * self.settings.max_peers)
        if warning and not _warned:
            _warned.append(warning)
            LOG.warning('%s', warning)
        self.io.about = {'host': self.host, 'site': self.settings.site,
                         'program': os.path.basename(sys.argv[0] or '')}
        self.io.listeners[control.NUMBER] = control.Control(self.io)
        self.io.start()
        self.agent.start()
        if self.settings.metrics_ports != (0, 0):
            from luc_drivers.messaging import metrics
            self.metrics = metrics.serve(self)

    # -- listening --------------------------------------------------------

    def bind(self) -> None:
        """Listen and register, unless that was done.

        :raises BindError: there is no free port.
        """
        with self._lock:
            if self.bound:
                return
            sock = _listening_socket(self.settings)
            port = sock.getsockname()[1]
            self.listening_fd = sock.detach()
            self.addresses = _addresses(self.settings, port)
            slot = waiting.slot()
            host = '[::]' if ':' in self.settings.bind else '0.0.0.0'
            self.io.push(self.io.attach_router, self.listening_fd,
                         'tcp://%s:%d' % (host, port), slot)
            answer = slot.get(_BIND_TIMEOUT)
            if answer is None or answer[0] is not None:
                raise BindError('can\'t serve on %s: %s' % (
                    self.addresses[0],
                    answer[0] if answer else 'the I/O thread is dead'))
            self.bound = True
            self._register()

    def _register(self) -> None:
        endpoint = base.Endpoint(
            self.name, self.host, self.pid, self.settings.site,
            self.addresses,
            curve_key=self.security.public_key if self.security else '',
            versions=wire.VERSIONS, program=self.io.about['program'])
        try:
            self.registrar.start(endpoint)
        except base.MatchmakerUnavailable as e:
            LOG.warning('This process can\'t be registered yet, nobody new '
                        'will find it; trying again: %s', e)
            self.agent.refresh_soon()

    def new_number(self) -> int:
        """A number for a listener, unique in this process."""
        return next(self._numbers)

    def new_request(self) -> int:
        """A number for a message that is stored."""
        return next(self._requests)

    def add_listener(self, listener: Any,
                     subscriptions: list[base.Subscription]) -> None:
        """Register a listener; it gets messages from now on."""
        self._listeners[listener.number] = listener
        self.io.push(self.io.add_listener, listener.number, listener)
        try:
            self.registrar.subscribe(subscriptions)
            listener.drain()
            self.registrar.set_state(base.LIVE)
        except base.MatchmakerUnavailable as e:
            LOG.warning('The listener on topic %s can\'t be registered yet, '
                        'nobody new will find it; trying again: %s',
                        subscriptions[0].topic, e)
            self.agent.refresh_soon()
        # What was stored between the look into the mailbox and the
        # registration (rule C10).
        if hasattr(listener, 'key'):
            self.agent.drain(listener)
        topics = sorted({(s.namespace, s.exchange, s.topic)
                         for s in subscriptions})
        for topic in topics:
            self.routing.invalidate(*topic)
        self.io.push(self.io.broadcast, wire.document(
            wire.LISTENERS, {'topics': topics}))

    def remove_listener(self, listener: Any,
                        subscriptions: list[base.Subscription]) -> None:
        """Refuse messages for a listener from now on, and say so."""
        self._listeners.pop(listener.number, None)
        self.routing.listener_left(self.name, listener.number)
        self.io.push(self.io.broadcast, wire.document(
            wire.GOAWAY, {'listeners': [listener.number]}))
        # When this is answered the I/O thread gives it nothing any more.
        slot = waiting.slot()
        self.io.push(self.io.remove_listener, listener.number)
        self.io.push(self.io.state, slot)
        slot.get(1.0)
        try:
            self.registrar.unsubscribe(subscriptions)
        except base.MatchmakerError as e:
            LOG.warning('The listener on topic %s stays in the registry for '
                        'up to %g s: %s', subscriptions[0].topic,
                        self.settings.registration_ttl, e)

    def _connected(self, instance: str) -> bool:
        """Is there a living connection to it? May be called by any thread."""
        peer = self.io.out_peers.get(bytes.fromhex(instance))
        return peer is not None and peer.welcomed and peer.writable

    def rpc_listeners(self) -> list[Any]:
        """Those that serve calls and casts."""
        return [x for x in list(self._listeners.values())
                if hasattr(x, 'key')]

    def notification_listeners(self) -> list[Any]:
        """Those that read notifications."""
        return [x for x in list(self._listeners.values())
                if hasattr(x, 'reads')]

    # -- ending -----------------------------------------------------------

    def state(self, timeout: float = 1.0) -> dict[str, Any]:
        """Figures about this node, as of now; empty if it doesn't answer."""
        slot = waiting.slot()
        self.io.push(self.io.state, slot)
        answer = slot.get(timeout)
        return answer[0] if answer else {}

    def report(self, timeout: float = 1.0) -> dict[str, Any]:
        """Counts of topics and depths of queues; empty without an answer."""
        slot = waiting.slot()
        self.io.push(self.io.call, slot,
                     lambda io: control.state(io, {}))
        answer = slot.get(timeout)
        return answer[0] if answer else {}

    def flush(self, seconds: float) -> None:
        """Wait until replies are with their callers, for so long at most."""
        end = time.monotonic() + seconds
        while self.io.alive and time.monotonic() < end:
            state = self.state(max(0.01, end - time.monotonic()))
            if not (state.get('unanswered') or state.get('unsent') or
                    self.fanouts.starting):
                return
            time.sleep(0.01)

    def close(self) -> None:
        """Say goodbye and close everything."""
        if self._closed:
            return
        self._closed = True
        if self.bound:
            self.io.push(self.io.broadcast, wire.document(
                wire.GOAWAY, {'listeners': list(self._listeners)}))
            try:
                self.registrar.stop()
            except base.MatchmakerError as e:
                LOG.info('The registration of this process ends by itself: '
                         '%s', e)
        self.flush(self.settings.stop_timeout)
        self.io.push(self.io.stop)
        self.agent.stop()
        if self.metrics is not None:
            self.metrics.close()


def _security(settings: Any) -> Any:
    if settings.security == 'none':
        return None
    return _import_security().Security(settings)


def _import_security() -> Any:
    from luc_drivers.messaging import security
    return security


def _listening_socket(settings: Any) -> socket.socket:
    """A listening socket on the first free port, from a random one on."""
    plain = waiting.original('socket')
    family = plain.AF_INET6 if ':' in settings.bind else plain.AF_INET
    first, last = settings.port_range
    count = last - first + 1
    start = random.randrange(count)
    address = settings.bind.strip('[]')
    for i in range(count):
        port = first + (start + i) % count
        sock = plain.socket(family, plain.SOCK_STREAM)
        try:
            sock.setsockopt(plain.SOL_SOCKET, plain.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.listen(settings.backlog)
        except OSError as e:
            sock.close()
            if e.errno == errno.EADDRINUSE:
                continue
            raise BindError('can\'t listen on [bus]bind %s: %s' % (
                settings.bind, e)) from e
        # A blocking accept would hang the thread that serves all peers.
        sock.setblocking(False)
        return sock
    raise BindError('all ports of [bus]port_range %d:%d on %s are taken' %
                    (first, last, settings.bind))


def _addresses(settings: Any, port: int) -> tuple[str, ...]:
    addresses = settings.advertise or [settings.bind]
    found = []
    for address in addresses:
        address = address.strip('[]')
        if address in ('0.0.0.0', '::'):
            address = _outward_address(settings, ':' in address)
        found.append('tcp://%s:%d' % (
            '[%s]' % address if ':' in address else address, port))
    return tuple(found)


def _outward_address(settings: Any, v6: bool) -> str:
    """The own address on the way to the store (rule D8)."""
    points = settings.conf.cassandra.contact_points
    family = socket.AF_INET6 if v6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            # Nothing is sent: connecting a datagram socket only looks up
            # the route.
            sock.connect((points[0] if points else '192.0.2.1', 9))
            return sock.getsockname()[0]
        except OSError as e:
            raise BindError('can\'t find the address under which others '
                            'reach this host; set [bus]advertise (%s)' % e
                            ) from e


_nodes: dict[tuple, Node] = {}
_lock = threading.Lock()
#: nodes of a parent process: never used, never garbage-collected
_inherited: list[Node] = []


def get(settings: Any) -> Node:
    """This process's node for these settings, started."""
    node = _nodes.get(settings.key)
    if node is not None and node.pid == os.getpid() and node.io.alive:
        return node
    with _lock:
        node = _nodes.get(settings.key)
        if node is None or node.pid != os.getpid() or not node.io.alive:
            node = Node(settings)
            node.start()
            _nodes[settings.key] = node
        return node


def prepare(settings: Any) -> None:
    """Load the code that a node will need, so that its first call needn't.

    Opens nothing: the process may fork afterwards.

    :raises base.MatchmakerRefused: there is no such matchmaker.
    """
    matchmaker_module.find(settings)
    if settings.security != 'none':
        _import_security()


def find(settings: Any) -> Node | None:
    """This process's node for these settings, if it has one."""
    node = _nodes.get(settings.key)
    if node is not None and node.pid == os.getpid():
        return node
    return None


def load_settings(query: dict[str, str]) -> Any:
    """Settings of a transport URL's query."""
    return opts.load(query)


def _after_fork() -> None:
    """In a forked child: let go of what is the parent's."""
    global _lock
    _lock = threading.Lock()
    for node in _nodes.values():
        _inherited.append(node)
        if node.listening_fd is not None:
            # Else connects to the dead parent's port would hang for as
            # long as this child lives.
            try:
                os.close(node.listening_fd)
            except OSError:
                pass  # the parent had closed it already
    _nodes.clear()
    random.seed()


def _at_exit() -> None:
    for node in list(_nodes.values()):
        if node.pid == os.getpid() and node.io.alive:
            node.flush(_EXIT_FLUSH)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
