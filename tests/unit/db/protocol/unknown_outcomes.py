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

"""Unknown outcomes of one group (rules 3, 4)."""

from luc_drivers.db import errors
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.transaction import writes
from tests.unit.db.protocol import base


class UnknownOutcomes(base.Contract):


    def test_an_answer_lost(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('answer_lost')
        txid = self.p.commit(self.p.update(row, v='b'))
        self.assertEqual(txid, self.p.get('items', k).version)

    def test_a_batch_lost_is_sent_again(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('lost')
        txid = self.p.commit(self.p.update(row, v='b'))
        row = self.p.get('items', k)
        self.assertEqual(((k, 'b', 'w'), txid),
                         (self.p.values(row), row.version))

    def test_a_late_batch_can_not_apply(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('late')
        txid = self.p.commit(self.p.update(row, v='b'))
        self.assertEqual([Outcome.REFUSED], self.faulty.land())
        self.assertEqual(txid, self.p.get('items', k).version)

    def test_a_late_insert_can_not_apply(self):
        k = self.key()
        self.faulty.plan('late')
        txid = self.p.commit(self.p.insert('items', k, 'b', 'w'))
        self.assertEqual([Outcome.REFUSED], self.faulty.land())
        self.assertEqual(txid, self.p.get('items', k).version)

    def test_ours_applied_and_was_overwritten(self):
        # "the version is ours or not" would say: lost
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('answer_lost')

        def overwrite():
            self.q.commit(self.q.update(self.q.get('items', k), w='x'))

        with base.at_step('one:answered', overwrite):
            self.p.commit(self.p.update(row, v='b'))
        self.assertEqual((k, 'b', 'x'), self.get('items', k))

    def test_ours_applied_and_was_deleted(self):
        k = self.key()
        self.faulty.plan('answer_lost')
        with base.at_step('one:answered', lambda: self.q.commit(
                self.q.delete(self.q.get('items', k)))):
            self.p.commit(self.p.insert('items', k, 'a', 'w'))
        self.assertIsNone(self.get('items', k))

    def test_ours_did_not_apply_and_another_came(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('lost')
        with base.at_step('one:answered', lambda: self.q.commit(
                self.q.update(self.q.get('items', k), v='c'))):
            self.assertRaises(errors.Refused, self.p.commit,
                              self.p.update(row, v='b'))
        self.assertEqual((k, 'c', 'w'), self.get('items', k))

    def test_the_history_is_too_short_to_tell(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('lost')

        def overwrite():
            self.time.advance(1)
            for _ in range(writes.HISTORY_LENGTH):
                self.q.commit(self.q.update(self.q.get('items', k)))

        with base.at_step('one:answered', overwrite):
            with self.assertRaisesRegex(
                    errors.OutcomeUnknown, 'changes items.*history'):
                self.p.commit(self.p.update(row, v='b'))

    def test_settling_is_bounded(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('lost')
        self.faulty.faults.read_error = 1.0
        begin = self.time.monotonic()
        with self.assertRaisesRegex(
                errors.OutcomeUnknown, 'settle_timeout = 60 s'):
            self.p.commit(self.p.update(row, v='b'))
        self.assertLess(self.time.monotonic() - begin, 65)

    def test_a_store_that_is_not_there(self):
        k = self.item()
        row = self.p.get('items', k)
        self.faulty.plan('unavailable')
        self.assertRaises(errors.StoreUnavailable, self.p.commit,
                          self.p.update(row, v='b'))
        self.assertEqual((k, 'a', 'w'), self.get('items', k))
