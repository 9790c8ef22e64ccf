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


"""Requests on their way to a node, and to a second one if that is slow."""

from collections.abc import Sequence
import select
import time

from luc_drivers import native
from luc_drivers.cql import connection
from luc_drivers.cql import frames
from luc_drivers.cql.nodes import Address
from luc_drivers.cql.nodes import Nodes

#: seconds for connecting, however late it is
_LEAST = 0.1
#: seconds for connecting while there are other nodes to ask
_PATIENCE = 2.0


class Flight:
    """Requests that go to one node together.

    :param places: the nodes, the best first.
    :param deadline: by the monotonic clock.
    :param delay: seconds without all answers after which the requests, which
        must be idempotent, go to another node as well; None = never.
    :ivar failure: what went wrong, for requests without an answer.
    :ivar sent: bytes, and
    :ivar received: bytes.
    """

    def __init__(self, nodes: Nodes, places: Sequence[Address],
                 jobs: list[connection.Job], deadline: float,
                 delay: float | None) -> None:
        self.jobs = jobs
        self.failure: Exception | None = None
        self.sent = 0
        self.received = 0
        self._nodes = nodes
        self._places = list(places)
        self._deadline = deadline
        self._delay = delay
        self._used: list[connection.Connection] = []

    def send(self) -> None:
        """Send to the first node that can be connected."""
        self.failure = connection.Lost('all are marked down')
        while self._places:
            address = self._places.pop(0)
            left = max(_LEAST, self._deadline - time.monotonic())
            if self._places or self._used:
                left = min(left, _PATIENCE)
            try:
                used = self._nodes.take(address, left)
            except (connection.Lost, connection.AuthenticationError) as exc:
                self.failure = exc
                continue
            try:
                used.send(self.jobs, self._deadline)
            except connection.Lost as exc:
                self.failure = exc
                self._drop(used)
                return
            self._used.append(used)
            return

    def land(self) -> None:
        """Take the answers: those of the node that gives all of them first.
        """
        try:
            if self._used and not self._first():
                self._race()
        finally:
            # slower than another; or a greenlet's time-out, and answers are
            # still under way
            while self._used:
                self._drop(self._used.pop())

    def _first(self) -> bool:
        """Wait for one node; return whether that was all there is to do."""
        used, = self._used
        soon = None
        if self._delay is not None and self._places:
            soon = min(time.monotonic() + self._delay, self._deadline)
        try:
            used.receive(self.jobs, soon)
        except connection.Lost as exc:
            if exc.timeout and soon is not None and soon < self._deadline:
                self._nodes.suspect(used.address)
                self.send()
                return False
            self._fail(used, exc)
        except frames.ProtocolError as exc:
            self._fail(used, exc)
        else:
            self._done(used)
        return True

    def _race(self) -> None:
        while self._used:
            used = self._ready()
            if used is None:
                self.failure = connection.Lost(
                    'no answer from ' + ' and '.join(
                        u.address[0] for u in self._used) + ' in time',
                    timeout=True)
                return
            try:
                used.receive_one(self.jobs)
            except (connection.Lost, frames.ProtocolError) as exc:
                self._fail(used, exc)
                continue
            if not used.due:
                self._done(used)
                return

    def _ready(self) -> connection.Connection | None:
        """Return a connection on which an answer comes; None: none in time.
        """
        for used in self._used:
            if used.readable:
                return used
        left = max(0.0, self._deadline - time.monotonic())
        if native.green():
            found, _, _ = select.select(self._used, [], [], left)
            return found[0] if found else None
        poll = select.poll()
        by_number = {used.fileno(): used for used in self._used}
        for number in by_number:
            poll.register(number, select.POLLIN)
        events = poll.poll(left * 1000)
        return by_number[events[0][0]] if events else None

    # --- ends of a connection's use

    def _done(self, used: connection.Connection) -> None:
        self._used.remove(used)
        self.failure = None
        self._count(used)
        self._nodes.give(used)

    def _fail(self, used: connection.Connection, exc: Exception) -> None:
        self._used.remove(used)
        self.failure = exc
        self._drop(used)

    def _drop(self, used: connection.Connection) -> None:
        self._count(used)
        self._nodes.suspect(used.address)
        used.close()

    def _count(self, used: connection.Connection) -> None:
        self.sent += used.sent
        self.received += used.received
        used.sent = used.received = 0
