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


"""Each listener gets each sender's notifications in the order sent.

As from a queue of RabbitMQ; the log's stripes must not show.
"""

import collections
import itertools
import random
import threading
import time
from unittest import mock

import fixtures
import testtools

from luc_drivers.messaging import notifications
from luc_drivers.messaging import notifier
from luc_drivers.messaging import opts
from luc_drivers.messaging import ordering
from luc_drivers.messaging import stripes
from luc_drivers.messaging.matchmaker import base
from luc_drivers.messaging.matchmaker import embedded
from luc_drivers.messaging.matchmaker import memory
from tests.unit.messaging import matchmaker_api
from tests.unit.messaging import test_notifications

LOG = test_notifications.LOG


class OrderTests:
    """For every matchmaker; ``matchmaker`` returns one."""

    def setUp(self):
        super().setUp()
        self.mm = self.matchmaker()
        self.settings = self.mm.settings.replace(notification_poll=0.05)
        self.mm.register(matchmaker_api.endpoint('i'), 3600)
        self.sender = notifications.Sender(self.mm, self.settings)
        self.listeners = itertools.count(1)

    def listen(self, pool=''):
        name = '%d' % next(self.listeners)
        self.mm.subscribe([base.Subscription(
            self.namespace, 'x', 'n.info', '', 'i', name, base.NOTIFICATION,
            pool)], 3600, 3600)
        listener = notifications.Listener(
            self.mm, self.settings, self.namespace, [('x', 'n.info')], pool,
            'i', name)
        self.addCleanup(listener.close)
        return listener

    def send(self, body, sender=None):
        sender = sender or self.sender
        sender.send(sender.place(self.namespace, 'x', 'n.info'), body)

    def take(self, listener, count, limit=7, timeout=30.0):
        got = []
        deadline = time.monotonic() + timeout
        while len(got) < count and time.monotonic() < deadline:
            for delivery in listener.poll(0.05, limit):
                got.append(delivery.body)
                delivery.ack()
        return got

    def test_sent_while_the_log_is_read(self):
        """Between the reads of two stripes, some more are sent."""
        bodies = [b'%03d' % n for n in range(60)]
        left = iter(bodies)
        real = self.mm.log_reads

        def reads(log, places, limit):
            # One by one: as slow as the store may be.
            found = []
            for place in places:
                for body in itertools.islice(left, random.randrange(3)):
                    self.send(body)
                found += real(log, [place], limit)
            return found

        listener = self.listen()
        self.send(next(left))
        with mock.patch.object(self.mm, 'log_reads', reads):
            got = self.take(listener, len(bodies))
        self.assertEqual(bodies, got)

    def test_backlog_of_several_pages(self):
        self.useFixture(fixtures.MonkeyPatch(
            'luc_drivers.messaging.reader.PAGE', 3))
        bodies = [b'%03d' % n for n in range(200)]
        for body in bodies:
            self.send(body)
        self.assertEqual(bodies, self.take(self.listen(), len(bodies)))

    def test_slow_listener(self):
        """It takes one by one, and others are sent meanwhile."""
        self.useFixture(fixtures.MonkeyPatch(
            'luc_drivers.messaging.reader.PAGE', 3))
        self.settings = self.settings.replace(mailbox_batch=1)
        listener = self.listen()
        bodies = [b'%03d' % n for n in range(120)]
        left = iter(bodies)
        for body in itertools.islice(left, 80):
            self.send(body)
        got = []
        deadline = time.monotonic() + 60
        while len(got) < 120 and time.monotonic() < deadline:
            got += self.take(listener, 1, limit=1)
            for body in itertools.islice(left, 1):
                self.send(body)
        self.assertEqual(bodies, got)

    def test_senders_and_listeners_side_by_side(self):
        """Four send at once, two share: each stream is in order."""
        listeners = [self.listen('p'), self.listen('p')]
        senders = [notifications.Sender(self.mm, self.settings)
                   for _ in range(4)]

        def work(number):
            for n in range(40):
                self.send(b'%d %03d' % (number, n), senders[number])

        threads = [threading.Thread(target=work, args=(n,))
                   for n in range(4)]
        got = [[], []]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while sum(map(len, got)) < 160 and time.monotonic() < deadline:
            for share, listener in zip(got, listeners):
                for delivery in listener.poll(0.02, 10):
                    share.append(delivery.body)
                    delivery.ack()
        for thread in threads:
            thread.join()
        self.assertEqual(160, len(set(got[0] + got[1])))
        for share in got:
            for number in range(4):
                stream = [b for b in share if b.startswith(b'%d ' % number)]
                self.assertGreater(len(stream), 0)
                self.assertEqual(sorted(stream), stream)

    def test_listener_that_joins_waits_for_its_stripes(self):
        """Another one still works on what one of them has."""
        first = self.listen('p')
        for n in range(16):
            self.send(b'%02d' % n)
        deliveries = []
        while len(deliveries) < 16:
            deliveries += first.poll(1.0, 16)
        second = self.listen('p')
        for delivery in deliveries[:-2]:
            delivery.ack()
        for n in range(32):
            self.send(b'%02d' % n)
        first.poll(0.2, 0)
        self.assertEqual([], second.poll(0.2, 32))
        for delivery in deliveries[-2:]:
            delivery.ack()
        first.poll(0.2, 0)
        got = self.take(second, 16)
        self.assertEqual(16, len(got))
        self.assertEqual(sorted(got), got)

    def test_requeued_come_again_in_the_order_sent(self):
        """And before what their sender sent later, if that waits still."""
        listener = self.listen()
        for n in range(8):
            self.send(b'%d' % n)
        deliveries = []
        while len(deliveries) < 8:
            deliveries += listener.poll(1.0, 8)
        self.send(b'8')
        for n in (5, 2, 7):
            deliveries.pop(n).requeue()
            deliveries.insert(n, None)
        for delivery in deliveries:
            if delivery is not None:
                delivery.ack()
        self.assertEqual([b'2', b'5', b'7', b'8'], self.take(listener, 4))

    def test_repeated_send_is_the_same_notification(self):
        """The store took it, and its answer was lost."""
        real = self.mm.log_append
        failures = iter([base.MatchmakerUnavailable('lost')])

        def append(*args):
            real(*args)
            for failure in failures:
                raise failure

        node = mock.Mock(notifications=self.sender)
        listener = self.listen()
        with mock.patch.object(self.mm, 'log_append', append):
            with self.assertLogs('luc_drivers.messaging.notifier',
                                 'WARNING'):
                notifier.send(node, self.namespace, 'x', 'n.info', b'1',
                              None)
        self.send(b'2')
        self.assertEqual([b'1', b'2'], self.take(listener, 3, timeout=1.0))


