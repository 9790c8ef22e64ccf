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


"""One process of a soak: servers that note what they run, or callers.

``actor.py native|eventlet URL TOPIC LOG`` does what ``remote`` is told.
Servers append ``id time`` to their log for each execution, callers
``id kind begun ended deadline outcome`` for each message; times are of this
host's monotonic clock, so the logs of all processes can be compared.
"""

import sys

from tests.bench.messaging import remote

if __name__ == '__main__':
    remote.patch(sys.argv[1])

import logging
import os
import threading
import time
import typing as ty

from oslo_config import cfg
import oslo_messaging

#: threads of each server
POOL = 8


class Log:
    """A file that several threads append whole lines to."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, *fields: ty.Any) -> None:
        """Append a line; what is written survives the process's death."""
        os.write(self._fd, (' '.join(map(str, fields)) + '\n').encode())


class Endpoint:
    """What is called; one for each server, so that fanouts are told apart.
    """

    def __init__(self, log: Log, server: str) -> None:
        self._log = log
        self._server = server

    def work(self, ctxt: dict, id: str) -> str:
        """Note that it ran."""
        self._log.note(id, time.monotonic())
        return id

    def hear(self, ctxt: dict, id: str) -> None:
        """The same for fanouts: each server runs each."""
        self._log.note('%s@%s' % (id, self._server), time.monotonic())


class Actor:
    """Holds the transport and does what it is told."""

    def __init__(self, threads: str, url: str, topic: str,
                 log_path: str) -> None:
        self.executor = ('eventlet' if threads == remote.EVENTLET
                         else 'threading')
        # oslo.messaging's tracing options exist on the global one only.
        cfg.CONF([], project='soak', default_config_files=[])
        self.topic = topic
        self.log = Log(log_path)
        self.transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
        self.servers: list[ty.Any] = []
        self.threads: list[threading.Thread] = []
        self.stopping = threading.Event()

    def serve(self, names: list[str]) -> dict:
        """Start servers; returns the process's addresses."""
        for name in names:
            server = oslo_messaging.get_rpc_server(
                self.transport,
                oslo_messaging.Target(topic=self.topic, server=name),
                [Endpoint(self.log, name)], executor=self.executor)
            # As many as [bus]rpc_prefetch of the stage.
            server.start(override_pool_size=POOL)
            self.servers.append(server)
        return {'addresses': list(self.transport._driver.node.addresses)}

    def _client(self, server: str | None = None, timeout: float = 10.0,
                **options: ty.Any) -> ty.Any:
        return oslo_messaging.get_rpc_client(
            self.transport, oslo_messaging.Target(
                topic=self.topic, server=server, **options),
            timeout=timeout)

    def start(self, prefix: str, threads: int, timeout: float, pace: float,
              server: str | None = None, cast: bool = False) -> dict:
        """Call (or cast) from so many threads until ``stop``.

        :param prefix: begins the ids of these messages.
        :param pace: seconds between the calls of a thread.
        """
        client = self._client(server, timeout)
        for i in range(threads):
            self.threads.append(threading.Thread(
                target=self._run, daemon=True,
                args=(client, '%s-%d' % (prefix, i), timeout, pace, cast)))
            self.threads[-1].start()
        return {}

    def _run(self, client: ty.Any, prefix: str, timeout: float, pace: float,
             cast: bool) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            id = '%s-%d' % (prefix, number)
            begun = time.monotonic()
            try:
                if cast:
                    client.cast({}, 'work', id=id)
                else:
                    client.call({}, 'work', id=id)
                outcome = 'ok'
            except oslo_messaging.MessagingTimeout:
                outcome = 'timeout'
            except Exception as e:  # counted, and it fails the soak
                outcome = type(e).__name__
            self.log.note(id, 'cast' if cast else 'call', begun,
                          time.monotonic(), begun + timeout, outcome)
            self.stopping.wait(pace)

    def fanouts(self, prefix: str, number: int) -> dict:
        """Send so many fanouts, one after the other."""
        client = self._client(fanout=True)
        begun = time.monotonic()
        for i in range(number):
            client.cast({}, 'hear', id='%s-%d' % (prefix, i))
        return {'took': time.monotonic() - begun}

    def stop(self) -> dict:
        """Stop calling; what is under way is finished."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.threads.clear()
        self.stopping.clear()
        return {}

    def figures(self) -> dict:
        """What the node counts."""
        return self.transport._driver.node.state()

    def end(self) -> dict:
        """Stop serving."""
        return remote.stop(self.servers, self.transport)


def main() -> None:
    """Do what standard input says until it ends."""
    logging.basicConfig(level=logging.ERROR)
    remote.obey(Actor(*sys.argv[1:5]), sys.argv[1])


if __name__ == '__main__':
    main()
