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

"""Transfers between accounts in several groups, with a ledger.

The total is constant at the end, and in every read that selects its rows FOR
UPDATE.  A plain read over several groups may be between two commits; it is
not checked for its total.
"""

import sqlalchemy as sa

from tests.consistency.history import FAIL
from tests.consistency.history import OK
from tests.consistency.workloads import base

ACCOUNTS = sa.Table(
    'accounts', base.METADATA,
    sa.Column('id', sa.String(16), primary_key=True),
    sa.Column('branch', sa.String(16), index=True),
    sa.Column('balance', sa.Integer))
LEDGER = sa.Table(
    'ledger', base.METADATA,
    sa.Column('id', sa.String(64), primary_key=True),
    sa.Column('source', sa.String(16)),
    sa.Column('target', sa.String(16)),
    sa.Column('amount', sa.Integer))

NAMES = [f'{branch}{n}' for branch in 'abc' for n in (1, 2)]
EACH = 100


class Bank(base.Workload):

    name = 'bank'

    def fill(self, connection):
        connection.execute(ACCOUNTS.insert(), [
            {'id': name, 'branch': name[0], 'balance': EACH}
            for name in NAMES])

    def draw(self, rng, client):
        kind = rng.choice(['transfer'] * 6 + ['read', 'locked'])
        if kind != 'transfer':
            return kind, None
        source, target = rng.sample(NAMES, 2)
        return 'transfer', {
            'id': f'{client}-{rng.getrandbits(60):x}', 'source': source,
            'target': target, 'amount': rng.randint(1, 20)}

    def run(self, engine, name, asked):
        with base.transaction(engine) as connection:
            if name != 'transfer':
                query = sa.select(ACCOUNTS.c.id, ACCOUNTS.c.balance)
                if name == 'locked':
                    query = query.with_for_update()
                return dict(base.rows(connection, query))
            there = dict(base.rows(connection, sa.select(
                ACCOUNTS.c.id, ACCOUNTS.c.balance).where(
                    ACCOUNTS.c.id.in_([asked['source'], asked['target']])
                ).with_for_update()))
            if there[asked['source']] < asked['amount']:
                return False
            for which, sign in (('source', -1), ('target', 1)):
                changed = connection.execute(
                    ACCOUNTS.update().where(ACCOUNTS.c.id == asked[which])
                    .values(balance=there[asked[which]] +
                            sign * asked['amount'])).rowcount
                if changed != 1:
                    raise base.Anomaly(f'UPDATE of an account: {changed} rows')
            connection.execute(LEDGER.insert().values(**asked))
            return True

    def final(self, connection):
        return {
            'balances': dict(base.rows(connection, sa.select(
                ACCOUNTS.c.id, ACCOUNTS.c.balance))),
            'ledger': base.rows(connection, sa.select(
                LEDGER.c.id, LEDGER.c.source, LEDGER.c.target,
                LEDGER.c.amount))}

    def check(self, operations, final):
        wrong = []
        total = EACH * len(NAMES)
        balances = dict.fromkeys(NAMES, EACH)
        for _, source, target, amount in final['ledger']:
            balances[source] -= amount
            balances[target] += amount
        if balances != final['balances']:
            wrong.append(f'balances {final["balances"]} are not what the '
                         f'ledger says: {balances}')
        if any(b < 0 for b in final['balances'].values()):
            wrong.append(f'overdrawn: {final["balances"]}')
        there = {entry[0] for entry in final['ledger']}
        for one in operations:
            if one.name == 'transfer':
                done = one.asked['id'] in there
                if one.outcome == OK and done != one.got:
                    wrong.append(f'acknowledged, but lost: {one.asked}'
                                 if one.got else f'not asked: {one.asked}')
                if one.outcome == FAIL and done:
                    wrong.append(f'reported as failed, but done: {one.asked}')
            elif one.name == 'locked' and one.outcome == OK:
                if sum(one.got.values()) != total:
                    wrong.append(f'a read FOR UPDATE saw a total of '
                                 f'{sum(one.got.values())}: {one.got}')
            elif one.outcome == OK and len(one.got) != len(NAMES):
                wrong.append(f'a read missed an account: {one.got}')
        return wrong
