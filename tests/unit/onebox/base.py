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

"""What tests of the one-box cloud share."""

import configparser
import io
import pathlib
import tempfile
import unittest
from unittest import mock

from luc_drivers.onebox import cloud as clouds
from luc_drivers.onebox import main
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import settings as onebox_settings


class OneboxTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = pathlib.Path(folder.name, 'state')
        self.venv = pathlib.Path(folder.name, 'venv')
        for name in ('nova/api-paste.ini', 'neutron/api-paste.ini',
                     'glance/glance-api-paste.ini'):
            path = self.venv / 'etc' / name
            path.parent.mkdir(parents=True)
            path.write_text('[pipeline:x]\n')

    def cloud(self, backend='luc', store=None, **given):
        settings = onebox_settings.with_passwords(onebox_settings.load(
            self.state, backend, store, self.venv, given))
        return clouds.Cloud(settings, progress_module.Progress(io.StringIO()))

    def written(self, cloud):
        """Return {relative path: parsed file} of a cloud's configuration."""
        clouds.write_config(cloud)
        found = {}
        for path in cloud.settings.etc.rglob('*.conf'):
            parsed = configparser.ConfigParser(
                interpolation=None, default_section='none')
            parsed.read(path)
            found[str(path.relative_to(cloud.settings.etc))] = parsed
        return found

    def call(self, *argv):
        """Run the command line; return (exit status, output, errors)."""
        with mock.patch('sys.stdout', io.StringIO()) as out, \
                mock.patch('sys.stderr', io.StringIO()) as err:
            try:
                status = main.main([*argv, '--state', str(self.state),
                                    '--venv', str(self.venv)])
            except SystemExit as exc:
                status = exc.code
        return status, out.getvalue(), err.getvalue()
