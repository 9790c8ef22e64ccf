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

"""Random schedules of the real commit protocol, with faults and checks.

Processes with wrong clocks read, commit, scan, sweep and crash, while the
store loses, delays and doubts their batches; the ghost watches.  This is the
design's model (shared/design/model/model.py), but its transactions are those
of luc_drivers.db.transaction, not a copy.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import dataclasses
import functools
from typing import Any

from luc_drivers.db import errors
from luc_drivers.db.catalog import address
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.rows import RowChange
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.transaction import bounds
from luc_drivers.db.transaction import hints as hints_module
from luc_drivers.db.transaction import protocol
from luc_drivers.db.transaction import reader
from luc_drivers.db.transaction import resolve
from luc_drivers.db.transaction import shared_turns
from luc_drivers.db.transaction import sweeper
from luc_drivers.db.transaction.beside import Beside
from luc_drivers.testing import faulty_store
from tests.unit.db import ghost
from tests.unit.db import memory_store
from tests.unit.db import model_operations
from tests.unit.db import schedule
from tests.unit.db import transaction_fixtures as fixtures
from tests.unit.db.model_operations import CELLS
from tests.unit.db.model_operations import KEYS
from tests.unit.db.model_operations import SCHEMA

LOCALITIES = ['global', 'at_site1']

#: in virtual seconds, ten of the scheduler's steps
BOUNDS = bounds.Bounds(
    lock_age=1.4, lock_wait=15.0, wound_after=0.2, read=100.0, send=10.0,
    settle=10.0, marker_age=20.0, removal_delay=3.0, clock_skew=4.0)
STEPS = 1500


class Committer(protocol.Committer):
    """Tells the ghost under which ids a transaction is tried."""

    ghost: ghost.Ghost
    logical: ghost.Logical
    changes: list[RowChange]

    def _attempt(self, run: Any, txid: bytes) -> bool:
        self.ghost.attempt(self.logical, txid, self.changes)
        return super()._attempt(run, txid)


class Hints(hints_module.Hints):
    """Counts how often a place was known."""

    def __init__(self, counts: collections.Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def find(self, read: IndexRead) -> resolve.Place | None:
        place = super().find(read)
        if place is not None:
            self.counts['hints'] += 1
        return place


class Process:
    """One service process: a clock, a reader, a committer."""

    def __init__(self, world: 'World', number: int, skew: float) -> None:
        self.world = world
        self.number = number
        self.clock = schedule.ScheduledClock(world.scheduler, skew, number)
        store = schedule.ScheduledStore(world.faulty, world.scheduler)
        background = schedule.ScheduledBackground(world.scheduler, number)
        background.submit = self._submit
        self.reader = reader.Reader(
            store, self.clock, background, world.bounds,
            hints=Hints(world.counts) if world.hints else None)
        self.committer = Committer(
            store, self.clock, self.reader, background)
        self.committer.ghost = world.ghost
        self.sweeper = sweeper.Sweeper(
            store, self.clock, self.reader.resolver, world.bounds)
        self.turns = shared_turns.SharedTurns(
            store, self.clock, self.reader.resolver, background,
            world.bounds)

    def _submit(self, task: Callable[[], Any], delay: float = 0.0,
                needed: bool = False) -> None:
        def run() -> None:
            try:
                task()
            except errors.Error:
                self.world.counts['background errors'] += 1

        self.world.scheduler.spawn('background', self.number, run, delay)

    # --- reading

    def rows(self, name: str, *keys: tuple) -> list[StoredRow | None]:
        """Return rows by their grouping and key values, in parallel."""
        table = SCHEMA.tables[name]
        found = self.reader.rows(SCHEMA, [
            BoundAccess(table, Path.ROW, [key]) for key in keys])
        # there may be more: a row that has moved from one to another
        names = (*table.grouping.columns, *table.key)
        return [next((row for row in rows if address.pick(
            table, names, row.values) == key), None)
            for rows, key in zip(found, keys)]

    def find(self, name: str, index: str, *values: Any) -> list[StoredRow]:
        """Return the rows that have one of these values, exactly."""
        table = SCHEMA.tables[name]
        by = next(i for i in table.indexes if i.name == index)
        column = table.column(by.columns[0]).number
        rows = self.reader.rows(SCHEMA, [BoundAccess(
            table, Path.INDEX, [(v,) for v in values], index=by,
            unique=bool(by.unique_columns))])[0]
        return [r for r in rows if r.values[column] in values]

    def groups(self, name: str, *groups: str) -> list[StoredRow]:
        """Return all rows of groups."""
        return self.reader.rows(SCHEMA, [BoundAccess(
            SCHEMA.tables[name], Path.GROUP, [(g,) for g in groups])])[0]


class World(model_operations.Operations):
    """One schedule."""

    def __init__(self, seed: int, kind: str, sweep: bool = False,
                 turns: bool = False, hints: bool = False,
                 browse: bool = False) -> None:
        self.seed = seed
        self.kind = kind
        self.turns = turns
        self.hints = hints
        self.browse = browse
        self.bounds = BOUNDS
        self.scheduler = schedule.Scheduler(seed)
        self.random = self.scheduler.random
        self.store = memory_store.MemoryStore('model', fixtures.settings())
        self.store.now = lambda: self.scheduler.time
        self.ghost = ghost.Ghost(self.store, SCHEMA)
        trouble = 0.08 if self.random.random() < .7 else 0.0
        self.faults = faulty_store.Faults(
            lost=trouble / 3, answer_lost=trouble / 3, late=trouble / 3,
            late_step=0.03, unavailable=trouble / 20,
            read_error=trouble / 20, index_error=trouble / 20)
        self.faulty = faulty_store.FaultyStore(self.store, seed)
        self.crashes = 0.012 if self.random.random() < .7 else 0.0
        self.counts: collections.Counter[str] = collections.Counter()
        self.created = 0
        self.crashed: set[int] = set()
        self.each_step: Callable[[World], None] | None = None
        self.sweep = sweep

    def _fill(self) -> None:
        """Commit what is there at the start, without trouble."""
        self.scheduler.free_running = True
        process = Process(self, 500, self.random.choice([0.0, -1.0, 3.0]))
        changes = []
        if self.kind == 'cells':
            for key in KEYS:
                if self.random.random() < .6:
                    changes.append([self.insert(
                        'cells', *key, self.random.choice('ab'), None)])
        else:
            changes = [[self.insert('teams', 'p', 'n')],
                       [self.insert('items', 'p', 'v', 'w')],
                       [self.insert('users', 'u1', 'name1', 'p')]]
        for n, one in enumerate(changes):
            logical = (500, n)
            self.ghost.attempts[logical] = []
            self.ghost.outcomes[logical] = 'ok'
            process.committer.logical = logical
            process.committer.changes = one
            process.committer.commit(SCHEMA, one)
        if self.random.random() < .5:
            self.scheduler.time += 100
        self.scheduler.free_running = False

    def _populate(self) -> None:
        self._fill()
        self.faulty.faults = self.faults
        for number in range(self.random.choice([2, 3, 4])):
            process = self._process(number)
            times = self.random.choice([1, 2, 3, 4])
            self.scheduler.spawn(
                'worker', number, self._worker(process, times))
        if self.kind == 'cells':
            for n in range(self.random.choice([0, 1, 2])):
                self._spawn('scan', 100 + n, self._scan)
            if self.random.random() < .6:
                self._spawn('reader', 200, self._reader)
            if self.hints:
                self._spawn('look-up', 250, self._look_up)
            if self.browse:
                self._spawn('browse', 260, self._browse)
        if self.sweep:
            self._spawn('sweeper', 300, self._sweep)

    def _process(self, number: int) -> Process:
        return Process(self, number,
                       self.random.choice([0.0, 0.0, 0.05, -1.0, 1.25, 3.0]))

    def _spawn(self, name: str, number: int,
               run: Callable[[Process], None]) -> None:
        process = self._process(number)
        self.scheduler.spawn(name, number, lambda: run(process))

    # --- transactions

    def _worker(self, process: Process, times: int) -> Callable[[], None]:
        def run() -> None:
            for n in range(times):
                logical = (process.number, n)
                self.ghost.attempts[logical] = []
                self.ghost.outcomes[logical] = 'running'
                outcome = self._transaction(process, logical)
                self.ghost.outcomes[logical] = outcome
                self.counts[outcome] += 1

        return run

    def _transaction(self, process: Process, logical: ghost.Logical) -> str:
        if self.hints and self.random.random() < .7:
            make = self.draw_unique()
        elif self.kind == 'cells':
            make = self.draw_cells()
        else:
            make = self.draw_references()
        committer = process.committer
        for _ in range(4):
            try:
                changes = make(process)
                if not changes:
                    return 'failed'
                committer.logical, committer.changes = logical, changes
                with self._in_turn(process, changes) as turn:
                    if not turn:
                        continue
                    txid = committer.commit(SCHEMA, changes)
                self.ghost.acknowledged.add(txid)
                return 'ok'
            except errors.Refused:
                self.counts['refused'] += 1
            except errors.OutcomeUnknown:
                return 'unknown'
            except (errors.OperationalError, errors.IntegrityError) as error:
                self.counts[type(error).__name__] += 1
                return 'failed'
        return 'failed'

    @contextlib.contextmanager
    def _in_turn(self, process: Process, changes: list[RowChange]
                 ) -> Iterator[bool]:
        """Take the turns of changed rows, as compare-and-sets do."""
        rows = [change.old for change in changes if change.old is not None]
        if not self.turns or not rows or self.random.random() < .3:
            yield True
            return
        holder = self.random.randbytes(16)
        turns = process.turns
        beside = Beside([
            (row.address.group, row.address.key.table) for row in rows])
        if not turns.take(holder, rows, beside):
            if beside.answered:
                raise ghost.Violation('kept what was read beside no turn')
            self.counts['turns lost'] += 1
            turns.wait(holder, rows, process.clock.monotonic() + 5)
            yield False
            return
        self.counts['turns'] += 1
        if beside.answered:
            self.counts['read beside turns'] += 1
            for row in rows:
                self._not_older(beside, row)
        try:
            yield True
        finally:
            turns.give(holder, [(row.address.group, row.address.key)
                                for row in rows])

    def _not_older(self, beside: Beside, row: StoredRow) -> None:
        """Check that nothing older than a row was read beside its turn."""
        found = beside.slices[row.address.group, row.address.key.table]
        if not any(one.key == row.address.key and one.version is not None and
                   one.version >= row.version for one in found):
            raise ghost.Violation('older rows were read beside a turn')

    # --- readers

    def _browse(self, process: Process) -> None:
        """Read whole groups, between which rows move."""
        for _ in range(3):
            groups = self.random.sample('ABC', self.random.choice([2, 3]))
            self._watched('browses', 'g', groups,
                          functools.partial(process.groups, 'cells', *groups))

    def _scan(self, process: Process) -> None:
        values = self.random.choice([['a'], ['b'], ['a', 'b']])
        for _ in range(2):
            self._find(process, 'scans', 'v', *values)

    def _look_up(self, process: Process) -> None:
        """Look for the row with the unique value, wherever it is by now."""
        for _ in range(6):
            self._find(process, 'look-ups', 'u', 'u')
            self.scheduler.pause(self.random.choice([0.0, 0.3, 4.0]))

    def _find(self, process: Process, what: str, column: str, *values: str
              ) -> None:
        self._watched(what, column, values, lambda: process.find(
            'cells', f'cells_{column}', *values))

    def _watched(self, what: str, column: str,
                 values: Iterable[str], find: Callable[[], list[StoredRow]]
                 ) -> None:
        """Find the rows that have one of these values, under the ghost's
        eyes.
        """
        watch = self.ghost.begin_scan(values, CELLS.column(column).number)
        found: Iterable[int] | None = None
        try:
            rows = find()
            found = [row.created for row in rows]
            self.counts[what] += 1
        except errors.OperationalError:
            self.counts[f'{what} given up'] += 1
        finally:
            self.ghost.end_scan(watch, found)

    def _reader(self, process: Process) -> None:
        for _ in range(4):
            key = self.random.choice(KEYS)
            values = dict(enumerate((*key, None, None), 1))
            where = address.address(CELLS, values, 0, 'at_site1')
            place = (where.group, where.key)
            least = self.ghost.begin_read(place)
            try:
                (row,) = process.rows('cells', key)
            except errors.OperationalError:
                self.counts['reads given up'] += 1
                continue
            self.ghost.end_read(place, least, row)
            self.counts['reads'] += 1

    def _sweep(self, process: Process) -> None:
        for _ in range(60):
            self.scheduler.pause(0.5)
            try:
                self.counts['swept'] += process.sweeper.sweep(
                    LOCALITIES, back=600)
            except errors.OperationalError:
                self.counts['sweeps given up'] += 1

    # --- running

    def _before(self, task: schedule.Task) -> bool:
        if self.each_step is not None:
            self.each_step(self)
        if (task.name == 'worker' and self.crashes and
                self.random.random() < self.crashes):
            self.counts['crashes'] += 1
            self.scheduler.crash(task.owner)
            return False
        return True

    def run(self) -> None:
        """Run the schedule; raise Violation if a promise is broken."""
        scheduler = self.scheduler
        self._populate()
        try:
            while scheduler.tasks and scheduler.steps < STEPS:
                scheduler.step(self._before)
        finally:
            scheduler.stop()
        self._quiet()
        self.ghost.check_end()

    def _quiet(self) -> None:
        """Let what is in flight land or be lost; resolve every lock."""
        self.faulty.late = [b for b in self.faulty.late
                            if self.random.random() < .5]
        self.faulty.land()
        self.faulty.faults = faulty_store.Faults()
        self.scheduler.free_running = True
        self.scheduler.time += 1000
        last = Process(self, 999, 0.0)
        for _ in range(3):
            last.reader.resolver.read(
                [GroupRead(group) for group in list(self.store.groups)])
            self.scheduler.time += 10

    @property
    def left_markers(self) -> int:
        """Return how many committed markers nobody has removed."""
        return sum(1 for rows in self.store.groups.values() for key in rows
                   if key.table == 0x7FFFFFFF and key.pk in self.ghost.done)


@dataclasses.dataclass
class Report:
    """What became of many schedules."""

    schedules: int = 0
    decided: int = 0
    several: int = 0
    left_markers: int = 0
    counts: collections.Counter = dataclasses.field(
        default_factory=collections.Counter)
    happened: collections.Counter = dataclasses.field(
        default_factory=collections.Counter)
    violations: collections.Counter = dataclasses.field(
        default_factory=collections.Counter)
    first: str = ''

    def __str__(self) -> str:
        return (
            f'{self.schedules} schedules, {self.decided} decided '
            f'({self.several} of several groups), '
            f'{self.left_markers} markers left, {dict(self.counts)}, '
            f'faults {dict(self.happened)}, '
            f'violations {dict(self.violations)} {self.first}')


def explore(count: int, start: int = 0, kind: str = 'cells',
            sweep: bool = False, stop: bool = False,
            prepare: Callable[[World], None] | None = None,
            turns: bool = False, hints: bool = False,
            browse: bool = False) -> Report:
    """Run schedules.

    :param stop: at the first violation.
    :param turns: transactions take turns, as compare-and-sets do.
    :param hints: processes remember where rows with unique keys were.
    :param browse: some read whole groups while rows move between them.
    :param prepare: may change each world before it runs.
    """
    report = Report()
    for seed in range(start, start + count):
        world = World(seed, kind, sweep, turns, hints, browse)
        if prepare is not None:
            prepare(world)
        try:
            world.run()
        except ghost.Violation as violation:
            name = str(violation).split(':')[0].split(' Group(')[0]
            report.violations[name.split(' (Group')[0]] += 1
            report.first = report.first or f'seed {seed}: {violation}'
        report.schedules += 1
        report.decided += len(world.ghost.done)
        report.several += len(world.ghost.several)
        report.left_markers += world.left_markers
        report.counts.update(world.counts)
        report.happened.update(world.faulty.happened)
        if stop and report.violations:
            break
    return report
