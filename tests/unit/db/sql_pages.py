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

from luc_drivers.db.planner import limits
from tests.unit.db.sql_connection import ConnectionTests


class PageTests(ConnectionTests):
    """ORDER BY with LIMIT, min() and max(): what is read page by page."""

    def paged(self, rows=80):
        """Make a table, whose rows are as in the list that is returned;
        pages are as small as they can be.
        """
        self.run_sql('CREATE TABLE q (id INTEGER PRIMARY KEY, k TEXT, '
                     'n INTEGER, m INTEGER)')
        self.run_sql('CREATE INDEX q_kn ON q (k, n)')
        made = [(n, 'ab'[n % 2], n * 7 % rows // 2, n % 5)
                for n in range(1, rows + 1)]
        self.connection.cursor().executemany(
            'INSERT INTO q VALUES (?, ?, ?, ?)', made)
        self.connection.commit()
        patch = mock.patch.object(limits, 'first_page', lambda n: n + 1)
        patch.start()
        self.addCleanup(patch.stop)
        return made

    def checked(self, rows, one=None):
        """Compare answers with what the rows say."""
        by_n = sorted(rows, key=lambda r: (r[2], r[0]))
        by_id = sorted(rows)
        for sql, expected in (
                ('SELECT * FROM q ORDER BY id LIMIT 7', by_id[:7]),
                ('SELECT * FROM q ORDER BY id DESC LIMIT 7 OFFSET 3',
                 by_id[::-1][3:10]),
                ('SELECT * FROM q WHERE m = 4 ORDER BY id LIMIT 7',
                 [r for r in by_id if r[3] == 4][:7]),
                ("SELECT * FROM q WHERE k = 'a' ORDER BY n, id LIMIT 6",
                 [r for r in by_n if r[1] == 'a'][:6]),
                ("SELECT * FROM q WHERE k = 'b' AND m <> 1 "
                 'ORDER BY n DESC, id DESC LIMIT 6',
                 [r for r in by_n[::-1] if r[1] == 'b' and r[3] != 1][:6]),
                ("SELECT * FROM q WHERE k = 'a' AND "
                 '(n > 9 OR n = 9 AND id > 40) ORDER BY n, id LIMIT 4',
                 [r for r in by_n if r[1] == 'a'
                  and (r[2], r[0]) > (9, 40)][:4]),
                ("SELECT k, min(n) FROM q WHERE k IN ('a', 'b') AND m > 1 "
                 'GROUP BY k ORDER BY k',
                 [(k, min(r[2] for r in rows if r[1] == k and r[3] > 1))
                  for k in 'ab']),
                ("SELECT max(n) FROM q WHERE k = 'b'",
                 [(max(r[2] for r in rows if r[1] == 'b'),)]),
                ('SELECT min(id) FROM q', [by_id[0][:1]])):
            self.assertEqual(expected, self.run_sql(sql, (), one), sql)

    def test_pages(self):
        self.checked(self.paged())

    def test_pages_see_the_own_changes(self):
        rows = self.paged()
        one = self.connect()
        self.run_sql('DELETE FROM q WHERE id < 9 OR n = 0', (), one)
        self.run_sql('UPDATE q SET n = -n WHERE id > 70', (), one)
        self.run_sql("INSERT INTO q VALUES (-3, 'a', 9, 4)", (), one)
        self.run_sql("INSERT INTO q VALUES (500, 'b', -100, 4)", (), one)
        changed = [(i, k, -n if i > 70 else n, m) for i, k, n, m in rows
                   if i >= 9 and n != 0]
        changed += [(-3, 'a', 9, 4), (500, 'b', -100, 4)]
        self.checked(changed, one)
        self.checked(rows)
        one.rollback()
        self.checked(rows, one)

    def test_pages_see_what_others_commit(self):
        rows = self.paged()
        other = self.connect()
        self.checked(rows, other)
        other.rollback()
        self.run_sql('DELETE FROM q WHERE id < 20')
        self.run_sql("UPDATE q SET n = 1000 - n, k = 'a' WHERE id < 50")
        self.connection.commit()
        self.checked([(i, 'a', 1000 - n, m) if i < 50 else (i, k, n, m)
                      for i, k, n, m in rows if i >= 20], other)

    def test_pages_inside_of_other_statements(self):
        rows = self.paged()
        self.assertEqual(
            [(r[0], r[3]) for r in rows[10:15]], self.run_sql(
                'SELECT a.id, b.m FROM (SELECT id FROM q WHERE id > 10 '
                'ORDER BY id LIMIT 5) AS a LEFT JOIN q AS b '
                'ON b.id = a.id ORDER BY 1'))
        self.run_sql('DELETE FROM q WHERE id IN (SELECT id FROM q '
                     'WHERE m = 2 ORDER BY id LIMIT 4)')
        self.connection.commit()
        gone = [r for r in rows if r[3] == 2][:4]
        self.checked([r for r in rows if r not in gone])

    def test_a_page_does_not_grow_with_the_table(self):
        few = self.paged(60)
        database = self.connection._session.database
        store = database.store

        def requests(sql):
            # what was just committed is still being applied
            self.assertTrue(database.background.flush(30))
            # now and then one looks whether the schema has changed
            counts = []
            for _ in range(3):
                before = store.here.requests
                self.run_sql(sql)
                self.connection.rollback()
                counts.append(store.here.requests - before)
            return min(counts)

        statements = (
            'SELECT * FROM q ORDER BY id LIMIT 3',
            'SELECT * FROM q WHERE id > 30 ORDER BY id LIMIT 3',
            'SELECT * FROM q ORDER BY id DESC LIMIT 3',
            "SELECT k, min(n) FROM q WHERE k = 'a' GROUP BY k")
        at_first = [requests(sql) for sql in statements]
        self.connection.cursor().executemany(
            'INSERT INTO q VALUES (?, ?, ?, ?)',
            [(n, 'a', n, 0) for n in range(len(few) + 1, 400)])
        self.connection.commit()
        self.assertEqual(at_first, [requests(sql) for sql in statements])
