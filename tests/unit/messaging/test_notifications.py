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

"""Notifications: each pool gets each one once (rule D5)."""

import collections
import random
import time
from unittest import mock

import fixtures
import testtools

from luc_drivers.messaging import notifications
from luc_drivers.messaging import opts
from luc_drivers.messaging.matchmaker import base
from luc_drivers.messaging.matchmaker import memory
from tests.unit.messaging import matchmaker_api
from tests.unit.messaging import test_mailbox

TOPIC = 'notifications.info'
LOG = base.Log('ns', 'x', TOPIC)


class NotificationCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        memory.reset()
        self.addCleanup(memory.reset)
        self.now = time.monotonic()
        self.settings = opts.load({'matchmaker': 'memory'}).replace(
            notification_poll=0.05)
        self.mm = memory.MemoryMatchmaker(self.settings)
        self.sender = notifications.Sender(self.mm, self.settings)
        self.mm.register(matchmaker_api.endpoint('i'), 3600)
        self.listeners = 0

    def listen(self, pool='', topics=(TOPIC,), **kwargs):
        self.listeners += 1
        name = '%d' % self.listeners
        self.mm.subscribe([base.Subscription(
            'ns', 'x', topic, '', 'i', name, base.NOTIFICATION, pool)
            for topic in topics], 3600, 3600)
        listener = notifications.Listener(
            self.mm, self.settings, 'ns', [('x', topic) for topic in topics],
            pool, 'i', name, **kwargs)
        self.addCleanup(listener.close)
        return listener

    def leave(self, listener):
        self.mm.unsubscribe([s for s in self.mm.subscriptions()
                             if s.listener == listener.member[1]])

    def send(self, *bodies, topic=TOPIC):
        for body in bodies:
            self.sender.send(self.sender.place('ns', 'x', topic), body)

    def take(self, listener, count, ack=True, timeout=3.0):
        """Return the bodies that a listener gets, up to a number."""
        got = []
        deadline = time.monotonic() + timeout
        while len(got) < count and time.monotonic() < deadline:
            for delivery in listener.poll(0.05, count - len(got)):
                got.append(delivery.body)
                if ack:
                    delivery.ack()
        return got

    def append(self, position, name, stripe=0):
        with mock.patch.object(self.mm, 'now', return_value=position):
            memory._store.last_position = 0
            self.mm.log_append(LOG, stripe, base.LogEntry(
                name, name.encode()), 3600)

    def forward(self, seconds):
        """Let time pass for everyone."""
        if not hasattr(self, 'past'):
            self.past = 0.0
            real = time.monotonic
            patch = mock.patch('time.monotonic',
                               lambda: real() + self.past)
            patch.start()
            self.addCleanup(patch.stop)
            self.mm.clock = time.monotonic
        self.past += seconds

    def nothing(self, listener):
        self.assertEqual([], self.take(listener, 1, timeout=0.2))


