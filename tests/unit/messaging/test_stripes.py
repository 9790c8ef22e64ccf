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

"""How far a reader of one stripe has come, and what it commits."""

import dataclasses

import testtools

from luc_drivers.messaging import reader
from luc_drivers.messaging import stripes
from luc_drivers.messaging.matchmaker import base


class StripeTest(testtools.TestCase):

    def stripe(self, state='', start=0):
        return stripes.Stripe(base.StripeLease(0, 'o', state), start,
                              5_000_000)

    def entry(self, position, name=None, **kwargs):
        return base.LogEntry(name or 'e%d' % position, b'',
                             position=position, **kwargs)

    def test_commit_stops_at_the_first_unacknowledged(self):
        stripe = self.stripe()
        entries = [self.entry(n) for n in (10, 20, 30)]
        stripe.admit(entries, 'p')
        stripe.has_read(30)
        stripe.finish(entries[0])
        stripe.finish(entries[2])
        done = stripe.commit('m')
        self.assertEqual((19, ''), (done.low, done.mark))
        again = self.stripe(done.dump())
        self.assertEqual([20], [e.position for e in again.admit(entries,
                                                                'p')])

    def test_commit_of_everything_keeps_the_mark(self):
        stripe = self.stripe()
        entry = self.entry(10)
        stripe.admit([entry], 'p')
        stripe.has_read(10)
        stripe.finish(entry)
        done = stripe.commit('m')
        self.assertEqual((10, 'm'), (done.low, done.mark))

    def test_unread_is_not_committed(self):
        stripe = self.stripe()
        entry = self.entry(10_000_000)
        stripe.admit([entry], 'p')
        stripe.finish(entry)
        # Other buckets before it were not read yet.
        self.assertLess(stripe.commit('m').low, 10_000_000)

    def test_state_stays_small(self):
        stripe = self.stripe()
        for second in range(3600):
            entry = self.entry(second * 1_000_000)
            stripe.admit([entry], 'p')
            stripe.has_read(entry.position)
            stripe.finish(entry)
        self.assertLessEqual(len(stripe.commit('').seen), 6)
        self.assertLessEqual(len(stripe._known), 6)

    def test_requeued_copy_is_another_entry(self):
        stripe = self.stripe()
        first = self.entry(10, 'x')
        again = dataclasses.replace(first, count=1, position=20, pool='p')
        other = dataclasses.replace(first, count=1, position=21, pool='q')
        self.assertEqual([first, again],
                         stripe.admit([first, again, other], 'p'))
        self.assertEqual([], stripe.admit([first, again, other], 'p'))

    def test_nothing_before_the_pool_s_start(self):
        self.assertEqual(100, self.stripe(start=100).since)

    def test_crowded_only_while_something_is_unacknowledged(self):
        stripe = self.stripe()
        count = stripes.MAX_AHEAD + 10
        entries = [self.entry(n) for n in range(1, count + 1)]
        stripe.admit(entries, 'p')
        stripe.has_read(count)
        for entry in entries[1:]:
            stripe.finish(entry)
        self.assertTrue(stripe.crowded)
        stripe.finish(entries[0])
        self.assertFalse(stripe.crowded)

    def test_bucket(self):
        self.assertEqual(0, reader._bucket(-5))
        self.assertEqual(1, reader._bucket(60_000_000))
