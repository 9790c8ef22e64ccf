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

"""Commits of several groups: prepare, decide, apply, fence."""

import dataclasses
import functools
import itertools
from typing import Any
from unittest import mock

from luc_drivers.db import errors
from luc_drivers.db.store.base import MARKER_TABLE
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.transaction import large
from luc_drivers.db.transaction import protocol
from luc_drivers.db.transaction import writes
from luc_drivers.testing import faulty_store
from tests.unit.db.protocol import base
from tests.unit.db.transaction_fixtures import Process


class SeveralGroups(base.Contract):


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

    def test_many_commits_are_applied_together(self):
        pairs = [self.pair() for _ in range(5)]
        for keys in pairs:
            self.both(self.p, keys, v='b')
        with mock.patch.object(self.p.store, 'write',
                               wraps=self.p.store.write) as write:
            self.p.background.run()
        # the rows of all, then the markers of all
        self.assertEqual([5, 5], [
            len(call.args[0]) for call in write.call_args_list])
        for key in itertools.chain(*pairs):
            self.assertIsNone(self.raw('items', key).lock)
            self.assertEqual([], self.markers('items', key))

    def test_what_could_not_be_applied_does_not_stop_the_rest(self):
        pairs = [self.pair() for _ in range(3)]
        for keys in pairs:
            self.both(self.p, keys, v='b')
        # a reader has applied one of them already
        victim = next(k for k in pairs[1] if self.raw('items', k).lock)
        self.q.commit(self.q.update(self.q.get('items', victim), w='x'))
        self.p.background.run()
        for key in itertools.chain(*pairs):
            self.assertIsNone(self.raw('items', key).lock)
            self.assertEqual([], self.markers('items', key))
            self.assertEqual('b', self.get('items', key)[1])
        self.assertEqual('x', self.get('items', victim)[2])

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

    def test_the_schema_changes_while_rows_are_locked(self):
        """What takes long asks again; a new index would miss the rows."""
        asked = []
        for holds in (True, False):
            keys = self.pair()
            rows = [self.p.get('items', k) for k in keys]

            def slowly():
                self.time.advance(protocol.LOOK_AGAIN)

            def answer(holds=holds):
                asked.append(holds)
                return holds

            with base.at_step('prepare:answered', slowly):
                commit = functools.partial(
                    self.p.commit, *[self.p.update(r, v='b') for r in rows],
                    holds=answer)
                if holds:
                    commit()
                else:
                    self.assertRaisesRegex(
                        errors.Refused, 'schema has changed', commit)
            self.assertEqual(['b' if holds else 'a'] * 2, [
                self.get('items', k)[1] for k in keys])
            self.p.background.run()
            for k in keys:
                self.assertIsNone(self.raw('items', k).lock)
        self.assertEqual([True, False], asked)
        # who is quick does not ask
        self.both(self.p, self.pair(), v='b')
        self.assertEqual(2, len(asked))

    def test_index_entries_go_out_with_the_locks(self):
        keys = self.pair()
        rows = [self.p.get('items', k) for k in keys]
        v = self.key('v')
        with mock.patch.object(self.p.store, 'write_both',
                               wraps=self.p.store.write_both) as both:
            self.p.commit(*[self.p.update(row, v=v) for row in rows])
        (batches, entries, _), = [call.args for call in both.call_args_list]
        self.assertEqual(1, len(batches))
        # those of the two rows, and the sweeper's
        self.assertEqual(3, len(entries))
        self.assertEqual(sorted(keys), sorted(
            self.q.values(r)[0] for r in self.q.find('items', 'items_v', v)))

    def test_locks_go_where_the_entries_could_not_be_written(self):
        keys = self.pair()
        rows = [self.p.get('items', k) for k in keys]

        def write_both(batches, entries, timestamp):
            self.store.write(batches)
            raise errors.StoreUnavailable('entries: injected')

        with mock.patch.object(self.p.store, 'write_both', write_both):
            self.assertRaises(
                errors.StoreUnavailable, self.p.commit,
                *[self.p.update(row, v='b') for row in rows])
        self.assertEqual(1, sum(
            self.raw('items', k).lock is not None for k in keys))
        self.p.background.run()
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

    def test_a_large_one_is_applied_before_it_returns(self):
        keys = [self.item() for _ in range(300)]
        self.both(self.p, keys, v='b')
        self.assertEqual([], [k for k in keys if self.raw('items', k).lock])
        self.assertEqual([], [
            m for k in keys for m in self.markers('items', k)])

    def test_a_crash_after_prepare(self):
        keys = self.pair()
        with base.crash_at('several:send'):
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
        with base.crash_at('several:send'):
            self.both(self.p, keys, v='b')
        for _ in range(2):
            for k in keys:
                self.assertEqual((k, 'a', 'w'), self.get('items', k))
            self.time.advance(self.p.bounds.lock_age)
        self.assertEqual([], [
            k for k in keys if self.raw('items', k).lock])
        found = [m.state for k in keys for m in self.markers('items', k)]
        self.assertEqual([writes.State.ABORTED], found)

    def test_a_large_transaction_says_that_it_is_alive(self):
        keys = [self.item() for _ in range(large.AT_ONCE + 5)]
        with base.crash_at('several:send'):
            self.both(self.p, keys, v='b')
        key = next(k for k in keys if self.raw('items', k).lock)
        lock = self.raw('items', key).lock
        for _ in range(3):
            self.get('items', key)
            self.time.advance(2 * self.p.bounds.lock_age)
        self.assertTrue(self.raw('items', key).lock)
        # its process is dead
        self.store.lease(large.holder(lock.txid), 0)
        self.get('items', key)
        self.assertIsNone(self.raw('items', key).lock)

    def test_a_large_transaction_that_is_refused_locks_no_more(self):
        keys = [self.item() for _ in range(3 * large.AT_ONCE)]
        changes = [self.p.update(self.p.get('items', k), v='b') for k in keys]
        for k in keys:
            self.q.commit(self.q.update(self.q.get('items', k), w='x'))
        with mock.patch.object(
                self.faulty, 'write', wraps=self.faulty.write) as write:
            self.assertRaises(errors.Refused, self.p.commit, *changes)
        locks = [batch for call in write.mock_calls for batch in call.args[0]
                 if batch.writes[0].prepare is not None]
        self.assertEqual(large.AT_ONCE, len(locks))
        self.assertEqual([], [k for k in keys if self.raw('items', k).lock])

    def test_a_fenced_coordinator_begins_again(self):
        keys = self.pair()

        def stall():
            self.q.get('items', keys[0]), self.q.get('items', keys[1])
            self.time.advance(5)
            self.q.get('items', keys[0]), self.q.get('items', keys[1])

        with base.at_step('several:send', stall):
            self.both(self.p, keys, v='b')
        self.p.background.run()
        for k in keys:
            self.assertEqual((k, 'b', 'w'), self.get('items', k))

    def test_a_crash_after_the_commit(self):
        keys = self.pair()
        with base.crash_at('several:answered'):
            self.both(self.p, keys, v='b')
        for k in keys:
            self.assertEqual((k, 'b', 'w'), self.get('items', k))
        self.both(self.q, keys, w='x')
        for k in keys:
            self.assertEqual((k, 'b', 'x'), self.get('items', k))

    def test_the_sweeper(self):
        keys = self.pair()
        with base.crash_at('several:answered'):
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

    def test_the_sweeper_goes_on_where_the_store_failed(self):
        keys = self.pair()
        with base.crash_at('several:answered'):
            self.both(self.p, keys, v='b')
        localities = ['global', 'at_site1']
        self.time.advance(self.p.bounds.marker_age + 1)
        self.faulty.faults.index_error = 1.0
        with self.assertLogs(
                'luc_drivers.db.transaction.sweeper', 'INFO') as logs:
            self.assertEqual(0, self.q.sweeper.sweep(localities, back=1800))
        self.assertIn('looked for again later', logs.output[0])
        self.faulty.faults.index_error = 0.0
        self.q.sweeper.sweep(localities, back=1800)
        for k in keys:
            self.assertIsNone(self.raw('items', k).lock)
            self.assertEqual([], self.markers('items', k))
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
        with base.at_step('prepare:answered', lambda: self.time.advance(
                self.p.bounds.send + 1)):
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
        with base.crash_at('several:send'):
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

        with base.at_step('several:answered', second):
            self.both(self.p, keys, v='b')
        self.p.background.run()
        for k in keys:
            self.assertEqual((k, 'b', 'w'), self.get('items', k))

    def test_waiting_is_bounded(self):
        bounds = dataclasses.replace(
            self.p.bounds, lock_age=1000.0, lock_wait=2.0, wound_after=0.5)
        k, other = self.pair()
        self.q = self.process(bounds=bounds)
        with base.crash_at('several:send'):
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
            with base.at_step(step, lambda: None):
                self.assertEqual((locked, 'b', 'w'),
                                 self.get('items', locked))
        finally:
            self.faulty.inner.__dict__.pop('read', None)

    def test_the_primary_is_global(self):
        team = self.key()
        log = self.p.insert('logs', 'text', None, created=base.number())
        k = self.item()
        with base.crash_at('several:answered'):
            self.p.commit(log, self.p.update(self.p.get('items', k), v='b'),
                          self.p.insert('teams', team, 'n'))
        self.assertEqual(
            [], [*self.markers('items', k), *self.markers('teams', team)])
        self.assertIn(writes.State.COMMITTED,
                      [m.state for m in self.markers('logs')])
