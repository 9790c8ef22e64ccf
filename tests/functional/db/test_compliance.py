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


"""A part of SQLAlchemy's dialect compliance suite, on both stores.

The whole of it: ``tox -e compliance``.
"""

import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
#: what is most our own: DDL, reflection, ids, counts, levels, RETURNING
PART = ' or '.join((
    'AutocommitIsolationTest', 'CTETest', 'ComputedColumnTest',
    'ComputedReflectionTest', 'HasIndexTest', 'HasTableTest',
    'IsolationLevelTest', 'LastrowidTest', 'RowCountTest', 'TableDDLTest',
    'TableViaSelectTest', 'TempTableElementsTest'))


class ComplianceTest(unittest.TestCase):

    def check(self, store):
        done = subprocess.run(
            [sys.executable, '-m', 'tests.compliance', '--store', store,
             '-k', PART],
            cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=600)
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertRegex(done.stdout, store + r': \d{3,} passed, 0 failed')

    def test_embedded(self):
        self.check('embedded')

    def test_cassandra(self):
        self.check('cassandra')
