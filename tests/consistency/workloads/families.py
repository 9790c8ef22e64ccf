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

"""Parents and children: never an orphan."""

import sqlalchemy as sa

from tests.consistency.history import FAIL
from tests.consistency.history import OK
from tests.consistency.workloads import base

PARENTS = sa.Table(
    'parents', base.METADATA,
    sa.Column('id', sa.String(16), primary_key=True),
    sa.Column('name', sa.String(64)))
#: in groups of their own
CHILDREN = sa.Table(
    'children', base.METADATA,
    sa.Column('id', sa.String(64), primary_key=True),
    sa.Column('parent', sa.String(16), sa.ForeignKey('parents.id')))
#: in their parent's group
TWINS = sa.Table(
    'twins', base.METADATA,
    sa.Column('id', sa.String(64), primary_key=True),
    sa.Column('parent', sa.String(16), sa.ForeignKey('parents.id')))

IDS = ['p1', 'p2', 'p3']


class Families(base.Workload):

    name = 'families'

    def draw(self, rng, client):
        name = rng.choice(['parent', 'parent', 'no parent', 'no parent',
                           'children', 'twins', 'no children'])
        return name, {'parent': rng.choice(IDS),
                      'id': f'{client}-{rng.getrandbits(60):x}'}

    def run(self, engine, name, asked):
        with base.transaction(engine) as connection:
            if name == 'parent':
                if connection.execute(sa.select(PARENTS.c.id).where(
                        PARENTS.c.id == asked['parent'])).first():
                    return False
                connection.execute(PARENTS.insert().values(
                    id=asked['parent'], name=asked['id']))
            elif name == 'no parent':
                return connection.execute(PARENTS.delete().where(
                    PARENTS.c.id == asked['parent'])).rowcount
            elif name == 'no children':
                return [connection.execute(table.delete().where(
                    table.c.parent == asked['parent'])).rowcount
                    for table in (CHILDREN, TWINS)]
            else:
                connection.execute(base.METADATA.tables[name].insert().values(
                    id=asked['id'], parent=asked['parent']))
            return True

    def final(self, connection):
        return {table.name: base.rows(connection, sa.select(table))
                for table in (PARENTS, CHILDREN, TWINS)}

    def check(self, operations, final):
        wrong = []
        parents = {one[0] for one in final['parents']}
        born = {o.asked['id']: o for o in operations
                if o.name in ('children', 'twins')}
        for table in ('children', 'twins'):
            for child, parent in final[table]:
                if parent not in parents:
                    wrong.append(f'{table}: an orphan of {parent}: {child}')
                if born[child].outcome == FAIL:
                    wrong.append(f'{table}: failed, but there: {child}')
        # a child that nobody has removed is still there
        removed: dict[str, float] = {}
        for one in operations:
            if one.name == 'no children' and one.outcome != FAIL:
                parent = one.asked['parent']
                removed[parent] = max(removed.get(parent, 0.0), one.end)
        for child, one in born.items():
            if one.outcome == OK and (
                    removed.get(one.asked['parent'], 0.0) < one.start):
                if child not in {c for c, _ in final[one.name]}:
                    wrong.append(f'acknowledged, but lost: {one}')
        return wrong
