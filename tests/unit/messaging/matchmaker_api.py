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

"""What every matchmaker must do; each back end's tests mix this in."""

import dataclasses
import threading
import typing as ty
import uuid

from luc_drivers.messaging import opts
from luc_drivers.messaging.matchmaker import base

LOG = base.Log('cell1', 'nova', 'notifications.info')


def endpoint(instance: str | None = None, **changes: ty.Any) -> base.Endpoint:
    values = {'host': 'host1', 'pid': 7, 'site': 'site1',
              'addresses': ('tcp://127.0.0.1:20001', 'tcp://[::1]:20001'),
              'state': base.LIVE, 'curve_key': 'k' * 40,
              'boot': '0000000001-a', 'versions': (1, 2),
              'plane': base.CONTROL, 'program': 'test', 'started': 12.5,
              'signature': 'ff'}
    return base.Endpoint(instance or uuid.uuid4().hex,
                         **{**values, **changes})


def subscription(instance: str, server: str = 'server1',
                 topic: str = 'compute', listener: str = '1',
                 **changes: ty.Any) -> base.Subscription:
    values = {'namespace': 'cell1', 'exchange': 'nova', **changes}
    return base.Subscription(topic=topic, server=server, instance=instance,
                             listener=listener, **values)


class MatchmakerTests:
    """Mix-in: ``make(**settings)`` returns a matchmaker on an empty store;
    made again in the same test, one on the same store.
    """

    #: Shortest time to live that the back end can tell from none.
    short = 0.2

    def make(self, **settings: ty.Any) -> base.Matchmaker:
        raise NotImplementedError

    def expire(self, seconds: float) -> None:
        """Let time pass."""
        raise NotImplementedError

    def settings(self, **changes: ty.Any) -> opts.Settings:
        changes.setdefault('control_topics', ['conductor'])
        return opts.load().replace(**changes)

    def setUp(self) -> None:
        super().setUp()
        self.mm = self.make()

    # -- registry ---------------------------------------------------------

    def test_register_says_whether_it_was_there(self):
        row = endpoint()
        self.assertFalse(self.mm.register(row, 60))
        self.assertTrue(self.mm.register(row, 60))
        self.mm.unregister(row)
        self.assertFalse(self.mm.register(row, 60))

    def test_endpoint_comes_back_whole(self):
        for row in (endpoint(), endpoint(plane=base.AGENT, curve_key='',
                                         boot='', signature='',
                                         state=base.STOPPED)):
            self.mm.register(row, 60)
            self.assertEqual(row, self.mm.endpoint(row.instance))
            self.assertIn(row, self.mm.endpoints())

    def test_endpoint_changes_state(self):
        row = endpoint(state=base.DRAINING)
        self.mm.register(row, 60)
        self.mm.register(row.replace(state=base.LIVE), 60)
        self.assertEqual(base.LIVE, self.mm.endpoint(row.instance).state)
        self.assertEqual(1, len([e for e in self.mm.endpoints()
                                 if e.instance == row.instance]))

    def test_registration_expires(self):
        row = endpoint()
        self.mm.register(row, self.short)
        self.mm.subscribe([subscription(row.instance)], 3600, 3600)
        self.assertIsNotNone(self.mm.endpoint(row.instance))
        self.expire(self.short)
        self.assertIsNone(self.mm.endpoint(row.instance))
        self.assertNotIn(row.instance,
                         [e.instance for e in self.mm.endpoints()])
        self.assertEqual([], self.mm.lookup('cell1', 'nova', 'compute'))
        self.assertFalse(self.mm.register(row, 60))
        # Its subscription was never touched and is valid again (D3).
        self.assertEqual(1, len(self.mm.lookup('cell1', 'nova', 'compute')))

    def test_unknown_endpoint(self):
        self.assertIsNone(self.mm.endpoint('nobody'))

    def test_boot(self):
        self.assertEqual('', self.mm.boot('host1'))
        self.mm.register(endpoint(), 60)
        self.mm.register(endpoint(boot='0000000002-b'), 60)
        self.mm.register(endpoint(host='host2', boot='0000000009-c'), 60)
        self.assertEqual('0000000002-b', self.mm.boot('host1'))

    def test_lookup_topic_and_server(self):
        a, b = endpoint('a'), endpoint('b')
        rows = [subscription('a', 's1'), subscription('b', 's2'),
                subscription('a', 's1', listener='2')]
        for row in (a, b):
            self.mm.register(row, 60)
        self.mm.subscribe(rows, 3600, 3600)
        self.assertEqual(
            [(rows[0], a), (rows[2], a), (rows[1], b)],
            self.mm.lookup('cell1', 'nova', 'compute'))
        self.assertEqual([(rows[1], b)], self.mm.lookup(
            'cell1', 'nova', 'compute', 's2'))
        self.assertEqual([], self.mm.lookup('cell1', 'nova', 'compute', ''))

    def test_lookup_of_a_few(self):
        rows = [subscription('i%02d' % i, 's%02d' % i) for i in range(12)]
        self.mm.subscribe(rows, 3600, 3600)
        # The first ones, which a short read would see, are dead.
        for i in range(8, 12):
            self.mm.register(endpoint('i%02d' % i), 60)
        live = self.mm.lookup('cell1', 'nova', 'compute')
        self.assertEqual(rows[8:], [r.subscription for r in live])
        for limit in (1, 3):
            some = self.mm.lookup('cell1', 'nova', 'compute', None, base.RPC,
                                  None, limit)
            self.assertEqual(limit, len(some))
            self.assertLess(set(some), set(live))
        self.assertEqual(live, self.mm.lookup(
            'cell1', 'nova', 'compute', None, base.RPC, None, 9))

    def test_lookup_is_scoped(self):
        self.mm.register(endpoint('a'), 60)
        self.mm.subscribe([subscription('a')], 3600, 3600)
        for address in (('cell2', 'nova', 'compute'),
                        ('', 'nova', 'compute'),
                        ('cell1', 'other', 'compute'),
                        ('cell1', 'nova', 'compute.server1')):
            self.assertEqual([], self.mm.lookup(*address))
        self.assertEqual([], self.mm.lookup(
            'cell1', 'nova', 'compute', kind=base.NOTIFICATION))

    def test_names_with_odd_characters(self):
        self.mm.register(endpoint('a'), 60)
        odd = subscription('a', "s'é\x00/%", 'to pic"', namespace='',
                           exchange='')
        self.mm.subscribe([odd], 3600, 3600)
        self.assertEqual([odd], [r.subscription for r in self.mm.lookup(
            '', '', 'to pic"', "s'é\x00/%")])

    def test_lookup_leaves_out_the_stopped(self):
        row = endpoint('a', state=base.DRAINING)
        self.mm.subscribe([subscription('a')], 3600, 3600)
        self.assertEqual([], self.mm.lookup('cell1', 'nova', 'compute'))
        self.mm.register(row, 60)
        self.assertEqual([row], [
            r.endpoint for r in self.mm.lookup('cell1', 'nova', 'compute')])
        self.mm.register(row.replace(state=base.STOPPED), 60)
        self.assertEqual([], self.mm.lookup('cell1', 'nova', 'compute'))

    def test_control_topics_only_from_control_hosts(self):
        self.mm.register(endpoint('good'), 60)
        self.mm.register(endpoint('evil', plane=base.AGENT), 60)
        for instance, plane in (('good', base.CONTROL),
                                ('evil', base.AGENT)):
            self.make(plane=plane).subscribe(
                [subscription(instance, topic='conductor'),
                 subscription(instance)], 3600, 3600)
        self.assertEqual(['good'], [
            r.endpoint.instance
            for r in self.mm.lookup('cell1', 'nova', 'conductor')])
        self.assertEqual(2, len(self.mm.lookup('cell1', 'nova', 'compute')))

    def test_unsubscribe(self):
        self.mm.register(endpoint('a'), 60)
        rows = [subscription('a'), subscription('a', listener='2')]
        self.mm.subscribe(rows, 3600, 3600)
        self.assertTrue(self.mm.subscribed(rows[0]))
        self.mm.unsubscribe(rows[:1])
        self.assertFalse(self.mm.subscribed(rows[0]))
        self.assertEqual(rows[1:], [
            r.subscription
            for r in self.mm.lookup('cell1', 'nova', 'compute')])
        self.assertEqual(rows[1:], self.mm.subscriptions())

    def test_servers_stay_known(self):
        self.mm.register(endpoint('a'), 60)
        row = subscription('a')
        self.mm.subscribe([row], 3600, 3600)
        self.mm.unsubscribe([row])
        self.mm.unregister(endpoint('a'))
        self.assertEqual({'server1'}, self.mm.known('cell1', 'nova',
                                                    'compute'))
        self.assertEqual(frozenset(), self.mm.known('cell1', 'nova',
                                                    'scheduler'))

    def test_known_and_subscriptions_expire(self):
        self.mm.register(endpoint('a'), 3600)
        self.mm.subscribe([subscription('a')], self.short, self.short)
        self.mm.subscribe([subscription('a', 'server2')], 3600, 3600)
        self.expire(self.short)
        self.assertEqual({'server2'}, self.mm.known('cell1', 'nova',
                                                    'compute'))
        self.assertEqual(['server2'], [
            r.subscription.server
            for r in self.mm.lookup('cell1', 'nova', 'compute')])

    def test_notification_listeners(self):
        self.mm.register(endpoint('a'), 60)
        rows = [subscription('a', '', 'n.info', str(n),
                             kind=base.NOTIFICATION, pool=pool)
                for n, pool in enumerate(['p1', 'p1', ''])]
        self.mm.subscribe(rows, 3600, 3600)
        self.assertEqual(rows, [r.subscription for r in self.mm.lookup(
            'cell1', 'nova', 'n.info', kind=base.NOTIFICATION)])
        self.assertEqual(frozenset(), self.mm.known('cell1', 'nova',
                                                    'n.info'))

    # -- mailboxes --------------------------------------------------------

    box = base.Box('cell1', 'nova', 'compute', 'server1')

    def put(self, key: str, box: base.Box | None = None,
            ttl: float = 3600, **fields: ty.Any) -> None:
        self.mm.mailbox_put(box or self.box, base.StoredMessage(
            key, key.encode(), **fields), ttl)

    def fetched(self, **kwargs: ty.Any) -> list[str]:
        return [m.id for m in self.mm.mailbox_fetch(self.box, 100, **kwargs)]

    def test_mailbox_keeps_order_and_addresses(self):
        for key in ('2', '1', '3'):
            self.put(key)
        topic = dataclasses.replace(self.box, server='')
        self.put('9', topic)
        self.assertEqual(['1', '2', '3'], self.fetched())
        self.assertEqual(['3'], self.fetched(after='2'))
        self.assertEqual(['1', '2'], [
            m.id for m in self.mm.mailbox_fetch(self.box, 2)])
        self.assertEqual(3, self.mm.mailbox_depth(self.box))
        self.assertEqual(2, self.mm.mailbox_depth(self.box, 2))
        self.assertEqual([topic, self.box], [
            box for box in self.mm.mailboxes()
            if box.namespace == self.box.namespace])

    def test_mailbox_message_comes_back_whole(self):
        body = bytes(range(256))
        self.mm.mailbox_put(self.box, base.StoredMessage(
            'x', body, suspect='inst'), 60)
        message, = self.mm.mailbox_fetch(self.box, 10)
        self.assertEqual(('x', body, 'inst'),
                         (message.id, message.body, message.suspect))
        self.assertAlmostEqual(self.mm.now() / 1e6, message.stored, delta=60)

    def test_mailbox_put_again_changes_nothing(self):
        self.put('1')
        self.put('1')
        self.assertEqual(['1'], self.fetched())
        self.assertTrue(self.mm.mailbox_claim(self.box, 'o', 60))
        self.assertTrue(self.mm.mailbox_take(self.box, 'o', ['1']))
        # A sender that saw no answer tries once more, too late.
        self.put('1')
        self.assertEqual([], self.fetched())
        self.assertEqual(0, self.mm.mailbox_depth(self.box))

    def test_mailbox_has_one_owner(self):
        self.put('1')
        self.put('2')
        self.assertTrue(self.mm.mailbox_claim(self.box, 'a', 60))
        self.assertFalse(self.mm.mailbox_claim(self.box, 'b', 60))
        self.assertFalse(self.mm.mailbox_take(self.box, 'b', ['1']))
        self.assertTrue(self.mm.mailbox_take(self.box, 'a', ['1']))
        self.mm.mailbox_release(self.box, 'b')
        self.assertFalse(self.mm.mailbox_claim(self.box, 'c', 60))
        self.mm.mailbox_release(self.box, 'a')
        self.assertFalse(self.mm.mailbox_take(self.box, 'a', ['2']))
        self.assertTrue(self.mm.mailbox_claim(self.box, 'c', 60))
        self.assertEqual(['2'], self.fetched())

    def test_mailbox_claim_expires(self):
        self.put('1')
        self.assertTrue(self.mm.mailbox_claim(self.box, 'a', self.short))
        self.expire(self.short)
        self.assertFalse(self.mm.mailbox_take(self.box, 'a', ['1']))
        self.assertTrue(self.mm.mailbox_claim(self.box, 'b', 60))
        self.assertFalse(self.mm.mailbox_take(self.box, 'a', ['1']))
        self.assertEqual(['1'], self.fetched())

    def test_mailbox_messages_expire(self):
        self.put('1', ttl=self.short)
        self.put('2')
        self.expire(self.short)
        self.assertEqual(['2'], self.fetched())

    def test_mailbox_claims_race(self):
        won = []

        def claim(name):
            if self.mm.mailbox_claim(self.box, name, 60):
                won.append(name)

        threads = [threading.Thread(target=claim, args=('t%d' % n,))
                   for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(1, len(won))

    def test_mailbox_purge(self):
        for key in ('1', '2', '3'):
            self.put(key)
        self.assertEqual(1, self.mm.mailbox_purge(self.box, ['2', 'x']))
        self.assertEqual(['1', '3'], self.fetched())
        self.assertEqual(2, self.mm.mailbox_purge(self.box))
        self.assertEqual([], self.fetched())
        self.assertNotIn(self.box, self.mm.mailboxes())

    # -- notifications ----------------------------------------------------

    def read(self, stripe: int = 0, since: int = 0,
             limit: int = 100) -> list[base.LogEntry]:
        return [entry for head in self.mm.log_heads(LOG, 0)
                if head.stripe == stripe
                for entry in self.mm.log_read(LOG, stripe, head.bucket,
                                              since, limit)]

    def test_log_append_and_read(self):
        start = self.mm.now()
        for n in range(3):
            self.mm.log_append(LOG, 0, base.LogEntry('e%d' % n, b'%d' % n),
                               3600)
        self.mm.log_append(LOG, 5, base.LogEntry('other', b'', 2, 'p'), 3600)
        entries = self.read()
        self.assertEqual([('e0', b'0', 0, None), ('e1', b'1', 0, None),
                          ('e2', b'2', 0, None)],
                         [(e.id, e.body, e.count, e.pool) for e in entries])
        positions = [e.position for e in entries]
        self.assertEqual(sorted(set(positions)), positions)
        self.assertTrue(start - 1000 <= positions[0]
                        <= self.mm.now() + 1000)
        self.assertEqual(['e1', 'e2'],
                         [e.id for e in self.read(since=positions[1])])
        self.assertEqual('e0', self.read(limit=1)[0].id)
        other, = self.read(5)
        self.assertEqual(('other', 2, 'p'),
                         (other.id, other.count, other.pool))

    def test_log_heads(self):
        self.assertEqual([], self.mm.log_heads(LOG, 0))
        self.mm.log_append(LOG, 3, base.LogEntry('e', b''), 3600)
        first, = self.mm.log_heads(LOG, 0)
        self.assertEqual(3, first.stripe)
        self.assertLessEqual(
            abs(first.bucket - self.mm.now() // 1_000_000 // base.BUCKET), 1)
        self.assertAlmostEqual(self.mm.now(), first.position, delta=6e7)
        self.mm.log_append(LOG, 3, base.LogEntry('f', b''), 3600)
        self.assertNotEqual(first.mark, self.mm.log_heads(LOG, 0)[-1].mark)
        self.assertEqual([], self.mm.log_heads(LOG, first.bucket + 2))
        other = base.Log('cell2', 'nova', 'notifications.info')
        self.assertEqual([], self.mm.log_heads(other, 0))

    def test_log_expires(self):
        self.mm.log_append(LOG, 0, base.LogEntry('e', b''), self.short)
        self.expire(self.short)
        self.assertEqual([], self.read())

    def test_pools_are_durable(self):
        self.assertEqual(10, self.mm.pool_add(LOG, 'p', 10))
        self.assertEqual(10, self.mm.pool_add(LOG, 'p', 20))
        self.assertEqual(0, self.mm.pool_add(LOG, '', 0))
        self.assertEqual({'p': 10, '': 0}, self.mm.pools(LOG))
        self.assertIn(LOG, self.mm.logs())

    def test_lease_life(self):
        args = (LOG, 'p', 4)
        self.assertEqual(base.StripeLease(4, 'a', ''),
                         self.mm.lease_claim(*args, 'a', 60))
        self.assertIsNone(self.mm.lease_claim(*args, 'b', 60))
        self.assertFalse(self.mm.lease_commit(*args, 'b', 60, 'no'))
        self.assertTrue(self.mm.lease_commit(*args, 'a', 60, 'one'))
        self.assertEqual({4: base.StripeLease(4, 'a', 'one')},
                         self.mm.leases(LOG, 'p'))
        self.assertTrue(self.mm.lease_commit(*args, 'a', 0, 'two'))
        self.assertFalse(self.mm.lease_commit(*args, 'a', 60, 'three'))
        self.assertEqual({4: base.StripeLease(4, '', 'two')},
                         self.mm.leases(LOG, 'p'))
        self.assertEqual(base.StripeLease(4, 'b', 'two'),
                         self.mm.lease_claim(*args, 'b', 60))
        self.assertEqual({}, self.mm.leases(LOG, 'q'))

    def test_several_leases_are_claimed_at_once(self):
        self.mm.lease_claim(LOG, 'p', 2, 'other', 60)
        self.mm.lease_claim(LOG, 'p', 3, 'c', 60)
        self.mm.lease_commit(LOG, 'p', 3, 'c', 0, 'state')
        leases = self.mm.lease_claims(LOG, 'p', {1: 'a', 2: 'b', 3: 'd'}, 60)
        self.assertEqual([base.StripeLease(1, 'a', ''),
                          base.StripeLease(3, 'd', 'state')],
                         sorted(leases, key=lambda lease: lease.stripe))
        self.assertEqual({1: 'a', 2: 'other', 3: 'd'}, {
            number: lease.owner
            for number, lease in self.mm.leases(LOG, 'p').items()})
        self.assertEqual([], self.mm.lease_claims(LOG, 'p', {}, 60))

    def test_lease_expires_and_fences(self):
        args = (LOG, '', 0)
        self.mm.lease_claim(*args, 'a', 60)
        self.assertTrue(self.mm.lease_commit(*args, 'a', self.short, 'x'))
        self.expire(self.short)
        self.assertFalse(self.mm.lease_commit(*args, 'a', 60, 'late'))
        self.assertEqual('', self.mm.leases(LOG, '')[0].owner)
        self.assertEqual(base.StripeLease(0, 'b', 'x'),
                         self.mm.lease_claim(*args, 'b', 60))
        self.assertFalse(self.mm.lease_commit(*args, 'a', 60, 'late'))

    def test_sites(self):
        self.assertEqual('site1', self.mm.sites()[0])
