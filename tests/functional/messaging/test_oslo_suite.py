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


"""oslo.messaging's own functional suite, unmodified, over our transport."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import unittest

from tests.functional.messaging import support

_NEEDED = ('pifpaf', 'oslo_metrics', 'confluent_kafka', 'requests',
           'oslotest', 'testscenarios')
#: seconds; most of what it takes are its own waits, some two minutes
_LIMIT = 900


class OsloSuiteTest(unittest.TestCase):

    def test_native_threads(self):
        """All pass but the two that are for other drivers.

        ``tox -e peers -- oslo-messaging`` runs it under eventlet and on
        Cassandra as well; ``tests/peers/results`` keeps how it ended.
        """
        missing = [name for name in _NEEDED
                   if importlib.util.find_spec(name) is None]
        if missing:
            self.skipTest('not installed: %s (test-requirements.txt)'
                          % ', '.join(missing))
        env = {**os.environ, 'PATH': '%s:%s' % (
            os.path.dirname(sys.executable), os.environ['PATH'])}
        process = subprocess.Popen(
            [sys.executable, '-m', 'tests.peers', 'oslo-messaging',
             '--threads', 'native', '--concurrency', '4', '--no-record'],
            cwd=support.ROOT, stdin=subprocess.DEVNULL, text=True, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True)
        try:
            output, _ = process.communicate(timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            # Its workers as well.
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        counts = re.search(r'(\d+) passed, (\d+) failed', output)
        self.assertIsNotNone(counts, output[-5000:])
        self.assertEqual((0, '31', '0'),
                         (process.returncode, *counts.groups()),
                         output[-5000:])
