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


"""How cost grows with sites and servers, by simulation.

The real routing, registrar and fanout code runs on a matchmaker in memory
with a clock that is moved by hand; what it asks the registry and whom it
sends to is counted. ``python -m tests.soak.growth`` writes the table.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import itertools
import os
import pathlib
import sys
import tempfile
import types
import typing as ty
from unittest import mock

from luc_drivers.messaging import client
from luc_drivers.messaging import fanout
from luc_drivers.messaging import opts
from luc_drivers.messaging import registrar
from luc_drivers.messaging import routing
from luc_drivers.messaging import workers
from luc_drivers.messaging.matchmaker import base
from luc_drivers.messaging.matchmaker import memory
from tests import rst

_TABLE = (pathlib.Path(__file__).parents[2] /
          'doc/source/reference/growth.inc')
TOPIC = 'compute'
#: simulated seconds that are counted, after as many to warm up
_SECONDS = 60
#: servers that the observed process calls in its own site and in others
NEAR_PEERS = 5
FAR_PEERS = 4


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Seconds, as of the last step."""
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        """Nothing waits here."""


class Counting(memory.MemoryMatchmaker):
    """Counts what is asked: (operation, site of the rows)."""

    def __init__(self, its_settings: opts.Settings,
                 counts: collections.Counter) -> None:
        super().__init__(its_settings)
        self.counts = counts

    def register(self, endpoint: base.Endpoint, ttl: float) -> bool:
        self.counts['register', self.site] += 1
        return super().register(endpoint, ttl)

    def subscribe(self, *args: ty.Any) -> None:
        self.counts['subscribe', self.site] += 1
        super().subscribe(*args)

    def subscribed(self, subscription: base.Subscription) -> bool:
        self.counts['look', self.site] += 1
        return super().subscribed(subscription)

    def lookup(self, namespace: str, exchange: str, topic: str,
               server: str | None = None, kind: str = base.RPC,
               site: str | None = None, limit: int | None = None
               ) -> list[base.Route]:
        self.counts['look', site or self.site] += 1
        return super().lookup(namespace, exchange, topic, server, kind,
                              site, limit)


class _Job(workers.Job):
    """Runs when it is waited for, or when the others run."""

    __slots__ = ('ran',)

    def wait(self, seconds: float | None = None) -> bool:
        if not getattr(self, 'ran', False):
            self.ran = True
            self.run()
        return True


class Workers:
    """Workers without a thread."""

    def __init__(self) -> None:
        self._jobs: list[_Job] = []

    def submit(self, function: Callable, *arguments: ty.Any) -> _Job:
        """Keep it for later."""
        self._jobs.append(_Job(function, arguments))
        return self._jobs[-1]

    def run(self) -> None:
        """Do what was kept, and what comes of it."""
        while self._jobs:
            self._jobs.pop(0).wait()


class _Loop:
    """An I/O loop that notes whom messages go to."""

    def __init__(self) -> None:
        self.sent: list[base.Endpoint] = []

    def push(self, function: ty.Any, *arguments: ty.Any) -> None:
        if function == 'submit':
            self.sent.append(arguments[0])

    submit = 'submit'
    give_up = 'give_up'

    def count(self, name: str) -> None:
        """Counters are not looked at."""


class _Agent:
    def after(self, seconds: float, function: Callable,
              *arguments: ty.Any) -> None:
        if not seconds:
            function(*arguments)


@dataclasses.dataclass(frozen=True)
class Figures:
    """Costs, per second where they have a time."""

    sites: int
    servers: int
    """In each site, one process each."""
    registrations: float
    """Writes of one process."""
    registrations_site: float
    """Writes into the registry of one site, all by its own processes."""
    near_looks: float
    """Look-ups of the observed process in its own site's registry."""
    far_looks: float
    """Look-ups of it in others': what crosses WAN links."""
    far_sites_asked: int
    """Sites whose registry it asks in that time."""
    connections: int
    heartbeats: float
    fanout_copies: int
    """Most copies of one fanout that cross any one WAN link."""
    fanout_own_site: int


@contextlib.contextmanager
def simulated(clock: Clock) -> Iterator[None]:
    """Make the transport's modules use this clock, and an empty registry."""
    with contextlib.ExitStack() as stack:
        for module in (routing, registrar, fanout, client):
            stack.enter_context(mock.patch.object(module, 'time', clock))
        stack.enter_context(mock.patch.object(
            memory.MemoryMatchmaker, 'clock', staticmethod(clock.monotonic)))
        # All defaults, whatever this host has.
        empty = stack.enter_context(tempfile.NamedTemporaryFile())
        stack.enter_context(mock.patch.dict(
            os.environ, {'LUC_CONFIG': empty.name}))
        memory.reset()
        try:
            yield
        finally:
            memory.reset()


def settings(site: str) -> opts.Settings:
    """Return the defaults, for a site."""
    loaded = opts.load({'matchmaker': 'memory'})
    return loaded.replace(site=site)


