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

import unittest

import msgpack

from luc_drivers.db.store import base
from luc_drivers.db.store import codec
from luc_drivers.db.store.embedded import EmbeddedStore
from luc_drivers.db.transaction import bounds
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.clock import BEGINNING
from tests.unit.db import transaction_fixtures as fixtures
from tests.unit.db.protocol import contract


class EmbeddedProtocolTest(contract.ProtocolContract,
                           unittest.TestCase):

    def setUp(self):
        self.store = EmbeddedStore('test', fixtures.settings())
        self.addCleanup(self.store.close)
        self.store.prepare(['global', 'at_site1'])
        super().setUp()


class HistoryTest(unittest.TestCase):

    def txid(self, seconds):
        return int(seconds * 1e6).to_bytes(8, 'big') + b'somenode'

    def test_an_insert_begins_it(self):
        self.assertEqual((BEGINNING, self.txid(5)),
                         writes.extend((), self.txid(5)))

    def test_one_older_than_the_horizon_is_kept(self):
        history = ()
        for n in range(0, 1000, 50):
            history = writes.extend(history, self.txid(n))
        # 120 s before 950 s: from 850 on, and 800
        self.assertEqual([self.txid(n) for n in (800, 850, 900, 950)],
                         list(history))

    def test_it_is_bounded(self):
        history = ()
        for n in range(200):
            history = writes.extend(history, self.txid(1 + n / 1000))
        self.assertEqual(writes.HISTORY_LENGTH, len(history))
        self.assertEqual(self.txid(1.199), history[-1])

    def test_moves_are_noted(self):
        history = writes.extend((), self.txid(1), moved=True)
        self.assertEqual(1, len(writes.moves(history)))
        history = writes.extend(history, self.txid(2))
        history = writes.extend(history, self.txid(3), moved=True)
        self.assertEqual(2, len(writes.moves(history)))
        self.assertEqual(self.txid(3), history[-1])


class LockTest(unittest.TestCase):

    def test_locks_of_an_older_release(self):
        lock = base.Lock(b'x' * 16, base.Group('global', b'g'), b'doc')
        old = msgpack.packb(msgpack.unpackb(codec.pack_lock(lock))[:4])
        self.assertEqual(lock, codec.unpack_lock(lock.txid, old))


class BoundsTest(unittest.TestCase):

    def test_bounds_that_break_the_rules_are_refused(self):
        for wrong in (dict(settle=301.0), dict(send=50000.0),
                      dict(send=550.0), dict(tombstone_ttl=100)):
            self.assertRaises(ValueError, bounds.Bounds, **wrong)
