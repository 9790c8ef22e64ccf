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

"""What every store must do, as tests that are run on each of them."""

import itertools
import os
import threading
import time
from typing import Any

from luc_drivers.db.store import base
from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import Lock
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import Row
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.store.base import RowWrite
from tests.unit.db.store_contract_index import IndexContract
from tests.unit.db.store_contract_registers import RegistersContract

APPLIED, REFUSED = Outcome.APPLIED, Outcome.REFUSED
#: the localities that the tests use
LOCALITIES = ('global', 'at_site1')
_numbers = itertools.count(1)


def txid(number: int) -> bytes:
    """Return a transaction id."""
    return number.to_bytes(8, 'big') + b'testnode'


def insert(key: RowKey, version: bytes, document: bytes | None = b'd',
           **more: Any) -> RowWrite:
    """Return a write of a row that must be absent."""
    return RowWrite(key, Expect.ABSENT, version=version, document=document,
                    history=(version,), **more)


def update(key: RowKey, seen: bytes, version: bytes,
           document: bytes | None = b'e', **more: Any) -> RowWrite:
    """Return a write of a row that must have the version ``seen``."""
    return RowWrite(key, Expect.VERSION, seen, version=version,
                    document=document, history=(seen, version), **more)


class StoreContract(IndexContract, RegistersContract):
    """Mixed into a TestCase that has ``self.store``, prepared.

    Tests may share a database: names are drawn anew for each.
    """

    store: base.Store
    assertEqual: Any
    assertTrue: Any
    assertFalse: Any
    assertRaises: Any
    assertIn: Any
    assertNotIn: Any

    def group(self, locality: str = 'at_site1') -> Group:
        return Group(locality, b'g%d-%d' % (os.getpid(), next(_numbers)))

    def put(self, group: Group, *writes: RowWrite) -> Outcome:
        outcome, = self.store.write([Batch(group, tuple(writes))])
        return outcome

    def get(self, group: Group, *tables: int, pks: Any = None,
            serial: bool = False) -> list[Row]:
        rows, = self.store.read([GroupRead(group, tables, pks)], serial)
        return rows

    # --- rows

    def test_insert_and_read(self):
        group, key = self.group(), RowKey(3, b'\0pk\xff')
        self.assertEqual([], self.get(group))
        self.assertEqual(APPLIED, self.put(group, insert(key, txid(1))))
        expected = [Row(key, txid(1), b'd', (txid(1),))]
        self.assertEqual(expected, self.get(group))
        self.assertEqual(expected, self.get(group, serial=True))
        self.assertEqual(REFUSED, self.put(group, insert(key, txid(2))))
        self.assertEqual(expected, self.get(group))

    def test_localities_and_groups_are_apart(self):
        here = self.group('at_site1')
        there = Group('global', here.key)
        key = RowKey(1, b'a')
        self.put(here, insert(key, txid(1), b'here'))
        self.put(there, insert(key, txid(2), b'there'))
        found = self.store.read([GroupRead(here), GroupRead(there),
                                 GroupRead(self.group())])
        self.assertEqual([[b'here'], [b'there'], []],
                         [[r.document for r in rows] for rows in found])

    def test_update_needs_the_version(self):
        group, key = self.group(), RowKey(1, b'a')
        self.assertEqual(REFUSED, self.put(group, update(
            key, txid(1), txid(2))))
        self.assertEqual([], self.get(group))
        self.put(group, insert(key, txid(1)))
        self.assertEqual(REFUSED, self.put(group, update(
            key, txid(9), txid(2))))
        self.assertEqual(APPLIED, self.put(group, update(
            key, txid(1), txid(2))))
        self.assertEqual([Row(key, txid(2), b'e', (txid(1), txid(2)))],
                         self.get(group))

    def test_batch_is_all_or_nothing(self):
        group = self.group()
        a, b, c = RowKey(1, b'a'), RowKey(2, b'b'), RowKey(2, b'c')
        self.put(group, insert(a, txid(1)), insert(b, txid(1)))
        self.assertEqual(REFUSED, self.put(
            group, update(a, txid(1), txid(2)), insert(c, txid(2)),
            insert(b, txid(2))))
        self.assertEqual([(a, txid(1)), (b, txid(1))],
                         [(r.key, r.version) for r in self.get(group)])
        self.assertEqual(APPLIED, self.put(
            group, update(a, txid(1), txid(2)), insert(c, txid(2)),
            update(b, txid(1), txid(2), None)))
        self.assertEqual([(a, b'e'), (b, None), (c, b'd')],
                         [(r.key, r.document) for r in self.get(group)])

    def test_batches_of_several_groups_are_independent(self):
        one, two, key = self.group(), self.group('global'), RowKey(1, b'a')
        self.put(two, insert(key, txid(1)))
        outcomes = self.store.write([
            Batch(one, (insert(key, txid(2)),)),
            Batch(two, (insert(key, txid(2)),))])
        self.assertEqual([APPLIED, REFUSED], outcomes)
        self.assertEqual(txid(2), self.get(one)[0].version)
        self.assertEqual(txid(1), self.get(two)[0].version)
        self.assertEqual([], self.store.write([]))

    def test_large_batch(self):
        group = self.group()
        writes = [insert(RowKey(1, b'%06d' % n), txid(1), b'x' * 300)
                  for n in range(400)]
        self.assertEqual(APPLIED, self.put(group, *writes))
        rows = self.get(group)
        self.assertEqual([w.key for w in writes], [r.key for r in rows])

    def test_large_document(self):
        group, key = self.group(), RowKey(1, b'a')
        document = os.urandom(2 ** 20)
        self.put(group, insert(key, txid(1), document))
        self.assertEqual(document, self.get(group)[0].document)

    def test_read_selects_and_orders(self):
        group = self.group()
        keys = [RowKey(t, pk) for t in (1, 2, 3)
                for pk in (b'', b'\0', b'a', b'a\0', b'a\xff', b'b')]
        self.put(group, *[insert(k, txid(1)) for k in reversed(keys)])

        def found(*tables, pks=None):
            return [r.key for r in self.get(group, *tables, pks=pks)]
        self.assertEqual(keys, found())
        self.assertEqual([k for k in keys if k.table == 2], found(2))
        self.assertEqual([k for k in keys if k.table != 2], found(3, 1))
        self.assertEqual([RowKey(2, b''), RowKey(2, b'a\xff')],
                         found(2, pks=(b'a\xff', b'none', b'', b'')))
        self.assertEqual([], found(2, pks=()))

    def test_many_single_rows(self):
        """Of many groups, some absent: each in its read's place."""
        for count, step in ((3, 2), (4, 3), (17, 4), (150, 21)):
            groups = [self.group() for _ in range(count)]
            for n in range(0, count, step):
                # a busy server may leave an outcome unknown
                self.assertNotEqual(REFUSED, self.put(groups[n], insert(
                    RowKey(5, b'k'), txid(1), b'%d' % n)))
            found = self.store.read(
                [GroupRead(g, (5,), (b'k',)) for g in groups], True)
            self.assertEqual(
                [b'%d' % n for n in range(0, count, step)],
                [row.document for rows in found for row in rows])
            self.assertEqual(found, self.store.read(
                [GroupRead(g, (5,), (b'k',)) for g in groups]))
            for n, rows in enumerate(found):
                self.assertEqual(n % step == 0, bool(rows))

    def test_many_rows_of_a_group_by_key(self):
        group = self.group()
        keys = [RowKey(5, b'%05d' % n) for n in range(0, 2500, 25)]
        self.put(group, *[insert(k, txid(1)) for k in keys])
        rows = self.get(group, 5, pks=tuple(
            b'%05d' % n for n in range(2500)))
        self.assertEqual(keys, [r.key for r in rows])

    def test_read_both(self):
        """Groups and index slices in one round, each in its place."""
        group, other = self.group(), self.group()
        self.put(group, insert(RowKey(5, b'k'), txid(1)))
        entries = [IndexEntry('at_site1', 5, 6, group.key, 0, b'%d' % n,
                              b'ref') for n in range(3)]
        self.store.put_index(entries, 1)
        before = self.store.here.rounds
        rows, slices = self.store.read_both(
            [GroupRead(other), GroupRead(group, (5,))],
            [IndexRead('at_site1', 5, 6, group.key, 1, b'1'),
             IndexRead('at_site1', 5, 6, other.key),
             IndexRead('at_site1', 5, 6, group.key)])
        self.assertEqual(1, self.store.here.rounds - before)
        self.assertEqual([0, 1], [len(r) for r in rows])
        self.assertEqual([[b'1', b'2'], [], [b'0', b'1', b'2']],
                         [[rest for rest, _ in one] for one in slices])
        self.assertEqual(([], []), self.store.read_both([], []))

    def test_write_both(self):
        """Batches and index entries, whatever becomes of the batches."""
        group, other = self.group(), self.group()
        key = RowKey(5, b'k')
        self.put(other, insert(key, txid(1)))
        entry = IndexEntry('at_site1', 5, 6, group.key, 0, b'', b'ref')
        before = self.store.here.rounds
        self.assertEqual([APPLIED, REFUSED], self.store.write_both(
            [Batch(group, (insert(key, txid(2)),)),
             Batch(other, (insert(key, txid(2)),))], [entry], 1))
        self.assertEqual(1 if self.store.reads_ahead else 2,
                         self.store.here.rounds - before)
        self.assertEqual([txid(2)], [r.version for r in self.get(group)])
        self.assertEqual([[(b'', b'ref')]], self.store.read_index(
            [IndexRead('at_site1', 5, 6, group.key)]))

    def test_write_and_read(self):
        """Rows and entries beside batches, whatever becomes of these."""
        group, other = self.group(), self.group()
        key = RowKey(5, b'k')
        self.put(other, insert(key, txid(1)))
        self.store.put_index([IndexEntry(
            'at_site1', 5, 6, group.key, 0, b'', b'ref')], 1)
        before = self.store.here.rounds
        outcomes, found = self.store.write_and_read(
            [Batch(group, (insert(key, txid(2)),)),
             Batch(other, (insert(key, txid(2)),))],
            [GroupRead(self.group()), GroupRead(other, (5,))],
            [IndexRead('at_site1', 5, 6, group.key)])
        if self.store.reads_ahead:
            self.assertEqual(1, self.store.here.rounds - before)
        self.assertEqual([APPLIED, REFUSED], outcomes)
        self.assertEqual([[], [txid(1)]],
                         [[r.version for r in rows] for rows in found[0]])
        self.assertEqual([[(b'', b'ref')]], found[1])
        self.assertEqual([txid(2)], [r.version for r in self.get(group)])
        self.assertEqual(([APPLIED], ([], [])), self.store.write_and_read(
            [Batch(self.group(), (insert(key, txid(2)),))], [], []))

    def test_fill(self):
        one, two = self.group(), self.group('global')
        entry = IndexEntry('at_site1', 1, 1, b'fill' + one.key, 0, b'r', b'f')
        now = int(time.time() * 1e6)
        version = txid(now)
        self.store.fill([
            Batch(one, (insert(RowKey(1, b'a'), version),
                        insert(RowKey(2, b'b'), version, b'x' * 9))),
            Batch(two, (insert(RowKey(1, b'a'), version),))], [entry], now)
        self.assertEqual(
            [Row(RowKey(1, b'a'), version, b'd', (version,)),
             Row(RowKey(2, b'b'), version, b'x' * 9, (version,))],
            self.get(one))
        self.assertEqual([b'd'], [r.document for r in self.get(two)])
        self.assertEqual([[(b'r', b'f')]], self.store.read_index(
            [IndexRead('at_site1', 1, 1, b'fill' + one.key)]))
        # what conditional writes make of it
        later = txid(now + 1)
        self.assertEqual(REFUSED, self.put(
            one, insert(RowKey(1, b'a'), later)))
        self.assertEqual(APPLIED, self.put(
            one, update(RowKey(1, b'a'), version, later)))
        self.assertEqual(APPLIED, self.put(
            two, update(RowKey(1, b'a'), version, later, None)))
        self.assertEqual([(later, b'e'), (version, b'x' * 9)],
                         [(r.version, r.document) for r in self.get(one)])
        self.assertEqual([None], [r.document for r in self.get(two)])

    def test_markers_are_read_by_name_only(self):
        group = self.group()
        marker = RowKey(base.MARKER_TABLE, txid(1))
        key = RowKey(base.MARKER_TABLE - 1, b'a')
        self.put(group, insert(key, txid(1)), insert(marker, txid(1)))
        self.assertEqual([key], [r.key for r in self.get(group)])
        found = self.get(group, base.MARKER_TABLE, pks=(txid(1),))
        self.assertEqual([marker], [r.key for r in found])
        found = self.get(group, base.MARKER_TABLE)
        self.assertEqual([marker], [r.key for r in found])

    def test_tombstone(self):
        group, key = self.group(), RowKey(1, b'a')
        self.put(group, insert(key, txid(1)))
        self.put(group, update(key, txid(1), txid(2), None, moved_to=b'ref'))
        self.assertEqual([Row(key, txid(2), None, (txid(1), txid(2)),
                              None, b'ref')], self.get(group))
        self.assertEqual(REFUSED, self.put(group, insert(key, txid(3))))
        self.assertEqual(APPLIED, self.put(group, update(
            key, txid(2), txid(3), b'again')))
        self.assertEqual((b'again', None), (
            self.get(group)[0].document, self.get(group)[0].moved_to))
        self.put(group, update(key, txid(3), txid(4), None))
        self.assertEqual((None, None), (
            self.get(group)[0].document, self.get(group)[0].moved_to))

    # --- locks

    def lock(self, number: int, document: bytes | None = b'new',
             **more: Any) -> Lock:
        return Lock(txid(number), Group('global', b'p\0\xff'), document,
                    **more)

    def test_prepare_of_a_row(self):
        group, key = self.group(), RowKey(1, b'a')
        self.put(group, insert(key, txid(1)))
        lock = self.lock(2, None, moved_to=b'there', groups=7)
        prepare = RowWrite(key, Expect.VERSION, txid(1), prepare=lock)
        self.assertEqual(APPLIED, self.put(group, prepare))
        self.assertEqual([Row(key, txid(1), b'd', (txid(1),), lock)],
                         self.get(group))
        # rule 2: the lock excludes every other condition
        for write in (update(key, txid(1), txid(3)), insert(key, txid(3)),
                      prepare,
                      RowWrite(key, Expect.ABSENT, prepare=self.lock(3)),
                      RowWrite(key, Expect.LOCKED, txid(3), unlock=True),
                      RowWrite(key, Expect.LOCKED, txid(1), erase=True),
                      RowWrite(key, Expect.VERSION, txid(1), erase=True)):
            self.assertEqual(REFUSED, self.put(group, write))
        self.assertEqual([Row(key, txid(1), b'd', (txid(1),), lock)],
                         self.get(group))

    def test_apply(self):
        group, key = self.group(), RowKey(1, b'a')
        self.put(group, insert(key, txid(1)))
        self.put(group, RowWrite(key, Expect.VERSION, txid(1),
                                 prepare=self.lock(2)))
        apply = RowWrite(key, Expect.LOCKED, txid(2), version=txid(2),
                         document=b'new', history=(txid(1), txid(2)))
        self.assertEqual(APPLIED, self.put(group, apply))
        self.assertEqual(REFUSED, self.put(group, apply))
        self.assertEqual([Row(key, txid(2), b'new', (txid(1), txid(2)))],
                         self.get(group))

    def test_roll_back(self):
        group, key = self.group(), RowKey(1, b'a')
        self.put(group, insert(key, txid(1)))
        self.put(group, RowWrite(key, Expect.VERSION, txid(1),
                                 prepare=self.lock(2)))
        unlock = RowWrite(key, Expect.LOCKED, txid(2), unlock=True)
        self.assertEqual(APPLIED, self.put(group, unlock))
        self.assertEqual(REFUSED, self.put(group, unlock))
        self.assertEqual([Row(key, txid(1), b'd', (txid(1),))],
                         self.get(group))
        self.assertEqual(APPLIED, self.put(group, update(
            key, txid(1), txid(3))))

    def test_prepared_insert(self):
        group, key = self.group(), RowKey(1, b'a')
        prepare = RowWrite(key, Expect.ABSENT, prepare=self.lock(1))
        self.assertEqual(APPLIED, self.put(group, prepare))
        self.assertEqual([Row(key, None, None, (), self.lock(1))],
                         self.get(group))
        self.assertEqual(REFUSED, self.put(group, insert(key, txid(2))))
        self.assertEqual(REFUSED, self.put(group, RowWrite(
            key, Expect.ABSENT, prepare=self.lock(2))))
        for rid in ('unlock', 'erase'):
            self.assertEqual(APPLIED, self.put(group, RowWrite(
                key, Expect.LOCKED, txid(1), **{rid: True})))
            self.assertEqual([], self.get(group))
            self.assertEqual(APPLIED, self.put(group, prepare))
        self.put(group, RowWrite(key, Expect.LOCKED, txid(1),
                                 version=txid(1), document=b'new',
                                 history=(txid(1),)))
        self.assertEqual([Row(key, txid(1), b'new', (txid(1),))],
                         self.get(group))

    def test_erase(self):
        group, key = self.group(), RowKey(base.MARKER_TABLE, b'a')
        self.put(group, insert(key, txid(1)))
        erase = RowWrite(key, Expect.VERSION, txid(2), erase=True)
        self.assertEqual(REFUSED, self.put(group, erase))
        erase = RowWrite(key, Expect.VERSION, txid(1), erase=True)
        self.assertEqual(APPLIED, self.put(group, erase))
        self.assertEqual([], self.get(group, base.MARKER_TABLE))
        self.assertEqual(APPLIED, self.put(group, insert(key, txid(3))))

    # --- time to live

    def test_ttl(self):
        group = self.group()
        a, b, c, d = (RowKey(1, k) for k in (b'a', b'b', b'c', b'd'))
        self.put(group, *[insert(k, txid(1)) for k in (a, b, c)])
        self.put(group, update(a, txid(1), txid(2), None, ttl=1,
                               moved_to=b'x'),
                 insert(d, txid(2), ttl=1),
                 update(b, txid(1), txid(2), None, ttl=1),
                 update(c, txid(1), txid(2), None, ttl=1))
        self.assertEqual(4, len(self.get(group)))
        # a row that is written again is there to stay
        self.put(group, update(b, txid(2), txid(3), b'stays'))
        # a lock outlives the tombstone on which it was put
        self.put(group, RowWrite(c, Expect.VERSION, txid(2),
                                 prepare=self.lock(3)))
        time.sleep(2.1)
        self.assertEqual([Row(b, txid(3), b'stays', (txid(2), txid(3))),
                          Row(c, None, None, (), self.lock(3))],
                         self.get(group))
        self.assertEqual([b, c], [r.key for r in self.get(
            group, 1, pks=(a.pk, b.pk, c.pk, d.pk))])
        self.assertEqual(REFUSED, self.put(group, update(
            a, txid(2), txid(4))))
        self.assertEqual(APPLIED, self.put(group, insert(a, txid(4))))
        self.assertEqual(APPLIED, self.put(group, RowWrite(
            d, Expect.ABSENT, prepare=self.lock(4))))
        self.assertEqual(APPLIED, self.put(group, RowWrite(
            c, Expect.LOCKED, txid(3), unlock=True)))
        self.assertEqual([Row(a, txid(4), b'd', (txid(4),)),
                          Row(b, txid(3), b'stays', (txid(2), txid(3))),
                          Row(d, None, None, (), self.lock(4))],
                         self.get(group))

    # --- bad batches

    def test_senseless_batches_are_refused(self):
        group, key = self.group(), RowKey(1, b'a')
        for writes in (
                (), (insert(key, txid(1)), insert(key, txid(1))),
                (RowWrite(key, Expect.ABSENT, document=b'd'),),
                (RowWrite(key, Expect.VERSION, None, version=txid(1)),),
                (RowWrite(key, Expect.ABSENT, txid(1), version=txid(1)),),
                (RowWrite(key, Expect.ABSENT, erase=True),),
                (RowWrite(key, Expect.VERSION, txid(1), unlock=True),),
                (RowWrite(key, Expect.ABSENT, prepare=self.lock(1),
                          ttl=1),),
                (RowWrite(key, Expect.ABSENT, version=txid(1),
                          history=(b'short',)),)):
            self.assertRaises(ValueError, self.put, group, *writes)
        self.assertEqual([], self.get(group))

    # --- concurrency

    def test_one_of_many_writers_wins(self):
        group, key = self.group(), RowKey(1, b'a')
        self.put(group, insert(key, txid(1)))
        outcomes = []

        def work(number):
            outcomes.append((self.put(group, update(
                key, txid(1), txid(number))), number))
        threads = [threading.Thread(target=work, args=(n,))
                   for n in range(2, 10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(8, len(outcomes))
        applied = [n for outcome, n in outcomes if outcome is APPLIED]
        version = self.get(group, serial=True)[0].version
        if not any(o is Outcome.UNKNOWN for o, __ in outcomes):
            self.assertEqual(1, len(applied))
        self.assertTrue(len(applied) <= 1)
        self.assertEqual([version], [txid(n) for n in applied] or [version])

    # --- the whole

    def test_group_keys(self):
        groups = [self.group() for _ in range(3)]
        for group in groups:
            self.put(group, insert(RowKey(1, b'a'), txid(1)),
                     insert(RowKey(2, b'b'), txid(1)))
        other = self.group('global')
        self.put(other, insert(RowKey(1, b'a'), txid(1)))
        found = list(self.store.group_keys('at_site1'))
        self.assertEqual(len(found), len(set(found)))
        self.assertTrue({g.key for g in groups} <= set(found))
        self.assertNotIn(other.key, found)
        self.assertIn(other.key, list(self.store.group_keys('global')))

    def test_index_partitions(self):
        first = b'w%d-%d' % (os.getpid(), next(_numbers))
        kept = [self.entry(first, bucket=b, ref=r)
                for b in (0, 3) for r in (b'1', b'2')]
        gone = self.entry(first + b'x')
        self.store.put_index([*kept, gone], 5)
        self.store.remove_index([gone], 6)
        found = [p for p in self.store.index_partitions('at_site1')
                 if p.first == first]
        self.assertEqual(
            {base.IndexPartition(e.table, e.index, first, e.bucket)
             for e in kept}, set(found))
        self.assertEqual(2, len(found))

    def test_sizes(self):
        for size in self.store.sizes(LOCALITIES):
            self.assertTrue(size.place)
            self.assertTrue(size.size >= 0, size)

    # --- life

    def test_counters(self):
        group = self.group()
        rounds, requests = self.store.rounds, self.store.requests
        here = self.store.here.rounds
        self.store.read([GroupRead(group), GroupRead(self.group())])
        self.assertEqual(rounds + 1, self.store.rounds)
        # a store may put reads of one kind into one request
        self.assertIn(self.store.requests - requests, (1, 2))
        self.assertEqual(here + 1, self.store.here.rounds)
        other = []
        thread = threading.Thread(
            target=lambda: other.append(self.store.here.rounds))
        thread.start()
        thread.join()
        self.assertEqual([0], other)

    def test_prepare_again(self):
        group, key = self.group(), RowKey(1, b'a')
        self.put(group, insert(key, txid(1)))
        self.store.prepare(LOCALITIES)
        self.assertEqual(1, len(self.get(group)))


class FreshContract:
    """What a fresh name space must do besides."""

    def test_drop_empties(self):
        group, key = self.group(), RowKey(1, b'a')
        self.put(group, insert(key, txid(1)))
        self.store.catalog_append(1, b'one')
        self.store.claim('s', 5)
        self.store.put_index([self.entry(b'v')], 1)
        self.store.drop()
        self.store.prepare(LOCALITIES)
        self.assertEqual([], self.get(group))
        self.assertEqual([], self.store.catalog_read())
        self.assertEqual(1, self.store.claim('s', 1))
        self.assertEqual([], self.slice(b'v'))
