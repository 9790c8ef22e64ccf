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

"""CQL sessions on a real server: forks, eventlet, requests, errors."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
import unittest

from luc_drivers import cql
from luc_drivers.testing import shared

_LOCAL = 'SELECT data_center FROM system.local WHERE key = ?'


def settings(**more) -> cql.CqlSettings:
    host, port = shared.endpoint()
    return cql.CqlSettings(**({'contact_points': (host,), 'port': port}
                              | more))


def run_python(program: str) -> str:
    """Run a program in a process of its own; return what it printed."""
    host, port = shared.endpoint()
    head = (f"HOST, PORT = {host!r}, {port}\n"
            "from luc_drivers import cql\n"
            "SETTINGS = cql.CqlSettings(contact_points=(HOST,), port=PORT)\n"
            f"LOCAL = {_LOCAL!r}\n")
    patch = 'import eventlet; eventlet.monkey_patch()\n'
    program = textwrap.dedent(program)
    if program.startswith('# eventlet'):
        head = patch + head
    done = subprocess.run(
        [sys.executable, '-c', head + program], capture_output=True,
        text=True, timeout=60, env=os.environ | {
            'PYTHONWARNINGS': 'ignore'})
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout.strip()


class SessionTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.session = cql.session(settings())

    def local(self, session=None):
        return (session or self.session).execute(_LOCAL, ('local',))

    def test_one_session_per_settings(self):
        self.assertIs(self.session, cql.session(settings()))
        self.assertIsNot(self.session,
                         cql.session(settings(request_timeout=9.0)))

    def test_results_come_in_order_and_errors_in_their_place(self):
        requests = [cql.Request(_LOCAL, (k,), consistency='ONE')
                    for k in ('local', 'none') * 150]
        requests[7] = cql.Request('SELECT nonsense', None)
        requests[8] = cql.Request('SELECT a FROM nowhere.b WHERE a = ?',
                                  (1,))
        requests[9] = cql.Request(batch=[('nonsense', ())])
        rounds, sent = self.session.rounds, self.session.requests
        results = self.session.execute_many(requests)
        self.assertEqual(rounds + 1, self.session.rounds)
        self.assertEqual(sent + 300, self.session.requests)
        for number, result in enumerate(results):
            if number in (7, 8, 9):
                self.assertIsInstance(result, cql.Refused)
                self.assertTrue(cql.not_begun(result))
            else:
                self.assertEqual(1 - number % 2, len(result))

    def test_execute_raises(self):
        with self.assertRaisesRegex(cql.Refused, 'nowhere'):
            self.session.execute('SELECT a FROM nowhere.b')

    def test_wrong_parameters_are_the_callers_bug(self):
        self.assertRaises(AttributeError, self.session.execute, _LOCAL, (1,))
        self.assertRaises(ValueError, self.session.execute, _LOCAL,
                          ('a', 'b'))

    def test_time_out_is_unknown(self):
        with self.assertRaises(cql.Unknown):
            self.session.execute(_LOCAL, ('local',), timeout=1e-6)
        self.assertEqual(1, len(self.local()))

    def test_closed(self):
        session = cql.session(settings(request_timeout=8.0))
        self.local(session)
        session.close()
        self.assertRaises(cql.Unavailable, self.local, session)

    def test_threads_share_it(self):
        found = []
        threads = [threading.Thread(
            target=lambda: found.extend(self.local() for __ in range(20)))
            for __ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(160, len(found))


class ForkTest(unittest.TestCase):

    def test_children_connect_anew(self):
        """Children of a busy, connected process, and the parent goes on."""
        parent = cql.session(settings())
        parent.execute(_LOCAL, ('local',))
        context = multiprocessing.get_context('fork')
        queue = context.SimpleQueue()
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                parent.execute(_LOCAL, ('local',))

        def child():
            mine = cql.session(settings())
            rows = [mine.execute(_LOCAL, ('local',)) for __ in range(20)]
            try:
                parent.execute(_LOCAL, ('local',))
                inherited = 'used'
            except RuntimeError:
                inherited = 'refused'
            queue.put((mine is parent, len(rows), inherited))
        thread = threading.Thread(target=busy)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)
        children = [context.Process(target=child) for __ in range(3)]
        for process in children:
            process.start()
        for process in children:
            process.join(30)
            self.assertEqual(0, process.exitcode)
            self.assertEqual((False, 20, 'refused'), queue.get())
        self.assertEqual(1, len(parent.execute(_LOCAL, ('local',))))

    def test_a_child_ends_by_itself(self):
        """sys.exit() of a child that inherited and of one that connected."""
        started = time.monotonic()
        self.assertEqual('0 0', run_python('''
            import os, sys
            cql.session(SETTINGS).execute(LOCAL, ('local',))
            codes = []
            for connect in (False, True):
                pid = os.fork()
                if pid == 0:
                    if connect:
                        cql.session(SETTINGS).execute(LOCAL, ('local',))
                    sys.exit(0)
                codes.append(os.waitpid(pid, 0)[1])
            print(*codes)'''))
        self.assertLess(time.monotonic() - started, 30)


class ImportTest(unittest.TestCase):

    def test_nothing_is_dragged_in(self):
        self.assertEqual('False False True', run_python('''
            import sys
            before = 'cassandra' in sys.modules
            cql.session(SETTINGS).execute(LOCAL, ('local',))
            print(before, 'eventlet' in sys.modules or 'numpy' in sys.modules,
                  'cassandra.cluster' in sys.modules)'''))

    def test_eventlet(self):
        """Greenlets share a session while others run on."""
        self.assertEqual('40 True', run_python('''\
            # eventlet
            session = cql.session(SETTINGS)
            ticks = []
            def tick():
                while True:
                    ticks.append(1)
                    eventlet.sleep(0.001)
            eventlet.spawn(tick)
            pool = eventlet.GreenPool(10)
            rows = list(pool.imap(
                lambda n: session.execute(LOCAL, ('local',)), range(40)))
            print(len(rows), len(ticks) > 5)'''))

    def test_fork_under_eventlet(self):
        self.assertEqual('0 1', run_python('''\
            # eventlet
            import os
            cql.session(SETTINGS).execute(LOCAL, ('local',))
            pid = os.fork()
            if pid == 0:
                eventlet.hubs.use_hub()   # as oslo.service does
                rows = cql.session(SETTINGS).execute(LOCAL, ('local',))
                os._exit(len(rows) - 1)
            status = os.waitpid(pid, 0)[1]
            print(status, len(cql.session(SETTINGS).execute(
                LOCAL, ('local',))))'''))
