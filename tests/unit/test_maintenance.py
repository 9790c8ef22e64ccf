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


"""What maintenance commands left is kept, and told."""

import json
import pathlib
import tempfile
import unittest
from unittest import mock

from tests.maintenance import base
from tests.maintenance import record


class RecordTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name, 'results')
        for name, file in (('_RESULTS', 'all.json'), ('_TABLE', 'all.inc')):
            patch = mock.patch.object(record, name, self.folder / file)
            patch.start()
            self.addCleanup(patch.stop)

    def lines(self):
        return (self.folder / 'all.inc').read_text().splitlines()

    def test_results_of_one_kind_replace_one_another(self):
        for seconds in (50.0, 40.0):
            record.keep(base.Result('purge', 'stock', 2000, 10.0, seconds,
                                    runs=1, load=2.5))
        record.keep(base.Result('purge', 'embedded', 2000, 11.0, 30.0,
                                runs=1, load=3.0))
        for store in ('embedded', 'cassandra'):
            record.keep(base.Result('purge', store, 2000, 11.0, 30.0,
                                    runs=3, kills=2, load=3.0))
        self.assertEqual(4, len(json.loads(
            (self.folder / 'all.json').read_text())))
        self.assertEqual([
            '   * - ``purge``',
            '     - 2,000',
            '     - 40 s, start 10 (load 2.5)',
            '     - 30 s, start 11 (load 3); '
            '30 s, start 11, killed 2× (load 3)',
            '     - 30 s, start 11, killed 2× (load 3)',
            ], self.lines()[-5:])

    def test_what_is_wrong_is_told(self):
        record.keep(base.Result('purge', 'stock', 2000,
                                wrong=['7 rows in no table']))
        self.assertIn('**7 rows in no table**', '\n'.join(self.lines()))

    def test_kills(self):
        self.assertEqual(['step 7', '1.5 s'], [
            str(base.Kill(step=7)), str(base.Kill(seconds=1.5))])
