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


"""What is measured; each function returns figures by name.

Latencies are in ms, sizes in bytes, CPU in seconds per 1,000 calls.
"""

import statistics
import time
import typing as ty

from tests.bench.messaging import process
from tests.bench.messaging import proxy as proxy_module
from tests.bench.messaging import remote
from tests.bench.messaging import sides

#: seconds that one direction of the emulated WAN link takes
WAN_DELAY = 0.025
_SETTLE = 0.7
_WAN_CALLS = 40
_BYTES_CALLS = 200
_BLACKHOLE_SECONDS = 8.0
_BLACKHOLE_TIMEOUT = 12.0


class Load(ty.NamedTuple):
    """Calls or casts from several threads of one process to a server."""

    mode: str
    kind: str
    callers: int
    size: int

    @property
    def name(self) -> str:
        """Its name in the results."""
        return '%s-%s-%d-%d' % self

    def run(self, side: sides.Side, seconds: float) -> dict:
        """Measure it."""
        client, server = side.pair(self.mode)
        # What a process's first call costs is told by ``wan``.
        client.run('load', topic=self.mode, server='a', callers=1, seconds=0,
                   size=self.size)
        # The side before may have work left: a broker's queues and log.
        time.sleep(_SETTLE)
        server.run('ran')
        before = _usages(side, client, server)
        result = client.run('load', topic=self.mode, server='a',
                            callers=self.callers, seconds=seconds,
                            size=self.size, kind=self.kind)
        took = result['took']
        number = len(result['latencies'])
        if self.kind == 'cast':
            # All of them must have run; the clock runs until then.
            took += _wait_for_casts(server, number)
        after = _usages(side, client, server)
        return {'per_second': number / took,
                **_latencies(result['latencies']),
                **_used(before, after, number),
                'errors': result['errors']}


