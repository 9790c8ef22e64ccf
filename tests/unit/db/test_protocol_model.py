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

"""The commit protocol under random schedules, faults and crashes.

``LUC_MODEL_SCHEDULES`` multiplies the number of schedules (1 by default).
"""

import os
import unittest

from tests.unit.db import mutations
from tests.unit.db import protocol_model

TIMES = float(os.environ.get('LUC_MODEL_SCHEDULES', '1'))
#: schedules in which a mutation must be noticed
PATIENCE = 4000


class ProtocolModelTest(unittest.TestCase):

    def explore(self, count, **more):
        report = protocol_model.explore(int(count * TIMES), **more)
        self.assertEqual({}, dict(report.violations), str(report))
        # the test is only worth something if things did happen
        self.assertGreater(report.several, count / 10, str(report))
        self.assertGreater(report.decided, count, str(report))
        for fault in ('late', 'lost', 'answer_lost', 'landed'):
            self.assertGreater(report.happened[fault], 0, str(report))
        for event in ('ok', 'crashes', 'refused'):
            self.assertGreater(report.counts[event], 0, str(report))
        return report

    def test_cells(self):
        report = self.explore(800)
        self.assertGreater(report.counts['scans'], 800)
        self.assertGreater(report.counts['reads'], 800)

    def test_foreign_keys(self):
        self.explore(800, kind='references')

    def test_with_a_sweeper(self):
        report = self.explore(300, sweep=True, start=100000)
        self.assertGreater(report.counts['swept'], 0)
        self.assertLess(report.left_markers, 30)

    def test_with_turns(self):
        report = self.explore(250, turns=True, start=200000)
        self.assertGreater(report.counts['turns'], 100, str(report))
        self.assertGreater(report.counts['turns lost'], 20, str(report))
        self.assertGreater(
            report.counts['read beside turns'], 100, str(report))

    def test_with_hints(self):
        report = self.explore(300, hints=True, start=300000)
        self.assertGreater(report.counts['look-ups'], 1000, str(report))
        self.assertGreater(report.counts['hints'], 300, str(report))

    def test_whole_groups(self):
        report = self.explore(400, browse=True, start=400000)
        self.assertGreater(report.counts['browses'], 1000, str(report))

    def test_a_schedule_is_repeatable(self):
        one, two = (protocol_model.explore(20, start=50) for _ in 'ab')
        self.assertEqual(str(one), str(two))


@unittest.skipUnless(
    os.environ.get('LUC_TEST_LONG'),
    'proves that the model test can fail: minutes; LUC_TEST_LONG=1 runs it')
class MutationTest(unittest.TestCase):
    """Each rule, taken out, is missed."""

    def check(self, mutation):
        with mutation.patch():
            report = protocol_model.explore(
                PATIENCE, mutation.start, mutation.kind, mutation.sweep,
                stop=True, prepare=mutation.prepare, hints=mutation.hints,
                browse=mutation.browse, turns=mutation.turns)
        self.assertTrue(report.violations, str(report))


def _add(number, mutation):
    def test(self):
        self.check(mutation)

    words = ''.join(c if c.isalnum() else '_' for c in mutation.name)
    setattr(MutationTest, f'test_{number:02}_{words}', test)


for _number, _mutation in enumerate(mutations.MUTATIONS):
    _add(_number, _mutation)
