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

"""The test runner's counts."""

import re
import unittest

from tests import summary


class SummaryTest(unittest.TestCase):

    def test_counts(self):
        self.assertEqual((3, 2, 1), summary.counts({
            'a': 'success', 'b': 'xfail', 'c': 'unsteady', 'd': 'fail',
            'e': 'inprogress', 'f': 'skip'}))

    def test_what_fails_twice_has_failed(self):
        merged = summary.merge({'a': 'success', 'b': 'fail', 'c': 'fail'},
                               {'b': 'fail', 'c': 'success'})
        self.assertEqual({'a': 'success', 'b': 'fail', 'c': 'unsteady'},
                         merged)

    def test_a_class_whose_set_up_failed(self):
        first = {'setUpClass (m.A)': 'fail', 'm.B.test': 'success'}
        self.assertEqual(
            {'m.A.test': 'success', 'm.B.test': 'success'},
            summary.merge(first, {'m.A.test': 'success'}))
        # not even its set-up passes the second time
        self.assertEqual(
            1, summary.counts(summary.merge(
                first, {'setUpClass (m.A)': 'fail'}))[1])
        # the class vanished: that is no pass
        self.assertEqual(1, summary.counts(summary.merge(first, {}))[1])

    def test_pattern_selects_just_the_failed_ones(self):
        pattern = re.compile(summary.pattern(
            ['m.A.test_x', 'setUpClass (m.B)']))
        for name, wanted in (('m.A.test_x', True), ('m.A.test_xy', False),
                             ('m.B.test', True), ('m.Bc.test', False),
                             ('n.m.A.test_x', False)):
            with self.subTest(name):
                self.assertEqual(wanted, bool(pattern.search(name)))
        self.assertEqual('', summary.pattern([]))