class MemoryOrderTest(OrderTests, testtools.TestCase):

    namespace = 'ns'

    def matchmaker(self):
        memory.reset()
        self.addCleanup(memory.reset)
        return memory.MemoryMatchmaker(opts.load({'matchmaker': 'memory'}))


class EmbeddedOrderTest(OrderTests, testtools.TestCase):

    namespace = 'ns'

    def matchmaker(self):
        mm = embedded.EmbeddedMatchmaker(opts.load(
            {'matchmaker': 'embedded'}).replace(
                state_path=self.useFixture(fixtures.TempDir()).path))
        self.addCleanup(mm.close)
        mm.prepare()
        return mm


class ReaderTest(test_notifications.NotificationCase):

    def test_clocks_of_the_store_that_differ(self):
        """Positions come from several nodes' clocks."""
        real = self.mm.now
        bodies = [b'%03d' % n for n in range(50)]
        listener = self.listen()
        for body in bodies:
            memory._store.last_position = 0
            with mock.patch.object(
                    self.mm, 'now',
                    lambda: real() + random.randrange(-30_000, 30_000)):
                self.send(body)
        self.assertEqual(bodies, self.take(listener, 50))

    def test_stripe_that_is_kept_is_not_waited_for_for_ever(self):
        first = self.listen('p')
        self.send(*[b'%02d' % n for n in range(16)])
        self.assertEqual(16, len(self.take(first, 16, ack=False)))
        second = self.listen('p')
        self.send(*[b'new'] * 16)
        self.assertEqual([], second.poll(0.2, 16))
        # Nothing is acknowledged: all stripes stay with the first one, save
        # for one that had nothing to do with it.
        number = next(n for n in range(16)
                      if second._readers[0]._ours(n))
        stripe = first._readers[0]._held[number]
        for entry in list(stripe._open):
            stripe._done[entry] = stripe._open.pop(entry)
        first.poll(0.2, 0)
        self.assertEqual([], second.poll(0.2, 16))
        self.forward(self.settings.lookup_cache + 1)
        self.assertEqual([b'new'], self.take(second, 1))

    def test_outage_after_a_claim_loses_nothing(self):
        """What its last holder left is in an older bucket."""
        self.append(self.mm.now() - 600_000_000, 'old')
        self.append(self.mm.now(), 'new')
        listener = self.listen()
        real = self.mm.log_heads
        calls = itertools.count()

        def heads(*args):
            if next(calls) == 1:
                raise base.MatchmakerUnavailable('down')
            return real(*args)

        with mock.patch.object(self.mm, 'log_heads', heads):
            with self.assertLogs('luc_drivers.messaging.notifications',
                                 'WARNING'):
                self.assertEqual([b'old', b'new'], self.take(listener, 2))

    def test_stripe_that_has_much_pending_is_not_passed_over(self):
        """Its head does not show the last one: clocks of senders differ."""
        self.useFixture(fixtures.MonkeyPatch(
            'luc_drivers.messaging.reader.PAGE', 3))
        self.settings = self.settings.replace(mailbox_batch=1)
        listener = self.listen()
        log = listener._readers[0]
        # All in one bucket.
        now = (self.mm.now() // 60_000_000 - 1) * 60_000_000
        for n in range(3):
            self.append(now + n * 10_000_000, '%d' % n)
            log._look(time.monotonic())
        head, = self.mm.log_heads(LOG, 0)
        self.append(now + 30_000_000, '3')
        self.append(now + 40_000_000, '4', stripe=1)
        real = self.mm.log_heads

        def heads(*args):
            return [head, *(h for h in real(*args) if h.stripe)]

        with mock.patch.object(self.mm, 'log_heads', heads):
            log._look(time.monotonic())
            log._look(time.monotonic())
            self.assertEqual([b'%d' % n for n in range(5)],
                             [body for _ in range(5)
                              for body in self.take(listener, 1)])

    def test_sent_between_two_looks_at_the_heads(self):
        """A claim looks a second time; that is no news missed."""
        listener = self.listen()
        self.append(self.mm.now(), 'unfinished', stripe=3)
        self.assertEqual(1, len(listener.poll(1.0, 1)))
        self.forward(6.0)
        self.mm.register(matchmaker_api.endpoint('i'), 3600)
        listener.poll(0.0, 1)
        self.append(self.mm.now(), 'claimed', stripe=4)
        real = self.mm.log_heads
        late = iter([b'late'])

        def heads(*args):
            found = real(*args)
            for body in late:
                self.append(self.mm.now(), body.decode(), stripe=3)
            return found

        with mock.patch.object(self.mm, 'log_heads', heads):
            self.assertEqual([b'claimed', b'late'],
                             self.take(listener, 2))


class PendingTest(testtools.TestCase):

    def found(self, entry_id, position, look=0, stripe=0):
        return ordering.Found(
            base.LogEntry(entry_id, b'', position=position),
            stripes.Stripe(base.StripeLease(stripe, 'o', ''), 0, 0), look)

    def ids(self, found):
        return [f.entry.id for f in found]

    def test_last_look_must_be_followed_by_another(self):
        pending = ordering.Pending()
        pending.add([self.found('1-s', 1, look=3)])
        self.assertEqual([], pending.take(9, 3, float('inf')))
        self.assertEqual(['1-s'],
                         self.ids(pending.take(9, 4, float('inf'))))

    def test_limit_and_room(self):
        pending = ordering.Pending()
        pending.add([self.found('%x-s' % n, n, stripe=n % 2)
                     for n in range(20)])
        self.assertEqual(['0-s', '1-s'], self.ids(pending.take(2, 1, 9)))
        self.assertEqual(8, len(pending.take(99, 1, 9)))
        self.assertEqual((10, 5), (len(pending), pending.count(
            self.found('', 0).stripe)))

    def test_older_one_of_the_last_look_comes_along(self):
        """As of versions that gave no numbers."""
        pending = ordering.Pending()
        pending.add([self.found('new', 20, look=3),
                     self.found('old', 10, look=4),
                     self.found('newer', 30, look=4)])
        self.assertEqual(['old', 'new'],
                         self.ids(pending.take(9, 4, float('inf'))))

    def test_earlier_one_beyond_the_limit_comes_along(self):
        pending = ordering.Pending()
        pending.add([self.found('2-s', 10), self.found('1-s', 20),
                     self.found('1-t', 20)])
        self.assertEqual(['1-s', '2-s'], self.ids(pending.take(9, 1, 15)))
        self.assertEqual(1, len(pending))

    def test_order_is_each_sender_s_and_else_by_position(self):
        self.assertEqual(
            ['1-a', '9-b', 'old', '2-a', '10-a', 'a-b'],
            self.ids(ordering.in_order([
                self.found('old', 30), self.found('10-a', 10),
                self.found('1-a', 40), self.found('9-b', 20),
                self.found('2-a', 50), self.found('a-b', 60)])))

    def test_numbers(self):
        numbers = ordering.Numbers()
        got = [numbers.next(16) for _ in range(20)]
        self.assertEqual(list(range(20)),
                         [ordering.number_of(i)[1] for i, _ in got])
        self.assertEqual(1, len({ordering.number_of(i)[0]
                                 for i, _ in got}))
        self.assertEqual(
            {1: 12, 2: 4},
            collections.Counter(collections.Counter(
                stripe for _, stripe in got).values()))

    def test_older_readers_tell_ids_apart(self):
        """They keep 16 characters."""
        senders = [ordering.Numbers() for _ in range(5)]
        ids = {s.next(16)[0][:16] for s in senders for _ in range(300)}
        self.assertEqual(5 * 300, len(ids))

    def test_id_of_an_older_version(self):
        self.assertIsNone(ordering.number_of('0123456789abcdef' * 2))
