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

"""One Cassandra for all test processes of a user.

The first process that calls :func:`endpoint` starts it, others join.  It is
stopped when no process has used it for two minutes (a supervisor watches
this, so that an interrupted run leaves nothing behind), or at once by
``python -m luc_drivers.testing.cassandra stop --shared``.

Environment: ``LUC_TEST_CASSANDRA=host[:port]`` names an existing cluster
instead; ``LUC_TEST_CASSANDRA_DIR`` another folder than the one under /tmp,
``LUC_TEST_CASSANDRA_ADDRESS`` a loopback address for it (default: a free one).
"""

import fcntl
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from luc_drivers.testing import addresses
from luc_drivers.testing import cassandra
from luc_drivers.testing import cqlping

DEFAULT_PORT = 9042
# Seconds without a user after which the server is stopped.
IDLE = 120.0
# Seconds for which a server that runs may leave a ping without an answer.
BUSY = 60.0

# The open file whose shared lock says that this process (and its forked
# children, which inherit it) uses the server.
_used = None


def directory() -> pathlib.Path:
    """Return the folder of the shared server."""
    named = os.environ.get('LUC_TEST_CASSANDRA_DIR')
    if named:
        return pathlib.Path(named)
    return pathlib.Path(tempfile.gettempdir(),
                        f'luc-test-cassandra-{os.getuid()}')


def endpoint(report=None) -> cassandra.Endpoint:
    """Return a server that answers; start it if nobody did.

    It is kept running at least as long as this process lives.

    :param report: function of one text, told what is being done.
    :raises cassandra.CassandraError: none can be had; says why.
    :raises jars.JarsError: Cassandra can't be fetched.
    """
    named = os.environ.get('LUC_TEST_CASSANDRA')
    if named:
        return _existing(named)
    folder = directory()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Said before looking, so that the supervisor can't stop it in between.
    _use(folder)
    with open(folder / 'start.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            cluster = cassandra.Cluster.load(folder / 'cluster')
        except cassandra.CassandraError:
            cluster = None
        if cluster is None or not _answers(cluster):
            cluster = _start(folder, report)
    return cluster.endpoint


def stop() -> None:
    """Stop the shared server, whoever uses it, and remove its data."""
    try:
        cluster = cassandra.Cluster.load(directory() / 'cluster')
    except cassandra.CassandraError:
        return
    cluster.wipe()


def _answers(cluster: cassandra.Cluster) -> bool:
    """Tell whether a server answers; one that runs is given time: others use
    it, and what they have there would be lost."""
    deadline = time.monotonic() + BUSY
    while True:
        found = cluster.status()
        if all(node.answers for node in found):
            return True
        if not all(node.pid for node in found) or (
                time.monotonic() > deadline):
            return False
        time.sleep(0.2)


def _existing(named: str) -> cassandra.Endpoint:
    host, _, port = named.partition(':')
    if not host or (port and not port.isdigit()):
        raise cassandra.CassandraError(
            f'LUC_TEST_CASSANDRA={named}: write it as host:port')
    found = cassandra.Endpoint(host, int(port or DEFAULT_PORT))
    try:
        cqlping.ask(*found, timeout=10.0)
    except cqlping.NotReady as exc:
        raise cassandra.CassandraError(
            f'LUC_TEST_CASSANDRA={named}: no Cassandra answers there '
            f'({exc})') from None
    return found


def _use(folder: pathlib.Path) -> None:
    global _used
    if _used is None or not os.path.exists(_used.name):
        _used = open(folder / 'users.lock', 'a')
        fcntl.flock(_used, fcntl.LOCK_SH)


def _start(folder: pathlib.Path, report) -> cassandra.Cluster:
    cluster = cassandra.Cluster(
        folder / 'cluster',
        base_address=(os.environ.get('LUC_TEST_CASSANDRA_ADDRESS')
                      or addresses.claim()), ephemeral=True)
    cluster.wipe()
    if report:
        report(f'starting Cassandra at {cluster.endpoint.host} for all tests')
    cluster.start(report=report)
    with open(folder / 'supervisor.log', 'ab') as log:
        subprocess.Popen(
            [sys.executable, '-m', __name__, str(folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            cwd=pathlib.Path(__file__).resolve().parents[2],
            start_new_session=True)
    return cluster


def supervise(folder: pathlib.Path, idle: float = IDLE) -> None:
    """Wait until nobody has used the server for ``idle`` seconds, stop it.

    Ends, too, when somebody else stopped it.
    """
    cluster = cassandra.Cluster.load(folder / 'cluster')
    last_used = time.monotonic()
    period = min(5.0, idle / 4)
    with open(folder / 'start.lock', 'w') as starting, \
            open(folder / 'users.lock', 'a') as users:
        while any(cassandra.find_pid(node) for node in cluster.nodes):
            time.sleep(period)
            # Nobody may come to use it between the look and the stop.
            fcntl.flock(starting, fcntl.LOCK_EX)
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                last_used = time.monotonic()
            else:
                if time.monotonic() - last_used > idle:
                    cluster.wipe()
            finally:
                fcntl.flock(users, fcntl.LOCK_UN)
                fcntl.flock(starting, fcntl.LOCK_UN)


if __name__ == '__main__':
    supervise(pathlib.Path(sys.argv[1]))
