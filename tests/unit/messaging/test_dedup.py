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

import random
import unittest
from unittest import mock

from luc_drivers.messaging import dedup


class SeqWindowTest(unittest.TestCase):

    def test_in_order(self):
        window = dedup.SeqWindow()
        for seq in range(1, 1000):
            self.assertTrue(window.add(seq))
            self.assertFalse(window.add(seq))
        self.assertEqual(0, window.gaps())

    def test_against_a_set(self):
        rng = random.Random(3)
        for _ in range(200):
            window = dedup.SeqWindow()
            seen = set()
            floor = 0
            for _ in range(200):
                if rng.random() < 0.05:
                    floor = max(floor, rng.randrange(1, 80))
                    window.forget_below(floor)
                seq = rng.randrange(1, 100)
                new = seq not in seen and seq >= floor
                self.assertEqual(not new, window.seen(seq))
                self.assertEqual(new, window.add(seq))
                seen.add(seq)

    def test_start_anywhere(self):
        window = dedup.SeqWindow()
        self.assertTrue(window.add(10 ** 12))
        self.assertEqual(1, window.gaps())
        window.forget_below(10 ** 12)
        self.assertEqual(0, window.gaps())
        self.assertFalse(window.add(5))

    def test_memory_is_bounded(self):
        window = dedup.SeqWindow()
        for seq in range(2, 40000, 2):
            self.assertTrue(window.add(seq))
        self.assertLessEqual(window.gaps(), 4096)
        # What was given up counts as seen: never a second run.
        self.assertFalse(window.add(3))
        self.assertTrue(window.add(39997))


class RecentTest(unittest.TestCase):

    def test_twice_within_the_window(self):
        recent = dedup.Recent(10)
        self.assertTrue(recent.add('a', 100))
        self.assertTrue(recent.add('b', 105))
        self.assertFalse(recent.add('a', 110))
        # The window counts from the first time.
        self.assertTrue(recent.add('a', 110.1))
        self.assertFalse(recent.add('b', 115))

    def test_memory_is_bounded(self):
        recent = dedup.Recent(1000)
        with mock.patch.object(dedup, '_MAX_RECENT', 50):
            for i in range(200):
                self.assertTrue(recent.add(i, 1.0))
            self.assertLessEqual(len(recent), 50)
            self.assertFalse(recent.add(199, 1.0))
