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

"""A short run of tests.consistency on both stores.

The long one is ``tox -e consistency``.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from luc_drivers.testing import shared
from tests.consistency.workloads import registry

_ROOT = pathlib.Path(__file__).resolve().parents[3]
#: seconds of each scenario
_SECONDS = float(os.environ.get('LUC_CONSISTENCY_SECONDS', '8'))


class ConsistencyTest(unittest.TestCase):

    def check(self, store, *scenarios):
        with tempfile.TemporaryDirectory() as folder:
            output = pathlib.Path(folder, 'results.json')
            command = [sys.executable, '-m', 'tests.consistency',
                       '--store', store, '--seconds', str(_SECONDS),
                       '--output', str(output), '--clients', '3']
            for one in scenarios:
                command += ['--scenario', one]
            done = subprocess.run(
                command, cwd=_ROOT, text=True, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=600)
            self.assertEqual(0, done.returncode, done.stdout)
            results = json.loads(output.read_text())
        self.assertEqual(list(scenarios), [r['scenario'] for r in results])
        for result in results:
            # it is only worth something if things did happen
            # (few on a machine that is busy with others)
            self.assertGreater(result['operations'], 5, done.stdout)
        killed = sum(sum(r['killed_at'].values()) for r in results)
        self.assertGreater(killed, 0, done.stdout)
        worked = {name for r in results
                  for name, counts in r['outcomes'].items()
                  if counts.get('ok')}
        self.assertEqual(set(registry.WORKLOADS), worked, done.stdout)

    def test_embedded(self):
        self.check('embedded', 'calm', 'steps', 'everything')

    def test_cassandra(self):
        # so that it isn't stopped before the run has found it
        shared.endpoint()
        self.check('cassandra', 'calm', 'steps', 'everything')
