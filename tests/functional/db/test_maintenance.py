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

"""archive_deleted_rows on 500 rows, killed twice; where nova is installed.

All commands, on 20,000 rows: ``python -m tests.maintenance --kills 5``.
"""

import importlib.util
import pathlib
import subprocess
import sys
import unittest

from luc_drivers.testing import shared

_ROOT = pathlib.Path(__file__).resolve().parents[3]
_MISSING = [name for name in ('nova', 'glance', 'keystone')
            if importlib.util.find_spec(name) is None]


@unittest.skipIf(_MISSING, f'not installed: {", ".join(_MISSING)}')
class ArchiveTest(unittest.TestCase):

    def check(self, store):
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', 'tests.maintenance',
             '--store', store, '--command', 'archive', '--rows', '500',
             '--kills', '2', '--seed', '5'], cwd=_ROOT, text=True,
            capture_output=True, timeout=1200)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr[-4000:])
        self.assertIn('all well', done.stdout)
        self.assertIn('2 of them killed', done.stdout)

    def test_embedded(self):
        self.check('embedded')

    def test_cassandra(self):
        shared.endpoint()
        self.check('cassandra')