class DeliveryTest(NotificationCase):

    def test_pools(self):
        """Row j: p1, p1, p2, none; 10 notifications: 5+5, 10, 10."""
        listeners = [self.listen(pool) for pool in ('p1', 'p1', 'p2', '')]
        bodies = [b'%d' % n for n in range(10)]
        self.send(*bodies)
        shares = [self.take(listeners[0], 5), self.take(listeners[1], 5)]
        self.assertEqual([5, 5], [len(share) for share in shares])
        self.assertEqual(bodies, sorted(shares[0] + shares[1]))
        self.assertEqual(bodies, self.take(listeners[2], 10))
        self.assertEqual(bodies, self.take(listeners[3], 10))
        for listener in listeners:
            self.nothing(listener)

    def test_stored_before_any_listener(self):
        """Row k."""
        self.send(b'early')
        self.assertEqual([b'early'], self.take(self.listen(), 1))

    def test_new_pool_starts_now(self):
        self.send(b'early')
        listener = self.listen('p')
        self.send(b'later')
        self.assertEqual([b'later'], self.take(listener, 1))
        self.nothing(listener)

    def test_pool_is_durable(self):
        listener = self.listen('p')
        listener.close()
        self.leave(listener)
        self.send(b'while away')
        self.assertEqual([b'while away'], self.take(self.listen('p'), 1))

    def test_order(self):
        bodies = [b'%03d' % n for n in range(100)]
        self.send(*bodies)
        self.assertEqual(bodies, self.take(self.listen(), 100))

    def test_topics_are_scoped(self):
        listener = self.listen(topics=('n.info', 'n.error'))
        self.send(b'info', topic='n.info')
        self.send(b'error', topic='n.error')
        self.send(b'debug', topic='n.debug')
        self.sender.send(self.sender.place('ns', 'other', 'n.info'),
                         b'exchange')
        self.sender.send(self.sender.place('other', 'x', 'n.info'),
                         b'namespace')
        self.assertEqual([b'info', b'error'], self.take(listener, 3,
                                                        timeout=0.3))

    def test_requeue(self):
        """Row l; and only the pool that asked for it gets it again."""
        one, two = self.listen('p1'), self.listen('p2')
        self.send(b'x')
        delivery, = one.poll(1.0, 10)
        delivery.requeue()
        again, = one.poll(1.0, 10)
        self.assertEqual((b'x', 1), (again.body, again.entry.count))
        again.ack()
        self.nothing(one)
        self.assertEqual([b'x'], self.take(two, 1))
        self.nothing(two)

    def test_unacknowledged_goes_to_another(self):
        """A listener that dies leaves what it had not acknowledged."""
        dead = self.listen()
        self.send(b'1', b'2', b'3')
        deliveries = dead.poll(1.0, 3)
        deliveries[1].ack()
        # It commits that, and then dies without a word.
        dead.poll(0.0, 0)
        self.forward(1.0)
        dead.poll(0.1, 0)
        self.leave(dead)
        other = self.listen()
        self.forward(self.settings.notification_lease + 1)
        self.assertEqual([b'1', b'3'], sorted(self.take(other, 3,
                                                        timeout=2.0)))

    def test_acknowledged_does_not_come_again(self):
        first = self.listen()
        self.send(*[b'%d' % n for n in range(40)])
        self.assertEqual(40, len(self.take(first, 40)))
        first.close()
        self.leave(first)
        second = self.listen()
        self.nothing(second)
        self.send(b'new')
        self.assertEqual([b'new'], self.take(second, 2, timeout=0.3))

    def test_listener_that_joins_takes_its_share(self):
        first = self.listen('p')
        self.send(*[b''] * 16)
        self.assertEqual(16, len(self.take(first, 16)))
        second = self.listen('p')
        # The first one still has all stripes; it must give half of them up.
        self.send(*[b''] * 16)
        got = collections.Counter()
        deadline = time.monotonic() + 5
        while sum(got.values()) < 16 and time.monotonic() < deadline:
            for name, listener in (('1', first), ('2', second)):
                got[name] += len(self.take(listener, 16, timeout=0.1))
        self.assertEqual({'1': 8, '2': 8}, got)

    def test_listener_that_leaves_is_replaced(self):
        first, second = self.listen('p'), self.listen('p')
        self.take(first, 1, timeout=0.1)
        first.close()
        self.leave(first)
        second.members_changed()
        self.send(*[b'%02d' % n for n in range(16)])
        self.assertEqual(16, len(self.take(second, 16)))

    def test_paused_listener_is_fenced(self):
        """Its lease ran out, another reads: what it had is not handed out,
        and what it commits is refused.
        """
        paused = self.listen('p')
        self.send(*[b'%d' % n for n in range(4)])
        delivery, = paused.poll(1.0, 1)
        self.leave(paused)
        other = self.listen('p')
        self.forward(self.settings.notification_lease + 1)
        self.assertEqual(4, len(self.take(other, 4)))
        delivery.ack()
        self.assertEqual([], paused.poll(0.2, 10))
        self.nothing(other)

    def test_late_write_is_read(self):
        """A write whose position lies behind the cursor by seconds."""
        listener = self.listen()
        now = self.mm.now()
        self.append(now, 'a')
        self.assertEqual([b'a'], self.take(listener, 1))
        self.append(now - 4_000_000, 'late')
        self.assertEqual([b'late'], self.take(listener, 1))
        self.nothing(listener)

    def test_seen_within_the_window_does_not_come_to_the_next_reader(self):
        """The committed state says which of the window's were done."""
        first = self.listen()
        self.send(*[b'%d' % n for n in range(20)])
        self.assertEqual(20, len(self.take(first, 20)))
        first.close()
        self.leave(first)
        self.append(self.mm.now() - 3_000_000, 'late')
        self.assertEqual([b'late'], self.take(self.listen(), 5,
                                              timeout=0.3))

    def test_slow_append_is_written_twice_and_read_once(self):
        listener = self.listen()
        real = self.mm.log_append
        calls = []

        def slow(*args):
            calls.append(args)
            self.forward(3.0)
            real(*args)

        with mock.patch.object(self.mm, 'log_append', slow):
            self.send(b'x')
        self.assertEqual(2, len(calls))
        self.assertEqual([b'x'], self.take(listener, 3, timeout=0.3))

    def test_idle_log_costs_one_read_a_poll(self):
        listener = self.listen('p')
        self.send(b'x')
        self.take(listener, 1)
        for _ in range(25):
            self.forward(3)
            listener.poke()
            listener.poll(0.0, 1)
        counts = collections.Counter()
        with mock.patch.multiple(self.mm, **{
                name: self._counted(counts, name)
                for name in ('log_heads', 'log_read', 'lease_claim',
                             'lease_commit', 'leases', 'lookup')}):
            for _ in range(10):
                listener.poke()
                listener.poll(0.0, 1)
        self.assertEqual({'log_heads': 10}, counts)

    def test_poked_log_is_read_before_others_are_looked_at(self):
        topics = ['notifications.%d' % i for i in range(6)]
        self.settings = self.settings.replace(notification_poll=60)
        listener = self.listen(topics=topics)
        listener.poll(0.0, 1)
        asked = []
        real = self.mm.log_heads

        def heads(log, since):
            asked.append(log.topic)
            return real(log, since)

        with mock.patch.object(self.mm, 'log_heads', heads):
            self.send(b'x', topic=topics[4])
            listener.poke('x', topics[4])
            self.assertEqual([b'x'], [d.body for d in listener.poll(5.0, 1)])
        self.assertEqual({topics[4]}, set(asked))

    def test_first_log_with_something_is_handed_out_at_once(self):
        # With a slow store a listener of many logs would be late with all.
        topics = ['notifications.%d' % i for i in range(6)]
        listener = self.listen(topics=topics)
        listener.poll(0.0, 1)
        for topic in topics:
            self.send(topic.encode(), topic=topic)
        asked = collections.Counter()
        with mock.patch.object(self.mm, 'log_heads',
                               self._counted(asked, 'log_heads')):
            listener.poke()
            first = [d.body for d in listener.poll(5.0, 10)]
            self.assertEqual(1, len(first))
            # One look for news, one for what the last holder left, one for
            # what was sent before it.
            self.assertLessEqual(asked['log_heads'], 3)
        rest = self.take(listener, 5)
        self.assertEqual({t.encode() for t in topics}, {*first, *rest})

    def test_poked_log_does_not_keep_others_from_their_turn(self):
        topics = ['notifications.busy', 'notifications.quiet']
        listener = self.listen(topics=topics)
        self.send(b'quiet', topic=topics[1])
        got = []
        deadline = time.monotonic() + 5
        while b'quiet' not in got and time.monotonic() < deadline:
            self.send(b'busy', topic=topics[0])
            listener.poke('x', topics[0])
            for delivery in listener.poll(0.0, 1):
                got.append(delivery.body)
                delivery.ack()
        self.assertIn(b'quiet', got)

    def _counted(self, counts, name):
        real = getattr(self.mm, name)

        def wrapper(*args, **kwargs):
            counts[name] += 1
            return real(*args, **kwargs)

        return wrapper

    def test_store_outage(self):
        listener = self.listen()
        self.send(b'1')
        self.assertEqual([b'1'], self.take(listener, 1))
        self.send(b'2')
        down = mock.Mock(side_effect=base.MatchmakerUnavailable('down'))
        with mock.patch.object(self.mm, 'log_heads', down):
            with self.assertLogs('luc_drivers.messaging.notifications',
                                 'WARNING') as logs:
                self.assertEqual([], listener.poll(0.3, 1))
        self.assertGreater(down.call_count, 1)
        self.assertEqual(1, len(logs.output))
        self.assertEqual([b'2'], self.take(listener, 1))

    def test_outage_during_commit_loses_no_lease(self):
        listener = self.listen()
        self.send(b'1')
        delivery, = listener.poll(1.0, 1)
        delivery.ack()
        self.forward(1.0)
        down = mock.Mock(side_effect=base.MatchmakerUnavailable('down'))
        with mock.patch.object(self.mm, 'lease_commit', down):
            listener.poke()
            listener.poll(0.0, 1)
        self.assertTrue(down.called)
        listener.close()
        self.leave(listener)
        self.nothing(self.listen())

    def test_bodies_are_encrypted(self):
        self.sender.cipher = test_mailbox.Rot13()
        listener = self.listen(cipher=test_mailbox.Rot13())
        self.send(b'password')
        head, = self.mm.log_heads(LOG, 0)
        entry, = self.mm.log_read(LOG, head.stripe, head.bucket, 0, 10)
        self.assertNotIn(b'password', entry.body)
        delivery, = listener.poll(1.0, 1)
        self.assertEqual(b'password', delivery.body)
        delivery.requeue()
        self.assertEqual([b'password'], self.take(listener, 1))

    def test_forged_body_is_dropped(self):
        listener = self.listen(cipher=test_mailbox.Rot13())
        self.send(b'forged')
        with self.assertLogs('luc_drivers.messaging.notifications',
                             'ERROR') as logs:
            self.nothing(listener)
        self.assertEqual(1, len(logs.output))

    def test_too_large_is_refused(self):
        self.sender.settings = self.settings.replace(
            store_max_message_size=70000)
        self.assertRaises(base.MatchmakerRefused, self.send, b'x' * 70001)

    def test_pokes_name_the_reader_of_the_stripe(self):
        for pool in ('p1', 'p1', 'p2'):
            self.listen(pool)
        names = [sorted(r.subscription.listener for r in self.sender.pokes(
            notifications.Place(LOG, stripe, 'e'))) for stripe in range(4)]
        self.assertEqual([['1', '3'], ['2', '3'], ['1', '3'], ['2', '3']],
                         names)

    def test_stop_hands_out_nothing_more(self):
        listener = self.listen()
        self.send(b'1', b'2')
        delivery, = listener.poll(1.0, 1)
        listener.stop()
        self.assertEqual([], listener.poll(1.0, 1))
        delivery.ack()
        listener.close()
        self.leave(listener)
        self.assertEqual([b'2'], self.take(self.listen(), 2, timeout=0.3))

    def test_catching_up_over_many_buckets(self):
        """A pool that was away for hours reads all of it, in order."""
        listener = self.listen('p')
        listener.close()
        self.leave(listener)
        now = self.mm.now()
        names = []
        for n in range(30):
            names.append(b'%02d' % n)
            self.append(now + n * 120_000_000, '%02d' % n, stripe=n % 3)
        self.assertEqual(names, sorted(self.take(self.listen('p'), 30)))


