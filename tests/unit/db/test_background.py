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
import subprocess
import sys
import textwrap
import threading
import time
import unittest

from luc_drivers.db import errors
from luc_drivers.db.transaction import background


class BackgroundTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.background = background.Background(limit=10)

    def test_no_thread_before_the_first_task(self):
        before = threading.active_count()
        one = background.Background()
        one.repeat(lambda: None, 0.01)
        self.assertEqual(before, threading.active_count())
        self.assertTrue(one.flush(0.0))

    def test_tasks_run_in_order_of_their_time(self):
        done, ready = [], threading.Event()
        self.background.submit(lambda: done.append(2), 0.05)
        self.background.submit(ready.set, 0.1)
        self.background.submit(lambda: done.append(1))
        self.assertTrue(ready.wait(5))
        self.assertEqual([1, 2], done)

    def test_a_failed_task_does_not_stop_the_others(self):
        ready = threading.Event()
        with self.assertLogs(background.LOG, 'ERROR'):
            self.background.submit(lambda: 1 / 0)
            self.background.submit(ready.set)
            self.assertTrue(ready.wait(5))

    def test_an_outage_is_one_line(self):
        def fail():
            raise errors.StoreUnavailable('no node answers')

        def run(*tasks):
            ready = threading.Event()
            for task in (*tasks, ready.set):
                self.background.submit(task)
            self.assertTrue(ready.wait(5))

        with self.assertLogs(background.LOG, 'WARNING') as logs:
            run(fail, fail)
        self.assertEqual(1, len(logs.output))
        self.assertIn('until the store answers: no node answers',
                      logs.output[0])
        self.assertNotIn('Traceback', logs.output[0])
        # it has answered since: the next outage is told again
        with self.assertLogs(background.LOG, 'WARNING') as logs:
            run(fail)
        self.assertEqual(1, len(logs.output))

    def test_flush_waits_for_what_is_needed(self):
        done = []
        self.background.submit(lambda: done.append('cleaning'), 60)
        self.background.submit(
            lambda: (time.sleep(0.05), done.append('needed')), needed=True)
        self.assertTrue(self.background.flush(5))
        self.assertEqual(['needed'], done)

    def test_flush_waits_for_what_is_due_later(self):
        done = []
        self.background.submit(lambda: done.append('needed'), 0.3,
                               needed=True)
        self.background.flush(0.1)
        self.assertEqual(['needed'], done)

    def test_flush_is_bounded(self):
        stop = threading.Event()
        self.addCleanup(stop.set)
        self.background.submit(stop.wait, needed=True)
        begin = time.monotonic()
        self.assertFalse(self.background.flush(0.05))
        self.assertLess(time.monotonic() - begin, 2)

    def test_a_full_queue_runs_what_is_needed_and_drops_the_rest(self):
        for _ in range(10):
            self.background.submit(lambda: None, 60)
        done = []
        with self.assertLogs(background.LOG, 'WARNING'):
            self.background.submit(lambda: done.append('dropped'))
        self.background.submit(lambda: done.append('needed'), needed=True)
        self.assertEqual(['needed'], done)

    def test_what_is_collected_is_handed_over_together(self):
        got, stop, ready = [], threading.Event(), threading.Event()
        self.background.submit(stop.wait)
        for n in range(3):
            self.background.collect(got.append, n)
        self.background.collect(lambda items: ready.set(), None)
        self.assertEqual([], got)
        stop.set()
        self.assertTrue(ready.wait(5))
        self.assertEqual([[0, 1, 2]], got)
        self.background.collect(got.append, 3)
        self.assertTrue(self.background.flush(5))
        self.assertEqual([[0, 1, 2], [3]], got)

    def test_a_forked_child_has_collected_nothing(self):
        stop = threading.Event()
        self.addCleanup(stop.set)
        self.background.submit(stop.wait)
        read, write = os.pipe()

        def handler(items):
            os.write(write, repr(items).encode())

        self.background.collect(handler, 'parent')
        pid = os.fork()
        if not pid:
            self.background.collect(handler, 'child')
            os._exit(0 if self.background.flush(5) else 1)
        _, status = os.waitpid(pid, 0)
        self.assertEqual(0, status)
        self.assertEqual(b"['child']", os.read(read, 100))
        stop.set()
        self.assertTrue(self.background.flush(5))
        self.assertEqual(b"['parent']", os.read(read, 100))
        os.close(read)
        os.close(write)

    def test_repeated_tasks(self):
        times, ready = [], threading.Event()

        def task():
            times.append(time.monotonic())
            if len(times) == 3:
                ready.set()

        self.background.repeat(task, 0.01)
        self.background.submit(lambda: None)
        self.assertTrue(ready.wait(5))

    def test_a_forked_child_begins_anew(self):
        self.background.submit(lambda: None, 60)
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            self.background.submit(lambda: os.write(write, b'child'),
                                   needed=True)
            os._exit(0 if self.background.flush(5) else 1)
        _, status = os.waitpid(pid, 0)
        self.assertEqual(0, status)
        self.assertEqual(b'child', os.read(read, 10))
        os.close(read)
        os.close(write)

    def run_program(self, program):
        return subprocess.run(
            [sys.executable, '-c', textwrap.dedent(program)], timeout=60,
            capture_output=True, text=True, check=True).stdout

    def test_needed_work_is_done_at_the_end_of_the_process(self):
        out = self.run_program('''
            import time
            from luc_drivers.db.transaction import background
            b = background.Background()
            b.submit(lambda: (time.sleep(0.2), print('done', flush=True)),
                     needed=True)
            b.submit(lambda: print('never'), 60)
            ''')
        self.assertEqual('done\n', out)

    def test_under_eventlet(self):
        # native: it runs although no greenlet yields; green: when one does
        out = self.run_program('''
            import eventlet
            eventlet.monkey_patch()
            from eventlet import patcher
            sleep = patcher.original('time').sleep
            import time
            from luc_drivers.db.transaction import background
            for native in (True, False):
                b = background.Background(native=native)
                done = []
                b.submit(lambda: done.append(1))
                for _ in range(100):
                    if done or not native:
                        break
                    sleep(0.02)
                if not native:
                    assert not done
                    for _ in range(100):
                        time.sleep(0.01)
                        if done:
                            break
                assert b.flush(1)
                print(native, done)
            ''')
        self.assertEqual('True [1]\nFalse [1]\n', out)
