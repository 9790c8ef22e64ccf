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

"""One run: clients, faults, and the verdict."""

import collections
from collections.abc import Callable
import dataclasses
import json
import os
import pathlib
import random
import signal
import threading
import time
from typing import Any

import sqlalchemy as sa

from tests.consistency import client
from tests.consistency import history
from tests.consistency import scenarios
from tests.consistency.faults import Faults
from tests.consistency.target import LOCK_TIMEOUT
from tests.consistency.target import Target
from tests.consistency.workloads import base
from tests.consistency.workloads import registry

#: seconds that a client may take longer than it should: it may settle an
#: unknown outcome, or wait for locks
_GRACE = 60.0
#: seconds after which every row must be free again: a lock is respected for
#: LOCK_TIMEOUT, a turn for the next whole second, and all of them are met
#: one after the other at worst
LOCK_BOUND = 8 * LOCK_TIMEOUT


@dataclasses.dataclass
class Result:
    """What came out of a run.

    :ivar outcomes: {workload: {outcome or reason of a failure: count}}.
    :ivar killed_at: {step: how many clients were killed (or stopped) there}.
    :ivar happened: what else was done, and injected by stores.
    :ivar load: the machine's load average at the end.
    :ivar adya: was it judged by adya, too?
    :ivar unlocked_after: seconds until all rows could be locked when all
        clients had ended.
    """

    store: str
    scenario: str
    seed: int
    seconds: float
    clients: int = 0
    operations: int = 0
    outcomes: dict[str, dict[str, int]] = dataclasses.field(
        default_factory=dict)
    killed_at: dict[str, int] = dataclasses.field(default_factory=dict)
    happened: dict[str, int] = dataclasses.field(default_factory=dict)
    unlocked_after: float = 0.0
    date: str = ''
    load: float = 0.0
    adya: bool = False
    anomalies: list[str] = dataclasses.field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return {outcome or reason of a failure: count} of all."""
        found: dict[str, int] = {}
        for outcomes in self.outcomes.values():
            for name, count in outcomes.items():
                found[name] = found.get(name, 0) + count
        return dict(sorted(found.items()))


class _Client:

    def __init__(self, pid: int, spec: client.Spec, output: pathlib.Path,
                 due: float) -> None:
        self.pid = pid
        self.spec = spec
        self.output = output
        self.due = due
        self.stopped = False


class Run:
    """See `run`."""

    def __init__(self, target: Target, scenario: scenarios.Scenario,
                 folder: pathlib.Path, seconds: float, seed: int,
                 clients: int, workloads: list[str]) -> None:
        self.target = target
        self.scenario = scenario
        self.folder = folder
        self.count = clients
        self.workloads = workloads
        self.rng = random.Random(seed)
        self.faults = scenario.faults(self.rng)
        self.result = Result(
            target.kind, scenario.name, seed, seconds)
        self.alive: dict[int, _Client] = {}
        self.around = scenarios.Surroundings(
            target, random.Random(seed + 1), lambda: list(self.alive),
            threading.Event(), self.result.happened)

    def _aside(self, name: str, function: Callable[[], Any]) -> Any:
        """Run a function in a healthy process; return its answer."""
        output = self.folder / f'{name}.json'
        pid = client.fork(function, Faults(), 0, str(output))
        _, status = os.waitpid(pid, 0)
        if status:
            error = pathlib.Path(f'{output}.error')
            raise RuntimeError(
                f'{name} failed: '
                + (error.read_text() if error.exists() else str(status)))
        return json.loads(output.read_text())['answer']

    # --- before

    def _fill(self) -> None:
        engine = client.engine(self.target.url)
        base.METADATA.create_all(engine)
        for name in self.workloads:
            with base.transaction(engine) as connection:
                registry.WORKLOADS[name]().fill(connection)

    # --- clients

    def _start(self, end: float) -> None:
        number = self.result.clients
        self.result.clients += 1
        left = end - time.monotonic()
        seconds = min(left, self.scenario.life)
        output = self.folder / f'client{number}.json'
        spec = client.Spec(
            f'c{number}', self.target.url,
            str(self.folder / f'client{number}.history'), seconds,
            self.rng.getrandbits(32), self.workloads, next(self.faults))
        pid = client.fork(lambda: client.work(spec), spec.faults, spec.seed,
                          str(output))
        self.alive[pid] = _Client(
            pid, spec, output, time.monotonic() + seconds + _GRACE)

    def _ended(self, one: _Client, status: int) -> None:
        step = one.spec.faults.kill_at
        if os.WIFSIGNALED(status):
            if step and os.WTERMSIG(status) == signal.SIGKILL:
                counts = self.result.killed_at
                counts[step] = counts.get(step, 0) + 1
        elif status:
            error = pathlib.Path(f'{one.output}.error')
            self.result.anomalies.append(
                f'client {one.spec.name} failed: '
                + (error.read_text() if error.exists() else str(status)))
        else:
            for name, count in json.loads(one.output.read_text())[
                    'happened'].items():
                happened = self.result.happened
                happened[name] = happened.get(name, 0) + count

    def _reap(self) -> None:
        for pid, one in list(self.alive.items()):
            found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if not found:
                if time.monotonic() > one.due:
                    self.result.anomalies.append(
                        f'client {one.spec.name} hangs')
                    os.kill(pid, signal.SIGKILL)
                    one.due = float('inf')
                continue
            if os.WIFSTOPPED(status):
                self._stopped(one)
                continue
            del self.alive[pid]
            self._ended(one, status)

    def _stopped(self, one: _Client) -> None:
        """Let a client that stopped itself go on, late."""
        step = one.spec.faults.stop_at
        if not step or one.stopped:
            return
        one.stopped = True
        counts = self.result.killed_at
        counts[step] = counts.get(step, 0) + 1
        timer = threading.Timer(
            LOCK_TIMEOUT * 2, scenarios._signal, (one.pid, signal.SIGCONT))
        timer.daemon = True
        timer.start()

    def _work(self) -> None:
        end = time.monotonic() + self.result.seconds
        nemesis = threading.Thread(
            target=self.scenario.nemesis, args=(self.around,), daemon=True)
        nemesis.start()
        while self.alive or time.monotonic() < end:
            self._reap()
            while len(self.alive) < self.count and (
                    end - time.monotonic() > .3):
                self._start(end)
            if time.monotonic() >= end:
                self.around.over.set()
            time.sleep(.02)
        self.around.over.set()
        nemesis.join()
        self.target.mend()

    # --- after

    def _lock_all(self) -> float:
        """Lock every row; return how long that took, in seconds."""
        engine = client.engine(self.target.url)
        with base.transaction(engine) as connection:
            connection.execute(sa.text('SELECT 1'))
        begin = time.monotonic()
        for table in base.METADATA.sorted_tables:
            for _ in range(8):
                try:
                    with base.transaction(engine) as connection:
                        connection.execute(sa.select(table).with_for_update())
                    break
                except Exception as exc:
                    if client.classify(exc)[1] != 'conflict':
                        raise
            else:
                raise RuntimeError(f'{table.name} could not be locked')
        return time.monotonic() - begin

    def _final(self) -> dict[str, Any]:
        engine = client.engine(self.target.url)
        found = {}
        for name in self.workloads:
            with base.transaction(engine) as connection:
                found[name] = registry.WORKLOADS[name]().final(connection)
        return found

    def _judge(self, final: dict[str, Any]) -> None:
        result = self.result
        operations = history.read(self.folder.glob('*.history'))
        result.operations = len(operations)
        for name in self.workloads:
            workload = registry.WORKLOADS[name]()
            mine = [o for o in operations if o.workload == name]
            counts: collections.Counter[str] = collections.Counter()
            for one in mine:
                expected = one.why in (
                    '', 'conflict', 'duplicate', 'reference', 'unavailable',
                    'timeout', 'unknown')
                if not expected:
                    result.anomalies.append(f'{name}: {one.why} {one.asked}')
                counts[one.why if one.why and expected else one.outcome] += 1
            result.outcomes[name] = dict(counts)
            if self.scenario.calm:
                result.anomalies += self._troubles(workload, mine)
            result.anomalies += [
                f'{name}: {line}' for line in workload.check(
                    mine, final[name])]

    def _troubles(self, workload: base.Workload,
                  operations: list[history.Operation]) -> list[str]:
        """Return what must not happen where nothing is wrong."""
        bad = [o for o in operations
               if o.why in ('unavailable', 'timeout', 'unknown')]
        if bad and self.target.kind != 'embedded':
            # a server that is overloaded is wrong enough
            return []
        if not workload.conflicts:
            # a turn ends by itself: who takes longer may lose at COMMIT
            bad += [o for o in operations if o.why == 'conflict' and
                    o.end - o.start < LOCK_TIMEOUT]
        return [f'{workload.name}: {o.why} though nothing was wrong: {o}'
                for o in bad]

    def run(self) -> Result:
        """Do it all."""
        self._aside('fill', self._fill)
        self._work()
        took = self._aside('lock', self._lock_all)
        if took > LOCK_BOUND:
            # what it takes when nothing is locked: there may be many rows
            took = max(0.0, took - self._aside('lock', self._lock_all))
        self.result.unlocked_after = round(took, 3)
        if self.result.unlocked_after > LOCK_BOUND:
            self.result.anomalies.append(
                f'rows were locked for {self.result.unlocked_after} s after '
                f'all clients had ended; the bound is {LOCK_BOUND} s')
        final = self._aside('final', self._final)
        self._judge(final)
        return self.result


def run(target: Target, scenario: scenarios.Scenario, folder: pathlib.Path,
        seconds: float, seed: int = 0, clients: int = 4,
        workloads: list[str] | None = None) -> Result:
    """Run one scenario on a started target; leave the histories in a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    one = Run(target, scenario, folder, seconds, seed, clients,
              list(workloads or registry.WORKLOADS))
    result = one.run()
    folder.joinpath('result.json').write_text(
        json.dumps(dataclasses.asdict(result), indent=1))
    return result
