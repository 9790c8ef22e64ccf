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


"""What is compared: our transport, plain and CURVE, and RabbitMQ.

A side has client and server processes, kept for the whole run, so that the
sides can take turns without starting anything.
"""

import os

from luc_drivers.messaging import keys
from luc_drivers.messaging.matchmaker import base
from tests.bench.messaging import broker as broker_module
from tests.bench.messaging import process
from tests.bench.messaging import remote

OURS = 'luc'
CURVE = 'luc-curve'
CLASSIC = 'rabbit'
QUORUM = 'rabbit-quorum'


class Side:
    """One transport, with its processes."""

    def __init__(self, name: str, environment: dict[str, str],
                 broker: broker_module.Broker | None = None) -> None:
        """A transport; ``broker`` if it has one."""
        self.name = name
        self.environment = environment
        self.broker = broker
        self._pairs: dict[str, tuple[remote.Remote, remote.Remote]] = {}
        self._workers: list[remote.Remote] = []

    def url(self, port: int | None = None, **query: str) -> str:
        """Its transport URL; through a port of a proxy if there's a broker.
        """
        if self.broker is not None:
            return self.broker.url(self.name, port)
        if self.name == CURVE:
            query = {'security': 'curve', **query}
        # A name space of its own: the sides share one registry.
        return 'zmq:///%s?' % self.name + '&'.join(
            '%s=%s' % item for item in query.items())

    def worker(self, mode: str = 'native', url: str | None = None
               ) -> remote.Remote:
        """Start a ``worker`` process."""
        worker = remote.Remote('worker', 'tests.bench.messaging.worker',
                               [mode, url or self.url()], self.environment)
        self._workers.append(worker)
        return worker

    def pair(self, mode: str) -> tuple[remote.Remote, remote.Remote]:
        """(client, server) of the topic named as the mode."""
        if mode not in self._pairs:
            server = self.worker(mode)
            server.run('serve', topic=mode, servers=['a'])
            self._pairs[mode] = self.worker(mode), server
        return self._pairs[mode]

    def broker_usage(self) -> process.Usage:
        """What the broker uses; zeros without one."""
        return self.broker.usage() if self.broker else process.Usage()

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.close()


def make(folder: str, names: list[str]) -> list[Side]:
    """Prepare the named sides, with everything in ``folder``.

    :raises NoBroker: RabbitMQ is wanted but not to be had.
    """
    broker = None
    made = []
    for name in names:
        if name in (OURS, CURVE):
            made.append(Side(name, _our_environment(folder)))
            continue
        if broker is None:
            broker = broker_module.Broker(os.path.join(folder, 'rabbitmq'))
            broker.start()
        broker.add_vhost(name)
        path = os.path.join(folder, name + '.conf')
        with open(path, 'w') as f:
            f.write('[oslo_messaging_rabbit]\nrabbit_quorum_queue = %s\n' %
                    (name == QUORUM))
        made.append(Side(name, {'BENCH_CONFIG': path}, broker))
    return made


def _our_environment(folder: str) -> dict[str, str]:
    path = os.path.join(folder, 'luc.conf')
    if not os.path.exists(path):
        keys_dir = os.path.join(folder, 'keys')
        keys.save(keys_dir, keys.generate('bench', base.CONTROL))
        keys.add_store_key(keys_dir)
        with open(path, 'w') as f:
            f.write('[DEFAULT]\nstate_path = %s\n[bus]\nhost = bench\n'
                    'matchmaker = embedded\nport_range = 0:0\n'
                    'keys_dir = %s\n' % (folder, keys_dir))
    return {'LUC_CONFIG': path}
