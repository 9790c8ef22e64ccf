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

"""adya and our own checker find the same in histories made by hand."""

import os
import pathlib
import shutil
import tempfile
import unittest

from tests.consistency import adya
from tests.consistency import dependencies
from tests.consistency.history import FAIL
from tests.unit.consistency.test_dependencies import done

PROGRAM = os.environ.get('LUC_ADYA') or shutil.which('adya')




@unittest.skipUnless(
    PROGRAM, 'adya is not installed (cargo install adya), nor does LUC_ADYA '
    'name it')
class AdyaTest(unittest.TestCase):

    def both(self, final, *operations):
        """Return whether each of the two finds anything."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        last = done([['r', key, value] for key, value in final.items()],
                    start=200.0, end=201.0)
        return (bool(dependencies.check_appends(operations, final)),
                bool(adya.judge(PROGRAM, pathlib.Path(folder.name), 'appends',
                                [*operations, last])))

    def test_a_good_history(self):
        self.assertEqual((False, False), self.both(
            {'x': [1, 2], 'y': [3]},
            done([['append', 'x', 1], ['r', 'x', [1]]], end=1.0),
            done([['append', 'x', 2], ['append', 'y', 3]], start=2.0,
                 end=3.0),
            done([['r', 'x', [1, 2]], ['r', 'y', [3]]], start=4.0)))

    def test_write_skew_is_allowed(self):
        self.assertEqual((False, False), self.both(
            {'x': [1], 'y': [2]},
            done([['r', 'x', []], ['append', 'y', 2]]),
            done([['r', 'y', []], ['append', 'x', 1]])))

    def test_aborted(self):
        self.assertEqual((True, True), self.both(
            {'x': [1]}, done([['append', 'x', 1]], outcome=FAIL)))

    def test_intermediate(self):
        self.assertEqual((True, True), self.both(
            {'x': [1, 2]}, done([['append', 'x', 1], ['append', 'x', 2]]),
            done([['r', 'x', [1]]])))

    def test_circular_information_flow(self):
        self.assertEqual((True, True), self.both(
            {'x': [1], 'y': [2]},
            done([['append', 'x', 1], ['r', 'y', [2]]]),
            done([['append', 'y', 2], ['r', 'x', [1]]])))

    def test_dirty_writes(self):
        self.assertEqual((True, True), self.both(
            {'x': [1, 2], 'y': [4, 3]},
            done([['append', 'x', 1], ['append', 'y', 3]]),
            done([['append', 'x', 2], ['append', 'y', 4]])))

    def test_a_lost_update(self):
        self.assertEqual((True, True), self.both(
            {'x': [1, 2]},
            done([['r', 'x', []], ['append', 'x', 1]]),
            done([['r', 'x', []], ['append', 'x', 2]])))
