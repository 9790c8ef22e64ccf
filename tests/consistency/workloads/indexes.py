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

"""Indexes that come and go while others write (rule 26).

Whoever looks for a colour finds every row of it that was acknowledged
before, whether there is an index just then or not.
"""

import sqlalchemy as sa

from tests.consistency.history import FAIL
from tests.consistency.history import OK
from tests.consistency.workloads import base

STONES = sa.Table(
    'stones', base.METADATA,
    sa.Column('id', sa.String(64), primary_key=True),
    sa.Column('color', sa.String(16)))

COLORS = ['red', 'green', 'blue']


class Indexes(base.Workload):

    name = 'indexes'

    def draw(self, rng, client):
        name = rng.choices(['insert', 'paint', 'look', 'create', 'drop'],
                           [30, 15, 30, 1, 1])[0]
        return name, {'id': f'{client}-{rng.getrandbits(60):x}',
                      'color': rng.choice(COLORS)}

    def run(self, engine, name, asked):
        if name in ('create', 'drop'):
            with engine.connect() as connection, connection.begin():
                connection.execute(sa.text(
                    'CREATE INDEX IF NOT EXISTS stones_color '
                    'ON stones (color)' if name == 'create' else
                    'DROP INDEX IF EXISTS stones_color'))
            return True
        with base.transaction(engine) as connection:
            if name == 'insert':
                connection.execute(STONES.insert().values(**asked))
                return True
            if name == 'look':
                return sorted(i for i, in connection.execute(sa.select(
                    STONES.c.id).where(STONES.c.color == asked['color'])))
            # one stone of this colour becomes the next colour
            found = connection.execute(sa.select(STONES.c.id).where(
                STONES.c.color == asked['color']).limit(1)).first()
            if found is None:
                return None
            connection.execute(STONES.update().where(
                STONES.c.id == found[0]).values(color=_next(asked['color'])))
            return found[0]

    def final(self, connection):
        return {
            'all': dict(base.rows(connection, sa.select(
                STONES.c.id, STONES.c.color))),
            'by color': {color: sorted(
                i for i, in connection.execute(sa.select(STONES.c.id).where(
                    STONES.c.color == color))) for color in COLORS}}

    def check(self, operations, final):
        wrong = []
        stones = final['all']
        for color, found in final['by color'].items():
            there = sorted(i for i, c in stones.items() if c == color)
            if found != there:
                wrong.append(f'the index says {found} for {color}, '
                             f'but it is {there}')
        inserts = {o.asked['id']: o for o in operations
                   if o.name == 'insert'}
        painted = {o.got for o in operations
                   if o.name == 'paint' and o.outcome == OK and o.got}
        unsure = any(o.name == 'paint' and o.outcome not in (OK, FAIL)
                     for o in operations)
        for ident, one in inserts.items():
            if one.outcome == OK and ident not in stones:
                wrong.append(f'acknowledged, but lost: {one}')
            if one.outcome == FAIL and ident in stones:
                wrong.append(f'failed, but there: {one}')
        for look in operations:
            if look.name != 'look' or look.outcome != OK:
                continue
            seen = set(look.got)
            missed = [i for i, one in inserts.items()
                      if one.outcome == OK and one.end < look.start and
                      one.asked['color'] == look.asked['color'] and
                      i not in painted and i not in seen]
            if missed and not unsure:
                wrong.append(f'a look for {look.asked["color"]} missed '
                             f'{missed[:5]}')
        return wrong


def _next(color: str) -> str:
    return COLORS[(COLORS.index(color) + 1) % len(COLORS)]
