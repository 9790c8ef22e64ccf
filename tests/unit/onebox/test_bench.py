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

"""What a one-box benchmark writes down."""

import json
import pathlib
import tempfile
import unittest

from luc_drivers.onebox import bench
from luc_drivers.onebox import daemons


class BenchTest(unittest.TestCase):

    RESULT = {
        'cloud': 'cassandra', 'one_boot': [3.0, 1.0, 2.0],
        'one_delete': [0.5],
        'parallel': [
            {'count': count, 'active': count - 1, 'boot_wall': 9.0,
             'boot_median': 5.0, 'boot_max': 9.0, 'delete_wall': 4.0,
             'delete_median': 3.0} for count in (20, 100)]}

    def test_table(self):
        one = bench.with_daemons(self.RESULT, [
            daemons.State('glance', 7, 1, 90.0, 80.0, 30.0)], [
            daemons.State('glance', 7, 2, 100.4, 80.0, 42.5),
            daemons.State('gone', None, 0, 0.0, 0.0, 0.0),
            daemons.State('nova', 8, 1, 50.0, 40.0, 1.25)])
        text = bench.table([one, dict(self.RESULT, cloud='baseline',
                                      parallel=self.RESULT['parallel'][:1])])
        self.assertRegex(text, r'boots at once +20 +20')
        self.assertRegex(text, r'boots at once +100 +-')
        self.assertRegex(text, r'of them ACTIVE +99 +-')
        self.assertRegex(text, r'one boot, median s +2\.00 +2\.00')
        self.assertRegex(text, r'MB glance +100/80 +-')
        self.assertRegex(text, r'MB all +150/120 +0/0')
        self.assertRegex(text, r'CPU s glance +12\.5 +-')
        self.assertRegex(text, r'CPU s all +13\.8 +0\.0')
        self.assertNotIn('gone', text)

    def test_kept_as_lines(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'a', 'b.jsonl')
            bench.keep(self.RESULT, path)
            bench.keep(self.RESULT, path)
            self.assertEqual([self.RESULT] * 2, [
                json.loads(line) for line in path.read_text().splitlines()])
