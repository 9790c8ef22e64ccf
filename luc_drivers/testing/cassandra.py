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

"""Run real Cassandra nodes on loopback addresses, for tests and one-box.

    cluster = Cluster('/tmp/c', sites={'site1': 1})
    cluster.start()
    … cluster.endpoint …
    cluster.stop()

or ``python -m luc_drivers.testing.cassandra start|stop|status|kill``.
:mod:`luc_drivers.testing.shared` has one server for all test processes.

A cluster lives in one folder; what is needed to find its processes again
lies there, so that any later process can stop it.  Data outlives a stop.
"""

import argparse
import dataclasses
import inspect
import ipaddress
import json
import os
import pathlib
import shutil
import signal
import socket
import sys
import time
from typing import Any
from typing import NamedTuple

from luc_drivers.testing import cassandra_config
from luc_drivers.testing import cqlping
from luc_drivers.testing import jars
from luc_drivers.testing import process

# A first start takes some 7 s on two idle cores; tests share few cores, and
# 190 s were seen with eight times as much to do as they can.
START_TIMEOUT = 300.0
STOP_TIMEOUT = 30.0
SUPERUSER = ('cassandra', 'cassandra')


class CassandraError(Exception):
    """A node can't be started or stopped; the message says what to do."""


class Endpoint(NamedTuple):
    """Where clients connect first."""

    host: str
    port: int


@dataclasses.dataclass
class NodeStatus:
    """One node as found: ``pid`` is None when it does not run."""

    name: str
    address: str
    site: str
    pid: int | None
    answers: bool
    rss_mb: int


