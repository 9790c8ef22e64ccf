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

"""Unique inserts: of N concurrent inserts of one key, exactly one commits."""

import time

import sqlalchemy as sa
from sqlalchemy import exc as sa_exc

from tests.consistency.history import FAIL
from tests.consistency.history import OK
from tests.consistency.history import UNKNOWN
from tests.consistency.workloads import base

NAMES = sa.Table(
    'names', base.METADATA,
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('name', sa.String(32), unique=True),
    sa.Column('owner', sa.String(64)))
KEYS = sa.Table(
    'keys', base.METADATA,
    sa.Column('name', sa.String(32), primary_key=True),
    sa.Column('owner', sa.String(64)))

#: seconds for which clients draw the same key
_ROUND = 0.25


class Inserts(base.Workload):
    """A name by a unique key outside its row, a key by the row itself.

    A loser whose INSERT had worked when it ran gets a DBDeadlock at COMMIT,
    as on Galera.

    Whoever is told of a duplicate finds the winner's row in its next
    transaction (LP 1818498).
    """

    name = 'inserts'

    def draw(self, rng, client):
        return rng.choice(['names', 'keys']), {
            'name': f'n{int(time.monotonic() / _ROUND)}',
            'owner': f'{client}-{rng.getrandbits(60):x}'}

    def run(self, engine, name, asked):
        table = base.METADATA.tables[name]
        try:
            with base.transaction(engine) as connection:
                connection.execute(table.insert().values(**asked))
            return True
        except Exception as exc:
            if not duplicate(exc):
                raise
        with base.transaction(engine) as connection:
            winner = connection.execute(sa.select(table.c.owner).where(
                table.c.name == asked['name'])).scalar_one_or_none()
        if winner is None:
            raise base.Anomaly(
                f'a duplicate of {asked["name"]}, which nobody has')
        return False

    def final(self, connection):
        return {table.name: base.rows(connection, sa.select(
            table.c.name, table.c.owner)) for table in (NAMES, KEYS)}

    def check(self, operations, final):
        wrong = []
        for table, found in final.items():
            there = dict(found)
            if len(there) != len(found):
                wrong.append(f'{table}: a unique key is there twice')
            mine = [o for o in operations if o.name == table]
            by_owner = {o.asked['owner']: o for o in mine}
            for name, owner in found:
                one = by_owner.get(owner)
                if one is None or one.asked['name'] != name:
                    wrong.append(f'{table}: nobody inserted {name}, {owner}')
                elif one.outcome == FAIL or (
                        one.outcome == OK and not one.got):
                    wrong.append(f'{table}: not inserted, but there: {one}')
            for one in mine:
                if one.outcome == OK and one.got and there.get(
                        one.asked['name']) != one.asked['owner']:
                    wrong.append(f'{table}: acknowledged, but lost: {one}')
            for name in {o.asked['name'] for o in mine}:
                outcomes = [o.outcome for o in mine
                            if o.asked['name'] == name]
                if name not in there and OK in outcomes and (
                        UNKNOWN not in outcomes):
                    wrong.append(f'{table}: nobody won {name}')
        return wrong


def duplicate(exc: BaseException) -> bool:
    """Tell whether an error says that a unique key is taken."""
    from oslo_db import exception
    return isinstance(exc, (exception.DBDuplicateEntry,
                            sa_exc.IntegrityError))
