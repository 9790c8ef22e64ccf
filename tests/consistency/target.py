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

"""What is tested: the embedded store, one Cassandra node, or a cluster."""

import os
import pathlib
import signal
import time
from typing import Any

from luc_drivers.testing import addresses
from luc_drivers.testing import cassandra
from luc_drivers.testing import shared

_CONFIG = '''[DEFAULT]
state_path = {folder}

[database]
lock_timeout = {lock_timeout}
commit_timeout = 5
index_removal_delay = 1
max_clock_skew = 15
{more}
'''

#: seconds that a lock must be watched before it is taken for dead
LOCK_TIMEOUT = 1.5


class Target:
    """A store of its own for one run.

    :cvar kind: what the command line calls it.
    :ivar url: of the database.
    :ivar nodes: number of Cassandra nodes that may be killed.
    """

    kind = 'embedded'
    nodes = 0

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.name = f'consistency{os.getpid()}'
        self.url = (f'sqlite+luc:///{self.name}?store=embedded'
                    f'&path={folder}/store')

    def configure(self, more: str = '') -> None:
        """Write the host's configuration; all processes read it."""
        path = self.folder / 'luc.conf'
        path.write_text(_CONFIG.format(
            folder=self.folder, lock_timeout=LOCK_TIMEOUT, more=more))
        os.environ['LUC_CONFIG'] = str(path)

    def start(self) -> None:
        """Have it ready."""
        self.configure()

    def renew(self, number: int) -> None:
        """Have an empty database for the next run."""
        self.url = self.url.replace(
            f'/{self.name}', f'/consistency{os.getpid()}n{number}')
        self.name = f'consistency{os.getpid()}n{number}'

    def stop(self) -> None:
        """Remove what was made."""

    # what the runner does to it; nothing, where there are no nodes

    def kill(self, number: int) -> None:
        """Kill a node (1 …; -9)."""

    def freeze(self, number: int) -> None:
        """Stop a node (SIGSTOP)."""

    def mend(self) -> None:
        """Start and continue all nodes; wait until they answer."""


class Node(Target):
    """The Cassandra node that all tests share; never hurt."""

    kind = 'cassandra'
    endpoint: tuple[str, int] | None = None

    def start(self) -> None:
        host, port = shared.endpoint()
        # the databases of all runs share two keyspaces
        self.template = f'{self.name}_{{locality}}'
        self.url = (f'sqlite+luc://{host}:{port}/{self.name}'
                    f'?keyspace_template={self.template}')
        self.endpoint = (host, port)
        self.configure()

    def stop(self) -> None:
        if self.endpoint is None:
            return
        from luc_drivers import cql
        from luc_drivers.db.store import base
        host, port = self.endpoint
        session = cql.session(cql.from_options(base.StoreSettings(
            contact_points=(host,), port=port)))
        for locality in ('global', 'at_site1'):
            session.ddl(['DROP KEYSPACE IF EXISTS '
                         + self.template.format(locality=locality)])


class Cluster(Target):
    """Three Cassandra nodes of one site; every row is on all three."""

    kind = 'cluster'
    nodes = 3

    def __init__(self, folder: pathlib.Path, heap_mb: int = 320) -> None:
        super().__init__(folder)
        self.cluster = cassandra.Cluster(
            folder / 'cluster', {'site1': self.nodes},
            base_address=addresses.claim(), heap_mb=heap_mb, durable=True)
        self.frozen: set[int] = set()
        self.killed: set[int] = set()

    def start(self) -> None:
        self.cluster.start(report=print)
        hosts = ','.join(self.cluster.addresses)
        port = self.cluster.endpoint.port
        self.url = f'sqlite+luc://{hosts}:{port}/{self.name}'
        self.configure('\n[cassandra]\nreplication = site1:3\n'
                       'request_timeout = 5\n')

    def stop(self) -> None:
        for number in self.frozen:
            self._signal(number, signal.SIGCONT)
        self.cluster.wipe()

    def _signal(self, number: int, what: signal.Signals) -> None:
        pid = cassandra.find_pid(self.cluster.nodes[number - 1])
        if pid is not None:
            os.kill(pid, what)

    def kill(self, number: int) -> None:
        self.cluster.kill(number)
        self.killed.add(number)

    def freeze(self, number: int) -> None:
        self._signal(number, signal.SIGSTOP)
        self.frozen.add(number)

    def mend(self) -> None:
        for number in self.frozen:
            self._signal(number, signal.SIGCONT)
        self.frozen.clear()
        for number in sorted(self.killed):
            self.cluster.start_node(number)
        self.killed.clear()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if all(node.answers for node in self.cluster.status()):
                return
            time.sleep(1)


TARGETS: dict[str, Any] = {
    one.kind: one for one in (Target, Node, Cluster)}
