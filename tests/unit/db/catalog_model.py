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


"""Random schedules of DDL beside transactions (rule 26).

Processes write and read one table by SQL, in transactions that may take
longer than any lease, while others create and drop its indexes, and die doing
so.  The real sessions, catalogs and protocol run; only the scheduler, the
clocks and the store are the model's.
"""

import contextlib
import dataclasses
import itertools
from typing import Any
from unittest import mock

from luc_drivers.db import engine
from luc_drivers.db import errors
from luc_drivers.db.transaction import session
from tests.unit.db import memory_store
from tests.unit.db import schedule
from tests.unit.db import transaction_fixtures as fixtures

_TABLE = 'CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER)'
_DDL = ['CREATE INDEX ib ON t (b)', 'DROP INDEX ib',
        'CREATE INDEX iba ON t (b, a)', 'DROP INDEX iba',
        'CREATE UNIQUE INDEX ua ON t (a)', 'DROP INDEX ua']
_VALUES = (0, 1)
#: what may come of a statement here; anything else is a fault
_EXPECTED = (errors.OperationalError, errors.IntegrityError)
STEPS = 2500


class Violation(AssertionError):
    """A promise is broken."""


class _Store(schedule.ScheduledStore):
    """Also the catalog's requests are steps.

    :ivar connected: when the interpreter ends, no lease is given back.
    """

    connected = False

    def catalog_read(self, after: int = 0) -> list[tuple[int, bytes]]:
        self.scheduler.pause()
        return self.inner.catalog_read(after)

    def catalog_append(self, version: int, entry: bytes) -> bool:
        self.scheduler.pause()
        return self.inner.catalog_append(version, entry)

    def lease(self, holder: str, seconds: int) -> None:
        self.scheduler.pause()
        self.inner.lease(holder, seconds)


class _Process:
    """One process: a Database of its own, with the model's clock."""

    def __init__(self, world: 'World', number: int) -> None:
        self.number = number
        scheduler = world.scheduler
        store = _Store(world.store, scheduler)
        clock = schedule.ScheduledClock(scheduler, 0.0, number)
        with contextlib.ExitStack() as stack:
            for target, name, new in (
                    (engine.store_settings, 'open_store', lambda *a: store),
                    (engine.clock, 'Clock', lambda **a: clock),
                    (engine.background, 'Background', lambda **a: (
                        schedule.ScheduledBackground(scheduler, number)))):
                stack.enter_context(mock.patch.object(target, name, new))
            self.database = engine.Database('shop', world.store.settings)
        self.database.limits = dataclasses.replace(
            self.database.limits, sweep=0.0)
        catalog = self.database._catalog
        catalog._monotonic = clock.monotonic
        catalog._sleep = scheduler.pause

    def session(self) -> session.Session:
        return session.Session(self.database)


@dataclasses.dataclass
class Report:
    """What became of many schedules."""

    schedules: int = 0
    committed: int = 0
    refused: int = 0
    reads: int = 0
    by_index: int = 0
    changed: int = 0
    crashes: int = 0


@dataclasses.dataclass(eq=False)
class _Watch:
    """A read in progress: rows that match all the time."""

    value: int
    must: set[int]


