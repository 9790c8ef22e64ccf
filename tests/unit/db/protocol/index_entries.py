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

"""Index entries: when they go, and who may remove them."""

from luc_drivers.db import errors
from luc_drivers.db.transaction import hooks
from tests.unit.db.protocol import base


class IndexEntries(base.Contract):


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

    def test_readers_clean_what_one_transaction_left_at_once(self):
        a, b = self.key('a'), self.key('b')
        keys = [self.item(v=a) for _ in range(20)]
        self.p.commit(*[
            self.p.update(self.p.get('items', k), v=b) for k in keys])
        self.time.advance(1)
        # the locked ones
        self.q.find('items', 'items_v', a)
        self.time.advance(
            self.p.bounds.removal_delay + self.p.bounds.clock_skew + 1)
        self.q.find('items', 'items_v', a)
        self.q.background.run()
        self.time.advance(
            self.p.bounds.removal_delay + self.p.bounds.clock_skew + 1)
        removed = []
        remove = self.faulty.remove_index
        self.faulty.remove_index = lambda entries, timestamp: (
            removed.append(len(entries)), remove(entries, timestamp))
        self.addCleanup(delattr, self.faulty, 'remove_index')
        self.q.find('items', 'items_v', a)
        self.q.find('items', 'items_v', a)
        self.q.background.run()
        self.assertEqual([], self.entries('items', 'items_v', a))
        self.assertLess(len(removed), 5)

    def test_entries_without_a_row_are_cleaned_at_last(self):
        v = self.key('v')
        k = self.key()
        with base.crash_at('one:send'):
            self.p.commit(self.p.insert('items', k, v, 'w'))
        for _ in range(2):
            self.assertEqual(1, len(self.entries('items', 'items_v', v)))
            self.assertEqual([], self.q.find('items', 'items_v', v))
            self.q.background.run()
            self.time.advance(
                self.p.bounds.removal_delay + self.p.bounds.clock_skew
                + self.p.bounds.send + 1)
        self.assertEqual([], self.entries('items', 'items_v', v))
        self.p.commit(self.p.insert('items', k, v, 'w'))
        self.assertEqual(1, len(self.q.find('items', 'items_v', v)))

    def test_a_loser_cleans_nothing(self):
        # rule 9: both give the row this value
        v = self.key('v')
        k = self.key()
        with base.at_step('one:send', lambda: self.q.commit(
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
