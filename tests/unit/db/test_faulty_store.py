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

import collections
import unittest

from luc_drivers.db import errors
from luc_drivers.db.store import base
from luc_drivers.db.store import embedded
from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import RowKey
from luc_drivers.testing import faulty_store
from tests.unit.db import store_contract
from tests.unit.db.store_contract import insert
from tests.unit.db.store_contract import txid


class FaultlessStoreTest(store_contract.StoreContract,
                         store_contract.FreshContract, unittest.TestCase):
    """Without faults it is any store."""

    def setUp(self):
        super().setUp()
        self.store = faulty_store.FaultyStore(embedded.EmbeddedStore(
            'test', base.StoreSettings(kind='embedded', fresh=True)))
        self.addCleanup(self.store.inner.close)


class FaultyStoreTest(unittest.TestCase):

    key = RowKey(1, b'a')

    def setUp(self):
        super().setUp()
        self.store = self.make()

    def make(self, seed=0, **faults):
        inner = embedded.EmbeddedStore(
            'test', base.StoreSettings(kind='embedded', fresh=True))
        self.addCleanup(inner.close)
        return faulty_store.FaultyStore(
            inner, seed, faulty_store.Faults(**faults))

    def batch(self, number, name=b'g'):
        return Batch(base.Group('l', name), (insert(self.key, txid(number)),))

    def versions(self, store=None, name=b'g'):
        rows, = (store or self.store).inner.read(
            [base.GroupRead(base.Group('l', name))])
        return [r.version for r in rows]

    def test_lost(self):
        self.store.plan('lost', None)
        self.assertEqual([Outcome.UNKNOWN],
                         self.store.write([self.batch(1)]))
        self.assertEqual([], self.versions())
        self.assertEqual([Outcome.APPLIED],
                         self.store.write([self.batch(2)]))
        self.assertEqual([txid(2)], self.versions())

    def test_answer_lost(self):
        self.store.plan('answer_lost')
        self.assertEqual([Outcome.UNKNOWN],
                         self.store.write([self.batch(1)]))
        self.assertEqual([txid(1)], self.versions())

    def test_late(self):
        self.store.plan('late', 'late', None)
        self.store.faults.late_step = 0
        self.assertEqual([Outcome.UNKNOWN] * 2, self.store.write(
            [self.batch(1), self.batch(1, b'h')]))
        self.assertEqual([Outcome.APPLIED],
                         self.store.write([self.batch(2)]))
        self.assertEqual([[], [txid(2)]],
                         [self.versions(name=b'h'), self.versions()])
        self.assertEqual({Outcome.REFUSED, Outcome.APPLIED},
                         set(self.store.land()))
        self.assertEqual([[txid(1)], [txid(2)]],
                         [self.versions(name=b'h'), self.versions()])
        self.assertEqual([], self.store.land())

    def test_late_lands_before_some_later_call(self):
        self.store.plan('late')
        self.store.faults.late_step = 0.3
        self.store.write([self.batch(1)])
        for __ in range(200):
            self.store.read([])
        self.assertEqual([txid(1)], self.versions())
        self.assertEqual(1, self.store.happened['landed'])

    def test_unavailable(self):
        self.store.plan('unavailable')
        self.assertRaises(errors.StoreUnavailable, self.store.write,
                          [self.batch(1)])
        self.store.plan('unavailable', None)
        self.assertEqual(
            [Outcome.UNKNOWN, Outcome.APPLIED],
            self.store.write([self.batch(1), self.batch(1, b'h')]))
        self.assertEqual([[], [txid(1)]],
                         [self.versions(), self.versions(name=b'h')])

    def test_index_errors_leave_a_part(self):
        self.store.faults.index_error = 1
        sizes = set()
        for number in range(30):
            entries = [base.IndexEntry('l', 1, 1, b'%d' % number, 0, b'',
                                       b'%d' % n) for n in range(4)]
            self.assertRaises(errors.StoreUnavailable, self.store.put_index,
                              entries, 1)
            found, = self.store.read_index([base.IndexRead(
                'l', 1, 1, b'%d' % number)])
            sizes.add(len(found))
        self.assertEqual({0, 1, 2, 3, 4}, sizes)

    def test_read_errors(self):
        self.store.faults.read_error = 1
        self.assertRaises(errors.StoreUnavailable, self.store.read, [])
        self.assertRaises(errors.StoreUnavailable, self.store.read_index, [])

    def test_chance_is_seeded(self):
        def run(seed):
            store = self.make(seed, lost=0.1, answer_lost=0.1, late=0.1,
                              unavailable=0.1)
            outcomes = []
            for number in range(1, 200):
                try:
                    outcomes += store.write([self.batch(1, b'%d' % number)])
                except errors.StoreUnavailable:
                    outcomes.append('unavailable')
            return outcomes
        one = run(1)
        self.assertEqual(one, run(1))
        self.assertNotEqual(one, run(2))
        self.assertEqual({Outcome.APPLIED, Outcome.UNKNOWN, 'unavailable'},
                         set(collections.Counter(one)))

    def test_unknown_fault(self):
        self.assertRaises(ValueError, self.store.plan, 'flood')
