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


"""One process of a measurement: a client or a server, over any transport.

``worker.py native|eventlet URL`` reads one JSON command a line from standard
input and answers each with one line; the same code for every transport.
Which options a transport has comes from files, as in a service.
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

#: what nova sends along with each request, about 1.1 kB
CONTEXT: dict[str, ty.Any] = {
    **{name: 'v' * 16 for name in (
        'user_id', 'project_id', 'domain_id', 'user_domain_id',
        'project_domain_id', 'request_id', 'global_request_id',
        'auth_token', 'user_name', 'project_name', 'resource_uuid',
        'remote_address', 'timestamp', 'tenant')},
    'roles': ['member', 'reader', 'admin'], 'is_admin': True,
    'read_only': False, 'show_deleted': False,
    'service_catalog': [{'type': 'x', 'name': 'y', 'endpoints': [
        {'publicURL': 'http://192.0.2.1:8774/v2.1'}]}] * 3}


class Endpoint:
    """The methods that are called."""

    def __init__(self) -> None:
        self.ran = 0
        self._lock = threading.Lock()

    def echo(self, ctxt: dict, x: ty.Any) -> ty.Any:
        """Return the argument."""
        return x

    def note(self, ctxt: dict, x: ty.Any) -> None:
        """Count one more."""
        with self._lock:
            self.ran += 1


def _burn(end: float) -> None:
    while time.monotonic() < end:
        sum(range(20000))


class Worker:
    """Holds the transport and does what it is told."""

    def __init__(self, url: str, executor: str) -> None:
        self.executor = executor
        files = [f for f in os.environ.get('BENCH_CONFIG', '').split(':')
                 if f]
        # oslo.messaging's tracing options exist on the global one only.
        cfg.CONF([], project='bench', default_config_files=files)
        self.transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
        self.endpoint = Endpoint()
        self.servers: list[ty.Any] = []

    def serve(self, topic: str, servers: list[str]) -> dict:
        """Start RPC servers; returns the addresses of ours, if any."""
        for name in servers:
            server = oslo_messaging.get_rpc_server(
                self.transport,
                oslo_messaging.Target(topic=topic, server=name),
                [self.endpoint], executor=self.executor)
            server.start()
            self.servers.append(server)
        node = getattr(self.transport._driver, 'node', None)
        return {'addresses': list(node.addresses) if node else []}

    def client(self, topic: str, server: str | None = None,
               timeout: float = 60, **options: ty.Any) -> ty.Any:
        """A client of a target."""
        return oslo_messaging.get_rpc_client(
            self.transport,
            oslo_messaging.Target(topic=topic, server=server, **options),
            timeout=timeout)

    def ran(self) -> dict:
        """How many casts and fanouts ran here since the last question."""
        ran, self.endpoint.ran = self.endpoint.ran, 0
        return {'ran': ran}

    def burn(self, seconds: float) -> dict:
        """Keep one thread of this process busy with computing."""
        threading.Thread(target=_burn, args=(time.monotonic() + seconds,),
                         daemon=True).start()
        return {}

    def load(self, topic: str, server: str | None, callers: int,
             seconds: float, size: int, kind: str = 'call') -> dict:
        """Call or cast from so many threads for so long.

        :returns: how long a first call took, duration, sorted latencies
            (all in s), and what went wrong by name.
        """
        client = self.client(topic, server)
        argument = 'x' * size
        first = time.perf_counter()
        client.call(CONTEXT, 'echo', x=argument)
        first = time.perf_counter() - first
        latencies: list[list[float]] = [[] for _ in range(callers)]
        errors: dict[str, int] = {}
        clock = time.perf_counter
        started = clock()
        end = started + seconds

        def run(mine: list[float]) -> None:
            while True:
                begun = clock()
                if begun > end:
                    return
                try:
                    if kind == 'call':
                        client.call(CONTEXT, 'echo', x=argument)
                    else:
                        client.cast(CONTEXT, 'note', x=argument)
                except oslo_messaging.MessagingException as e:
                    name = type(e).__name__
                    errors[name] = errors.get(name, 0) + 1
                    continue
                mine.append(clock() - begun)

        threads = [threading.Thread(target=run, args=(mine,))
                   for mine in latencies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = clock() - started
        return {'first': first, 'took': took, 'errors': errors,
                'latencies': sorted(v for mine in latencies for v in mine)}

    def fanout(self, topic: str, number: int, size: int) -> dict:
        """Send so many fanouts, one after the other."""
        client = self.client(topic, fanout=True)
        argument = 'x' * size
        started = time.perf_counter()
        for _ in range(number):
            client.cast(CONTEXT, 'note', x=argument)
        return {'took': time.perf_counter() - started}

    def probe(self, topic: str, server: str | None, seconds: float,
              timeout: float) -> dict:
        """Begin a call every 0.1 s, each in a thread of its own.

        :returns: for each, when it began (s from now) and whether it was
            answered.
        """
        client = self.client(topic, server, timeout)
        results: list[tuple[float, bool]] = []
        started = time.monotonic()

        def one() -> None:
            begun = time.monotonic() - started
            try:
                client.call(CONTEXT, 'echo', x=1)
                results.append((begun, True))
            except oslo_messaging.MessagingException:
                results.append((begun, False))

        threads = []
        while time.monotonic() - started < seconds:
            threads.append(threading.Thread(target=one))
            threads[-1].start()
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        return {'results': sorted(results)}

    def counters(self) -> dict:
        """Figures of our node; empty with another transport."""
        node = getattr(self.transport._driver, 'node', None)
        return node.state() if node else {}

    def end(self) -> dict:
        """Stop serving."""
        return remote.stop(self.servers, self.transport)


def main() -> None:
    """Do what standard input says until it ends."""
    threads, url = sys.argv[1:3]
    logging.basicConfig(level=logging.ERROR)
    executor = 'eventlet' if threads == remote.EVENTLET else 'threading'
    remote.obey(Worker(url, executor), threads)


if __name__ == '__main__':
    main()
