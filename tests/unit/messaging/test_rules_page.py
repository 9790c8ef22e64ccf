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


"""The page that says which test keeps which rule names real tests."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGE = ROOT / 'doc/source/contributor/transport-rules.rst'
FOLDERS = ('tests/functional/messaging', 'tests/unit/messaging')


class RulesPageTest(unittest.TestCase):

    def test_all_rules_are_there(self):
        rows = re.findall(r'^   \* - ([BCD]\d+)$', PAGE.read_text(), re.M)
        self.assertEqual(
            ['%s%d' % (letter, n) for letter, last in (('B', 15), ('C', 13),
                                                       ('D', 10))
             for n in range(1, last + 1)], rows)

    def test_named_tests_exist(self):
        named = set(re.findall(r'(test_\w+)(?:\.([A-Z]\w+))?(?:\.(test_\w+))?',
                               PAGE.read_text()))
        modules = {path.stem: path.read_text() for folder in FOLDERS
                   for path in (ROOT / folder).glob('test_*.py')}
        everything = '\n'.join(modules.values())
        for module, case, test in sorted(named):
            if module not in modules:  # a method, named after its class
                self.assertIn('def %s(' % module, everything)
                continue
            if case:
                self.assertRegex(modules[module], r'class %s\b' % case)
            if test:
                self.assertIn('def %s(' % test, modules[module])
