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


"""Lists of packages that say the same thing say the same."""

import pathlib
import re

from oslotest import base

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _names(text):
    """Return the first words of lines, without comments and versions."""
    lines = (line.split('#')[0].strip(' -') for line in text.splitlines())
    return {re.split(r'[\s\[<>=]', line)[0] for line in lines if line}


class PackagesTest(base.BaseTestCase):

    def test_bindep_has_what_scripts_install(self):
        listed = _names((ROOT / 'bindep.txt').read_text())
        for script in ('run_tests.sh', 'devstack/onebox.sh'):
            text = (ROOT / script).read_text()
            needed = {name for group in re.findall(r'need\+=\(([^)]*)\)', text)
                      for name in group.split()}
            self.assertIn('maven', needed)
            self.assertEqual(set(), needed - listed, script)
        for path in (ROOT / 'devstack' / 'files').glob('*/cassandra'):
            self.assertEqual(set(), _names(path.read_text()) - listed, path)

    def test_pre_commit_checks_with_the_same_tools(self):
        style = _names((ROOT / 'tools' / 'style.txt').read_text())
        text = (ROOT / '.pre-commit-config.yaml').read_text()
        listed = text.split('additional_dependencies:')[1]
        self.assertEqual(style - {'mypy'}, {
            name for name in _names(listed.split('pass_filenames')[0])})
