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

import os
import threading
import unittest

from luc_drivers.db import errors
from luc_drivers.db.transaction import clock
from luc_drivers.db.transaction.clock import micros
from tests.unit.db.transaction_fixtures import ManualClock


class ClockTest(unittest.TestCase):

    def test_an_id_is_the_time_and_the_node(self):
        c = ManualClock()
        one = c.new_id()
        self.assertEqual(16, len(one))
        self.assertEqual(c.now(), micros(one))
        self.assertEqual(one[8:], c.new_id()[8:])
        self.assertNotEqual(one[8:], ManualClock().new_id()[8:])

    def test_ids_rise_while_time_stands(self):
        c = ManualClock()
        ids = [c.new_id() for _ in range(1000)]
        self.assertEqual(1000, len({micros(i) for i in ids}))
        self.assertEqual(sorted(ids), ids)

    def test_ids_rise_when_time_steps_back(self):
        c = ManualClock()
        one = c.new_id()
        c.offset = -100.0
        self.assertGreater(micros(c.new_id()), micros(one))

    def test_an_id_is_later_in_its_microseconds_than_all_versions_read(self):
        # rule 11: not only greater by its node's number
        ahead, behind = ManualClock(offset=2.0), ManualClock()
        seen = ahead.new_id()
        one = behind.new_id([None, seen, behind.new_id()])
        self.assertEqual(micros(seen) + 1, micros(one))

    def test_a_version_far_ahead_is_refused(self):
        # rule 28
        seen = ManualClock(offset=11.0).new_id()
        with self.assertRaisesRegex(
                errors.OperationalError,
                r'11 s ahead.*NTP.*max_clock_ahead = 10 s'):
            ManualClock().new_id([seen])
        # and does not spoil later ids
        c = ManualClock()
        self.assertRaises(errors.OperationalError, c.new_id, [seen])
        self.assertEqual(c.now(), micros(c.new_id()))

    def test_the_real_clock(self):
        c = clock.Clock()
        before = c.monotonic()
        ids = []

        def work():
            for _ in range(500):
                ids.append(c.new_id())

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(2000, len(set(ids)))
        self.assertLess(abs(micros(ids[0]) - c.now()), 60e6)
        c.sleep(0.001)
        self.assertGreater(c.monotonic(), before)

    def test_a_forked_child_has_a_node_of_its_own(self):
        c = clock.Clock()
        mine = c.new_id()
        read, write = os.pipe()
        with c._lock:  # another thread holds it at the fork
            pid = os.fork()
            if not pid:
                os.write(write, c.new_id())
                os._exit(0)
        os.waitpid(pid, 0)
        theirs = os.read(read, 16)
        os.close(read)
        os.close(write)
        self.assertNotEqual(mine[8:], theirs[8:])
