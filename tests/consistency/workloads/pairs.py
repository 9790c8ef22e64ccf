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

"""Two compare-and-sets in one transaction, as placement claims: of a provider
by its id, and of a consumer by another unique key.

Both are looked up in transactions before, and what follows the first is read
in the round of its turn.
"""

import sqlalchemy as sa

from tests.consistency.history import OK
from tests.consistency.history import UNKNOWN
from tests.consistency.workloads import base

PROVIDERS = sa.Table(
    'providers', base.METADATA,
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('generation', sa.Integer))
CONSUMERS = sa.Table(
    'consumers', base.METADATA,
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('name', sa.String(20), unique=True),
    sa.Column('generation', sa.Integer))

HOW_MANY = 3


def _bump(connection, table, condition, seen):
    """Set a generation; return whether it was as it was seen."""
    changed = connection.execute(
        table.update().where(condition, table.c.generation == seen)
        .values(generation=seen + 1)).rowcount
    if changed not in (0, 1):
        raise base.Anomaly(f'{changed} rows of a unique key')
    return bool(changed)


class Pairs(base.Workload):
    """Who wins one of them and loses the other one rolls back."""

    name = 'pairs'

    def fill(self, connection):
        numbers = range(1, HOW_MANY + 1)
        connection.execute(PROVIDERS.insert(), [
            {'id': n, 'generation': 0} for n in numbers])
        connection.execute(CONSUMERS.insert(), [
            {'id': n, 'name': f'c{n}', 'generation': 0} for n in numbers])

    def draw(self, rng, client):
        return 'claim', [rng.randint(1, HOW_MANY), rng.randint(1, HOW_MANY)]

    def run(self, engine, name, asked):
        number, other = asked
        provider = PROVIDERS.c.id == number
        consumer = CONSUMERS.c.name == f'c{other}'
        with engine.begin() as connection:
            seen = [connection.execute(sa.select(
                PROVIDERS.c.generation).where(provider)).scalar_one()]
        with engine.begin() as connection:
            seen.append(connection.execute(sa.select(
                CONSUMERS.c.generation).where(consumer)).scalar_one())
        with engine.connect() as connection:
            transaction = connection.begin()
            now = connection.execute(sa.select(
                PROVIDERS.c.generation).where(provider)).scalar_one()
            if now < seen[0]:
                raise base.Anomaly(f'a generation went back to {now}')
            won = [_bump(connection, PROVIDERS, provider, seen[0])]
            won.append(_bump(connection, CONSUMERS, consumer, seen[1]))
            if all(won):
                transaction.commit()
            else:
                transaction.rollback()
        return {'seen': seen, 'won': won}

    def final(self, connection):
        return [base.rows(connection, sa.select(
            table.c.id, table.c.generation))
            for table in (PROVIDERS, CONSUMERS)]

    def check(self, operations, final):
        wrong = []
        for which, rows in enumerate(final):
            for number, generation in rows:
                wrong += self._check(
                    ('provider', 'consumer')[which] + f' {number}',
                    generation,
                    [o for o in operations if o.asked[which] == number],
                    which)
        return wrong

    @staticmethod
    def _check(name, generation, operations, which):
        wrong = []
        done = [o for o in operations if o.outcome == OK]
        both = [o.got['seen'][which] for o in done if all(o.got['won'])]
        unknown = sum(o.outcome == UNKNOWN for o in operations)
        if not len(both) <= generation <= len(both) + unknown:
            wrong.append(f'{name} is at {generation} after {len(both)} claims '
                         f'and {unknown} unknown outcomes')
        if len(both) != len(set(both)):
            wrong.append(f'{name}: two won at one generation')
        for one in done:
            # one that was rolled back, too, was told so of the latest row
            if not one.got['won'][which] and (
                    generation <= one.got['seen'][which]):
                wrong.append(f'{name} lost a generation that nobody won: '
                             f'{one}')
        return wrong