class World:
    """One schedule.

    :ivar known: what each row's b is for certain, None: it is not there;
        each row is written by one process. Rows of a commit that is under way
        are not among them.
    """

    def __init__(self, seed: int, report: Report) -> None:
        self.report = report
        self.scheduler = schedule.Scheduler(seed)
        self.random = self.scheduler.random
        self.store = memory_store.MemoryStore('shop', dataclasses.replace(
            fixtures.settings(), fresh=False))
        self.store.now = lambda: self.scheduler.time
        self.known: dict[int, int] = {}
        self.watches: list[_Watch] = []
        self.numbers = itertools.count(1)

    # --- what processes do

    def _sometimes(self) -> None:
        """Wait, now and then for longer than any process may not know."""
        self.scheduler.pause(self.random.choice([0.0, 0.0, 0.5, 6.0, 30.0]))

    def _write(self, process: _Process) -> None:
        mine: list[int] = []
        while True:
            self._sometimes()
            one = process.session()
            changes: dict[int, int | None] = {}
            try:
                one.execute('BEGIN', ())
                for _ in range(self.random.choice([1, 2, 3])):
                    self._change(one, mine, changes)
                    if self.random.random() < .2:
                        self._sometimes()
                self._commit(one, mine, changes)
            except _EXPECTED:
                self.report.refused += 1
                for number in changes:
                    # what became of it is looked up: nobody else writes it
                    self.known.pop(number, None)
            finally:
                one.close()

    def _change(self, one: session.Session, mine: list[int],
                changes: dict[int, int | None]) -> None:
        free = [n for n in mine if n not in changes]
        value = self.random.choice(_VALUES)
        if not free or self.random.random() < .5:
            number = next(self.numbers)
            one.execute('INSERT INTO t VALUES (?, ?, ?)',
                        (number, f'a{number}', value))
            changes[number] = value
            return
        number = self.random.choice(free)
        if self.random.random() < .2:
            one.execute('DELETE FROM t WHERE id = ?', (number,))
            changes[number] = None
            return
        one.execute('UPDATE t SET b = ? WHERE id = ?', (value, number))
        changes[number] = value

    def _commit(self, one: session.Session, mine: list[int],
                changes: dict[int, int | None]) -> None:
        for number, value in changes.items():
            if self.known.get(number) != value:
                self.known.pop(number, None)
                for watch in self.watches:
                    watch.must.discard(number)
        one.execute('COMMIT', ())
        self.report.committed += 1
        for number, value in changes.items():
            if value is None:
                mine.remove(number)
                continue
            self.known[number] = value
            if number not in mine:
                mine.append(number)

    def _read(self, process: _Process) -> None:
        while True:
            self._sometimes()
            one = process.session()
            try:
                if self.random.random() < .4:
                    one.execute('BEGIN', ())
                    one.execute('SELECT 1 FROM t WHERE id = 0', ())
                    self._sometimes()
                self._look(one, process)
            except _EXPECTED:
                self.report.refused += 1
            finally:
                one.close()

    def _look(self, one: session.Session, process: _Process) -> None:
        value = self.random.choice(_VALUES)
        watch = _Watch(value, {
            n for n, b in self.known.items() if b == value})
        self.watches.append(watch)
        try:
            rows = one.execute(
                'SELECT id FROM t WHERE b = ?', (value,))[1].rows
        finally:
            self.watches.remove(watch)
        self.report.reads += 1
        self.report.by_index += any(
            i.columns[:1] == ('b',) and i.public and i.entries
            for i in process.database.catalog.current().tables['t'].indexes)
        missed = watch.must - {n for n, in rows}
        if missed:
            raise Violation(f'rows {sorted(missed)} with b = {value} are not '
                            'found')

    def _define(self, process: _Process) -> None:
        while True:
            self._sometimes()
            one = process.session()
            # it may be there already, or not there
            with contextlib.closing(one), contextlib.suppress(*_EXPECTED):
                one.execute(self.random.choice(_DDL), ())
                self.report.changed += 1

    # --- running

    def _spawn(self, name: str, number: int, run: Any) -> None:
        process = _Process(self, number)
        self.scheduler.spawn(name, number, lambda: run(process))

    def _before(self, task: schedule.Task) -> bool:
        if task.name == 'define' and self.random.random() < .003:
            self.report.crashes += 1
            self.scheduler.crash(task.owner)
            self._spawn('define', next(self.numbers) + 1000, self._define)
            return False
        return True

    def run(self) -> None:
        """Run the schedule; raise Violation if a row is missed."""
        self.scheduler.free_running = True
        first = _Process(self, 900).session()
        first.execute(_TABLE, ())
        first.close()
        self.scheduler.free_running = False
        for number in range(2):
            self._spawn('write', number, self._write)
            self._spawn('read', 100 + number, self._read)
        self._spawn('define', 200, self._define)
        try:
            while self.scheduler.steps < STEPS:
                self.scheduler.step(self._before)
        finally:
            self.scheduler.stop()
        self.report.schedules += 1


def explore(count: int, start: int = 0) -> Report:
    """Run schedules; raise at the first violation."""
    report = Report()
    for seed in range(start, start + count):
        try:
            World(seed, report).run()
        except Violation as violation:
            raise Violation(f'seed {seed}: {violation}') from violation
    return report
