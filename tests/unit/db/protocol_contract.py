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

"""What commits and reads must do, on any store.

Mixed into test cases that give a store; the same tests run on both.
"""

import contextlib
import dataclasses
import itertools
import os
from typing import Any

from luc_drivers.db import document
from luc_drivers.db import errors
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog import schema as s
from luc_drivers.db.planner.plan import Bound
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.rows import RowChange
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import MARKER_TABLE
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.transaction import hooks
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.clock import micros
from luc_drivers.testing import faulty_store
from tests.unit.db import transaction_fixtures as fixtures
from tests.unit.db.transaction_fixtures import ManualClock
from tests.unit.db.transaction_fixtures import Process

_numbers = itertools.count(1)


class Crash(BaseException):
    """The process stops here."""


@contextlib.contextmanager
def crash_at(name: str) -> Any:
    """Stop whoever comes to this step; release of locks included."""
    def hook(step: str) -> None:
        if step == name:
            raise Crash

    with hooks.hooked(hook):
        try:
            yield
        except Crash:
            return
    raise AssertionError(f'nobody came to {name}')


@contextlib.contextmanager
def at_step(name: str, action: Any) -> Any:
    """Do something, once, when somebody comes to a step."""
    done: list[bool] = []

    def hook(step: str) -> None:
        if step == name and not done:
            done.append(True)
            action()

    with hooks.hooked(hook):
        yield
    if not done:
        raise AssertionError(f'nobody came to {name}')


