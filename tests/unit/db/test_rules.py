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

"""Rules that have no better place, and the table that names all tests.

The table is doc/source/contributor/database-rules.rst.
"""

import pathlib
import re
import unittest

from luc_drivers.db import errors
from luc_drivers.db.store import base
from luc_drivers.db.store import cassandra_schema
from luc_drivers.testing import faulty_store
from tests.unit.db import transaction_fixtures as fixtures

_ROOT = pathlib.Path(__file__).resolve().parents[3]
_TABLE = _ROOT / 'doc/source/contributor/database-rules.rst'


class TableTest(unittest.TestCase):

    def rules(self):
        parts = re.split(r'^   \* - (\d+)$', _TABLE.read_text(),
                         flags=re.M)[1:]
        return {int(n): text for n, text in zip(parts[::2], parts[1::2])}

    def test_each_rule_has_a_test_or_a_note(self):
        rules = self.rules()
        self.assertEqual(list(range(1, 35)), list(rules))
        for number, text in rules.items():
            self.assertTrue('::' in text or 'Note: ' in text, number)

    def test_the_tests_are_there(self):
        for number, text in self.rules().items():
            for path, name in re.findall(r'``(tests/\S+)::([^`]+)``', text):
                source = (_ROOT / path).read_text()
                wanted = (f'def {name}(' if name.startswith('test_')
                          else f"Mutation('{name}'")
                self.assertIn(wanted, source, f'rule {number}')


class Rule14Test(unittest.TestCase):

    def test_levels(self):
        # a site's quorum is its own; a global group's is the nearest site's
        self.assertEqual('QUORUM', cassandra_schema.level('at_site1'))
        self.assertEqual('LOCAL_QUORUM', cassandra_schema.level('global'))

    def test_every_decision_is_serial(self):
        # markers decide: whoever reads one reads it linearizably
        with fixtures.embedded() as store:
            seen = []

            class Watched(faulty_store.FaultyStore):

                def read(self, reads, serial=False):
                    seen.extend((serial, base.MARKER_TABLE in one.tables)
                                for one in reads)
                    return super().read(reads, serial)

            faulty = Watched(store)
            process = fixtures.Process(faulty)
            for fault in ('answer_lost', 'late', 'lost'):
                faulty.plan(None, fault)
                try:
                    process.commit(
                        process.insert('items', fault, 'v', 'w'),
                        process.insert('teams', fault, 'n'))
                except errors.Refused:
                    pass
                process.background.run()
                process.get('items', fault)
        markers = [serial for serial, marker in seen if marker]
        self.assertTrue(markers)
        self.assertTrue(all(markers))


class Rule33Test(unittest.TestCase):

    def test_removed_entries_are_forgotten_within_the_hour(self):
        self.assertLessEqual(cassandra_schema.INDEX_GRACE, 3600)
        made = cassandra_schema._IDX.format(
            keyspace='k', grace=cassandra_schema.INDEX_GRACE)
        self.assertIn(
            f'gc_grace_seconds = {cassandra_schema.INDEX_GRACE}', made)
