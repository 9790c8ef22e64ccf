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


"""A RabbitMQ node of our own: Debian's package, own folder and ports."""

import os
import pathlib
import shutil
import socket
import subprocess
import time

from tests.bench.messaging import process

_BIN = pathlib.Path('/usr/lib/rabbitmq/bin')
_START_SECONDS = 90


class NoBroker(Exception):
    """RabbitMQ can't be had; the message says why."""


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.create_server(('127.0.0.1', 0)) as sock:
        return sock.getsockname()[1]


class Broker:
    """One RabbitMQ node, from ``start`` to ``stop``."""

    def __init__(self, folder: str) -> None:
        """Prepare a node that keeps all it has in ``folder``."""
        self.folder = folder
        self.port = free_port()
        name = 'bench%d@localhost' % os.getpid()
        self._environment = {
            **os.environ,
            'HOME': folder,
            'RABBITMQ_NODENAME': name,
            'RABBITMQ_NODE_IP_ADDRESS': '127.0.0.1',
            'RABBITMQ_NODE_PORT': str(self.port),
            'RABBITMQ_DIST_PORT': str(free_port()),
            'ERL_EPMD_PORT': str(free_port()),
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            'RABBITMQ_MNESIA_BASE': os.path.join(folder, 'mnesia'),
            'RABBITMQ_LOG_BASE': os.path.join(folder, 'log'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': os.path.join(folder, 'plugins'),
            'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'LC_ALL': 'C.UTF-8',
        }
        self._process: subprocess.Popen | None = None

    @staticmethod
    def installed() -> bool:
        """Is Debian's package there?"""
        return (_BIN / 'rabbitmq-server').exists()

    def start(self) -> None:
        """Start it and wait until it takes connections.

        :raises NoBroker: it isn't installed, or doesn't start.
        """
        if not self.installed():
            raise NoBroker('RabbitMQ is not installed: apt-get install '
                           'rabbitmq-server')
        for name in ('mnesia', 'log'):
            os.makedirs(os.path.join(self.folder, name), exist_ok=True)
        with open(os.path.join(self.folder, 'plugins'), 'w') as f:
            f.write('[].\n')
        with open(os.path.join(self.folder, 'output'), 'w') as output:
            self._process = subprocess.Popen(
                [str(_BIN / 'rabbitmq-server')], env=self._environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True)
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if self._ctl('await_startup', '--timeout', '5') == 0:
                return
            time.sleep(0.5)
        with open(os.path.join(self.folder, 'output')) as f:
            raise NoBroker('RabbitMQ did not start: %s' % f.read()[-2000:])

    def _ctl(self, *arguments: str) -> int:
        return subprocess.run(
            [str(_BIN / 'rabbitmqctl'), *arguments], env=self._environment,
            stdin=subprocess.DEVNULL, capture_output=True,
            check=False).returncode

    def add_vhost(self, name: str) -> None:
        """Make a virtual host that the user ``guest`` may use."""
        if self._ctl('add_vhost', name) or self._ctl(
                'set_permissions', '-p', name, 'guest', '.*', '.*', '.*'):
            raise NoBroker('can\'t make the virtual host %s' % name)

    def url(self, vhost: str, port: int | None = None) -> str:
        """Return the transport URL of a virtual host."""
        return 'rabbit://guest:guest@127.0.0.1:%d/%s' % (
            port or self.port, vhost)

    def usage(self) -> process.Usage:
        """Return what all processes of the node use."""
        assert self._process is not None
        return process.usage_of_session(self._process.pid)

    def stop(self) -> None:
        """Stop it and its epmd; their files are removed."""
        if self._process is not None:
            self._ctl('shutdown', '--timeout', '20')
            process.end_session(self._process)
            subprocess.run(['epmd', '-kill'], env=self._environment,
                           stdin=subprocess.DEVNULL, capture_output=True,
                           check=False)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)
