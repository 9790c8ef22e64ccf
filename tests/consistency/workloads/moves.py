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

"""Rows that move between values of an index, and between groups.

A reader of IN (a, b) always sees every row, wherever it is.
"""

import sqlalchemy as sa

from tests.consistency.history import OK
from tests.consistency.workloads import base

THINGS = sa.Table(
    'things', base.METADATA,
    sa.Column('id', sa.String(16), primary_key=True),
    sa.Column('place', sa.String(16), index=True))
#: the profile groups them by shelf: a row that moves changes its group
BOOKS = sa.Table(
    'books', base.METADATA,
    sa.Column('shelf', sa.String(16), primary_key=True),
    sa.Column('id', sa.String(16), primary_key=True),
    sa.Column('tag', sa.String(16), index=True))

IDS = [f't{n}' for n in range(6)]
PLACES = ['a', 'b']


class Moves(base.Workload):

    name = 'moves'

    def fill(self, connection):
        connection.execute(THINGS.insert(), [
            {'id': i, 'place': 'a'} for i in IDS])
        connection.execute(BOOKS.insert(), [
            {'id': i, 'shelf': 'a', 'tag': 'x'} for i in IDS])

    def draw(self, rng, client):
        name = rng.choice(['move', 'move', 'read', 'shelve', 'browse',
                           'browse by tag'])
        return name, {'id': rng.choice(IDS), 'place': rng.choice(PLACES)}

    def run(self, engine, name, asked):
        with base.transaction(engine) as connection:
            if name == 'move':
                return connection.execute(
                    THINGS.update().where(THINGS.c.id == asked['id'])
                    .values(place=asked['place'])).rowcount
            if name == 'shelve':
                return connection.execute(
                    BOOKS.update().where(BOOKS.c.id == asked['id'])
                    .values(shelf=asked['place'])).rowcount
            if name == 'read':
                query = sa.select(THINGS.c.id).where(
                    THINGS.c.place.in_(PLACES))
            elif name == 'browse':
                query = sa.select(BOOKS.c.id).where(BOOKS.c.shelf.in_(PLACES))
            else:
                query = sa.select(BOOKS.c.id).where(BOOKS.c.tag == 'x')
            return sorted(i for i, in connection.execute(query))

    def final(self, connection):
        return {
            'things': base.rows(connection, sa.select(
                THINGS.c.id).where(THINGS.c.place.in_(PLACES))),
            'books': base.rows(connection, sa.select(
                BOOKS.c.id).where(BOOKS.c.shelf.in_(PLACES)))}

    def check(self, operations, final):
        wrong = []
        for one in operations:
            if one.outcome != OK:
                continue
            if one.name in ('move', 'shelve'):
                if one.got != 1:
                    wrong.append(f'{one.got} rows of one key: {one}')
            elif one.got != IDS:
                wrong.append(f'{one.name} saw {one.got}')
        for table, found in final.items():
            if sorted(i for i, in found) != IDS:
                wrong.append(f'{table} at the end: {found}')
        return wrong
