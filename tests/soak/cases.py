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


"""The cases; each returns figures and a list of what was wrong."""

import dataclasses
import tempfile
import time
import typing as ty

from luc_drivers.testing import addresses
from luc_drivers.testing import cassandra
from tests.bench.messaging import process
from tests.bench.messaging import remote
from tests.soak import judge
from tests.soak import stage as stage_module

#: seconds within which calls succeed again after a fault is healed
HEALED_WITHIN = 5.0


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large and how long."""

    seconds: float
    """Of each load."""
    clients: int
    servers: int
    listeners: int
    """Of the one fanout."""
    listening_processes: int
    fanouts: int
    cuts: tuple[float, ...]
    """Seconds for which the link is cut, one after the other."""
    settle: float
    """Seconds between a fault's end and the next fault."""
    healed_within: float = HEALED_WITHIN
    threads: str = remote.NATIVE


SHORT = Scale(seconds=3, clients=3, servers=6, listeners=60,
              listening_processes=2, fanouts=20, cuts=(5,), settle=2,
              # The machine may have other things to do.
              healed_within=10)
LONG = Scale(seconds=60, clients=20, servers=50, listeners=1000,
             listening_processes=10, fanouts=500, cuts=(20, 60),
             settle=HEALED_WITHIN)


class Result(ty.NamedTuple):
    """What came out of a case."""

    figures: dict[str, ty.Any]
    faults: list[str]


def _result(verdict: judge.Verdict, growth: stage_module.Growth | None,
            **more: ty.Any) -> Result:
    figures = {**dataclasses.asdict(verdict), **more}
    faults = ['%s: %d' % item for item in verdict.faults().items()]
    if growth is not None:
        figures['start'] = dataclasses.asdict(growth.before)
        figures['end'] = dataclasses.asdict(growth.after)
        faults += growth.faults()
    return Result(figures, faults)


def _steady(stage: stage_module.Stage, clients: list[stage_module.Actor],
            servers: list[stage_module.Actor], seconds: float,
            pace: float = 0.01) -> Result:
    """Calls and casts by all clients to any server, for so long."""
    for i, client in enumerate(clients):
        client.run('start', prefix='call%d' % i, threads=2, timeout=30,
                   pace=pace)
        client.run('start', prefix='cast%d' % i, threads=1, timeout=30,
                   pace=pace * 2, cast=True)
    time.sleep(seconds / 4)
    before = stage_module.usage(clients + servers)
    time.sleep(seconds)
    after = stage_module.usage(clients + servers)
    _stop(clients)
    time.sleep(1.0)
    verdict = stage.judge()
    result = _result(verdict, stage_module.Growth(before, after))
    if verdict.timed_out:
        result.faults.append('timed out: %d' % verdict.timed_out)
    return result


def _stop(clients: list[stage_module.Actor]) -> None:
    for client in clients:
        client.begin('stop')
    for client in clients:
        client.result()


def one_server(scale: Scale) -> Result:
    """TC1: one server and many clients."""
    with stage_module.Stage(scale.threads) as stage:
        servers = stage.servers([['a']])
        return _steady(stage, stage.clients(scale.clients), servers,
                       scale.seconds, pace=0.002 * scale.clients)


def many_servers(scale: Scale) -> Result:
    """TC2: many servers, several in a process, and two clients."""
    with stage_module.Stage(scale.threads) as stage:
        names = ['s%d' % i for i in range(scale.servers)]
        servers = stage.servers([names[i::5] for i in range(5)])
        return _steady(stage, stage.clients(2), servers, scale.seconds)


def _listen(stage: stage_module.Stage, number: int, processes: int
            ) -> list[stage_module.Actor]:
    names = ['s%d' % i for i in range(number)]
    return stage.servers([names[i::processes] for i in range(processes)])


def _fan(stage: stage_module.Stage, client: stage_module.Actor,
         listeners: int, number: int, prefix: str) -> Result:
    begun = time.monotonic()
    took = client.run('fanouts', prefix=prefix, number=number)['took']
    heard, last = _heard(stage, prefix, listeners * number, 60)
    runs = judge.executed(stage.folder)
    twice = sum(len(r) > 1 for r in runs.values())
    figures = {'listeners': listeners, 'sent': number,
               'expected': listeners * number, 'executed': heard,
               'executed_twice': twice, 'send_seconds': took,
               'all_heard_after': last - begun}
    faults = []
    if heard != listeners * number:
        faults.append('heard %d of %d' % (heard, listeners * number))
    if twice:
        faults.append('executed twice: %d' % twice)
    return Result(figures, faults)


def _heard(stage: stage_module.Stage, prefix: str, expected: int,
           seconds: float) -> tuple[int, float]:
    """(how many have heard, when the last did), waiting for them."""
    end = time.monotonic() + seconds
    while True:
        runs = [r for id, r in judge.executed(stage.folder).items()
                if id.startswith(prefix)]
        if len(runs) >= expected or time.monotonic() > end:
            return len(runs), max((when for r in runs for when, _log in r),
                                  default=0.0)
        time.sleep(0.1)


def wide_fanout(scale: Scale) -> Result:
    """TC3: one fanout to very many listeners, many in a process."""
    with stage_module.Stage(scale.threads) as stage:
        _listen(stage, scale.listeners, scale.listening_processes)
        client, = stage.clients(1)
        _fan(stage, client, scale.listeners, 1, 'first')
        return _fan(stage, client, scale.listeners, 1, 'second')


