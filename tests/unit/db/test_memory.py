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


"""How much memory a large result takes."""

import tracemalloc
import uuid

import testtools

from luc_drivers.db import engine
from luc_drivers.db.store import base
from luc_drivers.db.transaction import session

ROWS = 4000


class TestMemory(testtools.TestCase):

    def setUp(self):
        super().setUp()
        private = uuid.uuid4().hex
        database = engine.database(
            'shop', base.StoreSettings(kind='embedded', fresh=True),
            private=private)
        self.addCleanup(engine.drop_private, private)
        self.session = session.Session(database)
        self.addCleanup(self.session.close)
        self.session.execute(
            'CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, c, d, e)')
        # some 250 bytes each
        self.session.execute_many(
            'INSERT INTO t (a, b, c, d, e) VALUES (?, ?, ?, ?, ?)', [
                (n, 'x' * 90 + str(n), 'y' * 90 + str(n), n, str(n) * 6)
                for n in range(ROWS)])
        # plans and the workspace's table
        self.session.execute('SELECT * FROM t WHERE id = 1')

    def peak(self, sql):
        """Return the bytes of a row, at the worst moment of a transaction;
        SQLite's own are not counted."""
        self.session.execute('BEGIN')
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            _, outcome = self.session.execute(sql)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.session.execute('ROLLBACK')
        return (peak - before) / ROWS, outcome

    def test_rows_are_not_kept_decoded(self):
        size, outcome = self.peak('SELECT * FROM t')
        self.assertEqual(ROWS, len(outcome.rows))
        self.assertLess(size, 2000)

    def test_rows_that_are_counted(self):
        size, outcome = self.peak('SELECT count(*) FROM t WHERE a >= 0')
        self.assertEqual([(ROWS,)], outcome.rows)
        self.assertLess(size, 2000)
