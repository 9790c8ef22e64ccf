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

"""Mailboxes and notifications over a real Cassandra, between processes."""

import multiprocessing
import os
import signal
import time
import uuid

import testtools

from luc_drivers.messaging import mailbox
from luc_drivers.messaging import notifications
from luc_drivers.messaging import opts
from luc_drivers.messaging import registrar
from luc_drivers.messaging.matchmaker import base
from luc_drivers.messaging.matchmaker import cassandra
from tests.functional.messaging import test_matchmaker_cassandra
from tests.unit.messaging import matchmaker_api
from tests.unit.messaging import test_ordering

FORK = multiprocessing.get_context('fork')


class StoreCase(testtools.TestCase):

    PREFIX = 'bus' + uuid.uuid4().hex[:8]

    @classmethod
    def tearDownClass(cls):
        test_matchmaker_cassandra.drop_keyspace(cls.PREFIX)
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.useFixture(test_matchmaker_cassandra.Host())
        self.settings = opts.load({'matchmaker': 'cassandra'}).replace(
            keyspace_prefix=self.PREFIX, notification_poll=0.2,
            notification_lease=3.0, mailbox_lease=3.0, mailbox_batch=5)
        self.mm = cassandra.CassandraMatchmaker(self.settings)
        self.mm.prepare()
        self.namespace = uuid.uuid4().hex

    def child(self, function, *args):
        """Run a function in a forked process; it gets a queue first."""
        queue = FORK.Queue()
        process = FORK.Process(target=function, args=(queue, *args),
                               daemon=True)
        process.start()
        self.addCleanup(process.kill)
        return process, queue


class MailboxTest(StoreCase):

    def test_workers_share_a_mailbox(self):
        box = base.Box(self.namespace, 'nova', 'compute', 'server1')
        sender = mailbox.Mailbox(self.mm, self.settings)
        bodies = [b'%03d' % n for n in range(60)]
        for n, body in enumerate(bodies):
            sender.put(box, mailbox.new_id('s', n), body)

        def work(queue, name):
            own = mailbox.Mailbox(
                cassandra.CassandraMatchmaker(self.settings), self.settings)
            deadline = time.monotonic() + 15
            while (time.monotonic() < deadline
                   and own.matchmaker.mailbox_depth(box, 1)):
                own.drain(box, name, lambda m: queue.put(m.body), limit=5)
            queue.put(None)

        children = [self.child(work, 'w%d' % n) for n in range(3)]
        got = []
        for process, queue in children:
            got += iter(queue.get, None)
            process.join()
        self.assertEqual(bodies, sorted(got))

    def test_owner_that_dies_leaves_the_rest(self):
        box = base.Box(self.namespace, 'nova', 'compute', 'server1')
        sender = mailbox.Mailbox(self.mm, self.settings)
        for n in range(12):
            sender.put(box, mailbox.new_id('s', n), b'%02d' % n)

        def die(queue):
            own = mailbox.Mailbox(
                cassandra.CassandraMatchmaker(self.settings), self.settings)

            def deliver(message):
                queue.put(message.body)
                if message.body == b'04':
                    # Let the queue's thread write it first.
                    time.sleep(0.5)
                    os.kill(os.getpid(), signal.SIGKILL)

            own.drain(box, 'dies', deliver)

        process, queue = self.child(die)
        process.join()
        first = [queue.get(timeout=1) for _ in range(5)]
        rest = []
        self.assertIsNone(sender.drain(box, 'me', rest.append))
        deadline = time.monotonic() + 10
        while len(rest) < 7 and time.monotonic() < deadline:
            sender.drain(box, 'me', rest.append)
            time.sleep(0.2)
        self.assertEqual([b'%02d' % n for n in range(12)],
                         first + [m.body for m in rest])


class OrderTest(test_ordering.OrderTests, StoreCase):

    def matchmaker(self):
        return self.mm


class NotificationsTest(StoreCase):

    def start(self, instance, pool, name):
        own = registrar.Registrar(self.mm, self.settings)
        own.start(matchmaker_api.endpoint(instance))
        own.subscribe([base.Subscription(
            self.namespace, 'x', 'n.info', '', instance, name,
            base.NOTIFICATION, pool)])
        return own

    def listener(self, pool, instance, name):
        return notifications.Listener(
            cassandra.CassandraMatchmaker(self.settings), self.settings,
            self.namespace, [('x', 'n.info')], pool, instance, name)

    def read(self, queue, pool, instance, name, seconds, die_after=None):
        """A listener process: puts what it acknowledges into the queue."""
        own = self.listener(pool, instance, name)
        deadline = time.monotonic() + seconds
        count = 0
        queue.put('ready')
        while time.monotonic() < deadline:
            for delivery in own.poll(0.1, 10):
                count += 1
                if count == die_after:
                    time.sleep(0.5)
                    os.kill(os.getpid(), signal.SIGKILL)
                queue.put(delivery.body)
                delivery.ack()
        own.close()
        queue.put(None)

    def test_pools_between_processes(self):
        children = []
        for n, pool in enumerate(('p1', 'p1', 'p2')):
            self.start('i%d' % n, pool, '%d' % n)
            children.append(self.child(self.read, pool, 'i%d' % n, '%d' % n,
                                       6.0))
        for _, queue in children:
            queue.get(timeout=20)
        sender = notifications.Sender(self.mm, self.settings)
        bodies = [b'%03d' % n for n in range(100)]
        for body in bodies:
            sender.send(sender.place(self.namespace, 'x', 'n.info'), body)
        shares = [list(iter(queue.get, None)) for _, queue in children]
        self.assertEqual(bodies, sorted(shares[0] + shares[1]))
        self.assertEqual(bodies, sorted(shares[2]))
        for share in shares[:2]:
            self.assertTrue(25 <= len(share) <= 75, len(share))

    def test_killed_listener_loses_nothing(self):
        """kill -9: what it had not acknowledged goes to another."""
        self.start('dies', 'p', '1')
        process, queue = self.child(self.read, 'p', 'dies', '1', 60.0, 8)
        queue.get(timeout=20)
        sender = notifications.Sender(self.mm, self.settings)
        bodies = [b'%03d' % n for n in range(40)]
        for body in bodies:
            sender.send(sender.place(self.namespace, 'x', 'n.info'), body)
        process.join(20)
        self.assertEqual(-signal.SIGKILL, process.exitcode)
        before = [queue.get(timeout=1) for _ in range(7)]
        self.mm.unregister(self.mm.endpoint('dies'))
        self.start('lives', 'p', '2')
        own = self.listener('p', 'lives', '2')
        after = []
        deadline = time.monotonic() + 20
        while (not set(bodies) <= set(before + after)
               and time.monotonic() < deadline):
            for delivery in own.poll(0.2, 10):
                after.append(delivery.body)
                delivery.ack()
        own.close()
        self.assertEqual(set(bodies), set(before + after))
        # Only what was acknowledged and not committed yet may come twice.
        self.assertEqual(len(after), len(set(after)))
        self.assertLessEqual(len(set(before) & set(after)), 7)
