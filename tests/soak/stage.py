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


"""What all cases need: a folder, actors, links that can be cut."""

import dataclasses
import os
import shutil
import signal
import sqlite3
import tempfile
import time
import typing as ty

from tests.bench.messaging import process
from tests.bench.messaging import proxy as proxy_module
from tests.bench.messaging import remote
from tests.soak import actor as actor_module
from tests.soak import judge

_TOPIC = 'soak'


class Actor(remote.Remote):
    """A process of ``tests.soak.actor``."""

    def __init__(self, stage: 'Stage', log: str, url: str) -> None:
        """Start it; ``log`` is the name of its file in the stage."""
        self.log = log
        super().__init__(
            log, 'tests.soak.actor',
            [stage.threads, url, _TOPIC, os.path.join(stage.folder, log)],
            {'LUC_CONFIG': stage.config})
        self.proxy: proxy_module.Proxy | None = None

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, without a goodbye."""
        self.process.kill()
        self.process.wait()
        self._close_pipes()

    def close(self) -> None:
        """End it as a service manager would."""
        if self.process.poll() is None:
            self.run('end')
            super().close()
        self._close_pipes()

    def _close_pipes(self) -> None:
        if self.proxy is not None:
            self.proxy.close()
            self.proxy = None
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass  # it was killed with a command unread


class Stage:
    """A folder with its own registry, and the actors on it."""

    def __init__(self, threads: str = remote.NATIVE, store: str = '',
                 **options: ty.Any) -> None:
        """A folder with a configuration.

        :param threads: of the actors: native or eventlet.
        :param store: further sections of the configuration.
        :param options: of ``[bus]``.
        """
        self.threads = threads
        self.folder = tempfile.mkdtemp(prefix='luc-soak-')
        self.config = os.path.join(self.folder, 'luc.conf')
        with open(self.config, 'w') as f:
            f.write('[DEFAULT]\nstate_path = %s\n[bus]\n' % self.folder)
            options = {'matchmaker': 'embedded', 'port_range': '0:0',
                       'rpc_prefetch': actor_module.POOL, **options}
            for name, value in options.items():
                f.write('%s = %s\n' % (name, value))
            f.write(store)
        self.actors: list[Actor] = []
        self.killed: set[str] = set()

    def __enter__(self) -> 'Stage':
        return self

    def __exit__(self, *_: ty.Any) -> None:
        for actor in self.actors:
            if actor.process.poll() is None:
                actor.signal(signal.SIGCONT)
                actor.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _actor(self, log: str, url: str = 'zmq:///soak') -> Actor:
        actor = Actor(self, log, url)
        self.actors.append(actor)
        return actor

    def servers(self, groups: list[list[str]], linked: bool = False
                ) -> list[Actor]:
        """Start a process for each group of server names.

        :param linked: callers reach each through a proxy of its own.
        """
        url = 'zmq:///soak?advertise=127.0.0.2' if linked else 'zmq:///soak'
        started = []
        for names in groups:
            started.append(self._actor('server-%d' % len(self.actors), url))
            started[-1].begin('serve', names=names)
        for actor in started:
            address = actor.result()['addresses'][0]
            if linked:
                port = int(address.rpartition(':')[2])
                actor.proxy = proxy_module.Proxy(
                    ('127.0.0.1', port), 0.0, ('127.0.0.2', port))
        return started

    def clients(self, number: int) -> list[Actor]:
        """Start processes that will call."""
        return [self._actor('client-%d' % len(self.actors))
                for _ in range(number)]

    def kill(self, actor: Actor) -> None:
        """Kill a server's process."""
        self.killed.add(actor.log)
        actor.kill()

    def block_store(self, seconds: float) -> None:
        """Make the registry unusable for so long."""
        paths = [os.path.join(root, name)
                 for root, _, names in os.walk(self.folder)
                 for name in names if name.endswith(('.db', '.sqlite'))]
        locked = []
        for path in paths:
            connection = sqlite3.connect(path, isolation_level=None,
                                         timeout=10)
            connection.execute('BEGIN EXCLUSIVE')
            locked.append(connection)
        if not locked:
            raise AssertionError('the registry has no file to lock')
        time.sleep(seconds)
        for connection in locked:
            connection.execute('ROLLBACK')
            connection.close()

    def judge(self) -> judge.Verdict:
        """Compare the logs."""
        return judge.judge(self.folder, self.killed)


@dataclasses.dataclass
class Growth:
    """What processes used after warming up and at the end."""

    before: process.Usage
    after: process.Usage

    def faults(self) -> list[str]:
        """What grew without bound, in words."""
        found = []
        if self.after.files > self.before.files + 4:
            found.append('file descriptors grew from %d to %d' % (
                self.before.files, self.after.files))
        if self.after.threads > self.before.threads + 2:
            found.append('threads grew from %d to %d' % (
                self.before.threads, self.after.threads))
        allowed = max(self.before.memory * 0.15, 24 * 2 ** 20)
        if self.after.memory > self.before.memory + allowed:
            found.append('memory grew from %d to %d MiB' % (
                self.before.memory >> 20, self.after.memory >> 20))
        return found


def usage(actors: list[Actor]) -> process.Usage:
    """What processes use together."""
    return sum((process.usage(a.pid) for a in actors), process.Usage())
