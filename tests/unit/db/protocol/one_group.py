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

"""Commits of one group."""

from luc_drivers.db import errors
from luc_drivers.db.rows import RowChange
from luc_drivers.db.transaction.clock import micros
from tests.unit.db.protocol import base


class OneGroup(base.Contract):


    def test_insert_update_delete(self):
        k = self.key()
        first = self.p.commit(self.p.insert('items', k, 'a', None))
        row = self.q.get('items', k)
        self.assertEqual((k, 'a', None), self.q.values(row))
        self.assertEqual(first, row.version)
        second = self.q.commit(self.q.update(row, v='b'))
        self.assertGreater(micros(second), micros(first))
        row = self.p.get('items', k)
        self.assertEqual((k, 'b', None), self.p.values(row))
        self.assertEqual((first, second), row.history[-2:])
        self.p.commit(self.p.delete(row))
        self.assertIsNone(self.q.get('items', k))
        raw = self.raw('items', k)
        self.assertIsNone(raw.document)
        self.assertEqual(3 + 1, len(raw.history))

    def test_nothing_to_commit(self):
        self.assertIsNone(self.p.commit())

    def test_created_is_kept(self):
        k = self.key()
        self.p.commit(self.p.insert('items', k, 'a', 'w', created=77))
        row = self.p.get('items', k)
        self.assertEqual(77, row.created)
        self.p.commit(self.p.update(row, v='b'))
        self.assertEqual(77, self.p.get('items', k).created)

    def test_unknown_columns_are_kept(self):
        k = self.item()
        row = self.p.get('items', k)
        newer = dict(row.values)
        newer[99] = 'of a newer catalog'
        self.p.commit(RowChange(row.table, row, newer))
        row = self.p.get('items', k)
        self.p.commit(self.p.update(row, v='b'))
        self.assertEqual('of a newer catalog',
                         self.p.get('items', k).values[99])

    def test_the_second_of_two_writers_is_refused(self):
        k = self.item()
        mine, theirs = self.p.get('items', k), self.q.get('items', k)
        self.q.commit(self.q.update(theirs, v='b'))
        with self.assertRaisesRegex(errors.Refused, 'row of items'):
            self.p.commit(self.p.update(mine, w='x'))
        self.assertEqual((k, 'b', 'w'), self.get('items', k))

    def test_an_untouched_row_is_a_condition_too(self):
        # rules 21, 22: locked or rewritten rows
        k = self.item()
        mine, theirs = self.p.get('items', k), self.q.get('items', k)
        self.q.commit(self.q.update(theirs))
        self.assertRaises(errors.Refused, self.p.commit, self.p.update(mine))

    def test_two_inserts_of_one_key(self):
        k = self.item()
        with self.assertRaises(errors.Refused) as caught:
            self.q.commit(self.q.insert('items', k, 'b', 'w'))
        self.assertIsNone(caught.exception.generated_id)
        n = base.number()
        self.p.commit(self.p.insert('parts', n, k, 'x', '', generated=True))
        with self.assertRaises(errors.Refused) as caught:
            self.q.commit(
                self.q.insert('parts', n, k, 'y', '', generated=True))
        self.assertEqual('parts', caught.exception.generated_id)

    def test_a_refused_batch_changes_nothing(self):
        k = self.item()
        n = base.number()
        stale = self.p.get('items', k)
        self.q.commit(self.q.update(stale, v='b'))
        self.assertRaises(
            errors.Refused, self.p.commit, self.p.update(stale, v='c'),
            self.p.insert('parts', n, k, 'x', ''))
        self.assertIsNone(self.get('parts', k, n))
        self.assertEqual((k, 'b', 'w'), self.get('items', k))

    def test_seen_versions_bound_the_id(self):
        ahead = self.process(offset=5.0)
        k = self.key()
        version = ahead.commit(ahead.insert('items', k, 'a', 'w'))
        mine = self.p.commit(self.p.insert('items', self.key(), 'a', 'w'),
                             seen_versions=[version])
        self.assertGreater(micros(mine), micros(version))
