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

"""What goes wrong in a run: of clients, and around them."""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import itertools
import os
import random
import signal
import threading
import time
from typing import Any

from tests.consistency.faults import Faults
from tests.consistency.faults import STEPS
from tests.consistency.target import Target

#: seconds by which clients' clocks are off
SKEW = 5.0
#: of conditional batches and of calls
STORE = {'lost': .01, 'answer_lost': .01, 'late': .01, 'late_step': .05,
         'unavailable': .003, 'read_error': .003, 'index_error': .003}


@dataclasses.dataclass
class Surroundings:
    """What a nemesis can reach.

    :ivar clients: gives the pids of the clients that live now.
    :ivar over: set when the clients' time is up.
    :ivar done: what was done, and how often.
    """

    target: Target
    rng: random.Random
    clients: Callable[[], list[int]]
    over: threading.Event
    done: dict[str, int] = dataclasses.field(default_factory=dict)

    def note(self, what: str) -> None:
        """Count something that was done."""
        self.done[what] = self.done.get(what, 0) + 1

    def pause(self, least: float, most: float) -> bool:
        """Wait for some seconds; tell whether there is time left."""
        return not self.over.wait(self.rng.uniform(least, most))


def nothing(around: Surroundings) -> None:
    """Do nothing."""


def _signal(pid: int, what: signal.Signals) -> bool:
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return False
    return True


def kill_clients(around: Surroundings) -> None:
    """Kill a client (-9) now and then; it is replaced."""
    while around.pause(.2, .8):
        alive = around.clients()
        if alive and _signal(around.rng.choice(alive), signal.SIGKILL):
            around.note('clients killed')


def stop_clients(around: Surroundings) -> None:
    """Stop a client for longer than locks are respected, then let it go on.
    """
    while around.pause(.1, .5):
        alive = around.clients()
        if not alive:
            continue
        pid = around.rng.choice(alive)
        if _signal(pid, signal.SIGSTOP):
            around.note('clients stopped')
            time.sleep(around.rng.uniform(1.0, 3.5))
            _signal(pid, signal.SIGCONT)


def kill_nodes(around: Surroundings) -> None:
    """Kill one node (-9), start it again after a while."""
    while around.pause(1.0, 4.0):
        around.target.kill(around.rng.randint(1, around.target.nodes))
        around.note('nodes killed')
        time.sleep(around.rng.uniform(1.0, 6.0))
        around.target.mend()


def stop_nodes(around: Surroundings) -> None:
    """Stop one node for some seconds (SIGSTOP)."""
    while around.pause(1.0, 3.0):
        around.target.freeze(around.rng.randint(1, around.target.nodes))
        around.note('nodes stopped')
        time.sleep(around.rng.uniform(1.0, 8.0))
        around.target.mend()


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One kind of run.

    :ivar faults: gives the faults of one client after the other.
    :ivar nemesis: what is done to clients and nodes meanwhile, in a thread.
    :ivar life: longest life of a client, in seconds; then another takes its
        place.
    :ivar nodes: needs a cluster.
    :ivar calm: nothing that could make a compare-and-set a deadlock.
    """

    name: str
    faults: Callable[[random.Random], Iterator[Faults]]
    nemesis: Callable[[Surroundings], None] = nothing
    life: float = float('inf')
    nodes: bool = False
    calm: bool = False


def _none(rng: random.Random) -> Iterator[Faults]:
    return itertools.repeat(Faults())


def _skewed(rng: random.Random) -> Iterator[Faults]:
    for skew in itertools.cycle((-SKEW, SKEW, 0.0, SKEW / 2)):
        yield Faults(skew=skew)


def _store(rng: random.Random) -> Iterator[Faults]:
    return itertools.repeat(Faults(store=STORE))


def _steps(which: str) -> Callable[[random.Random], Iterator[Faults]]:
    def steps(rng: random.Random) -> Iterator[Faults]:
        # all, in random order, again and again
        while True:
            for step in rng.sample(STEPS, len(STEPS)):
                values: dict[str, Any] = {which: step}
                yield Faults(after=rng.randint(1, 4), store=STORE, **values)

    return steps


def _everything(rng: random.Random) -> Iterator[Faults]:
    for one in _steps('kill_at')(rng):
        yield dataclasses.replace(
            one, skew=rng.choice((-SKEW, 0.0, SKEW)),
            kill_at=one.kill_at if rng.random() < .5 else '')


SCENARIOS: dict[str, Scenario] = {one.name: one for one in (
    Scenario('calm', _none, calm=True),
    Scenario('skew', _skewed, calm=True),
    Scenario('store', _store),
    Scenario('steps', _steps('kill_at'), life=2.5),
    Scenario('stopped-steps', _steps('stop_at'), life=4.0),
    Scenario('kill', _none, kill_clients),
    Scenario('stop', _none, stop_clients),
    Scenario('everything', _everything, stop_clients, life=3.0),
    Scenario('kill-nodes', _none, kill_nodes, nodes=True),
    Scenario('stop-nodes', _none, stop_nodes, nodes=True),
    Scenario('nodes-and-steps', _everything, stop_nodes, life=6.0,
             nodes=True))}