def _latencies(values: list[float]) -> dict:
    if not values:
        return {}
    return {'p50': values[len(values) // 2] * 1000,
            'p99': values[int(len(values) * 0.99)] * 1000}


def _usages(side: sides.Side, client: remote.Remote, server: remote.Remote
            ) -> tuple[process.Usage, ...]:
    return client.usage(), server.usage(), side.broker_usage()


def _used(before: tuple[process.Usage, ...],
          after: tuple[process.Usage, ...], number: int) -> dict:
    found: dict[str, float] = {}
    for name, a, b in zip(('client', 'server', 'broker'), before, after):
        found[name + '_cpu'] = (b.cpu - a.cpu) * 1000 / max(number, 1)
        found[name + '_memory'] = b.memory
        found[name + '_threads'] = b.threads
        found[name + '_connections'] = b.connections
    found['cpu'] = sum(found[name + '_cpu']
                       for name in ('client', 'server', 'broker'))
    return found


def _wait_for_casts(server: remote.Remote, number: int) -> float:
    begun = time.monotonic()
    ran = server.run('ran')['ran']
    while ran < number:
        if time.monotonic() - begun > 120:
            raise remote.Failed('%d of %d casts never ran' % (
                number - ran, number))
        time.sleep(0.02)
        ran += server.run('ran')['ran']
    return time.monotonic() - begun


def fanout(side: sides.Side, number: int = 100, processes: int = 5,
           servers: int = 10, size: int = 200) -> dict:
    """Fanouts to 50 servers in 5 processes, until each has run each."""
    workers = []
    for i in range(processes):
        workers.append(side.worker())
        workers[-1].run('serve', topic='fan', servers=[
            's%d-%d' % (i, j) for j in range(servers)])
    client = side.worker()
    client.run('fanout', topic='fan', number=1, size=size)
    time.sleep(1.0)
    for worker in workers:
        worker.run('ran')
    before = sum((w.usage() for w in [client, *workers]),
                 side.broker_usage())
    begun = time.monotonic()
    sent = client.run('fanout', topic='fan', number=number, size=size)
    expected = number * processes * servers
    ran = 0
    while ran < expected and time.monotonic() - begun < 60:
        time.sleep(0.02)
        ran += sum(w.run('ran')['ran'] for w in workers)
    took = time.monotonic() - begun
    after = sum((w.usage() for w in [client, *workers]),
                side.broker_usage())
    for worker in [client, *workers]:
        worker.close()
    return {'fanouts_per_second': number / took,
            'ms_per_send': sent['took'] / number * 1000,
            'delivered': ran, 'expected': expected,
            'cpu': (after.cpu - before.cpu) * 1000 / number}


def beside_computing(side: sides.Side, callers: int, seconds: float) -> dict:
    """Calls to a server that has a thread which only computes."""
    client, server = side.pair('native')
    server.run('burn', seconds=seconds + 0.5)
    result = client.run('load', topic='native', server='a', callers=callers,
                        seconds=seconds, size=200)
    time.sleep(0.6)
    return {'per_second': len(result['latencies']) / result['took'],
            **_latencies(result['latencies'])}


class _Apart:
    """A client and a server with a proxy between them.

    With a broker, the broker is at the server's site: the client's
    connection alone crosses the link.
    """

    def __init__(self, side: sides.Side, delay: float) -> None:
        if side.broker is not None:
            self.server = side.worker()
            self.server.run('serve', topic='wan', servers=['a'])
            self.proxy = proxy_module.Proxy(
                ('127.0.0.1', side.broker.port), delay)
            self.client = side.worker(url=side.url(self.proxy.port))
            return
        # It registers an address at which the proxy listens.
        self.server = side.worker(url=side.url(advertise='127.0.0.2'))
        answer = self.server.run('serve', topic='wan', servers=['a'])
        port = int(answer['addresses'][0].rpartition(':')[2])
        self.proxy = proxy_module.Proxy(('127.0.0.1', port), delay,
                                        ('127.0.0.2', port))
        self.client = side.worker()

    def close(self) -> None:
        self.client.close()
        self.server.run('end')
        self.server.close()
        self.proxy.close()


def wan(side: sides.Side) -> dict:
    """Round trips of a first (cold) and of further (warm) calls."""
    apart = _Apart(side, WAN_DELAY)
    trip = 2 * WAN_DELAY
    try:
        cold = apart.client.run('load', topic='wan', server='a', callers=1,
                                seconds=0, size=200)
        warm = apart.client.run('load', topic='wan', server='a', callers=1,
                                seconds=_WAN_CALLS * trip, size=200)
    finally:
        apart.close()
    return {'cold_round_trips': cold['first'] / trip,
            'warm_round_trips': statistics.median(warm['latencies']) / trip}


def wire_bytes(side: sides.Side) -> dict:
    """Bytes of a call of 200 bytes both ways, and of 20 parallel ones.

    Without a broker: what the two processes exchange. With one: twice what
    the client and the broker exchange, as it goes on to the server in the
    same form.
    """
    apart = _Apart(side, 0.0)
    try:
        apart.client.run('load', topic='wan', server='a', callers=1,
                         seconds=0.5, size=200)
        before = apart.proxy.bytes
        result = apart.client.run('load', topic='wan', server='a', callers=1,
                                  seconds=1.0, size=200)
        used = apart.proxy.bytes - before
        connections = apart.proxy.connections
        apart.client.run('load', topic='wan', server='a', callers=20,
                         seconds=1.0, size=200)
        more = apart.proxy.connections
    finally:
        apart.close()
    factor = 2 if side.broker else 1
    return {'bytes_per_call': used * factor / (len(result['latencies']) + 1),
            'client_connections_1': connections,
            'client_connections_20': more}


def blackhole(side: sides.Side) -> dict:
    """How long calls are given to a server whose link went silent.

    Two servers of a topic; the link of one swallows everything, without a
    reset. ``found`` is when the last call began that got no answer.
    """
    other = side.worker()
    other.run('serve', topic='hole', servers=['b'])
    proxy = server = None
    try:
        if side.broker is not None:
            proxy = proxy_module.Proxy(('127.0.0.1', side.broker.port))
            server = side.worker(url=side.url(proxy.port))
            server.run('serve', topic='hole', servers=['a'])
        else:
            server = side.worker(url=side.url(advertise='127.0.0.2'))
            answer = server.run('serve', topic='hole', servers=['a'])
            port = int(answer['addresses'][0].rpartition(':')[2])
            proxy = proxy_module.Proxy(('127.0.0.1', port), 0.0,
                                       ('127.0.0.2', port))
        client = side.worker()
        client.run('load', topic='hole', server=None, callers=2, seconds=1.0,
                   size=200)
        proxy.frozen = True
        results = client.run('probe', topic='hole', server=None,
                             seconds=_BLACKHOLE_SECONDS,
                             timeout=_BLACKHOLE_TIMEOUT)['results']
        proxy.frozen = False
        client.close()
    finally:
        for worker in (server, other):
            if worker is not None:
                worker.close()
        if proxy is not None:
            proxy.close()
    lost = [begun for begun, answered in results if not answered]
    return {'found': max(lost) if lost else 0.0, 'lost': len(lost),
            'sent': len(results)}
