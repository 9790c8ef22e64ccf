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


"""What every process that listens answers by itself: how it is.

Listener number 0 of a process takes calls that the I/O thread answers at
once, so that the time of one is the round trip of the transport alone.
``luc bus ping`` and ``luc bus status --live`` send them.
"""

import importlib.metadata
import time
from typing import Any

from oslo_serialization import jsonutils

from luc_drivers.messaging import clock
from luc_drivers.messaging import incoming
from luc_drivers.messaging import outgoing
from luc_drivers.messaging import waiting
from luc_drivers.messaging import wire
from luc_drivers.messaging.matchmaker import base

NUMBER = 0
ADDRESS = b'\0\0luc.control\0'
PING = b'ping'
STATE = b'state'


def release() -> str:
    """Return the version of this package."""
    try:
        return importlib.metadata.version('luc-drivers')
    except importlib.metadata.PackageNotFoundError:
        return 'unknown'


def state(io: Any, about: dict[str, Any]) -> dict[str, Any]:
    """Return figures about a node; only the I/O thread may call it."""
    return {
        **about,
        'totals': io.figures(),
        'topics': io.topics.rows(),
        'queues': [{'namespace': x.key.namespace, 'exchange': x.key.exchange,
                    'topic': x.key.topic, 'server': x.key.server or '',
                    'depth': x.depth()}
                   for x in io.listeners.values() if hasattr(x, 'key')]}


class Control:
    """The listener; its methods run in the I/O thread."""

    closed = False

    def __init__(self, io: Any) -> None:
        self._io = io
        self._about = {'release': release(), 'started': time.time()}

    def accepts(self, target: bytes) -> bool:
        """Is it addressed to this listener?"""
        return target == ADDRESS

    def full(self, size: int) -> bool:
        """It queues nothing."""
        return False

    def shares_mail(self, target: bytes) -> bool:
        """It has none."""
        return False

    def put(self, item: incoming.Incoming) -> None:
        """Answer."""
        content = (state(self._io, self._about) if item.body == STATE
                   else self._about)
        # Not at once: the request is noted only after this returns.
        self._io.push(self._io.reply, item.instance, item.seq, 0,
                      jsonutils.dump_as_bytes(content))


class NoAnswer(Exception):
    """A process did not answer; the text says why."""


def ask(node: Any, endpoint: base.Endpoint, what: bytes,
        timeout: float) -> tuple[float, dict[str, Any]]:
    """Ask a process how it is.

    :param what: PING or STATE.
    :param timeout: seconds.
    :returns: seconds that the round trip took, and the answer.
    :raises NoAnswer: says why there is none.
    """
    slot = waiting.slot()
    pending = outgoing.Pending(NUMBER, ADDRESS, what,
                               int(clock.now_us() + timeout * 1e6), 0, 0,
                               slot)
    start = time.monotonic()
    end = start + timeout
    io = node.io
    io.push(io.submit, endpoint, pending)
    while True:
        event = slot.get(max(0.0, end - time.monotonic()))
        if event is None:
            io.push(io.give_up, endpoint, pending)
            raise NoAnswer('no answer within %g s' % timeout)
        if event[0] == wire.REPLY:
            return (time.monotonic() - start,
                    jsonutils.loads(event[2]) if event[2] else {})
        if event[0] == wire.NACK:
            raise NoAnswer(wire.NACK_TEXT.get(event[1], 'it refuses'))
        if event[0] == outgoing.GONE:
            raise NoAnswer('the process is gone: nobody listens at %s'
                           % endpoint.addresses[0])
        if event[0] == outgoing.UNSENT:
            raise NoAnswer("can't connect to %s" % endpoint.addresses[0])
