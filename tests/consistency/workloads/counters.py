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

"""Compare-and-set, as placement's generations: exact, final row counts."""

import sqlalchemy as sa

from tests.consistency.history import OK
from tests.consistency.history import UNKNOWN
from tests.consistency.workloads import base

COUNTERS = sa.Table(
    'counters', base.METADATA,
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('generation', sa.Integer))
CLAIMS = sa.Table(
    'claims', base.METADATA,
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('counter', sa.Integer, index=True),
    sa.Column('generation', sa.Integer))

HOW_MANY = 2


class Counters(base.Workload):
    """Of two that saw one generation, one gets 1 row, the other 0: nobody a
    DBDeadlock.
    """

    name = 'counters'
    conflicts = False

    def fill(self, connection):
        connection.execute(COUNTERS.insert(), [
            {'id': n, 'generation': 0} for n in range(1, HOW_MANY + 1)])

    def draw(self, rng, client):
        return rng.choice(['claim', 'claim', 'bump']), rng.randint(
            1, HOW_MANY)

    def run(self, engine, name, asked):
        with engine.connect() as connection:
            transaction = connection.begin()
            seen = connection.execute(sa.select(COUNTERS.c.generation).where(
                COUNTERS.c.id == asked)).scalar_one()
            if name == 'claim':
                connection.execute(CLAIMS.insert().values(
                    counter=asked, generation=seen))
            won = connection.execute(
                COUNTERS.update()
                .where(COUNTERS.c.id == asked, COUNTERS.c.generation == seen)
                .values(generation=seen + 1)).rowcount
            if won not in (0, 1):
                raise base.Anomaly(f'{won} rows of a unique key')
            if won:
                transaction.commit()
            else:
                transaction.rollback()
            return {'seen': seen, 'won': bool(won)}

    def final(self, connection):
        return {
            'counters': base.rows(connection, sa.select(
                COUNTERS.c.id, COUNTERS.c.generation)),
            'claims': base.rows(connection, sa.select(
                CLAIMS.c.counter, CLAIMS.c.generation))}

    def check(self, operations, final):
        wrong = []
        claims = [tuple(c) for c in final['claims']]
        if len(claims) != len(set(claims)):
            wrong.append('two claims were made at one generation: ' + str(
                sorted(c for c in set(claims) if claims.count(c) > 1)))
        for counter, generation in final['counters']:
            mine = [o for o in operations if o.asked == counter]
            won = [o for o in mine if o.outcome == OK and o.got['won']]
            unknown = [o for o in mine if o.outcome == UNKNOWN]
            if not len(won) <= generation <= len(won) + len(unknown):
                wrong.append(
                    f'counter {counter} is at {generation} after {len(won)} '
                    f'wins and {len(unknown)} unknown outcomes')
            seen = [o.got['seen'] for o in won]
            if len(seen) != len(set(seen)):
                wrong.append(f'counter {counter}: two won at one generation')
            made = {g for c, g in claims if c == counter}
            for one in won:
                if one.name == 'claim' and one.got['seen'] not in made:
                    wrong.append(f'an acknowledged claim is lost: {one}')
            if any(g >= generation for g in made):
                wrong.append(f'counter {counter} at {generation} has a claim '
                             'of a later generation: not atomic')
        return wrong
