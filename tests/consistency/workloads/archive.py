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

"""Sweepers, as archive_deleted_rows: every row in exactly one table."""

import sqlalchemy as sa

from tests.consistency.history import FAIL
from tests.consistency.history import OK
from tests.consistency.workloads import base

ENTRIES = sa.Table(
    'entries', base.METADATA,
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('token', sa.String(64)),
    sa.Column('deleted', sa.Integer, index=True))
SHADOW = sa.Table(
    'shadow_entries', base.METADATA,
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('token', sa.String(64)),
    sa.Column('deleted', sa.Integer))

_BATCH = 5


class Archive(base.Workload):
    """Inserts, soft deletes, and several sweepers at once."""

    name = 'archive'

    def draw(self, rng, client):
        name = rng.choice(['insert', 'insert', 'insert', 'delete', 'sweep'])
        return name, f'{client}-{rng.getrandbits(60):x}'

    def run(self, engine, name, asked):
        with base.transaction(engine) as connection:
            if name == 'insert':
                connection.execute(ENTRIES.insert().values(
                    token=asked, deleted=0))
                return True
            if name == 'delete':
                found = connection.execute(sa.select(ENTRIES.c.id).where(
                    ENTRIES.c.deleted == 0).limit(1)).first()
                return found and connection.execute(
                    ENTRIES.update().where(ENTRIES.c.id == found[0])
                    .values(deleted=found[0])).rowcount
            # the statements of nova's _archive_deleted_rows_for_table
            some = sa.select(ENTRIES.c.id).where(
                ENTRIES.c.deleted != 0).order_by(ENTRIES.c.id).limit(_BATCH)
            ids = [i for i, in connection.execute(some)]
            if not ids:
                return 0
            connection.execute(SHADOW.insert().from_select(
                [c.name for c in ENTRIES.columns],
                sa.select(ENTRIES).where(ENTRIES.c.id.in_(ids))))
            gone = connection.execute(ENTRIES.delete().where(
                ENTRIES.c.id.in_(ids))).rowcount
            if gone != len(ids):
                raise base.Anomaly(f'{gone} of {len(ids)} rows deleted')
            return gone

    def final(self, connection):
        return {table.name: base.rows(connection, sa.select(
            table.c.id, table.c.token)) for table in (ENTRIES, SHADOW)}

    def check(self, operations, final):
        wrong = []
        tokens = [t for found in final.values() for _, t in found]
        if len(tokens) != len(set(tokens)):
            wrong.append('rows are in both tables: ' + str(
                sorted(t for t in set(tokens) if tokens.count(t) > 1)[:5]))
        there = set(tokens)
        for one in operations:
            if one.name == 'insert':
                if one.outcome == OK and one.asked not in there:
                    wrong.append(f'in no table: {one}')
                if one.outcome == FAIL and one.asked in there:
                    wrong.append(f'failed, but there: {one}')
        return wrong
