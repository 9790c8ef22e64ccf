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

"""The servers that are compared: MariaDB and Cassandra, one node each.

Both live in a folder of the benchmark's, on an address of their own, and are
found again by a later run, so that what was seeded serves many runs.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import time

from luc_drivers.testing import addresses
from luc_drivers.testing import cassandra

_START = 90.0


class ServerError(Exception):
    """A server can't be started; the message says why."""


class MariaDB:
    """Debian's mariadbd on a folder and a socket of its own.

    Reads and commits as an operator's would: InnoDB, with a buffer pool that
    holds everything, and the log flushed once a second (Cassandra's and
    SQLite's do no more; see the benchmark's page).

    :param folder: for its data; made if need be.
    :ivar pid: of the server.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.socket = folder / 'socket'
        self._host_file = folder / 'host'
        self.host = ''
        self._process: subprocess.Popen | None = None

    @property
    def pid(self) -> int:
        return int((self.folder / 'pid').read_text())

    def start(self) -> None:
        """Start it; a no-op if it answers."""
        if shutil.which('mariadbd') is None:
            raise ServerError('no mariadbd: apt-get install mariadb-server')
        data = self.folder / 'data'
        if not data.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                ['mariadb-install-db', '--no-defaults', f'--datadir={data}',
                 '--auth-root-authentication-method=normal',
                 '--skip-test-db'],
                check=True, stdout=subprocess.DEVNULL)
        if self._host_file.exists() and self._answers():
            return
        self.host = addresses.claim()
        self._host_file.write_text(self.host)
        command = [
            'mariadbd', '--no-defaults', f'--datadir={data}',
            f'--socket={self.socket}', f'--pid-file={self.folder / "pid"}',
            f'--bind-address={self.host}', '--port=3306',
            '--innodb-buffer-pool-size=1G', '--max-connections=400',
            '--innodb-flush-log-at-trx-commit=2',
            '--character-set-server=utf8mb4', '--skip-name-resolve',
            f'--log-error={self.folder / "error.log"}']
        if os.getuid() == 0:
            command.append('--user=root')
        self._process = subprocess.Popen(command, start_new_session=True)
        deadline = time.monotonic() + _START
        while not self._answers():
            if time.monotonic() > deadline or (
                    self._process.poll() is not None):
                raise ServerError(
                    f'mariadbd does not start: see {self.folder}/error.log')
            time.sleep(0.2)
        self.sql("CREATE USER IF NOT EXISTS 'bench'@'%' IDENTIFIED BY "
                 "'bench'; GRANT ALL ON *.* TO 'bench'@'%'")

    def _answers(self) -> bool:
        self.host = self._host_file.read_text()
        try:
            with socket.create_connection((self.host, 3306), 1.0):
                return True
        except OSError:
            return False

    def sql(self, statements: str) -> str:
        """Run statements as root; return the output."""
        done = subprocess.run(
            ['mariadb', '--no-defaults', f'--socket={self.socket}', '-u',
             'root', '-N', '-e', statements],
            check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def stop(self) -> None:
        """Stop it; data stays."""
        if self._host_file.exists() and self._answers():
            subprocess.run(
                ['mariadb-admin', '--no-defaults',
                 f'--socket={self.socket}', '-u', 'root', 'shutdown'],
                check=True)


def start_cassandra(folder: pathlib.Path) -> cassandra.Cluster:
    """Return a running one-node cluster on a folder."""
    try:
        cluster = cassandra.Cluster.load(folder)
    except cassandra.CassandraError:
        cluster = cassandra.Cluster(
            folder, base_address=addresses.claim(), heap_mb=2048,
            long_lived=True)
    if not all(node.answers for node in cluster.status()):
        cluster.start()
    return cluster


def stop(folder: pathlib.Path) -> None:
    """Stop the servers that run on a state's folder; data stays."""
    folder = folder.absolute()
    MariaDB(folder / 'mariadb').stop()
    try:
        cluster = cassandra.Cluster.load(folder / 'cassandra')
    except cassandra.CassandraError:
        return
    cluster.stop()


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')
