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

"""A whole one-box cloud: up, commands, kill -9, parallel boots, wipe.

Takes minutes and a virtual environment with the services, so it runs only
when asked for: ``LUC_TEST_ONEBOX=embedded`` (or ``cassandra``, ``baseline``)
with the Python of such an environment.
"""

import os
import pathlib
import sys
import tempfile
import unittest

import testtools

from luc_drivers.onebox import main

VARIANT = os.environ.get('LUC_TEST_ONEBOX', '')
#: far from the ports of a cloud that somebody uses
_OFFSET = '11000'


@unittest.skipUnless(VARIANT, 'LUC_TEST_ONEBOX is not set')
class OneboxTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.options = ['--state', folder.name, '--venv', sys.prefix]
        self.options += (['--backend', 'baseline'] if VARIANT == 'baseline'
                         else ['--store', VARIANT])
        self.logs = pathlib.Path(folder.name, VARIANT, 'logs')
        self.addCleanup(self.onebox, 'wipe')

    def onebox(self, *words):
        """Run one command of onebox.sh; it must succeed."""
        self.assertEqual(0, main.main([*words, *self.options]), words)

    def test_life(self):
        self.onebox('demo', '--port-offset', _OFFSET)
        self.onebox('check')
        self.onebox('check', '--kill', 'all')
        self.onebox('boot', '20')
        self.onebox('down')
        self.onebox('demo')
        self.onebox('status')
        self.assertTrue(list(self.logs.glob('neutron*.log')))
