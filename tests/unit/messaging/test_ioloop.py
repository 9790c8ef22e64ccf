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


"""Who runs the I/O loop: its thread, who pushes, and who waits."""

import threading
import unittest

from luc_drivers.messaging import ioloop
from luc_drivers.messaging import opts
from luc_drivers.messaging import waiting


class TurnsTest(unittest.TestCase):
    """A loop whose thread does not run."""

    def setUp(self):
        super().setUp()
        settings = opts.load({'matchmaker': 'memory'})
        self.io = ioloop.IoLoop(settings, b'i' * 16, '', None,
                                waiting.NativeSlot())
        self.io._setup()
        self.io._running = True
        self.addCleanup(self.io._teardown)
        self.slot = waiting.NativeSlot()

    def test_command_is_run_by_who_gives_it(self):
        ran = []
        self.io.push(lambda: ran.append(threading.get_ident()))
        self.assertEqual([threading.get_ident()], ran)

    def test_command_given_in_a_turn_is_run_after_it(self):
        ran = []
        self.io.push(lambda: (self.io.push(ran.append, 2), ran.append(1)))
        self.assertEqual([1, 2], ran)

    def test_command_in_a_crowd_is_left_to_the_thread(self):
        ran = []
        self.io.running = 10
        self.io.push(ran.append, 1)
        self.assertEqual([], ran)
        self.assertTrue(self.io._roused)
        self.assertEqual([(self.io._wake.fd, 1)], self.io._epoll.poll(0))

    def test_call_to_wake_up_is_made_again_after_it_was_heard(self):
        self.io.running = 10
        ran = []
        for i in range(3):
            self.io.push(ran.append, i)
            self.io._poll(1)
            self.io._turn()
            self.assertEqual(list(range(i + 1)), ran)

    def test_fault_of_a_command_is_told_and_the_next_runs(self):
        ran = []
        self.io.running = 10
        self.io.push(lambda: 1 / 0)
        self.io.push(ran.append, 1)
        self.io._turn()
        self.assertEqual([1], ran)
        self.assertIn('ZeroDivisionError', str(self.io.agent.get(0)))

    def test_waiting_thread_runs_commands_until_its_item_comes(self):
        self.io.running = 10
        self.io.push(self.slot.put, 'item')
        self.io.running = 0
        self.assertEqual('item', self.io.wait(self.slot, 5))

    def test_waiting_ends_at_its_time(self):
        self.assertIsNone(self.io.wait(self.slot, 0.05))
        self.assertIsNone(self.io.wait(self.slot, 0))

    def test_one_thread_leads(self):
        first = threading.Thread(target=self.io.wait, args=(self.slot, 5))
        first.start()
        while self.io._leader is None:
            pass
        other = waiting.NativeSlot()
        other.put('mine')
        self.assertEqual('mine', self.io.wait(other, 5))
        self.assertIs(self.slot, self.io._leader)
        # Its item comes in another thread's turn.
        self.io.push(self.slot.put, 'item')
        first.join(2)
        self.assertFalse(first.is_alive())

    def test_what_was_reported_to_a_leader_that_leaves_is_not_lost(self):
        # epoll tells of an edge once, and told this thread.
        def poll(timeout):
            self.io._reported.append(12345)
            self.slot.put('item')

        self.io._poll = poll
        self.assertEqual('item', self.io.wait(self.slot, 5))
        self.assertTrue(self.io._roused)

    def test_what_is_ready_when_a_leader_leaves_is_not_lost(self):
        def turn(leads):
            self.io._ready['peer'] = None
            self.slot.put('item')
            return 0.0

        self.io._turn = turn
        self.assertEqual('item', self.io.wait(self.slot, 5))
        self.assertTrue(self.io._roused)
        self.io._ready.clear()

    def test_leader_that_leaves_hands_over_what_is_due_sooner(self):
        self.io._rests_until = 1e12
        self.io._turn = lambda leads: self.slot.put('item') or 1e12
        self.io._due = 1e6
        self.assertEqual('item', self.io.wait(self.slot, 5))
        self.assertTrue(self.io._roused)
