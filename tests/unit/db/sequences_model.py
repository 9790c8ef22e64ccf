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

"""Random schedules of processes that draw numbers from one sequence.

Processes crash and begin anew, claims fail or lose their answers, rows with
given ids come in between.  The real `Sequences` runs; only the scheduler and
the store are the model's.
"""

import dataclasses

from luc_drivers.db import errors
from luc_drivers.db.transaction import sequences
from tests.unit.db import memory_store
from tests.unit.db import schedule
from tests.unit.db import transaction_fixtures as fixtures

_TABLE = 7
STEPS = 120


class Violation(AssertionError):
    """A promise is broken."""


class _Store(schedule.ScheduledStore):
    """Stops before and after each claim; some answers are lost."""

    def __init__(self, inner, scheduler, report):
        super().__init__(inner, scheduler)
        self.report = report

    def claim(self, sequence, count):
        self.scheduler.pause()
        first = self.inner.claim(sequence, count)
        self.scheduler.pause()
        if self.scheduler.random.random() < .1:
            # as the stores do: the block is lost, another one is claimed
            self.report.lost += 1
            return self.claim(sequence, count)
        if self.scheduler.random.random() < .05:
            self.report.unavailable += 1
            raise errors.StoreUnavailable('injected')
        return first

    def advance(self, sequence, floor):
        self.scheduler.pause()
        self.inner.advance(sequence, floor)
        self.scheduler.pause()


@dataclasses.dataclass
class Report:
    """What became of many schedules."""

    schedules: int = 0
    drawn: int = 0
    given: int = 0
    crashes: int = 0
    lost: int = 0
    unavailable: int = 0


class World:
    """One schedule.

    :ivar floor: the greatest given id that a process was told is passed.
    """

    def __init__(self, seed: int, report: Report,
                 kind: type[sequences.Sequences] = sequences.Sequences
                 ) -> None:
        self.report = report
        self.kind = kind
        self.scheduler = schedule.Scheduler(seed)
        self.random = self.scheduler.random
        self.store = memory_store.MemoryStore('model', fixtures.settings())
        self.drawn: set[int] = set()
        self.floors: dict[int, int] = {}
        self.processes = 0

    def _process(self) -> None:
        number = self.processes
        self.processes += 1
        mine = self.kind(_Store(self.store, self.scheduler, self.report),
                         private=self.random.random() < .2)
        # threads of one process
        for _ in range(self.random.choice([1, 2])):
            self.scheduler.spawn('draw', number,
                                 lambda: self._draw(mine, number))

    def _draw(self, mine: sequences.Sequences, number: int) -> None:
        while True:
            self.scheduler.pause()
            try:
                if self.random.random() < .15:
                    self._give(mine, number)
                    continue
                floor = self.floors.get(number, 0)
                value = mine.next(_TABLE)
            except errors.StoreUnavailable:
                continue
            if value in self.drawn:
                raise Violation(f'{value} was drawn twice')
            if value <= floor:
                raise Violation(f'{value} after {floor} was passed')
            self.drawn.add(value)
            self.report.drawn += 1

    def _give(self, mine: sequences.Sequences, number: int) -> None:
        value = max(self.drawn, default=0) + self.random.randint(-3, 40)
        if value > 0:
            mine.passed(_TABLE, value)
            self.report.given += 1
            self.floors[number] = max(self.floors.get(number, 0), value)

    def _before(self, task: schedule.Task) -> bool:
        if self.random.random() < .02:
            self.report.crashes += 1
            self.scheduler.crash(task.owner)
            self._process()
            return False
        return True

    def run(self) -> None:
        """Run the schedule; raise Violation if a number comes twice."""
        for _ in range(self.random.choice([2, 3])):
            self._process()
        try:
            while self.scheduler.steps < STEPS:
                self.scheduler.step(self._before)
        finally:
            self.scheduler.stop()
        self.report.schedules += 1


def explore(count: int, start: int = 0, **more: type) -> Report:
    """Run schedules; raise at the first violation."""
    report = Report()
    for seed in range(start, start + count):
        World(seed, report, **more).run()
    return report
