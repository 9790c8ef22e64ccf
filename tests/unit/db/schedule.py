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

"""A deterministic scheduler: the real code as coroutines, in virtual time.

Every process of a schedule is a greenlet that stops before each request to
the store, and at each step of the protocol; one seeded generator says who
goes on.  Parallel requests of one call are sent one by one, in random order.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import random
from typing import Any

import greenlet

from luc_drivers.db import errors
from luc_drivers.db.store import base
from luc_drivers.db.transaction import clock
from luc_drivers.testing import store_wrapper
from tests.unit.db import collecting

#: seconds of virtual time per step
TICK = 0.1
START = 1_700_000_000.0


class Task:
    """One greenlet; ``owner`` is the operating system's process it is in."""

    def __init__(self, name: str, owner: Any, run: Callable[[], Any],
                 wake: float) -> None:
        self.name = name
        self.owner = owner
        self.wake = wake
        self.dead = False
        self.greenlet = greenlet.greenlet(run)


class Scheduler:
    """Runs tasks one step at a time."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.time = START
        self.steps = 0
        self.tasks: list[Task] = []
        self.current: Task | None = None
        self.slow: Task | None = None
        self.free_running = False
        self.main = greenlet.getcurrent()

    def spawn(self, name: str, owner: Any, run: Callable[[], Any],
              delay: float = 0.0) -> None:
        task = Task(name, owner, run, self.time + delay)
        # a task may start others; they come back here, not to it
        task.greenlet.parent = self.main
        self.tasks.append(task)

    def pause(self, seconds: float = 0.0) -> None:
        """Let others run; called inside a task."""
        if self.free_running:
            self.time += max(seconds, TICK)
            return
        task = self.current
        if task is None:
            raise RuntimeError('the code under test waits outside a task')
        if task.dead:
            raise greenlet.GreenletExit
        task.wake = self.time + seconds
        self.main.switch()
        if task.dead:
            raise greenlet.GreenletExit

    def crash(self, owner: Any) -> None:
        """Stop all tasks of a process where they stand, for good."""
        for task in self.tasks:
            if task.owner == owner:
                task.dead = True
        gone = [t for t in self.tasks if t.dead]
        self.tasks = [t for t in self.tasks if not t.dead]
        for task in gone:
            self._stop(task)

    def _stop(self, task: Task) -> None:
        if task.greenlet and not task.greenlet.dead:
            before, self.current = self.current, task
            task.greenlet.throw(greenlet.GreenletExit)
            self.current = before

    def step(self, each: Callable[[Task], bool] | None = None) -> None:
        """Run one task for one step.

        :param each: asked before it runs; False = it doesn't run (it crashed
            just now).
        """
        self.steps += 1
        self.time += TICK
        ready = [t for t in self.tasks if t.wake <= self.time]
        if not ready:
            self.time = min(t.wake for t in self.tasks)
            return
        if self.random.random() < .01:
            self.slow = self.random.choice(ready)
        task = self.random.choice(ready)
        if task is self.slow and self.random.random() < .95:
            return
        if each is not None and not each(task):
            return
        self.current = task
        task.greenlet.switch()
        self.current = None
        if task.greenlet.dead and task in self.tasks:
            self.tasks.remove(task)

    def stop(self) -> None:
        """End all tasks."""
        for task in self.tasks:
            task.dead = True
        gone, self.tasks = self.tasks, []
        for task in gone:
            self._stop(task)


class ScheduledClock(clock.Clock):
    """A process's clock in virtual time, off by ``skew`` seconds."""

    def __init__(self, scheduler: Scheduler, skew: float, number: int
                 ) -> None:
        super().__init__(max_ahead=60.0)
        self.scheduler = scheduler
        self.skew = skew
        self.number = number

    def now(self) -> int:
        # half a tick of resolution: equal microseconds do happen
        seconds = self.scheduler.time + self.skew
        return int(seconds * 20) * 50000

    def monotonic(self) -> float:
        return self.scheduler.time

    def sleep(self, seconds: float) -> None:
        self.scheduler.pause(seconds)

    def jitter(self) -> float:
        return self.scheduler.random.random()

    def node(self) -> bytes:
        return self.number.to_bytes(8, 'big')


