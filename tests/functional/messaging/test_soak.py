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


"""The transport under load and faults, two minutes of it (tests/soak)."""

import unittest

from tests.soak import cases


class SoakCase(unittest.TestCase):

    def soak(self, name):
        result = cases.CASES[name](cases.SHORT)
        self.assertEqual([], result.faults, result.figures)
        return result.figures


class SoakTest(SoakCase):

    def test_one_server(self):
        figures = self.soak('one-server')
        self.assertGreater(figures['answered'], 100)

    def test_many_servers(self):
        figures = self.soak('many-servers')
        self.assertGreater(figures['answered'], 100)

    def test_fanouts(self):
        self.soak('wide-fanout')
        self.soak('many-fanouts')


class SoakFaultsTest(SoakCase):

    def test_faults(self):
        figures = self.soak('faults')
        self.assertGreater(figures['answered'], 100)
