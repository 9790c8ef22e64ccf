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

"""Foreign keys (rule 25)."""

import dataclasses

from luc_drivers.db import errors
from tests.unit.db.protocol import base


class ForeignKeys(base.Contract):


    def team(self) -> str:
        k = self.key('t')
        self.p.commit(self.p.insert('teams', k, 'n'))
        return k

    def test_no_child_without_a_parent(self):
        with self.assertRaisesRegex(errors.Refused, 'teams'):
            self.user(self.p, self.key(), 'no such team')
        with self.assertRaisesRegex(errors.Refused, 'items'):
            self.p.commit(self.p.insert(
                'parts', base.number(), 'no such item', 'x', ''))
        k = self.key('u')
        self.p.commit(self.p.insert('users', k, None, 'no such team'),
                      check_references=False)
        self.assertIsNotNone(self.get('users', k))

    def test_parent_and_child_in_one_transaction(self):
        team, user, k = self.key('t'), self.key('u'), self.key()
        self.p.commit(self.p.insert('users', user, self.key(), team),
                      self.p.insert('teams', team, 'n'))
        self.p.commit(self.p.insert('parts', base.number(), k, 'x', ''),
                      self.p.insert('items', k, 'a', 'w'))
        self.p.background.run()
        self.p.commit(self.p.delete(self.p.get('users', user)),
                      self.p.delete(self.p.get('teams', team)))
        self.assertIsNone(self.get('teams', team))

    def test_a_parent_with_children_stays(self):
        team = self.team()
        user = self.user(self.p, self.key(), team)
        row = self.q.get('teams', team)
        with self.assertRaisesRegex(errors.Refused, 'users'):
            self.q.commit(self.q.delete(row))
        self.assertIsNone(self.raw('teams', team).lock)
        self.p.commit(self.p.delete(self.p.get('users', user)))
        self.p.background.run()
        # its entries are still there: stale ones don't count
        self.q.commit(self.q.delete(row))
        self.q.background.run()
        self.assertIsNone(self.get('teams', team))
        self.assertEqual([], self.markers('teams', team))

    def test_a_parent_that_only_changes(self):
        team = self.team()
        self.user(self.p, self.key(), team)
        self.p.commit(self.p.update(self.p.get('teams', team), name='m'))
        self.assertEqual('m', self.get('teams', team)[1])

    def test_a_child_in_the_same_group(self):
        k, n = self.item(), base.number()
        item = self.p.get('items', k)
        before = self.faulty.rounds
        self.p.commit(self.p.insert('parts', n, k, 'x', '', generated=True),
                      parents=[item])
        # entries and one batch: the parent costs no round
        self.assertEqual(2, self.faulty.rounds - before)
        # and it is as it was: other children don't get in each other's way
        self.assertEqual(item, self.p.get('items', k))
        with self.assertRaisesRegex(errors.Refused, 'parts'):
            self.q.commit(self.q.delete(item))
        self.p.commit(self.p.delete(self.p.get('parts', k, n)))
        self.q.commit(self.q.delete(item))

    def test_a_parent_at_hand_that_has_changed_since(self):
        k, n = self.item(), base.number()
        item = self.p.get('items', k)
        self.q.commit(self.q.update(item, v='b'))
        self.p.commit(self.p.insert('parts', n, k, 'x', ''), parents=[item])
        self.assertEqual((k, 'b', 'w'), self.get('items', k))
        self.assertIsNotNone(self.get('parts', k, n))

    def test_the_parent_in_the_group_goes_first(self):
        k, n = self.item(), base.number()
        item = self.p.get('items', k)
        with base.at_step('one:send', lambda: self.q.commit(
                self.q.delete(self.q.get('items', k)))):
            self.assertRaises(
                errors.Refused, self.p.commit,
                self.p.insert('parts', n, k, 'x', '', generated=True),
                parents=[item])
        self.assertIsNone(self.get('parts', k, n))

    def test_the_parent_elsewhere_goes_first(self):
        team, user = self.team(), self.key('u')
        with base.at_step('index:written', lambda: self.q.commit(
                self.q.delete(self.q.get('teams', team)))):
            self.assertRaises(
                errors.Refused, self.p.commit,
                self.p.insert('users', user, None, team))
        self.assertIsNone(self.get('users', user))

    def test_the_child_comes_first(self):
        team, user = self.team(), self.key('u')
        with base.at_step('prepare:send', lambda: self.p.commit(
                self.p.insert('users', user, None, team))):
            self.assertRaises(errors.Refused, self.q.commit,
                              self.q.delete(self.q.get('teams', team)))
        self.assertIsNotNone(self.get('teams', team))

    def test_a_child_that_has_looked_already(self):
        # it saw the parent unlocked; the deleter sees only its entry
        team, user = self.team(), self.key('u')
        with base.at_step('one:send', lambda: self.q.commit(
                self.q.delete(self.q.get('teams', team)))):
            self.assertRaises(errors.Refused, self.p.commit,
                              self.p.insert('users', user, None, team))
        self.assertIsNone(self.get('teams', team))
        self.assertIsNone(self.get('users', user))

    def test_a_child_of_a_table_without_entries(self):
        team = self.team()
        log = self.p.insert('logs', 'text', team, created=base.number())
        # the deleter gives up before the lock is old enough to be fenced
        self.q = self.process(bounds=dataclasses.replace(
            self.p.bounds, lock_wait=1.0))
        def delete():
            self.time.advance(0.1)
            self.assertRaises(errors.Refused, self.q.commit,
                              self.q.delete(self.q.get('teams', team)))

        with base.at_step('several:send', delete):
            self.p.commit(log)
        self.p.background.run()
        self.assertIsNotNone(self.get('teams', team))
