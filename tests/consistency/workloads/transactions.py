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

"""Random transactions of reads, appends and writes, for `dependencies`."""

import json
import time

import sqlalchemy as sa

from tests.consistency import dependencies
from tests.consistency.workloads import base

#: the profile groups both by shelf
LISTS = sa.Table(
    'lists', base.METADATA,
    sa.Column('id', sa.String(32), primary_key=True),
    sa.Column('shelf', sa.String(16), index=True),
    sa.Column('elements', sa.Text))
REGISTERS = sa.Table(
    'registers', base.METADATA,
    sa.Column('id', sa.String(32), primary_key=True),
    sa.Column('shelf', sa.String(16), index=True),
    sa.Column('value', sa.BigInteger))

#: new keys come after so many seconds, so that lists stay short
_EPOCH = 4
_SHELVES = ['a', 'b', 'c']


def _keys() -> list[str]:
    epoch = int(time.monotonic() / _EPOCH)
    return [f'{shelf}-{epoch}-{n}' for shelf in _SHELVES for n in range(2)]


class Appends(base.Workload):
    """List-append."""

    name = 'appends'

    def draw(self, rng, client):
        keys = rng.sample(_keys(), rng.randint(1, 3))
        return 'transaction', [
            ['r', key, None] if rng.random() < .5 else
            ['append', key, rng.getrandbits(50)]
            for key in (rng.choice(keys) for _ in range(rng.randint(1, 4)))]

    def run(self, engine, name, asked):
        got = []
        with base.transaction(engine) as connection:
            for what, key, value in asked:
                if what == 'r':
                    value = self._read(connection, key) or []
                elif self._read_exists(connection, key):
                    connection.execute(LISTS.update().where(
                        LISTS.c.id == key).values(
                            elements=LISTS.c.elements + f',{value}'))
                else:
                    connection.execute(LISTS.insert().values(
                        id=key, shelf=key[0], elements=f'{value}'))
                got.append([what, key, value])
        return got

    @staticmethod
    def _read(connection, key):
        found = connection.execute(sa.select(LISTS.c.elements).where(
            LISTS.c.id == key)).scalar_one_or_none()
        return found and [int(v) for v in found.split(',')]

    @staticmethod
    def _read_exists(connection, key):
        return connection.execute(sa.select(sa.literal(1)).where(
            LISTS.c.id == key)).first()

    def final(self, connection):
        return {key: [int(v) for v in elements.split(',')]
                for key, elements in connection.execute(sa.select(
                    LISTS.c.id, LISTS.c.elements))}

    def check(self, operations, final):
        return dependencies.check_appends(operations, final)


class Registers(base.Workload):
    """Read-write registers; who writes one has read it before."""

    name = 'registers'

    def draw(self, rng, client):
        asked = []
        for key in rng.sample(_keys(), rng.randint(1, 3)):
            asked.append(['r', key, None])
            if rng.random() < .6:
                asked.append(['w', key, rng.getrandbits(50)])
                if rng.random() < .3:
                    asked.append(['w', key, rng.getrandbits(50)])
                if rng.random() < .3:
                    asked.append(['r', key, None])
        return 'transaction', asked

    def run(self, engine, name, asked):
        got = []
        there = {}
        with base.transaction(engine) as connection:
            for what, key, value in asked:
                if what == 'r':
                    value = connection.execute(sa.select(
                        REGISTERS.c.value).where(REGISTERS.c.id == key)
                        ).scalar_one_or_none()
                elif there[key] is None:
                    connection.execute(REGISTERS.insert().values(
                        id=key, shelf=key[0], value=value))
                else:
                    connection.execute(REGISTERS.update().where(
                        REGISTERS.c.id == key).values(value=value))
                there[key] = value
                got.append([what, key, value])
        return got

    def final(self, connection):
        return dict(base.rows(connection, sa.select(
            REGISTERS.c.id, REGISTERS.c.value)))

    def check(self, operations, final):
        return dependencies.check_registers(operations, final)


def jepsen(operations, kinds=('r', 'append')) -> str:
    """Return a history in Jepsen's JSON lines, for other checkers."""
    events = []
    numbers: dict[str, int] = {}
    for one in operations:
        process = numbers.setdefault(one.client, len(numbers))
        events.append((one.start, 0, process, 'invoke', one.asked))
        kind = {'ok': 'ok', 'fail': 'fail', 'unknown': 'info'}[one.outcome]
        if one.end != float('inf'):
            events.append((one.end, 1, process, kind,
                           one.got if kind == 'ok' else one.asked))
    lines = []
    for _, _, process, kind, value in sorted(
            events, key=lambda e: (e[0], e[1])):
        lines.append(json.dumps({'process': process, 'type': kind,
                                 'value': value}))
    return '\n'.join(lines) + '\n'
