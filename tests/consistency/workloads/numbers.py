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

"""Sequences: never a number twice, across processes and their deaths."""

import sqlalchemy as sa

from tests.consistency.history import FAIL
from tests.consistency.history import OK
from tests.consistency.workloads import base

TICKETS = sa.Table(
    'tickets', base.METADATA,
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('token', sa.String(64)))


class Numbers(base.Workload):
    """Inserts without an id; now and then one with an id ahead.

    A drawn id that such a row has taken meanwhile is a DBDeadlock at COMMIT,
    for the caller has seen it (rule 24).
    """

    name = 'numbers'

    def draw(self, rng, client):
        token = f'{client}-{rng.getrandbits(60):x}'
        name = rng.choice(['one'] * 4 + ['three', 'ahead'])
        return name, {'token': token, 'ahead': rng.randint(1, 50)}

    def run(self, engine, name, asked):
        token = asked['token']
        with base.transaction(engine) as connection:
            if name == 'ahead':
                top = connection.execute(sa.select(
                    sa.func.max(TICKETS.c.id))).scalar_one() or 0
                given = top + asked['ahead']
                if connection.execute(sa.select(TICKETS.c.id).where(
                        TICKETS.c.id == given)).first():
                    return []
                connection.execute(TICKETS.insert().values(
                    id=given, token=f'{token}-0'))
                return [given]
            return [connection.execute(TICKETS.insert().values(
                token=f'{token}-{n}')).inserted_primary_key[0]
                for n in range(3 if name == 'three' else 1)]

    def final(self, connection):
        return base.rows(connection, sa.select(TICKETS.c.id, TICKETS.c.token))

    def check(self, operations, final):
        wrong = []
        there = {number: token for number, token in final}
        if len(there) != len(final):
            wrong.append('a number is there twice')
        tokens = {token.rsplit('-', 1)[0] for token in there.values()}
        for one in operations:
            if one.outcome == OK:
                for n, number in enumerate(one.got):
                    token = f'{one.asked["token"]}-{n}'
                    if there.get(number) != token:
                        wrong.append(f'{one.name}: {number} was given to '
                                     f'{token}, but has '
                                     f'{there.get(number)!r}')
            elif one.outcome == FAIL:
                if one.asked['token'] in tokens:
                    wrong.append(f'failed, but there: {one}')
                if one.why == 'duplicate' and one.name != 'ahead':
                    wrong.append(f'a drawn number was a duplicate: {one}')
        return wrong
