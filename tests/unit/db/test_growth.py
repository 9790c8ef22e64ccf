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


"""What large transactions do grows with their rows, and not faster.

What is counted are calls, of functions and of generators, so that no test
depends on the machine or on its load.
"""

import sys
import uuid

import testtools

from luc_drivers.db import engine
from luc_drivers.db import errors
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.store import base
from luc_drivers.db.transaction import fetched
from luc_drivers.db.transaction import session

#: rows, and how many times as many
FEW, TIMES = 50, 4


class Counted(int):
    """A key's value that notes how often it was looked up."""

    hashed = 0

    def __hash__(self):
        type(self).hashed += 1
        return super().__hash__()


def calls(work):
    """Return how many calls a function leads to in this thread."""
    found = 0

    def count(frame, event, argument):
        nonlocal found
        if event in ('call', 'c_call'):
            found += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return found


class TestGrowth(testtools.TestCase):
    """Statements over a parent table with two tables of children."""

    def open(self):
        private = uuid.uuid4().hex
        database = engine.database(
            'shop', base.StoreSettings(kind='embedded', fresh=True),
            private=private)
        self.addCleanup(engine.drop_private, private)
        one = session.Session(database)
        self.addCleanup(one.close)
        one.execute('CREATE TABLE parents (id TEXT PRIMARY KEY, n)')
        for name in ('boys', 'girls'):
            one.execute(
                f'CREATE TABLE {name} (id INTEGER PRIMARY KEY, parent TEXT '
                'REFERENCES parents(id), n, UNIQUE (parent, n))')
        # what is made at the first use: plans, the workspace's tables
        for sql in ("INSERT INTO parents VALUES ('a', 0)",
                    "INSERT INTO boys (parent, n) VALUES ('a', 0)",
                    'DELETE FROM boys', 'DELETE FROM girls',
                    'DELETE FROM parents'):
            one.execute(sql)
        return one

    def check(self, work, prepare=lambda one, rows: None):
        """Compare what a transaction costs with few and with many rows."""
        counts = []
        for rows in (FEW, FEW * TIMES):
            one = self.open()
            prepare(one, rows)

            def transaction(one=one, rows=rows):
                one.execute('BEGIN')
                work(one, rows)
                one.commit()

            counts.append(calls(transaction))
        self.assertLess(counts[1], counts[0] * TIMES * 1.25)

    @staticmethod
    def parents(one, rows):
        one.execute_many('INSERT INTO parents VALUES (?, ?)', [
            (f'p{n}', n) for n in range(rows)])

    @classmethod
    def children(cls, one, rows):
        cls.parents(one, rows)
        for name in ('boys', 'girls'):
            one.execute_many(
                f'INSERT INTO {name} (parent, n) VALUES (?, ?)',
                [(f'p{n}', n) for n in range(0, rows, 2)])

    def test_parents_and_their_children(self):
        self.check(self.children)

    def test_children_of_parents_that_are_read(self):
        def work(one, rows):
            one.execute('SELECT * FROM parents')
            for n in range(rows):
                one.execute('INSERT INTO boys (parent, n) VALUES (?, ?)',
                            (f'p{n}', n))

        self.check(work, self.parents)

    def test_the_childless_of_a_table_go(self):
        def prepare(one, rows):
            self.children(one, rows)
            one.execute('DELETE FROM boys')
            one.execute('DELETE FROM girls')

        self.check(lambda one, rows: one.execute(
            'DELETE FROM parents WHERE n >= 0'), prepare)

    def test_parents_with_their_children_go(self):
        def work(one, rows):
            for name in ('boys', 'girls', 'parents'):
                one.execute(f'DELETE FROM {name} WHERE n IN '
                            f'(SELECT n FROM {name} ORDER BY n)')

        self.check(work, self.children)

    def test_rows_that_are_copied_and_go(self):
        def work(one, rows):
            one.execute('INSERT INTO girls (parent, n) '
                        'SELECT parent, n + 1000000 FROM boys')
            one.execute('DELETE FROM boys')

        self.check(work, self.children)

    def test_statements_that_are_undone(self):
        def work(one, rows):
            for n in range(0, rows, 2):
                one.execute('INSERT INTO boys (parent, n) VALUES (?, ?)',
                            (f'p{n}', -1))
                self.assertRaises(
                    errors.IntegrityError, one.execute,
                    'INSERT INTO boys (parent, n) VALUES (?, ?)',
                    (f'p{n}', n))

        self.check(work, self.children)

    def test_savepoints_that_are_undone(self):
        def work(one, rows):
            for n in range(rows):
                one.execute('SAVEPOINT one')
                one.execute('UPDATE parents SET n = n + 1 WHERE id = ?',
                            (f'p{n}',))
                one.execute('ROLLBACK TO one')
                one.execute('UPDATE parents SET n = n + 2 WHERE id = ?',
                            (f'p{n}',))
                one.execute('RELEASE one')

        self.check(work, self.parents)

    def test_compare_and_sets(self):
        def work(one, rows):
            one.execute('SELECT * FROM parents')
            for n in range(rows):
                one.execute('UPDATE parents SET n = ? WHERE id = ? AND n = ?',
                            (-n, f'p{n}', n))

        self.check(work, self.parents)

    def test_accesses_with_many_keys_are_merged(self):
        schema = self.open().database.catalog.current()
        table = schema.table('parents')

        def merge(rows):
            Counted.hashed = 0
            merged, = fetched.merged([
                BoundAccess(table, Path.ROW, [(Counted(n), Counted(n))])
                for n in range(rows)])
            self.assertEqual([(n, n) for n in range(rows)], merged.keys)
            return Counted.hashed

        self.assertLess(merge(FEW * TIMES), merge(FEW) * TIMES * 1.25)
