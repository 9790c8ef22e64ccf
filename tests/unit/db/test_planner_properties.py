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

"""Answers over the rows that a plan fetches = answers over all rows."""

import random
import unittest

import apsw
import hypothesis
from hypothesis import strategies

from tests.unit.db import planner_fixtures as fixtures
from tests.unit.db import planner_statements as statements


def alike(rows):
    """Return rows in a form that leaves out what SQL does not fix: their
    order, and whether 5 is shown as 5.0."""
    return sorted(repr([
        float(v) if isinstance(v, int) and abs(v) < 2 ** 53 else v
        for v in row]) for row in rows)


def check(test, seed, counts=None):
    """Make one schema, rows and statements from a seed and compare."""
    rng = random.Random(seed)
    of = statements.make_schema(rng)
    pool = statements.make_pool(rng)
    rows = statements.make_rows(rng, of, pool)
    for _ in range(3):
        maker = statements.Maker(rng, of, pool)
        sql = maker.statement()
        parameters = maker.parameters
        try:
            expected = fixtures.run_stock(of, rows, sql, parameters)
        except apsw.SQLError:
            continue  # ambiguous names and the like
        store = fixtures.Store(rows)
        answer, plan = fixtures.run_planned(of, rows, sql, parameters, store)
        message = (f'seed {seed}: {sql!r} {parameters!r}\n'
                   f'{[t.sql for t in of.tables.values()]}\n{rows}\n'
                   f'{plan.waves}\n'
                   + '\n'.join(
                       f'{a.path.name} {a.table.name} {a.key_columns} '
                       f'{a.keys} {a.lower} {a.upper}'
                       for a in store.fetched))
        test.assertEqual(alike(expected.rows), alike(answer.rows), message)
        test.assertEqual(expected.changes, answer.changes, message)
        test.assertEqual(expected.state, answer.state, message)
        if counts is not None:
            counts.update(a.path.name for a in store.fetched)
            counts.update([f'waves {len(plan.waves)}'])


class TestAnswers(unittest.TestCase):

    @hypothesis.settings(max_examples=400, deadline=None, database=None)
    @hypothesis.given(strategies.integers(0, 2 ** 40))
    def test_answers_are_those_of_stock_sqlite(self, seed):
        check(self, seed)