class ProtocolContract:
    """Tests share a store: every key is drawn anew.

    ``self.store`` must be prepared; ``self.inner`` is it or what it wraps.
    """

    store: Any
    assertEqual: Any
    assertIsNone: Any
    assertIsNotNone: Any
    assertTrue: Any
    assertFalse: Any
    assertIn: Any
    assertNotIn: Any
    assertLess: Any
    assertGreater: Any
    assertRaises: Any
    assertRaisesRegex: Any

    def process(self, offset: float = 0.0, **more: Any) -> Process:
        """Return another process; all share one run of time."""
        clock = ManualClock(offset, self.time)
        return Process(self.faulty, clock, **more)

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.time = ManualClock()
        self.faulty = faulty_store.FaultyStore(self.store)
        self.p = self.process()
        self.q = self.process()

    def key(self, prefix: str = 'k') -> str:
        return f'{prefix}{os.getpid()}-{next(_numbers)}'

    # what lies in the store

    def raw(self, name: str, *key: Any) -> Any:
        table = self.p.table(name)
        if table.grouping.columns == table.key:
            key = (*key, *key)
        n = len(table.grouping.columns)
        group = Group(address.locality(table, 'site1'),
                      address.group_key(table, key[:n]))
        rows = self.store.read([GroupRead(
            group, (table.number,), (address.row_key(table, key[n:]),))])[0]
        return rows[0] if rows else None

    def markers(self, name: str, *key: Any) -> list[writes.Marker]:
        table = self.p.table(name)
        group = Group(address.locality(table, 'site1'),
                      address.group_key(table, key))
        rows = self.store.read([GroupRead(group, (MARKER_TABLE,))])[0]
        return [writes.read_marker(row) for row in rows]

    def entries(self, name: str, index: str, *key: Any) -> list[bytes]:
        """Return the refs in an index's slice, stale ones too."""
        table = self.p.table(name)
        access = self.p.access(name, Path.INDEX, key, index=index)
        want = self.p.reader._want(
            access, [address.locality(table, 'site1')])
        return [ref for found in self.store.read_index(want.reads)
                for _, ref in found]

    def item(self, v: Any = 'a', w: Any = 'w') -> str:
        k = self.key()
        self.p.commit(self.p.insert('items', k, v, w))
        return k

    def get(self, name: str, *key: Any) -> tuple | None:
        return self.q.values(self.q.get(name, *key))

    # --- one group

    def test_insert_update_delete(self):
        k = self.key()
        first = self.p.commit(self.p.insert('items', k, 'a', None))
        row = self.q.get('items', k)
        self.assertEqual((k, 'a', None), self.q.values(row))
        self.assertEqual(first, row.version)
        second = self.q.commit(self.q.update(row, v='b'))
        self.assertGreater(micros(second), micros(first))
        row = self.p.get('items', k)
        self.assertEqual((k, 'b', None), self.p.values(row))
        self.assertEqual((first, second), row.history[-2:])
        self.p.commit(self.p.delete(row))
        self.assertIsNone(self.q.get('items', k))
        raw = self.raw('items', k)
        self.assertIsNone(raw.document)
        self.assertEqual(3 + 1, len(raw.history))

    def test_nothing_to_commit(self):
        self.assertIsNone(self.p.commit())

    def test_created_is_kept(self):
        k = self.key()
        self.p.commit(self.p.insert('items', k, 'a', 'w', created=77))
        row = self.p.get('items', k)
        self.assertEqual(77, row.created)
        self.p.commit(self.p.update(row, v='b'))
        self.assertEqual(77, self.p.get('items', k).created)

    def test_unknown_columns_are_kept(self):
        k = self.item()
        row = self.p.get('items', k)
        newer = dict(row.values)
        newer[99] = 'of a newer catalog'
        self.p.commit(RowChange(row.table, row, newer))
        row = self.p.get('items', k)
        self.p.commit(self.p.update(row, v='b'))
        self.assertEqual('of a newer catalog',
                         self.p.get('items', k).values[99])

    def test_the_second_of_two_writers_is_refused(self):
        k = self.item()
        mine, theirs = self.p.get('items', k), self.q.get('items', k)
        self.q.commit(self.q.update(theirs, v='b'))
        with self.assertRaisesRegex(errors.Refused, 'row of items'):
            self.p.commit(self.p.update(mine, w='x'))
        self.assertEqual((k, 'b', 'w'), self.get('items', k))

    def test_an_untouched_row_is_a_condition_too(self):
        # rules 21, 22: locked or rewritten rows
        k = self.item()
        mine, theirs = self.p.get('items', k), self.q.get('items', k)
        self.q.commit(self.q.update(theirs))
        self.assertRaises(errors.Refused, self.p.commit, self.p.update(mine))

    def test_two_inserts_of_one_key(self):
        k = self.item()
        with self.assertRaises(errors.Refused) as caught:
            self.q.commit(self.q.insert('items', k, 'b', 'w'))
        self.assertIsNone(caught.exception.generated_id)
        n = next(_numbers)
        self.p.commit(self.p.insert('parts', n, k, 'x', '', generated=True))
        with self.assertRaises(errors.Refused) as caught:
            self.q.commit(
                self.q.insert('parts', n, k, 'y', '', generated=True))
        self.assertEqual('parts', caught.exception.generated_id)

    def test_a_refused_batch_changes_nothing(self):
        k = self.item()
        n = next(_numbers)
        stale = self.p.get('items', k)
        self.q.commit(self.q.update(stale, v='b'))
        self.assertRaises(
            errors.Refused, self.p.commit, self.p.update(stale, v='c'),
            self.p.insert('parts', n, k, 'x', ''))
        self.assertIsNone(self.get('parts', k, n))
        self.assertEqual((k, 'b', 'w'), self.get('items', k))

    def test_seen_versions_bound_the_id(self):
        ahead = self.process(offset=5.0)
        k = self.key()
        version = ahead.commit(ahead.insert('items', k, 'a', 'w'))
        mine = self.p.commit(self.p.insert('items', self.key(), 'a', 'w'),
                             seen_versions=[version])
        self.assertGreater(micros(mine), micros(version))

    # --- unknown outcomes of one group (rules 3, 4)

    def test_an_answer_lost(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('answer_lost')
        txid = self.p.commit(self.p.update(row, v='b'))
        self.assertEqual(txid, self.p.get('items', k).version)

    def test_a_batch_lost_is_sent_again(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('lost')
        txid = self.p.commit(self.p.update(row, v='b'))
        row = self.p.get('items', k)
        self.assertEqual(((k, 'b', 'w'), txid),
                         (self.p.values(row), row.version))

    def test_a_late_batch_can_not_apply(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('late')
        txid = self.p.commit(self.p.update(row, v='b'))
        self.assertEqual([Outcome.REFUSED], self.faulty.land())
        self.assertEqual(txid, self.p.get('items', k).version)

    def test_a_late_insert_can_not_apply(self):
        k = self.key()
        self.faulty.plan('late')
        txid = self.p.commit(self.p.insert('items', k, 'b', 'w'))
        self.assertEqual([Outcome.REFUSED], self.faulty.land())
        self.assertEqual(txid, self.p.get('items', k).version)

    def test_ours_applied_and_was_overwritten(self):
        # "the version is ours or not" would say: lost
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('answer_lost')

        def overwrite():
            self.q.commit(self.q.update(self.q.get('items', k), w='x'))

        with at_step('one:answered', overwrite):
            self.p.commit(self.p.update(row, v='b'))
        self.assertEqual((k, 'b', 'x'), self.get('items', k))

    def test_ours_applied_and_was_deleted(self):
        k = self.key()
        self.faulty.plan('answer_lost')
        with at_step('one:answered', lambda: self.q.commit(
                self.q.delete(self.q.get('items', k)))):
            self.p.commit(self.p.insert('items', k, 'a', 'w'))
        self.assertIsNone(self.get('items', k))

    def test_ours_did_not_apply_and_another_came(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('lost')
        with at_step('one:answered', lambda: self.q.commit(
                self.q.update(self.q.get('items', k), v='c'))):
            self.assertRaises(errors.Refused, self.p.commit,
                              self.p.update(row, v='b'))
        self.assertEqual((k, 'c', 'w'), self.get('items', k))

    def test_the_history_is_too_short_to_tell(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('lost')

        def overwrite():
            self.time.advance(1)
            for _ in range(writes.HISTORY_LENGTH):
                self.q.commit(self.q.update(self.q.get('items', k)))

        with at_step('one:answered', overwrite):
            with self.assertRaisesRegex(
                    errors.OutcomeUnknown, 'changes items.*history'):
                self.p.commit(self.p.update(row, v='b'))

    def test_settling_is_bounded(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('lost')
        self.faulty.faults.read_error = 1.0
        begin = self.time.monotonic()
        with self.assertRaisesRegex(
                errors.OutcomeUnknown, 'settle_timeout = 60 s'):
            self.p.commit(self.p.update(row, v='b'))
        self.assertLess(self.time.monotonic() - begin, 65)

    def test_a_store_that_is_not_there(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('unavailable')
        self.assertRaises(errors.StoreUnavailable, self.p.commit,
                          self.p.update(row, v='b'))
        self.assertEqual((k, 'a', 'w'), self.get('items', k))

    # --- several groups

    def pair(self) -> tuple[str, str]:
        return self.item(), self.item()

    def both(self, process: Process, keys: Any, **values: Any) -> bytes:
        return process.commit(*[
            process.update(process.get('items', k), **values) for k in keys])

    def test_two_groups_at_once(self):
        keys = self.pair()
        txid = self.both(self.p, keys, v='b')
        # the caller has its answer; the second row is still locked
        locked = [k for k in keys if self.raw('items', k).lock]
        self.assertEqual(1, len(locked))
        for k in keys:
            row = self.q.get('items', k)
            self.assertEqual((k, 'b', 'w'), self.q.values(row))
            self.assertEqual(txid, row.version)
        self.p.background.run()
        for k in keys:
            raw = self.raw('items', k)
            self.assertIsNone(raw.lock)
            self.assertEqual((txid, txid), (raw.version, raw.history[-1]))
            self.assertEqual([], self.markers('items', k))

    def test_one_refused_group_refuses_all(self):
        keys = self.pair()
        for stale in keys:
            rows = [self.p.get('items', k) for k in keys]
            self.q.commit(self.q.update(self.q.get('items', stale), w='x'))
            self.assertRaises(errors.Refused, self.p.commit, *[
                self.p.update(row, v='b') for row in rows])
            for k in keys:
                self.assertIsNone(self.raw('items', k).lock)
                self.assertEqual('a', self.get('items', k)[1])

    def test_a_write_right_after_the_commit(self):
        # the rows are still locked by a committed transaction
        keys = self.pair()
        self.both(self.p, keys, v='b')
        for k in keys:
            self.p.commit(self.p.update(self.p.get('items', k), w='x'))
        self.p.background.run()
        for k in keys:
            self.assertEqual((k, 'b', 'x'), self.get('items', k))

    def test_a_crash_after_prepare(self):
        keys = self.pair()
        with crash_at('several:send'):
            self.both(self.p, keys, v='b')
        for k in keys:
            self.assertEqual((k, 'a', 'w'), self.get('items', k))
        # a tie of the ids' microseconds would be broken by the nodes' numbers
        self.time.advance(0.001)
        begin = self.time.monotonic()
        self.both(self.q, keys, w='x')
        waited = self.time.monotonic() - begin
        # it is older than no one: the lock's age decides
        self.assertGreater(waited, self.p.bounds.lock_age * 0.9)
        self.assertLess(waited, self.p.bounds.lock_age * 2)
        self.q.background.run()
        for k in keys:
            self.assertEqual((k, 'a', 'x'), self.get('items', k))

    def test_readers_fence_what_they_have_watched_for_long(self):
        keys = self.pair()
        with crash_at('several:send'):
            self.both(self.p, keys, v='b')
        for _ in range(2):
            for k in keys:
                self.assertEqual((k, 'a', 'w'), self.get('items', k))
            self.time.advance(self.p.bounds.lock_age)
        self.assertEqual([], [
            k for k in keys if self.raw('items', k).lock])
        found = [m.state for k in keys for m in self.markers('items', k)]
        self.assertEqual([writes.State.ABORTED], found)

    def test_a_fenced_coordinator_begins_again(self):
        keys = self.pair()

        def stall():
            self.q.get('items', keys[0]), self.q.get('items', keys[1])
            self.time.advance(5)
            self.q.get('items', keys[0]), self.q.get('items', keys[1])

        with at_step('several:send', stall):
            self.both(self.p, keys, v='b')
        self.p.background.run()
        for k in keys:
            self.assertEqual((k, 'b', 'w'), self.get('items', k))

    def test_a_crash_after_the_commit(self):
        keys = self.pair()
        with crash_at('several:answered'):
            self.both(self.p, keys, v='b')
        for k in keys:
            self.assertEqual((k, 'b', 'w'), self.get('items', k))
        self.both(self.q, keys, w='x')
        for k in keys:
            self.assertEqual((k, 'b', 'x'), self.get('items', k))

    def test_the_sweeper(self):
        keys = self.pair()
        with crash_at('several:answered'):
            self.both(self.p, keys, v='b')
        localities = ['global', 'at_site1']
        self.assertEqual(0, self.q.sweeper.sweep(localities, back=1200))
        self.time.advance(self.p.bounds.marker_age + 1)
        self.assertEqual(1, self.q.sweeper.sweep(localities, back=1800))
        for k in keys:
            self.assertIsNone(self.raw('items', k).lock)
            self.assertEqual([], self.markers('items', k))
            self.assertEqual((k, 'b', 'w'), self.get('items', k))
        self.assertEqual(0, self.process().sweeper.sweep(localities, 1800))

    def test_a_lost_commit_answer(self):
        keys = self.pair()
        rows = [self.p.get('items', k) for k in keys]
        self.faulty.plan(None, 'answer_lost')
        self.p.commit(*[self.p.update(row, v='b') for row in rows])
        self.p.background.run()
        for k in keys:
            self.assertEqual((k, 'b', 'w'), self.get('items', k))

    def test_a_late_commit_can_not_apply(self):
        keys = self.pair()
        rows = [self.p.get('items', k) for k in keys]
        self.faulty.plan(None, 'late')
        txid = self.p.commit(*[self.p.update(row, v='b') for row in rows])
        self.p.background.run()
        self.assertEqual([Outcome.REFUSED], self.faulty.land())
        for k in keys:
            self.assertEqual(txid, self.raw('items', k).version)

    def test_a_late_prepare_is_rolled_back(self):
        keys = self.pair()
        rows = [self.p.get('items', k) for k in keys]
        self.faulty.plan('late')
        txid = self.p.commit(*[self.p.update(row, v='b') for row in rows])
        self.p.background.run()
        self.assertEqual([Outcome.REFUSED], self.faulty.land())
        for k in keys:
            self.assertEqual(txid, self.raw('items', k).version)

    def test_an_unknown_apply_is_repeated(self):
        keys = self.pair()
        rows = [self.p.get('items', k) for k in keys]
        self.p.commit(*[self.p.update(row, v='b') for row in rows])
        self.faulty.plan('lost')
        self.p.background.run()
        for k in keys:
            self.assertIsNone(self.raw('items', k).lock)
            self.assertEqual([], self.markers('items', k))

    def test_an_unreachable_secondary_keeps_the_marker(self):
        # rules 4, 6
        keys = self.pair()
        self.both(self.p, keys, v='b')
        self.faulty.faults.read_error = self.faulty.faults.lost = 1.0
        self.p.background.run()
        self.faulty.faults = faulty_store.Faults()
        self.assertEqual([writes.State.COMMITTED], [
            m.state for k in keys for m in self.markers('items', k)])
        for k in keys:
            self.assertEqual((k, 'b', 'w'), self.get('items', k))
        self.time.advance(1)
        self.p.background.run()
        for k in keys:
            self.assertIsNone(self.raw('items', k).lock)
            self.assertEqual([], self.markers('items', k))

    def test_commits_are_not_sent_late(self):
        # rule 5
        keys = self.pair()
        with at_step('prepare:answered', lambda: self.time.advance(61)):
            self.assertRaises(errors.Refused, self.both, self.p, keys, v='b')
        for k in keys:
            self.assertIsNone(self.raw('items', k).lock)
            self.assertEqual((k, 'a', 'w'), self.get('items', k))

    def test_an_older_transaction_wounds_a_younger_one(self):
        # rule 29
        keys = self.pair()
        older = self.process(offset=-1.0)
        rows = [older.get('items', k) for k in keys]
        # both have read; what is read here is not later than -1 s
        self.time.advance(10)
        with crash_at('several:send'):
            self.both(self.p, keys, v='b')
        begin = self.time.monotonic()
        older.commit(*[older.update(row, w='x') for row in rows])
        self.assertLess(self.time.monotonic() - begin, 1.0)
        for k in keys:
            self.assertEqual((k, 'a', 'x'), self.get('items', k))

    def test_a_younger_transaction_waits(self):
        keys = self.pair()
        rows = [self.q.get('items', k) for k in keys]
        begin = self.time.monotonic()
        seen: list[float] = []

        def second():
            # the first holds its locks and will not let go in time
            try:
                self.q.commit(self.q.update(rows[0], w='x'),
                              self.q.update(rows[1], w='x'))
            except errors.Refused:
                pass
            seen.append(self.time.monotonic() - begin)

        with at_step('several:answered', second):
            self.both(self.p, keys, v='b')
        self.p.background.run()
        for k in keys:
            self.assertEqual((k, 'b', 'w'), self.get('items', k))

    def test_waiting_is_bounded(self):
        bounds = dataclasses.replace(
            self.p.bounds, lock_age=1000.0, lock_wait=2.0, wound_after=0.5)
        k, other = self.pair()
        self.q = self.process(bounds=bounds)
        with crash_at('several:send'):
            self.both(self.p, (k, other), v='b')
        self.time.advance(0.1)
        begin = self.time.monotonic()
        with self.assertRaisesRegex(errors.Refused, 'lock_wait = 2 s'):
            self.both(self.q, (k, other), w='x')
        self.assertLess(self.time.monotonic() - begin, 4)

    def test_the_lock_is_gone_when_the_reader_looks_for_its_marker(self):
        # rule 16
        keys = self.pair()
        self.both(self.p, keys, v='b')
        locked = next(k for k in keys if self.raw('items', k).lock)
        step = 'resolve:markers-read'
        read = self.faulty.inner.read

        def apply_first(reads, serial=False):
            if any(MARKER_TABLE in r.tables for r in reads):
                self.faulty.inner.read = read
                self.p.background.run()
            return read(reads, serial)

        self.faulty.inner.read = apply_first
        try:
            with at_step(step, lambda: None):
                self.assertEqual((locked, 'b', 'w'),
                                 self.get('items', locked))
        finally:
            self.faulty.inner.__dict__.pop('read', None)

    def test_the_primary_is_global(self):
        team = self.key()
        log = self.p.insert('logs', 'text', None, created=next(_numbers))
        k = self.item()
        with crash_at('several:answered'):
            self.p.commit(log, self.p.update(self.p.get('items', k), v='b'),
                          self.p.insert('teams', team, 'n'))
        self.assertEqual(
            [], [*self.markers('items', k), *self.markers('teams', team)])
        self.assertIn(writes.State.COMMITTED,
                      [m.state for m in self.markers('logs')])

    # --- unique rows

    def user(self, process: Process, name: str, team: str | None = None
             ) -> str:
        k = self.key('u')
        process.commit(process.insert('users', k, name, team))
        process.background.run()
        return k

    def test_a_unique_name_in_a_group_of_its_own(self):
        name = self.key()
        k = self.user(self.p, name)
        with self.assertRaisesRegex(errors.Refused, 'users'):
            self.user(self.q, name)
        self.q.commit(self.q.update(self.q.get('users', k), name=name + 'x'))
        self.q.background.run()
        other = self.user(self.p, name)
        self.assertRaises(errors.Refused, self.user, self.q, name + 'x')
        self.p.commit(self.p.delete(self.p.get('users', other)))
        self.p.background.run()
        self.user(self.q, name)

    def test_nulls_are_distinct(self):
        for _ in range(2):
            k = self.key('u')
            self.p.commit(self.p.insert('users', k, None, None))
            self.assertIsNotNone(self.get('users', k))

    def test_an_update_that_keeps_the_name_is_one_group(self):
        k = self.user(self.p, self.key())
        row = self.p.get('users', k)
        before = self.faulty.requests
        self.p.commit(self.p.update(row, team=None))
        self.assertEqual(1, self.faulty.requests - before)

    def test_a_name_changes_hands_in_one_transaction(self):
        # rule 32
        name = self.key()
        one, two = self.user(self.p, name), self.user(self.p, name + '2')
        rows = [self.p.get('users', one), self.p.get('users', two)]
        self.p.commit(self.p.update(rows[0], name=name + '2'),
                      self.p.update(rows[1], name=name))
        self.p.background.run()
        self.assertEqual(name + '2', self.get('users', one)[1])
        self.assertEqual(name, self.get('users', two)[1])
        three = self.key('u')
        self.p.commit(self.p.delete(self.p.get('users', two)),
                      self.p.insert('users', three, name, None))
        self.p.background.run()
        self.assertRaises(errors.Refused, self.user, self.q, name)

    def test_a_unique_row_beside_the_row(self):
        k = self.item()
        n, m = next(_numbers), next(_numbers)
        self.p.commit(self.p.insert('parts', n, k, 'x', '', generated=True))
        self.assertRaises(
            errors.Refused, self.q.commit,
            self.q.insert('parts', m, k, 'x', '', generated=True))
        other = self.item()
        self.q.commit(
            self.q.insert('parts', m, other, 'x', '', generated=True))
        row = self.p.get('parts', k, n)
        self.p.commit(self.p.delete(row),
                      self.p.insert('parts', next(_numbers), k, 'x', '',
                                    generated=True))

    def test_an_explicit_id_is_guarded(self):
        k, other = self.pair()
        n = next(_numbers)
        self.p.commit(self.p.insert('parts', n, k, 'x', ''))
        self.assertRaises(errors.Refused, self.q.commit,
                          self.q.insert('parts', n, other, 'x', ''))

    def test_a_unique_key_that_older_rows_lack(self):
        # the back-fill of ADD UNIQUE: old under the old schema's table
        name = self.key()
        table = self.p.table('users')
        bare = dataclasses.replace(table, indexes=tuple(
            i for i in table.indexes if not i.unique_columns))
        k = self.key('u')
        self.p.commit(RowChange(bare, None, {1: k, 2: name, 3: None}))
        row = dataclasses.replace(self.p.get('users', k), table=bare)
        self.p.commit(RowChange(table, row, row.values))
        self.p.background.run()
        self.assertRaises(errors.Refused, self.user, self.q, name)
        self.assertEqual(1, len(self.p.find('users', 'users_name', name)))

    # --- tombstones and moves

    def test_a_key_comes_again(self):
        # rule 10, with a clock that is behind
        behind = self.process(offset=-5.0)
        k, v = self.key(), self.key('v')
        self.p.commit(self.p.insert('items', k, v, 'w'))
        self.time.advance(1)
        self.p.commit(self.p.delete(self.p.get('items', k)))
        deleted = self.raw('items', k).version
        txid = behind.commit(behind.insert('items', k, v, 'x'))
        self.assertGreater(micros(txid), micros(deleted))
        self.time.advance(6)
        self.p.background.run()
        self.assertEqual([(k, v, 'x')], [
            self.q.values(r) for r in self.q.find('items', 'items_v', v)])

    def test_delete_and_insert_of_one_key(self):
        k = self.item()
        old = self.p.get('items', k)
        self.p.commit(self.p.delete(old), self.p.insert('items', k, 'c', 'c'))
        self.assertEqual((k, 'c', 'c'), self.get('items', k))

    def test_a_row_changes_its_group(self):
        k, other = self.pair()
        n, name = next(_numbers), self.key()
        self.p.commit(self.p.insert('parts', n, k, name, '', generated=True))
        created = self.p.get('parts', k, n).created
        self.p.commit(self.p.update(self.p.get('parts', k, n), k=other))
        self.assertIsNone(self.get('parts', k, n))
        moved = self.p.get('parts', other, n)
        self.assertEqual((n, other, name, ''), self.p.values(moved))
        self.assertEqual(created, moved.created)
        self.assertEqual(1, len(self.q.find('parts', 'parts_name', name)))

    def test_a_scan_follows_a_row_that_moves(self):
        # rule 13
        k, other = self.pair()
        n, name = next(_numbers), self.key()
        self.p.commit(self.p.insert('parts', n, k, name, '', generated=True))

        def move():
            self.p.commit(self.p.update(self.p.get('parts', k, n), k=other))

        with at_step('reader:index-read', move):
            rows = self.q.find('parts', 'parts_name', name)
        self.assertEqual([(n, other, name, '')],
                         [self.q.values(r) for r in rows])

    def test_a_scan_finds_a_moved_row_whose_place_is_taken(self):
        k, other = self.pair()
        n, name = next(_numbers), self.key()
        self.p.commit(self.p.insert('parts', n, k, name, '', generated=True))

        def move():
            self.p.commit(self.p.update(self.p.get('parts', k, n), k=other))
            self.p.background.run()
            self.p.commit(
                self.p.insert('parts', n, k, 'else', '', generated=True))

        with at_step('reader:index-read', move):
            rows = self.q.find('parts', 'parts_name', name)
        self.assertIn((n, other, name, ''), [self.q.values(r) for r in rows])

    # --- index entries

    def test_old_entries_go_after_a_while(self):
        a, b = self.key('a'), self.key('b')
        k = self.item(v=a)
        self.p.commit(self.p.update(self.p.get('items', k), v=b))
        self.p.background.run()
        self.assertEqual(1, len(self.entries('items', 'items_v', a)))
        self.time.advance(self.p.bounds.removal_delay + 0.1)
        self.p.background.run()
        self.assertEqual([], self.entries('items', 'items_v', a))
        self.assertEqual(1, len(self.entries('items', 'items_v', b)))

    def test_readers_clean_stale_entries_when_they_are_old(self):
        # rules 9, 12
        a, b = self.key('a'), self.key('b')
        k = self.item(v=a)
        self.p.commit(self.p.update(self.p.get('items', k), v=b))
        # the process dies before it removes the old entry
        self.q.find('items', 'items_v', a)
        self.q.background.run()
        self.assertEqual(1, len(self.entries('items', 'items_v', a)))
        self.time.advance(
            self.p.bounds.removal_delay + self.p.bounds.clock_skew + 1)
        self.q.find('items', 'items_v', a)
        self.q.background.run()
        self.assertEqual([], self.entries('items', 'items_v', a))

    def test_entries_without_a_row_are_cleaned_at_last(self):
        v = self.key('v')
        k = self.key()
        with crash_at('one:send'):
            self.p.commit(self.p.insert('items', k, v, 'w'))
        for _ in range(2):
            self.assertEqual(1, len(self.entries('items', 'items_v', v)))
            self.assertEqual([], self.q.find('items', 'items_v', v))
            self.q.background.run()
            self.time.advance(80)
        self.assertEqual([], self.entries('items', 'items_v', v))
        self.p.commit(self.p.insert('items', k, v, 'w'))
        self.assertEqual(1, len(self.q.find('items', 'items_v', v)))

    def test_a_loser_cleans_nothing(self):
        # rule 9: both give the row this value
        v = self.key('v')
        k = self.key()
        with at_step('one:send', lambda: self.q.commit(
                self.q.insert('items', k, v, 'q'))):
            self.assertRaises(errors.Refused, self.p.commit,
                              self.p.insert('items', k, v, 'p'))
        self.time.advance(60)
        self.p.background.run()
        self.q.background.run()
        self.assertEqual(1, len(self.q.find('items', 'items_v', v)))

    def test_a_slow_index_phase_is_repeated(self):
        # rule 12
        v = self.key('v')
        self.item(v=v)
        seen: list[str] = []

        def hook(step):
            if step == 'reader:index-read':
                seen.append(step)
                if len(seen) < 3:
                    self.time.advance(6)

        with hooks.hooked(hook):
            self.assertEqual(1, len(self.q.find('items', 'items_v', v)))
        self.assertEqual(3, len(seen))

    def test_an_index_phase_that_is_always_slow(self):
        def hook(step):
            if step == 'reader:index-read':
                self.time.advance(6)

        with hooks.hooked(hook):
            with self.assertRaisesRegex(
                    errors.OperationalError, 'index_removal_delay = 5 s'):
                self.q.find('items', 'items_v', 'a')

    # --- foreign keys (rule 25)

    def team(self) -> str:
        k = self.key('t')
        self.p.commit(self.p.insert('teams', k, 'n'))
        return k

    def test_no_child_without_a_parent(self):
        with self.assertRaisesRegex(errors.Refused, 'teams'):
            self.user(self.p, self.key(), 'no such team')
        with self.assertRaisesRegex(errors.Refused, 'items'):
            self.p.commit(self.p.insert(
                'parts', next(_numbers), 'no such item', 'x', ''))
        k = self.key('u')
        self.p.commit(self.p.insert('users', k, None, 'no such team'),
                      check_references=False)
        self.assertIsNotNone(self.get('users', k))

    def test_parent_and_child_in_one_transaction(self):
        team, user, k = self.key('t'), self.key('u'), self.key()
        self.p.commit(self.p.insert('users', user, self.key(), team),
                      self.p.insert('teams', team, 'n'))
        self.p.commit(self.p.insert('parts', next(_numbers), k, 'x', ''),
                      self.p.insert('items', k, 'a', 'w'))
        self.p.background.run()
        self.p.commit(self.p.delete(self.p.get('users', user)),
                      self.p.delete(self.p.get('teams', team)))
        self.assertIsNone(self.get('teams', team))

    def test_a_parent_with_children_stays(self):
        team = self.team()
        user = self.user(self.p, self.key(), team)
        row = self.q.get('teams', team)
        with self.assertRaisesRegex(errors.Refused, 'users'):
            self.q.commit(self.q.delete(row))
        self.assertIsNone(self.raw('teams', team).lock)
        self.p.commit(self.p.delete(self.p.get('users', user)))
        self.p.background.run()
        # its entries are still there: stale ones don't count
        self.q.commit(self.q.delete(row))
        self.q.background.run()
        self.assertIsNone(self.get('teams', team))
        self.assertEqual([], self.markers('teams', team))

    def test_a_parent_that_only_changes(self):
        team = self.team()
        self.user(self.p, self.key(), team)
        self.p.commit(self.p.update(self.p.get('teams', team), name='m'))
        self.assertEqual('m', self.get('teams', team)[1])

    def test_a_child_in_the_same_group(self):
        k, n = self.item(), next(_numbers)
        item = self.p.get('items', k)
        before = self.faulty.rounds
        self.p.commit(self.p.insert('parts', n, k, 'x', '', generated=True),
                      parents=[item])
        # entries and one batch: the parent costs no round
        self.assertEqual(2, self.faulty.rounds - before)
        # and it is as it was: other children don't get in each other's way
        self.assertEqual(item, self.p.get('items', k))
        with self.assertRaisesRegex(errors.Refused, 'parts'):
            self.q.commit(self.q.delete(item))
        self.p.commit(self.p.delete(self.p.get('parts', k, n)))
        self.q.commit(self.q.delete(item))

    def test_a_parent_at_hand_that_has_changed_since(self):
        k, n = self.item(), next(_numbers)
        item = self.p.get('items', k)
        self.q.commit(self.q.update(item, v='b'))
        self.p.commit(self.p.insert('parts', n, k, 'x', ''), parents=[item])
        self.assertEqual((k, 'b', 'w'), self.get('items', k))
        self.assertIsNotNone(self.get('parts', k, n))

    def test_the_parent_in_the_group_goes_first(self):
        k, n = self.item(), next(_numbers)
        item = self.p.get('items', k)
        with at_step('one:send', lambda: self.q.commit(
                self.q.delete(self.q.get('items', k)))):
            self.assertRaises(
                errors.Refused, self.p.commit,
                self.p.insert('parts', n, k, 'x', '', generated=True),
                parents=[item])
        self.assertIsNone(self.get('parts', k, n))

    def test_the_parent_elsewhere_goes_first(self):
        team, user = self.team(), self.key('u')
        with at_step('index:written', lambda: self.q.commit(
                self.q.delete(self.q.get('teams', team)))):
            self.assertRaises(
                errors.Refused, self.p.commit,
                self.p.insert('users', user, None, team))
        self.assertIsNone(self.get('users', user))

    def test_the_child_comes_first(self):
        team, user = self.team(), self.key('u')
        with at_step('prepare:send', lambda: self.p.commit(
                self.p.insert('users', user, None, team))):
            self.assertRaises(errors.Refused, self.q.commit,
                              self.q.delete(self.q.get('teams', team)))
        self.assertIsNotNone(self.get('teams', team))

    def test_a_child_that_has_looked_already(self):
        # it saw the parent unlocked; the deleter sees only its entry
        team, user = self.team(), self.key('u')
        with at_step('one:send', lambda: self.q.commit(
                self.q.delete(self.q.get('teams', team)))):
            self.assertRaises(errors.Refused, self.p.commit,
                              self.p.insert('users', user, None, team))
        self.assertIsNone(self.get('teams', team))
        self.assertIsNone(self.get('users', user))

    def test_a_child_of_a_table_without_entries(self):
        team = self.team()
        log = self.p.insert('logs', 'text', team, created=next(_numbers))
        # the deleter gives up before the lock is old enough to be fenced
        self.q = self.process(bounds=dataclasses.replace(
            self.p.bounds, lock_wait=1.0))
        def delete():
            self.time.advance(0.1)
            self.assertRaises(errors.Refused, self.q.commit,
                              self.q.delete(self.q.get('teams', team)))

        with at_step('several:send', delete):
            self.p.commit(log)
        self.p.background.run()
        self.assertIsNotNone(self.get('teams', team))

    # --- reading

    def test_waves_cost_two_rounds_at_most(self):
        v = self.key('v')
        keys = [self.item(v=v) for _ in range(3)]
        self.p.commit(self.p.insert('parts', next(_numbers), keys[0], 'x', '',
                                    generated=True))
        before = self.faulty.rounds
        found = self.q.reader.rows(self.q.schema, [
            self.q.access('items', Path.INDEX, (v,), index='items_v'),
            self.q.access('items', Path.GROUP, *[(k,) for k in keys]),
            self.q.access('parts', Path.GROUP, *[(k,) for k in keys]),
            self.q.access('items', Path.ROW, (keys[0], keys[0]))])
        self.assertEqual(2, self.faulty.rounds - before)
        self.assertEqual([3, 3, 1, 1], [len(rows) for rows in found])
        self.assertEqual(keys, [r.values[1] for r in found[0]])
        self.assertEqual(keys, [r.values[1] for r in found[1]])

    def test_rows_come_in_order_of_creation(self):
        v = self.key('v')
        made = [(self.key(), n) for n in (5, 3, 9)]
        for k, n in made:
            self.p.commit(self.p.insert('items', k, v, 'w', created=n))
        self.assertEqual([3, 5, 9], [
            r.created for r in self.q.find('items', 'items_v', v)])

    def test_ranges_and_prefixes(self):
        number = next(_numbers) * 1000 + 10 ** 9
        table = s.Table(
            1000 + next(_numbers), 'points',
            fixtures.columns('k', '#x', '#y', 'z'), ('k',), ('k',),
            s.Grouping(1, ('k',)),
            (s.Index(number, 'xyz', ('x', 'y', 'z')),
             s.Index(number + 1, 'scan', (), buckets=3)))
        table = dataclasses.replace(
            table, grouping=s.Grouping(table.number, ('k',)))
        p = self.process(schema_=fixtures.schema(table))
        for n in range(6):
            p.commit(p.insert('points', f'k{n}', 1, n if n else None, 'z'))

        def ys(*key, **more):
            access = p.access('points', Path.INDEX, key, index='xyz', **more)
            return [r.values[3] for r in p.reader.rows(p.schema, [access])[0]]

        self.assertEqual([None, 1, 2, 3, 4, 5], ys(1))
        self.assertEqual([], ys(2))
        self.assertEqual([3], ys(1, 3))
        self.assertEqual([3], ys(1, 3.0))
        self.assertEqual([None], ys(1, None))
        self.assertEqual([3], ys(1, 3, 'z'))
        self.assertEqual([], ys(1, 3, 'y'))
        self.assertEqual([2, 3, 4], ys(1, lower=Bound(2, True),
                                       upper=Bound(4, True)))
        self.assertEqual([3], ys(1, lower=Bound(2, False),
                                 upper=Bound(4, False)))
        self.assertEqual([1, 2], ys(1, upper=Bound(3, False)))
        self.assertEqual([5], ys(1, lower=Bound(4.5, True)))
        self.assertEqual(6, len(p.find('points', None)))

    def test_one_group_tables(self):
        text = self.key()
        for _ in range(3):
            self.p.commit(self.p.insert(
                'logs', text, None, created=next(_numbers)))
        found = [r for r in self.q.find('logs', None) if r.values[1] == text]
        self.assertEqual(3, len(found))
        access = self.q.access('logs', Path.GROUP, ())
        again = self.q.reader.rows(self.q.schema, [access])[0]
        self.assertEqual(found, [r for r in again if r.values[1] == text])

    def test_nothing_asked(self):
        access = self.q.access('items', Path.INDEX, index='items_v')
        before = self.faulty.rounds
        self.assertEqual([[]], self.q.reader.rows(self.q.schema, [access]))
        self.assertEqual([], self.q.reader.rows(self.q.schema, []))
        self.assertEqual(before, self.faulty.rounds)

    def test_a_locality_that_can_not_be_reached(self):
        # rule 30: the marker is elsewhere; the rows read as they were
        k = self.item()
        with crash_at('several:answered'):
            self.p.commit(
                self.p.insert('logs', 'text', None, created=next(_numbers)),
                self.p.update(self.p.get('items', k), v='b'))
        inner = self.faulty.inner
        read = inner.read

        def cut_off(reads, serial=False):
            if any(r.group.locality == 'global' for r in reads):
                raise errors.StoreUnavailable('cut off')
            return read(reads, serial)

        inner.read = cut_off
        try:
            self.assertEqual((k, 'a', 'w'), self.get('items', k))
            self.time.advance(60)
            self.assertEqual((k, 'a', 'w'), self.get('items', k))
            self.assertIsNotNone(self.raw('items', k).lock)
            self.assertRaises(
                errors.StoreUnavailable, self.q.commit,
                self.q.update(self.q.get('items', k), w='x'))
        finally:
            inner.__dict__.pop('read', None)
        self.assertEqual((k, 'b', 'w'), self.get('items', k))

    def test_documents_hold_what_was_given(self):
        k = self.key()
        values = {1: k, 2: b'\0\xff', 3: 1.5}
        self.p.commit(RowChange(self.p.table('items'), None, values))
        self.assertEqual(values, self.q.get('items', k).values)
        self.assertEqual(values, document.decode(
            self.raw('items', k).document)[0])

    def test_conditions_name_the_state_and_the_lock(self):
        # rule 2: a prepared row refuses whoever read it before
        keys = self.pair()
        rows = {k: self.q.get('items', k) for k in keys}
        with crash_at('several:send'):
            self.both(self.p, keys, v='b')
        locked = next(k for k in keys if self.raw('items', k).lock)
        group = rows[locked].address.group
        write = writes.change(writes.Intent(
            group, RowKey(10, rows[locked].address.key.pk), Expect.VERSION,
            rows[locked].version, document=b'd'), self.q.clock.new_id(), 1)
        self.assertEqual([Outcome.REFUSED], self.store.write(
            [writes.batch(group, write)]))
