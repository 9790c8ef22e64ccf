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

"""Random transactions through the whole database layer, against SQLite.

Schemas, rows and statements are those of the planner's property tests; here
they go through driver, session, workspace, commit and the embedded store.
Two connections take turns, so that every transaction reads what others wrote.
"""

import random
import unittest
from unittest import mock
import uuid

import apsw
import hypothesis
from hypothesis import strategies

from luc_drivers.db import dbapi
from luc_drivers.db import engine
from luc_drivers.db.profiles import base
from luc_drivers.db.profiles import registry
from tests.unit.db import planner_statements as statements
from tests.unit.db.test_planner_properties import alike


def profile_of(schema):
    """Return a profile that stores the tables as the schema says."""
    rules = {}
    for name, table in schema.tables.items():
        by = table.grouping.columns
        rules[name] = base.Rule(
            by=None if by and by == table.key else by)
    return base.Profile('random', rules, leave_out=frozenset())


class Pair:
    """The same statements on both."""

    def __init__(self, test, seed):
        self.test = test
        self.rng = random.Random(seed)
        self.schema = statements.make_schema(self.rng)
        self.pool = statements.make_pool(self.rng)
        self.said = [f'seed {seed}']
        self.stock = apsw.Connection(':memory:')
        self.stock.config(apsw.SQLITE_DBCONFIG_DQS_DML, 1)
        self.private = uuid.uuid4().hex
        self.ours = [self._connect(), self._connect()]
        self.cursor = self.ours[0].cursor()
        for table in self.schema.tables.values():
            self.both(table.sql)
            for index in table.indexes:
                if index.columns and not index.unique_columns:
                    self.both(f'CREATE INDEX {index.name} ON {table.name} ('
                              + ', '.join(index.columns) + ')')

    def _connect(self):
        return dbapi.connect('random', store='embedded', fresh='1',
                             private=self.private, isolation_level=None)

    def turn(self):
        """Let the other connection go on."""
        self.ours.reverse()
        self.cursor = self.ours[0].cursor()

    def both(self, sql, parameters=()):
        """Run a statement; it must say the same."""
        self.said.append(f'{sql!r} {parameters!r}')
        before = self.stock.total_changes()
        expected: object
        try:
            expected = alike(self.stock.execute(sql, parameters).fetchall())
        except apsw.ConstraintError as error:
            expected = str(error)
        except apsw.SQLError:
            return  # ambiguous names and the like
        changes = self.stock.total_changes() - before
        message = '\n'.join(self.said)
        try:
            self.cursor.execute(sql, parameters)
            found = alike(self.cursor.fetchall())
        except dbapi.IntegrityError as error:
            found = str(error)
        self.test.assertEqual(expected, found, message)
        if sql.startswith(('UPDATE', 'DELETE')) and isinstance(
                expected, list) and not expected:
            self.test.assertEqual(changes, self.cursor.rowcount, message)

    def statement(self):
        """Run one statement that may change something."""
        if self.rng.random() < 0.4:
            table = self.rng.choice(list(self.schema.tables.values()))
            values = [
                self.rng.randint(0, 12) if c.name == table.rowid_column
                else self._stored(c) for c in table.columns]
            marks = ', '.join('?' * len(values))
            verb = self.rng.choice(
                ('INSERT', 'INSERT', 'INSERT OR REPLACE', 'INSERT OR IGNORE'))
            self.both(f'{verb} INTO {table.name} VALUES ({marks})', values)
            return
        maker = statements.Maker(self.rng, self.schema, self.pool)
        self.both(maker.statement(), maker.parameters)

    def _stored(self, column):
        value = self.rng.choice(self.pool)
        if isinstance(value, float) and column.affinity.name == 'BLOB':
            return 2
        return value

    def transaction(self):
        """Run a transaction, perhaps with savepoints."""
        self.both('BEGIN')
        depth = 0
        for _ in range(self.rng.randint(1, 6)):
            pick = self.rng.random()
            if pick < 0.12:
                depth += 1
                self.both(f'SAVEPOINT s{depth}')
            elif pick < 0.2 and depth:
                self.both(f'ROLLBACK TO SAVEPOINT s{depth}')
            elif pick < 0.25 and depth:
                self.both(f'RELEASE SAVEPOINT s{depth}')
                depth -= 1
            else:
                self.statement()
        self.both(self.rng.choice(('COMMIT', 'COMMIT', 'ROLLBACK')))

    def compare(self):
        """All tables hold the same."""
        for name in self.schema.tables:
            self.both(f'SELECT * FROM {name}')

    def close(self):
        for connection in self.ours:
            connection.close()
        engine.drop_private(self.private)


def check(test, seed):
    pair = None
    try:
        with mock.patch.object(registry, 'find') as find:
            rng = random.Random(seed)
            find.return_value = profile_of(statements.make_schema(rng))
            pair = Pair(test, seed)
            for _ in range(5):
                if pair.rng.random() < 0.3:
                    pair.statement()
                else:
                    pair.transaction()
                pair.turn()
                pair.compare()
    finally:
        if pair is not None:
            pair.close()


class TestTransactions(unittest.TestCase):

    @hypothesis.settings(max_examples=25, deadline=None, database=None)
    @hypothesis.given(strategies.integers(0, 2 ** 40))
    def test_as_stock_sqlite(self, seed):
        check(self, seed)
