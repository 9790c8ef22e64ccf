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

"""What every store must do with its catalog, leases and sequences; see
store_contract.
"""

import itertools
import os
import threading
import time
from typing import Any

from luc_drivers.db.store import base

_numbers = itertools.count(1)


class RegistersContract:

    store: base.Store
    assertEqual: Any
    assertTrue: Any
    assertFalse: Any
    assertRaises: Any

    def test_catalog(self):
        start = max([v for v, __ in self.store.catalog_read()], default=0)
        self.assertTrue(self.store.catalog_append(start + 1, b'one'))
        self.assertFalse(self.store.catalog_append(start + 1, b'other'))
        self.assertTrue(self.store.catalog_append(start + 2, b'two'))
        self.assertEqual([(start + 1, b'one'), (start + 2, b'two')],
                         self.store.catalog_read(start))
        self.assertEqual([(start + 2, b'two')],
                         self.store.catalog_read(start + 1))
        self.assertEqual([], self.store.catalog_read(start + 2))

    def test_one_appender_wins(self):
        start = max([v for v, __ in self.store.catalog_read()], default=0)
        won = []

        def work(number):
            if self.store.catalog_append(start + 1, b'%d' % number):
                won.append(b'%d' % number)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(1, len(won))
        self.assertEqual([(start + 1, won[0])],
                         self.store.catalog_read(start))

    def test_leases(self):
        one, two = f'h{next(_numbers)}', f'h{next(_numbers)}'
        self.store.lease(one, 60)
        self.store.lease(two, 60)
        self.assertEqual({one, two}, {one, two} & self.store.leases())
        self.store.lease(one, 0)
        self.assertEqual({two}, {one, two} & self.store.leases())
        self.store.lease(two, 1)
        time.sleep(2.1)
        self.assertEqual(set(), {one, two} & self.store.leases())

    def test_sequences(self):
        name = f's{next(_numbers)}-{os.getpid()}'
        self.assertEqual(1, self.store.claim(name, 1))
        self.assertEqual(2, self.store.claim(name, 10))
        self.assertEqual(12, self.store.claim(name, 1))
        self.store.advance(name, 5)
        self.assertEqual(13, self.store.claim(name, 1))
        self.store.advance(name, 100)
        self.assertEqual(101, self.store.claim(name, 1))
        other = name + 'x'
        self.store.advance(other, 7)
        self.assertEqual(8, self.store.claim(other, 2))
        third = name + 'y'
        self.store.advance(third, -5)
        self.assertEqual(1, self.store.claim(third, 1))
        self.assertRaises(ValueError, self.store.claim, name, 0)

    def test_claims_never_overlap(self):
        name = f's{next(_numbers)}-{os.getpid()}'
        drawn = []

        def work():
            for __ in range(3):
                first = self.store.claim(name, 5)
                drawn.extend(range(first, first + 5))
        threads = [threading.Thread(target=work) for __ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(60, len(drawn))
        self.assertEqual(60, len(set(drawn)))
