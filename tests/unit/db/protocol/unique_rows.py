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

"""Unique rows beside the rows."""

import dataclasses

from luc_drivers.db import errors
from luc_drivers.db.rows import RowChange
from tests.unit.db.protocol import base
from tests.unit.db.transaction_fixtures import Process


class UniqueRows(base.Contract):


    def user(self, process: Process, name: str, team: str | None = None
             ) -> str:
        k = self.key('u')
        process.commit(process.insert('users', k, name, team))
        process.background.run()
        return k

    def test_a_unique_name_in_a_group_of_its_own(self):
        name = self.key()
        k = self.user(self.p, name)
        with self.assertRaisesRegex(errors.Refused, 'users'):
            self.user(self.q, name)
        self.q.commit(self.q.update(self.q.get('users', k), name=name + 'x'))
        self.q.background.run()
        other = self.user(self.p, name)
        self.assertRaises(errors.Refused, self.user, self.q, name + 'x')
        self.p.commit(self.p.delete(self.p.get('users', other)))
        self.p.background.run()
        self.user(self.q, name)

    def test_nulls_are_distinct(self):
        for _ in range(2):
            k = self.key('u')
            self.p.commit(self.p.insert('users', k, None, None))
            self.assertIsNotNone(self.get('users', k))

    def test_an_update_that_keeps_the_name_is_one_group(self):
        k = self.user(self.p, self.key())
        row = self.p.get('users', k)
        before = self.faulty.requests
        self.p.commit(self.p.update(row, team=None))
        self.assertEqual(1, self.faulty.requests - before)

    def test_a_name_changes_hands_in_one_transaction(self):
        # rule 32
        name = self.key()
        one, two = self.user(self.p, name), self.user(self.p, name + '2')
        rows = [self.p.get('users', one), self.p.get('users', two)]
        self.p.commit(self.p.update(rows[0], name=name + '2'),
                      self.p.update(rows[1], name=name))
        self.p.background.run()
        self.assertEqual(name + '2', self.get('users', one)[1])
        self.assertEqual(name, self.get('users', two)[1])
        three = self.key('u')
        self.p.commit(self.p.delete(self.p.get('users', two)),
                      self.p.insert('users', three, name, None))
        self.p.background.run()
        self.assertRaises(errors.Refused, self.user, self.q, name)

    def test_a_unique_row_beside_the_row(self):
        k = self.item()
        n, m = base.number(), base.number()
        self.p.commit(self.p.insert('parts', n, k, 'x', '', generated=True))
        self.assertRaises(
            errors.Refused, self.q.commit,
            self.q.insert('parts', m, k, 'x', '', generated=True))
        other = self.item()
        self.q.commit(
            self.q.insert('parts', m, other, 'x', '', generated=True))
        row = self.p.get('parts', k, n)
        self.p.commit(self.p.delete(row),
                      self.p.insert('parts', base.number(), k, 'x', '',
                                    generated=True))

    def test_an_explicit_id_is_guarded(self):
        k, other = self.pair()
        n = base.number()
        self.p.commit(self.p.insert('parts', n, k, 'x', ''))
        self.assertRaises(errors.Refused, self.q.commit,
                          self.q.insert('parts', n, other, 'x', ''))

    def test_a_unique_key_that_older_rows_lack(self):
        # the back-fill of ADD UNIQUE: old under the old schema's table
        name = self.key()
        table = self.p.table('users')
        bare = dataclasses.replace(table, indexes=tuple(
            i for i in table.indexes if not i.unique_columns))
        k = self.key('u')
        self.p.commit(RowChange(bare, None, {1: k, 2: name, 3: None}))
        row = self.p.get('users', k)._replace(table=bare)
        self.p.commit(RowChange(table, row, row.values))
        self.p.background.run()
        self.assertRaises(errors.Refused, self.user, self.q, name)
        self.assertEqual(1, len(self.p.find('users', 'users_name', name)))