class Cluster:
    """Nodes on 127.0.0.N, one Cassandra process each.

    :param directory: the cluster's folder; made when missing.
    :param sites: number of nodes per site (one site is one datacenter), in
        order; nodes are named node1, node2 … across sites.
    :param base_address: address of node1; the others count up from it.
    :param cql_port: port of all nodes for clients.
    :param storage_port: port of all nodes for gossip; the one above is
        taken, too.
    :param auth: whether a role and a password are needed.
    :param heap_mb: Java heap of each node, MiB.
    :param durable, long_lived, ephemeral: see
        :class:`~.cassandra_config.NodeSettings`.
    :param overrides: further entries of cassandra.yaml.
    """

    def __init__(self, directory: str | os.PathLike,
                 sites: dict[str, int] | None = None,
                 base_address: str = '127.0.0.1', cql_port: int = 9042,
                 storage_port: int = 7000, auth: bool = False,
                 heap_mb: int = 512, durable: bool = False,
                 long_lived: bool = False, ephemeral: bool = False,
                 overrides: dict | None = None) -> None:
        self.directory = pathlib.Path(directory).absolute()
        self.parameters: dict[str, Any] = {
            'sites': dict(sites or {'site1': 1}),
            'base_address': base_address, 'cql_port': cql_port,
            'storage_port': storage_port, 'auth': auth, 'heap_mb': heap_mb,
            'durable': durable, 'long_lived': long_lived,
            'ephemeral': ephemeral,
            'overrides': dict(overrides or {})}
        self.nodes = self._settings()

    @classmethod
    def load(cls, directory: str | os.PathLike) -> 'Cluster':
        """Return the cluster that was started in a folder.

        :raises CassandraError: none was.
        """
        path = pathlib.Path(directory).absolute() / 'cluster.json'
        try:
            return cls(path.parent, **json.loads(path.read_text()))
        except FileNotFoundError:
            raise CassandraError(f'no cluster in {path.parent}') from None
        except (ValueError, TypeError) as exc:
            raise CassandraError(f'{path} is damaged: {exc}') from None

    @property
    def endpoint(self) -> Endpoint:
        """Return where clients find the first node."""
        return Endpoint(self.nodes[0].address, self.nodes[0].cql_port)

    @property
    def addresses(self) -> list[str]:
        """Return all nodes' addresses."""
        return [node.address for node in self.nodes]

    def _settings(self) -> list[cassandra_config.NodeSettings]:
        parameters = self.parameters
        try:
            base = ipaddress.IPv4Address(parameters['base_address'])
        except ValueError:
            raise CassandraError('base address: not an IPv4 address: '
                                 f'{parameters["base_address"]}') from None
        sites = parameters['sites']
        if not sites or any(count < 1 for count in sites.values()):
            raise CassandraError('each site needs at least one node, got '
                                 f'{sites}')
        placed = [(site, place, count, number)
                  for number, (site, count) in enumerate(sites.items())
                  for place in range(count)]
        seeds = tuple(str(base + at) for at, entry in enumerate(placed)
                      if entry[1] == 0)
        return [
            cassandra_config.NodeSettings(
                directory=self.directory / f'node{at + 1}',
                address=str(base + at), site=site, seeds=seeds,
                alone=len(placed) == 1,
                # Even shares in each site; sites must not meet on a token.
                token=-(1 << 63) + place * ((1 << 64) // count) + number + 1,
                cql_port=parameters['cql_port'],
                storage_port=parameters['storage_port'],
                auth=parameters['auth'], heap_mb=parameters['heap_mb'],
                durable=parameters['durable'],
                long_lived=parameters['long_lived'],
                ephemeral=parameters['ephemeral'],
                overrides=parameters['overrides'])
            for at, (site, place, count, number) in enumerate(placed)]

    def start(self, timeout: float = START_TIMEOUT, report=None) -> None:
        """Start the nodes that don't run and wait until all answer.

        :param timeout: seconds to wait for all of them.
        :param report: function of one text, told what is being done.
        :raises CassandraError: a node ended or does not answer.
        :raises jars.JarsError: Cassandra can't be had.
        """
        java = find_java()
        folder = jars.ensure(report)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.joinpath('cluster.json').write_text(
            json.dumps(self.parameters, indent=1))
        waiting = [node for node in self.nodes
                   if self._spawn(node, java, folder)]
        deadline = time.monotonic() + timeout
        for node in waiting or self.nodes:
            self._wait(node, deadline)
        for node in self.nodes:
            self._wait_for_peers(node, deadline)

    def start_node(self, number: int, timeout: float = START_TIMEOUT) -> None:
        """Start one node (1 …) again, on its data, and wait for it."""
        node = self.nodes[number - 1]
        self._spawn(node, find_java(), jars.ensure())
        self._wait(node, time.monotonic() + timeout)

    def _spawn(self, node: cassandra_config.NodeSettings, java: str,
               folder: pathlib.Path) -> bool:
        if find_pid(node) is not None:
            return False
        if node.ephemeral and node.directory.joinpath('ready').exists():
            raise CassandraError(
                f'Cassandra in {node.directory} was not to be started again: '
                'it may have lost tables; wipe it')
        for port in (node.cql_port, node.storage_port):
            _check_free(node.address, port)
        cassandra_config.write_files(node)
        process.spawn(cassandra_config.command(node, java, folder),
                      _pid_file(node), node.directory / 'logs' / 'output.log',
                      cwd=node.directory)
        return True

    def _wait(self, node: cassandra_config.NodeSettings,
              deadline: float) -> None:
        name, where = node.directory.name, f'{node.address}:{node.cql_port}'
        while True:
            if find_pid(node) is None:
                raise CassandraError(f'Cassandra {name} ({where}) ended: '
                                     f'{_last_error(node)}')
            try:
                if node.auth:
                    cqlping.ask(node.address, node.cql_port, *SUPERUSER)
                else:
                    cqlping.ask(node.address, node.cql_port)
                break
            except cqlping.Refused:
                # Either the default role is not made yet, or an operator
                # changed its password: then an answer is enough.
                if node.directory.joinpath('ready').exists():
                    break
                reason = 'its role "cassandra" is not there yet'
            except cqlping.NotReady as exc:
                reason = str(exc)
            if time.monotonic() > deadline:
                raise CassandraError(
                    f'Cassandra {name} does not answer at {where}: {reason}; '
                    f'see {node.log_file}')
            time.sleep(0.1)
        node.directory.joinpath('ready').touch()

    def _wait_for_peers(self, node: cassandra_config.NodeSettings,
                        deadline: float) -> None:
        """Wait until a node knows all others; clients ask it for them."""
        login = SUPERUSER if node.auth else (None, None)
        while True:
            try:
                peers = cqlping.count(node.address, node.cql_port,
                                      'system.peers_v2', *login)
            except cqlping.Refused:
                # No longer the default password: nothing can be asked.
                return
            if peers >= len(self.nodes) - 1:
                return
            if time.monotonic() > deadline:
                raise CassandraError(
                    f'Cassandra {node.directory.name} knows {peers} of '
                    f'{len(self.nodes) - 1} other nodes; see {node.log_file}')
            time.sleep(0.2)

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop all nodes: SIGTERM, then SIGKILL after ``timeout`` seconds."""
        running = [(_pid_file(node), pid) for node in self.nodes
                   if (pid := find_pid(node)) is not None]
        # All at once first: each takes seconds to end.
        for _, pid in running:
            process.send(pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        for pid_file, _ in running:
            if not process.wait_end(pid_file, deadline - time.monotonic()):
                process.kill(pid_file)

    def kill(self, number: int) -> None:
        """``kill -9`` one node (1 …); return when it is gone."""
        process.kill(_pid_file(self.nodes[number - 1]))

    def wipe(self) -> None:
        """Kill the cluster and remove its folder."""
        for number in range(1, len(self.nodes) + 1):
            self.kill(number)
        shutil.rmtree(self.directory, ignore_errors=True)

    def status(self) -> list[NodeStatus]:
        """Return how each node is found."""
        found = []
        for node in self.nodes:
            pid = find_pid(node)
            answers = False
            if pid is not None:
                try:
                    cqlping.ask(node.address, node.cql_port)
                    answers = True
                except cqlping.NotReady:
                    answers = False
            found.append(NodeStatus(
                node.directory.name, node.address, node.site, pid, answers,
                round(process.rss_mb(pid))))
        return found


def find_java() -> str:
    """Return the path of a Java 11 or 17, which Cassandra 5.0 runs on.

    :raises CassandraError: none is installed.
    """
    home = os.environ.get('JAVA_HOME')
    candidates = [os.path.join(home, 'bin', 'java')] if home else []
    candidates += sorted(
        str(path) for path in
        pathlib.Path('/usr/lib/jvm').glob('*17*/bin/java'))
    for path in [*candidates, shutil.which('java')]:
        if path and os.access(path, os.X_OK):
            return path
    raise CassandraError('java not found, which Cassandra needs: apt-get '
                         'install openjdk-17-jre-headless, or set JAVA_HOME')


def find_pid(node: cassandra_config.NodeSettings) -> int | None:
    """Return the process id of a node, None if it does not run."""
    return process.find(_pid_file(node))


def _pid_file(node: cassandra_config.NodeSettings) -> pathlib.Path:
    return node.directory / 'pid'


def _check_free(address: str, port: int) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError as exc:
            raise CassandraError(
                f'{address}:{port} can\'t be used ({exc.strerror}): is '
                'another Cassandra running there? Name another address '
                '(--base-address) or port (one-box: --port-offset)'
            ) from None


def _last_error(node: cassandra_config.NodeSettings) -> str:
    output = node.directory / 'logs' / 'output.log'
    for path in (output, node.log_file):
        if not path.exists():
            continue
        lines = path.read_text(errors='replace').splitlines()
        errors = [line for line in lines
                  if line.startswith(('ERROR', 'Error')) or 'rror:' in line
                  or 'Exception' in line]
        if errors:
            return f'{errors[-1][:300]} (see {path})'
    return f'see {output}'


def _parse_sites(text: str) -> dict[str, int]:
    sites = {}
    for part in text.split(','):
        name, _, count = part.partition(':')
        if not name or not count.isdigit():
            raise argparse.ArgumentTypeError(
                f'{text}: write it as site1:1,site2:1')
        sites[name] = int(count)
    return sites


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m luc_drivers.testing.cassandra',
        description='Cassandra nodes on loopback addresses.',
        # of a cluster that is there, what is not named stays
        argument_default=argparse.SUPPRESS)
    parser.add_argument('action',
                        choices=['start', 'stop', 'kill', 'status', 'wipe'])
    parser.add_argument('--dir', default=None, help="the cluster's folder")
    parser.add_argument('--shared', action='store_true', default=False,
                        help='the server that all tests share, instead of '
                             '--dir')
    new = parser.add_argument_group('start').add_argument
    new('--nodes', type=lambda count: _parse_sites(f'site1:{count}'),
        dest='sites', help='nodes in site1 (1)')
    new('--sites', type=_parse_sites, metavar='SITE:N,…',
        help='nodes per site, instead of --nodes')
    new('--base-address', help='of the first node (127.0.0.1)')
    new('--port', type=int, dest='cql_port', help='CQL port (9042)')
    new('--storage-port', type=int, help='gossip port (7000)')
    new('--heap', type=int, metavar='MIB', dest='heap_mb',
        help='Java heap of each node (512)')
    new('--auth', action='store_true',
        help='ask for a role and a password (cassandra/cassandra at first)')
    new('--durable', action='store_true',
        help='fsync before a write is acknowledged')
    new('--long-lived', action='store_true',
        help='compile what is hot a second time')
    parser.add_argument('--node', type=int, default=1,
                        help='which node to kill')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    if bool(args.dir) == args.shared:
        parser.error('name the cluster: either --dir DIR or --shared')
    try:
        if args.shared:
            return _shared(args.action)
        return _run(args)
    except (CassandraError, jars.JarsError) as exc:
        print(f'error: {exc}', file=sys.stderr)
        return 1


def _say(text: str) -> None:
    print(text, flush=True)


def _shared(action: str) -> int:
    from luc_drivers.testing import shared
    if action == 'start':
        host, port = shared.endpoint(_say)
        _say(f'{host}:{port}')
    elif action in ('stop', 'wipe'):
        shared.stop()
    elif action == 'status':
        return _print_status(Cluster.load(shared.directory() / 'cluster'))
    else:
        raise CassandraError('the shared server is not to be killed: other '
                             'tests use it')
    return 0


def _run(args: argparse.Namespace) -> int:
    if args.action == 'start':
        started = time.monotonic()
        cluster = _cluster(args)
        cluster.start(report=_say)
        _say(f'started in {time.monotonic() - started:.1f} s')
        return _print_status(cluster)
    cluster = Cluster.load(args.dir)
    if args.action == 'status':
        return _print_status(cluster)
    if args.action == 'kill':
        cluster.kill(args.node)
    elif args.action == 'stop':
        cluster.stop()
    else:
        cluster.wipe()
    return 0


def _cluster(args: argparse.Namespace) -> Cluster:
    """Return the folder's cluster, changed as the arguments say; a new one
    if there is none."""
    given = {key: value for key, value in vars(args).items()
             if key in inspect.signature(Cluster).parameters}
    if pathlib.Path(args.dir, 'cluster.json').exists():
        given = {**Cluster.load(args.dir).parameters, **given}
    return Cluster(args.dir, **given)


def _print_status(cluster: Cluster) -> int:
    found = cluster.status()
    for node in found:
        state = ('answers' if node.answers
                 else 'starting' if node.pid else 'stopped')
        _say(f'{node.name}  {node.address}:{cluster.endpoint.port}  '
             f'{node.site}  pid {node.pid or "-"}  {state}  '
             f'{node.rss_mb} MB')
    return 0 if all(node.answers for node in found) else 3


if __name__ == '__main__':
    sys.exit(main())
