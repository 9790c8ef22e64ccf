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

"""The nodes of a site: which one to ask, and idle connections to each."""

from collections.abc import Callable
from collections.abc import Sequence
import itertools
import time
from typing import Any

from luc_drivers.cql import connection
from luc_drivers.cql.frames import Statement

Address = tuple[str, int]

#: idle connections kept per node; more are closed when given back
_IDLE = 32
#: seconds after which a connection is asked before it is used
_DOUBTED = 30.0
#: seconds for that answer
_CHECK = 2.0
#: seconds for which even probes leave a node alone that did not answer
_SUSPECT = 2.0
#: seconds for which the list of nodes is believed
_FRESH = 0.5


class Nodes:
    """Connections to the nodes of one site.  Thread-safe.

    What is up, the driver's control connection tells.

    :param metadata: of the driver's cluster.
    :param site: its nodes only.
    :param connect: makes a connection to an address within some seconds.
    """

    def __init__(self, metadata: Any, site: str,
                 connect: Callable[[Address, float], connection.Connection]
                 ) -> None:
        self._metadata = metadata
        self._site = site
        self._connect = connect
        self._idle: dict[Address, list[connection.Connection]] = {}
        self._suspects: dict[Address, float] = {}
        self._turn = itertools.count()
        self._listed: tuple[float, list[Any]] = (float('-inf'), [])
        self.closed = False

    # --- which node

    def _hosts(self) -> list[Any]:
        when, hosts = self._listed
        now = time.monotonic()
        if now - when > _FRESH:
            hosts = sorted(
                (h for h in self._metadata.all_hosts()
                 if h.datacenter == self._site),
                key=lambda h: str(h.host_id))
            self._listed = now, hosts
        return hosts

    def choose(self, statement: Statement | None, values: Sequence[Any],
               probe: bool = True) -> list[Address]:
        """Return the nodes to ask, the best first: replicas before others,
        those that did not answer when asked last.

        :param probe: the request may find out whether such a node answers
            again; from time to time one does.
        """
        hosts = self._hosts()
        # With none up: the driver learns seconds later than we that one is.
        hosts = [h for h in hosts if h.is_up is not False] or hosts
        if len(hosts) > 1:
            start = next(self._turn) % len(hosts)
            hosts = hosts[start:] + hosts[:start]
            if statement is not None and statement.keyspace:
                key = statement.routing_key(values)
                if key is not None:
                    replicas = self._metadata.get_replicas(
                        statement.keyspace, key)
                    # the first replica first: contenders for one partition
                    # meet at one coordinator
                    order = {id(h): n for n, h in enumerate(replicas)}
                    hosts.sort(key=lambda h: order.get(id(h), len(order)))
        found = [(h.endpoint.address, h.endpoint.port) for h in hosts]
        if self._suspects:
            avoided = set(self._suspects)
            if probe and found and self._probed(found[0]):
                avoided.discard(found[0])
            found.sort(key=avoided.__contains__)
        return found

    def _probed(self, address: Address) -> bool:
        """Tell whether to probe a node: one does, the others wait for what
        it finds.
        """
        until = self._suspects.get(address)
        now = time.monotonic()
        if until is None or now < until:
            return False
        self._suspects[address] = now + _SUSPECT
        return True

    def suspect(self, address: Address) -> None:
        """Ask a node last until it has answered a probe."""
        self._suspects[address] = time.monotonic() + _SUSPECT

    # --- connections

    def take(self, address: Address, timeout: float
             ) -> connection.Connection:
        """Return a connection that nobody else uses.

        :raises connection.Lost: there is none to be had.
        """
        idle = self._idle.get(address)
        while idle:
            try:
                # the last used one: what was not needed lately goes
                found = idle.pop()
            except IndexError:  # another thread took it
                break
            if not found.broken and (
                    time.monotonic() - found.used < _DOUBTED
                    or found.works(min(_CHECK, timeout))):
                return found
            found.close()
        try:
            return self._connect(address, timeout)
        except connection.Lost:
            self.suspect(address)
            raise

    def give(self, used: connection.Connection) -> None:
        """Give a connection back that has no answers under way."""
        self._suspects.pop(used.address, None)
        idle = self._idle.setdefault(used.address, [])
        if self.closed or len(idle) >= _IDLE:
            used.close()
            return
        used.used = time.monotonic()
        idle.append(used)

    def close(self) -> None:
        """Close what is idle; what is in use is closed when given back."""
        self.closed = True
        for idle in list(self._idle.values()):
            while idle:
                idle.pop().close()