def many_fanouts(scale: Scale) -> Result:
    """TC4: many fanouts to 50 listeners in 5 processes."""
    with stage_module.Stage(scale.threads) as stage:
        servers = _listen(stage, 50, 5)
        client, = stage.clients(1)
        _fan(stage, client, 50, 20, 'warm')
        before = stage_module.usage([client, *servers])
        result = _fan(stage, client, 50, scale.fanouts, 'fan')
        growth = stage_module.Growth(
            before, stage_module.usage([client, *servers]))
        result.figures.update(start=dataclasses.asdict(growth.before),
                              end=dataclasses.asdict(growth.after))
        # oslo's pools grow to their size at their own pace.
        result.faults.extend(f for f in growth.faults()
                             if not f.startswith('threads'))
        return result


class _Faults:
    """TC5: a topic's servers suffer one after another while calls run.

    Calls go to any server ("any"), to server a ("a") and to server b ("b");
    casts go to any. After each fault the time to the first success of what
    was hit is taken.
    """

    def __init__(self, scale: Scale, stage: stage_module.Stage) -> None:
        self.scale = scale
        self.stage = stage
        self.healed: dict[str, tuple[str, float]] = {}
        self.servers = dict(zip('abc', stage.servers(
            [['a'], ['b'], ['c']], linked=True)))
        self.clients = stage.clients(2)
        for i, client in enumerate(self.clients):
            for server in (None, 'a', 'b'):
                client.run('start', prefix='%s%d' % (server or 'any', i),
                           threads=2, timeout=4, pace=0.02, server=server)
            client.run('start', prefix='cast%d' % i, threads=1, timeout=30,
                       pace=0.05, cast=True)

    def _healed(self, fault: str, prefix: str) -> None:
        self.healed[fault] = prefix, time.monotonic()
        time.sleep(self.scale.settle)

    def _restart(self, name: str) -> None:
        self.servers[name], = self.stage.servers([[name]], linked=True)

    def run_without_store(self, cluster: cassandra.Cluster) -> None:
        """Calls and casts with their matchmaker's store killed and back.

        One server is killed and started again meanwhile, so that it must be
        registered and found when the store is back.
        """
        time.sleep(2)
        self.before = self._usage()
        cluster.kill(1)
        self._healed('store killed', 'b')
        self.stage.kill(self.servers['a'])
        time.sleep(max(self.scale.cuts))
        self._restart('a')
        self._healed('server killed and back, no store', 'any')
        cluster.start_node(1)
        self._healed('store back', 'a')

    def run(self) -> None:
        """All faults, in turn."""
        time.sleep(2)
        self.before = self._usage()
        self.stage.kill(self.servers['a'])
        time.sleep(2)
        self._restart('a')
        self._healed('killed server', 'a')

        self.servers['b'].signal(19)
        time.sleep(min(self.scale.cuts))
        self.servers['b'].signal(18)
        self._healed('stopped server (SIGSTOP)', 'b')

        for seconds in self.scale.cuts:
            proxy = self.servers['b'].proxy
            assert proxy is not None
            proxy.frozen = True
            time.sleep(seconds)
            proxy.frozen = False
            self._healed('link cut for %g s' % seconds, 'b')

        self.stage.block_store(min(self.scale.cuts))
        self._healed('registry\'s file blocked', 'a')

        for name in self.servers:
            self.servers[name].close()
            self._restart(name)
        self._healed('rolling restart', 'any')

    def _usage(self) -> process.Usage:
        return stage_module.usage(self.clients)

    def end(self) -> Result:
        """Stop calling, and judge."""
        # Connections to servers that are no more are closed by then.
        time.sleep(8)
        after = self._usage()
        _stop(self.clients)
        # What is in mailboxes comes with the next look into them.
        time.sleep(3)
        messages = judge.sent(self.stage.folder)
        success = {fault: judge.first_success(messages, prefix, since)
                   for fault, (prefix, since) in self.healed.items()}
        result = _result(self.stage.judge(),
                         stage_module.Growth(self.before, after),
                         first_success=success)
        for fault, seconds in success.items():
            if seconds > self.scale.healed_within:
                result.faults.append('after %s: first success after %.1f s'
                                     % (fault, seconds))
        return result


def faults(scale: Scale) -> Result:
    """TC5: faults while calls and casts run."""
    with stage_module.Stage(scale.threads, refresh_interval=1,
                            registration_ttl=8,
                            peer_idle_timeout=5) as stage:
        case = _Faults(scale, stage)
        case.run()
        return case.end()


def store(scale: Scale) -> Result:
    """TC5 with a Cassandra of its own as the matchmaker's store."""
    with tempfile.TemporaryDirectory(prefix='luc-soak-store-') as folder:
        # What was accepted must be there after a kill -9.
        cluster = cassandra.Cluster(folder, base_address=addresses.claim(),
                                    durable=True)
        try:
            cluster.start()
            with stage_module.Stage(
                    scale.threads, '[cassandra]\ncontact_points = %s\n'
                    'port = %d\n' % cluster.endpoint,
                    matchmaker='cassandra', refresh_interval=1,
                    registration_ttl=8, peer_idle_timeout=5) as stage:
                case = _Faults(scale, stage)
                case.run_without_store(cluster)
                return case.end()
        finally:
            cluster.wipe()


CASES: dict[str, ty.Callable[[Scale], Result]] = {
    'one-server': one_server, 'many-servers': many_servers,
    'wide-fanout': wide_fanout, 'many-fanouts': many_fanouts,
    'faults': faults, 'store': store}