class SimulationTest(NotificationCase):
    """Listeners that come, go, die and pause at random: nothing is lost."""

    def setUp(self):
        super().setUp()
        # They lose leases all the time, and say so.
        self.useFixture(fixtures.FakeLogger('luc_drivers.messaging'))

    def test_random_runs(self):
        for seed in range(8):
            memory.reset()
            self._run(random.Random(seed))

    def _run(self, rng):
        self.mm.register(matchmaker_api.endpoint('i'), 3600)
        self.settings = self.settings.replace(notification_lease=1.0,
                                              notification_poll=0.05)
        clock = [time.monotonic()]
        with mock.patch('time.monotonic', lambda: clock[0]):
            self.mm.clock = time.monotonic
            sent, got = set(), collections.Counter()
            live = [self.listen('p')]
            for step in range(300):
                clock[0] += rng.choice((0.01, 0.1, 0.6))
                action = rng.random()
                if action < 0.3:
                    body = b'%d' % step
                    self.send(body)
                    sent.add(body)
                elif action < 0.33 and len(live) < 4:
                    live.append(self.listen('p'))
                elif action < 0.36 and len(live) > 1:
                    # Dies without a word; some are told of by the registry.
                    self.leave(live.pop(rng.randrange(len(live))))
                elif action < 0.38 and len(live) > 1:
                    gone = live.pop(rng.randrange(len(live)))
                    gone.close()
                    self.leave(gone)
                else:
                    self._work(rng.choice(live), rng, got)
            for _ in range(200):
                clock[0] += 0.2
                for listener in live:
                    self._work(listener, rng, got, lazy=0.0)
            self.assertEqual(sent, set(got))
            for listener in live:
                listener.close()

    def _work(self, listener, rng, got, lazy=0.1):
        listener.poke()
        for delivery in listener.poll(0.0, 3):
            if rng.random() < 0.1:
                delivery.requeue()
            elif rng.random() >= lazy:
                delivery.ack()
                got[delivery.body] += 1
            # The rest is never acknowledged, until its listener is gone.
            elif len(got) % 2:
                delivery.requeue()
            else:
                delivery.ack()
                got[delivery.body] += 1
