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


from unittest import mock

from luc_drivers.db.catalog import address
from luc_drivers.db.planner import limits
from luc_drivers.db.planner import plan
from luc_drivers.db.transaction import hooks
from luc_drivers.db.transaction.clock import micros
from tests.unit.db import private

FIRST = 'SELECT id, n FROM t WHERE k = ? ORDER BY n LIMIT 4'


class TestPaging(private.PrivateDatabaseTestCase):
    """Pages, and what others do between them."""

    def setUp(self):
        super().setUp()
        self.rows('CREATE TABLE t (id INTEGER PRIMARY KEY, k, n)')
        self.rows('CREATE INDEX t_kn ON t (k, n)')
        self.session.execute_many('INSERT INTO t VALUES (?, ?, ?)', [
            (i, 'v', i) for i in range(1, 31)])
        self.patch(limits, 'first_page', lambda n: n + 1)

    def between(self, action):
        """Return the answer of FIRST, of whose matching rows the first page
        has too few, with something done before the next."""
        done = []

        def hook(step):
            if step == 'reader:rows-read' and not done:
                done.append(True)
                action()

        one = self.open()
        self.rows('BEGIN', (), one)
        # the page's rows do not count any more
        self.rows('UPDATE t SET k = 0 WHERE id IN (1, 2)', (), one)
        with hooks.hooked(hook):
            found = self.rows(FIRST, ('v',), one)
        self.assertTrue(done)
        self.rows('ROLLBACK', (), one)
        return found

    def test_a_second_page(self):
        self.assertEqual([(n, n) for n in (3, 4, 5, 6)],
                         self.between(lambda: None))

    def test_a_row_that_moves_to_where_one_has_been(self):
        def move():
            self.rows('UPDATE t SET n = 0 WHERE id = 7')

        # its old entry is still there
        self.assertEqual([(7, 0), (3, 3), (4, 4), (5, 5)],
                         self.between(move))

    def test_pages_that_take_too_long(self):
        clock = self.database.reader.clock
        monotonic = clock.monotonic
        late = []

        def move():
            self.rows('UPDATE t SET n = 0 WHERE id = 7')
            # the old entry is removed before the next page is read
            late.append(self.database.reader.bounds.removal_delay)
            table = self.database.catalog.current().table('t')
            index = next(i for i in table.indexes if i.columns == ('k', 'n'))
            row, = self.database.reader.rows(
                self.database.catalog.current(),
                [plan.BoundAccess(table, plan.Path.ROW, [(7, 7)])])[0]
            values = {**row.values, table.column('n').number: 7}
            self.database.store.remove_index(
                [address.index_entry(table, index, values, row.address)],
                micros(row.version))

        with mock.patch.object(
                clock, 'monotonic', lambda: monotonic() + sum(late)):
            self.assertEqual([(7, 0), (3, 3), (4, 4), (5, 5)],
                             self.between(move))

    def test_less_is_loaded(self):
        one = self.open()
        self.rows('BEGIN', (), one)
        self.assertEqual([(30,), (29,)], self.rows(
            'SELECT id FROM t ORDER BY id DESC LIMIT 2', (), one))
        self.assertEqual([(0,)], self.rows(
            "SELECT count(*) FROM t WHERE k = 'w'", (), one))
        self.assertEqual(3, len(one._run.loaded))
        self.assertEqual([('v', 1)], self.rows(
            'SELECT k, min(n) FROM t WHERE k = ? GROUP BY k', ('v',), one))
        self.assertEqual(5, len(one._run.loaded))
        # a page is no claim that the slice was read
        self.assertEqual([(30,)], self.rows(
            "SELECT count(*) FROM t WHERE k = 'v'", (), one))
        self.rows('ROLLBACK', (), one)

    def test_batches_without_an_order(self):
        """Old entries of what the batches before have changed do not have
        the whole slice read."""
        self.rows('CREATE TABLE m (id INTEGER PRIMARY KEY, u UNIQUE, n)')
        self.rows('CREATE INDEX m_un ON m (u, id)')
        self.session.execute_many('INSERT INTO m (n) VALUES (?)', [
            (n,) for n in range(1000)])
        one = self.open()
        for batch in range(5):
            self.rows('BEGIN', (), one)
            found = self.rows(
                'SELECT id FROM m WHERE u IS NULL LIMIT ? OFFSET ?', (50, 0),
                one)
            self.assertEqual([
                (batch * 50 + n,) for n in range(1, 51)], found)
            self.assertLess(len(one._run.loaded), 700)
            self.rows('ROLLBACK', (), one)
            self.session.execute_many(
                'UPDATE m SET u = id WHERE id = ?', found)

    def test_a_page_after_a_marker_is_not_the_slice(self):
        one = self.open()
        self.rows('BEGIN', (), one)
        self.assertEqual([(29,), (30,)], self.rows(
            "SELECT id FROM t WHERE k = 'v' AND (n > 28 OR n = 28 AND id > "
            '28) ORDER BY n, id LIMIT 9', (), one))
        self.assertEqual(3, len(one._run.loaded))
        self.assertEqual([(30,)], self.rows(
            "SELECT count(*) FROM t WHERE k = 'v'", (), one))
        self.rows('ROLLBACK', (), one)

    def test_a_marker_among_equal_values(self):
        self.rows('CREATE INDEX t_kni ON t (k, n, id)')
        self.rows('UPDATE t SET n = 5')
        for direction, sign, at, expected in (
                ('', '>', 20, [(21,), (22,)]),
                (' DESC', '<', 10, [(9,), (8,)])):
            one = self.open()
            self.rows('BEGIN', (), one)
            self.assertEqual(expected, self.rows(
                f"SELECT id FROM t WHERE k = 'v' AND (n {sign} ? OR n = ? "
                f'AND id {sign} ?) ORDER BY n{direction}, id{direction} '
                'LIMIT 2', (5, 5, at), one))
            self.assertEqual(3, len(one._run.loaded))
            self.rows('ROLLBACK', (), one)

    def test_no_limit(self):
        for limit, offset, expected in (
                (-1, 0, 30), (-1, 28, 2), (0, 0, 0), (5, -1, 5),
                ('4', 0, 4), (10 ** 6, 0, 30), (3, 29, 1)):
            self.assertEqual(expected, len(self.rows(
                'SELECT id FROM t ORDER BY id LIMIT ? OFFSET ?',
                (limit, offset))), (limit, offset))