def start(site: str, servers: list[str], its_settings: opts.Settings,
          counts: collections.Counter, numbers: Iterator[int]
          ) -> list[registrar.Registrar]:
    """Register a site's processes, each with one server."""
    started = []
    for server in servers:
        number = next(numbers)
        instance = '%032x' % number
        one = registrar.Registrar(Counting(its_settings, counts), its_settings)
        one.start(base.Endpoint(
            instance, 'host%d' % number, 1, site,
            ('tcp://192.0.2.1:%d' % (20000 + number),), boot='b' * 46))
        one.subscribe([base.Subscription(
            'ns', 'nova', TOPIC, server, instance, '1')])
        one.set_state(base.LIVE)
        started.append(one)
    return started


def simulate(sites: int, servers: int) -> Figures:
    """Let a cloud run for two simulated minutes; count in the second.

    One process in the first site calls NEAR_PEERS servers of its own site
    and FAR_PEERS in others, ten times a second each, and any server of the
    topic; then it sends a fanout.
    """
    clock = Clock()
    with simulated(clock):
        counts: collections.Counter = collections.Counter()
        numbers = itertools.count(1)
        names = ['site%03d' % i for i in range(sites)]
        every = {name: settings(name) for name in names}
        registrars = {name: start(
            name, ['%s-%d' % (name, i) for i in range(servers)],
            every[name], counts, numbers) for name in names}
        seen: collections.Counter = collections.Counter()
        own = every[names[0]]
        helpers = Workers()
        router = routing.Routing(Counting(own, seen), own, helpers)
        router._scouts = helpers
        loop = _Loop()
        peers = _call_for(clock, registrars, router, names, counts, seen,
                          helpers)
        seen_by_calls = dict(seen)
        fanouts = fanout.Fanouts(types.SimpleNamespace(
            routing=router, io=loop, agent=_Agent(), workers=helpers,
            instance=b'i' * 16, settings=own, name='i'))
        fanouts.send(routing.Key('ns', 'nova', TOPIC, None), b'{}')
        helpers.run()
        copies = collections.Counter(e.site for e in loop.sent)
        far = {site: n for (_op, site), n in seen_by_calls.items()
               if site != names[0]}
        everyone = sum(map(len, registrars.values()))
        return Figures(
            sites, servers,
            sum(counts.values()) / _SECONDS / everyone,
            sum(n for (_op, site), n in counts.items()
                if site == names[0]) / _SECONDS,
            sum(n for (_op, site), n in seen_by_calls.items()
                if site == names[0]) / _SECONDS,
            sum(far.values()) / _SECONDS, len(far),
            len(peers), len(peers) / own.heartbeat_interval,
            max((n for site, n in copies.items() if site != names[0]),
                default=0), copies[names[0]])


def _call_for(clock: Clock, registrars: dict[str, list],
              router: routing.Routing, names: list[str],
              counts: collections.Counter, seen: collections.Counter,
              helpers: Workers) -> set[str]:
    """Run the clock; returns the instances that were called."""
    turns = client.Turns()
    keys = [routing.Key('ns', 'nova', TOPIC, '%s-%d' % (names[0], i))
            for i in range(NEAR_PEERS)]
    keys += [routing.Key('ns', 'nova', TOPIC, '%s-0' % name)
             for name in names[1:1 + FAR_PEERS]]
    peers: set[str] = set()
    for second in range(2 * _SECONDS):
        if second == _SECONDS:
            counts.clear()
            seen.clear()
            peers.clear()
        for tenth in range(10):
            clock.now += 0.1
            if not tenth and not second % 10:
                for group in registrars.values():
                    for one in group:
                        one.refresh()
            for key in keys:
                candidates = router.live(key)
                peers.add(turns.pick(
                    key, router.trusted(candidates)).instance)
            helpers.run()
    return peers


_COLUMNS = [
    ('sites', 'sites'), ('servers', 'servers in each'),
    ('registrations', 'registry writes and checks of a process /s'),
    ('registrations_site', 'of a site\'s processes /s, all in its own '
     'registry'),
    ('near_looks', 'look-ups of the observed process in its own site /s'),
    ('far_looks', 'in other sites /s'), ('far_sites_asked', 'other sites '
                                         'that it asks'),
    ('connections', 'its connections'), ('heartbeats', 'heartbeats /s'),
    ('fanout_copies', 'copies of a fanout on a WAN link'),
    ('fanout_own_site', 'in its own site')]

SIZES = [(sites, servers) for sites in (10, 100, 200)
         for servers in (10, 50)]


def table(figures: list[Figures]) -> str:
    """Return the documentation's table."""
    rows = [[title for _name, title in _COLUMNS]]
    for one in figures:
        rows.append([('%.2f' % value).rstrip('0').rstrip('.')
                     for value in (getattr(one, name)
                                   for name, _title in _COLUMNS)])
    return rst.written_by('python -m tests.soak.growth') + rst.table(rows)


def main() -> int:
    """Simulate all sizes and write the table."""
    figures = []
    for sites, servers in SIZES:
        figures.append(simulate(sites, servers))
        print(figures[-1], flush=True)
    _TABLE.write_text(table(figures))
    return 0


if __name__ == '__main__':
    sys.exit(main())
