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


"""DDL beside transactions, in random schedules.

``LUC_MODEL_SCHEDULES`` multiplies the number of schedules (1 by default).
"""

import os
import unittest
from unittest import mock

from luc_drivers.db.catalog import backfill
from luc_drivers.db.catalog import catalog
from luc_drivers.db.transaction import newer
from luc_drivers.db.transaction import protocol
from tests.unit.db import catalog_model

TIMES = float(os.environ.get('LUC_MODEL_SCHEDULES', '1'))
#: schedules in which what is wrong must be noticed
PATIENCE = 40


class CatalogModelTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        # that others are waited for is what is looked at
        self.enterContext(mock.patch.object(backfill, 'LOG'))

    def test_no_row_is_missed(self):
        count = int(60 * TIMES)
        report = catalog_model.explore(count)
        # it is only worth something if things did happen
        self.assertGreater(report.committed, 20 * count, report)
        self.assertGreater(report.by_index, 10 * count, report)
        self.assertGreater(report.reads - report.by_index, 10 * count, report)
        self.assertGreater(report.changed, 2 * count, report)
        self.assertGreater(report.crashes, count / 3, report)

    def missed(self, target, name, new, start=0):
        with mock.patch.object(target, name, new):
            self.assertRaises(catalog_model.Violation, catalog_model.explore,
                              PATIENCE, start)

    def test_nobody_is_waited_for(self):
        self.missed(catalog.Catalog, '_await', lambda *a: None)

    def test_rows_that_were_there_get_no_entries(self):
        self.missed(backfill, 'fill', lambda *a: None)

    def test_transactions_write_by_an_old_schema(self):
        self.missed(newer, 'holds', lambda *a: True)

    def test_long_commits_write_by_an_old_schema(self):
        # rare: the seed was found by search
        self.missed(protocol, 'LOOK_AGAIN', 1e9, start=280)

    def test_transactions_read_by_an_old_schema(self):
        self.missed(newer, 'serves', lambda *a: True)