class ScheduledBackground(collecting.Background):
    """Background work as tasks of the same process."""

    def __init__(self, scheduler: Scheduler, owner: Any) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.owner = owner

    def submit(self, task: Callable[[], Any], delay: float = 0.0,
               needed: bool = False) -> None:
        self.scheduler.spawn('background', self.owner, task, delay)


class ScheduledStore(store_wrapper.StoreWrapper):
    """Passes on one request at a time, with a pause before each."""

    def __init__(self, inner: base.Store, scheduler: Scheduler) -> None:
        super().__init__(inner)
        self.scheduler = scheduler

    def _each(self, items: Sequence[Any], one: Callable[[Any], Any]
              ) -> list[Any]:
        answers = [None] * len(items)
        order = list(range(len(items)))
        self.scheduler.random.shuffle(order)
        for n in order:
            self.scheduler.pause()
            answers[n] = one(items[n])
        return answers

    def read(self, reads: Sequence[base.GroupRead], serial: bool = False
             ) -> list[list[base.Row]]:
        return self._each(reads, lambda r: self.inner.read([r], serial)[0])

    def read_both(self, reads: Sequence[base.GroupRead],
                  index_reads: Sequence[base.IndexRead]) -> tuple[
                      list[list[base.Row]], list[list[tuple[bytes, bytes]]]]:
        found = self._each([*reads, *index_reads], lambda one: (
            self.inner.read([one]) if isinstance(one, base.GroupRead)
            else self.inner.read_index([one]))[0])
        return found[:len(reads)], found[len(reads):]

    def write(self, batches: Sequence[base.Batch]) -> list[base.Outcome]:
        return self.write_both(batches, (), 0)

    def write_both(self, batches: Sequence[base.Batch],
                   entries: Sequence[base.IndexEntry], timestamp: int
                   ) -> list[base.Outcome]:
        sent: list[bool] = []
        failed: list[Exception] = []

        def one(item: base.Batch | base.IndexEntry) -> base.Outcome | None:
            if isinstance(item, base.IndexEntry):
                try:
                    self.inner.put_index([item], timestamp)
                except errors.StoreUnavailable as error:
                    failed.append(error)
                return None
            try:
                outcome = self.inner.write([item])[0]
            except Exception:
                if sent or entries or len(batches) > 1:
                    # others of the call are sent: so the contract says
                    return base.Outcome.UNKNOWN
                raise
            sent.append(True)
            return outcome

        answers = self._each([*batches, *entries], one)
        if failed:
            raise failed[0]
        return answers[:len(batches)]

    def write_and_read(self, batches: Sequence[base.Batch],
                       reads: Sequence[base.GroupRead],
                       index_reads: Sequence[base.IndexRead]) -> tuple[
                           list[base.Outcome],
                           tuple[list[list[base.Row]],
                                 list[list[tuple[bytes, bytes]]]] | None]:
        if self.scheduler.random.random() < .5:
            return super().write_and_read(batches, reads, index_reads)
        # they are under way at once: the reads may be there first
        try:
            found = self.read_both(reads, index_reads)
        except errors.StoreUnavailable:
            found = None
        return self.write(batches), found

    def read_index(self, reads: Sequence[base.IndexRead]
                   ) -> list[list[tuple[bytes, bytes]]]:
        return self._each(reads, lambda r: self.inner.read_index([r])[0])

    def put_index(self, entries: Iterable[base.IndexEntry], timestamp: int
                  ) -> None:
        self._each(list(entries),
                   lambda e: self.inner.put_index([e], timestamp))

    def remove_index(self, entries: Iterable[base.IndexEntry],
                     timestamp: int) -> None:
        self._each(list(entries),
                   lambda e: self.inner.remove_index([e], timestamp))
