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

"""All peers of a node, and the commands that other threads give.

Everything here runs in the I/O thread (see ``ioloop``).
"""

from collections.abc import Callable
import time
import types
from typing import Any

from luc_drivers.messaging import counters
from luc_drivers.messaging import dedup
from luc_drivers.messaging import incoming
from luc_drivers.messaging import outgoing
from luc_drivers.messaging import replies
from luc_drivers.messaging import wire

# Kinds of what is told to the agent, besides wire.GOAWAY, LISTENERS, POKE.
LOG_LINE = 'log'
PROBE = 'probe'
DEAD = 'dead'

_monotonic = time.monotonic
_NEVER = float('inf')

#: the settings that are read for each message
_HOT = ('send_hwm', 'heartbeat_interval', 'heartbeat_timeout',
        'handshake_timeout', 'reconnect_interval', 'reconnect_interval_max',
        'max_peers', 'peer_idle_timeout', 'dedup_window', 'chunk_size',
        'chunk_credit', 'max_message_size', 'queue_max_bytes',
        'queue_max_messages', 'reply_cache_bytes', 'resend_interval')


class PeerTable:
    """State of the I/O thread, and commands on it.

    ``IoLoop`` adds the thread and the sockets.
    """

    def __init__(self, settings: Any, instance: bytes, boot: str,
                 security: Any, agent: Any) -> None:
        """An empty table.

        :param agent: slot of the thread that may log and block.
        """
        self.settings = types.SimpleNamespace(
            **{name: getattr(settings, name) for name in _HOT})
        self.instance = instance
        self.boot = boot
        self.security = security
        self.agent = agent
        self.about: dict[str, Any] = {}
        #: id -> the listeners of this process
        self.listeners: dict[int, Any] = {}
        #: channels that have something to send
        self.dirty: dict[Any, None] = {}
        self.out_peers: dict[bytes, outgoing.OutPeer] = {}
        self.in_peers: dict[bytes, incoming.InPeer] = {}
        self.routes: dict[bytes, incoming.InPeer] = {}
        self.counters: dict[str, int] = {}
        self.topics = counters.Topics()
        self.replies = replies.ReplyCache(settings.reply_cache_bytes)
        #: fanouts that came, by any way
        self.origins = dedup.Recent(2 * outgoing.FANOUT_WINDOW)
        #: how many requests of ours are outstanding, and how many calls of
        #: others are queued or run here
        self.outstanding = 0
        self.running = 0
        self._delayed: dict[Any, float] = {}
        #: not later than any of those times
        self._due = _NEVER
        self._last_log: dict[str, float] = {}

    def open(self, peer: outgoing.OutPeer, now: float) -> None:
        """Connect to a peer."""
        raise NotImplementedError

    def close(self, peer: outgoing.OutPeer) -> None:
        """Close the connection to a peer; what is outstanding stays."""
        raise NotImplementedError

    def hurry(self, now: float) -> None:
        """There is work: look at connections soon."""
        raise NotImplementedError

    def _out_peer(self, endpoint: Any, now: float) -> outgoing.OutPeer:
        """Return the peer that an instance is; make it if it is new."""
        instance = bytes.fromhex(endpoint.instance)
        peer = self.out_peers.get(instance)
        if peer is None:
            peer = outgoing.OutPeer(self, instance, endpoint, now)
            self.out_peers[instance] = peer
        return peer

    # -- commands: called in the I/O thread -------------------------------

    def submit(self, endpoint: Any, pending: outgoing.Pending) -> None:
        """Send a request to an instance."""
        if pending.done:
            return
        now = _monotonic()
        peer = self._out_peer(endpoint, now)
        peer.submit(pending, now)
        if peer.sock is None:
            peer.endpoint = endpoint
            self.open(peer, now)
        self.hurry(now)

    def give_up(self, endpoint: Any, pending: outgoing.Pending) -> None:
        """Its caller no longer waits."""
        peer = self.out_peers.get(bytes.fromhex(endpoint.instance))
        if peer is not None:
            peer.give_up(pending)
        pending.done = True

    def reply(self, instance: bytes, seq: int, flags: int,
              body: bytes) -> None:
        """Send and keep the reply to a request."""
        peer = self.in_peers.get(instance)
        if peer is not None:
            peer.reply(seq, flags, body)

    def refuse(self, instance: bytes, seq: int, code: int) -> None:
        """A queued request will not run here."""
        peer = self.in_peers.get(instance)
        if peer is not None:
            peer.refuse(seq, code)

    def beat(self, instance: bytes, seq: int) -> None:
        """A request still runs."""
        peer = self.in_peers.get(instance)
        if peer is not None:
            peer.beat(seq)

    def add_listener(self, number: int, listener: Any) -> None:
        """Accept requests for a listener."""
        self.listeners[number] = listener

    def remove_listener(self, number: int) -> None:
        """Refuse them from now on."""
        self.listeners.pop(number, None)

    def look(self) -> None:
        """A turn of the loop, so that it looks at who waits."""

    def broadcast(self, record: bytes) -> None:
        """Tell all peers that we are connected with."""
        for peer in self.out_peers.values():
            if peer.sock is not None:
                peer.send(record)
        for back in self.in_peers.values():
            if back.rid is not None:
                back.send(record)

    def poke(self, endpoint: Any, target: bytes) -> None:
        """Tell an instance that something waits for it in the store."""
        now = _monotonic()
        peer = self._out_peer(endpoint, now)
        if peer.sock is None:
            peer.endpoint = endpoint
            self.open(peer, now)
        peer.used = now
        peer.poke(target, now)
        self.hurry(now)

    def instance_gone(self, instance: bytes) -> None:
        """It is proven that this instance is no more."""
        peer = self.out_peers.get(instance)
        if peer is not None:
            self.proven_gone(peer)

    def state(self, slot: Any) -> None:
        """Put figures about this node into the slot."""
        slot.put((self.figures(),))

    def count_topic(self, target: bytes, event: str) -> None:
        """Count an event of a topic (``counters.EVENTS``)."""
        topic = self.topics.of(target)
        setattr(topic, event, getattr(topic, event) + 1)

    def call(self, slot: Any, function: Callable) -> None:
        """Put what a function of this table returns into the slot."""
        slot.put((function(self),))

    def figures(self) -> dict[str, int]:
        """Return figures about this node."""
        return {
            'out_peers': len(self.out_peers),
            'connections': sum(1 for p in self.out_peers.values()
                               if p.sock is not None),
            'in_peers': len(self.in_peers),
            'outstanding': self.outstanding,
            'running': self.running,
            'unanswered': sum(p.unanswered()
                              for p in self.in_peers.values()),
            'unsent': sum(1 for p in [*self.out_peers.values(),
                                      *self.in_peers.values()]
                          if p.has_work()),
            'reply_bytes': self.replies.size,
            'replies_dropped': self.replies.dropped,
            **self.counters}

    # -- called by the peers ----------------------------------------------

    def introduction(self) -> dict[str, Any]:
        """What HELLO and WELCOME say of us."""
        return {'versions': list(wire.VERSIONS), 'boot': self.boot,
                **self.about}

    def count(self, name: str) -> None:
        """Count an event."""
        self.counters[name] = self.counters.get(name, 0) + 1

    def tell(self, *event: Any) -> None:
        """Pass something to the agent."""
        self.agent.put(event)

    def log(self, level: int, key: str, text: str, *arguments: Any) -> None:
        """Have a line logged, at most one a second of each key."""
        now = _monotonic()
        if now - self._last_log.get(key, -10.0) >= 1.0:
            if len(self._last_log) > 1000:
                self._last_log.clear()
            self._last_log[key] = now
            self.tell(LOG_LINE, level, text, arguments)

    def note_late_reply(self, peer: outgoing.OutPeer, seq: int) -> None:
        """A reply came after its caller had given up."""
        self.count('late_replies')
        self.log(20, 'late' + peer.endpoint.instance,
                 'Dropped a reply of %s (%s) that came after its caller '
                 'had timed out (request %d)', peer.endpoint.host,
                 peer.endpoint.addresses[0], seq)

    def ask_probe(self, peer: outgoing.OutPeer) -> None:
        """Have it found out whether an unreachable peer is dead."""
        self.tell(PROBE, peer.endpoint)

    def delay(self, channel: Any, seconds: float) -> None:
        """Send what the channel has within so many seconds."""
        due = _monotonic() + seconds
        if due < self._delayed.get(channel, _NEVER):
            self._delayed[channel] = due
            if due < self._due:
                self._due = due

    def proven_gone(self, peer: outgoing.OutPeer) -> None:
        """The instance is dead: whoever waits for it must know."""
        self.count('peers_gone')
        self.close(peer)
        self.out_peers.pop(peer.instance, None)
        peer.gone()
        self.tell(DEAD, peer.endpoint)

    def wrong_source(self, peer: outgoing.OutPeer) -> None:
        """A frame of someone else came over our connection to a peer."""
        self.count('wrong_source')
