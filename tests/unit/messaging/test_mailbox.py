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

"""Mailboxes: who gets a message, once, in order (rules C8 to C11, D1)."""

import threading
import time
from unittest import mock

import testtools

from luc_drivers.messaging import mailbox
from luc_drivers.messaging import opts
from luc_drivers.messaging import registrar
from luc_drivers.messaging.matchmaker import base
from luc_drivers.messaging.matchmaker import memory
from tests.unit.messaging import matchmaker_api

BOX = base.Box('cell1', 'nova', 'compute', 'server1')


class Rot13:
    """A cipher whose work can be seen."""

    def seal(self, plain, about):
        return about + b'|' + plain[::-1]

    def open(self, sealed, about):
        if not sealed.startswith(about + b'|'):
            raise ValueError('not for this')
        return sealed[len(about) + 1:][::-1]


class MailboxCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        memory.reset()
        self.addCleanup(memory.reset)
        self.settings = opts.load({'matchmaker': 'memory'}).replace(
            mailbox_batch=3)
        self.mm = memory.MemoryMatchmaker(self.settings)
        self.mailbox = mailbox.Mailbox(self.mm, self.settings)
        self.got = []

    def put(self, *bodies, **kwargs):
        return [self.mailbox.put(BOX, mailbox.new_id('sender', n), body,
                                 **kwargs) for n, body in enumerate(bodies)]

    def drain(self, instance='me', **kwargs):
        return self.mailbox.drain(
            BOX, instance, lambda m: self.got.append(m.body), **kwargs)


class MailboxTest(MailboxCase):

    def test_ids_sort_by_time(self):
        ids = [mailbox.new_id('a', n) for n in range(100)]
        self.assertEqual(ids, sorted(ids))
        self.assertEqual(100, len(set(ids)))

    def test_ids_sort_when_the_clock_is_set_back(self):
        first = mailbox.new_id('a', 1)
        with mock.patch('time.time_ns', return_value=1):
            self.assertLess(first, mailbox.new_id('a', 2))

    def test_order_over_several_batches(self):
        bodies = [b'%d' % n for n in range(10)]
        self.put(*bodies)
        self.assertEqual(10, self.drain())
        self.assertEqual(bodies, self.got)
        self.assertEqual(0, self.drain())

    def test_limit_leaves_the_rest(self):
        self.put(*[b'%d' % n for n in range(10)])
        self.assertEqual(4, self.drain(limit=4))
        self.assertEqual(0, self.drain(limit=0))
        self.assertEqual(6, self.drain())
        self.assertEqual([b'%d' % n for n in range(10)], self.got)

    def test_message_stored_while_draining_is_delivered(self):
        self.put(b'1')

        def deliver(message):
            self.got.append(message.body)
            if len(self.got) < 5:
                self.put(b'%d' % (len(self.got) + 1))

        self.assertEqual(5, self.mailbox.drain(BOX, 'me', deliver))

    def test_claim_is_given_back(self):
        self.put(b'1')
        self.drain()
        self.assertTrue(self.mm.mailbox_claim(BOX, 'other', 60))

    def test_claim_is_given_back_after_an_error(self):
        self.put(b'1')
        self.assertRaises(ZeroDivisionError, self.mailbox.drain, BOX, 'me',
                          lambda m: 1 / 0)
        self.assertTrue(self.mm.mailbox_claim(BOX, 'other', 60))

    def test_two_workers_share_and_nothing_comes_twice(self):
        """Rule C11: several workers of one server name."""
        bodies = [b'%03d' % n for n in range(60)]
        self.put(*bodies)

        def work(name):
            deadline = time.monotonic() + 5
            while len(self.got) < 60 and time.monotonic() < deadline:
                self.drain(name, limit=5)

        workers = [threading.Thread(target=work, args=('w%d' % n,))
                   for n in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.assertEqual(bodies, sorted(self.got))

    def test_lost_claim_delivers_nothing(self):
        """A process that was paused must not deliver what another took."""
        self.put(b'1', b'2')
        real = self.mm.mailbox_fetch

        def pause(box, limit, after='', site=None):
            found = real(box, limit, after, site)
            if limit > 1:
                mailboxes = memory._store.site('site1').mailboxes
                mailboxes[box].until = 0
                other = mailbox.Mailbox(
                    memory.MemoryMatchmaker(self.settings), self.settings)
                other.drain(box, 'other', lambda m: others.append(m.body))
            return found

        others = []
        with mock.patch.object(self.mm, 'mailbox_fetch', pause):
            self.drain()
        self.assertEqual([], self.got)
        self.assertEqual([b'1', b'2'], others)

    def test_suspect_alone_gets_it_while_it_lives(self):
        """Rule C8: maybe delivered to an instance, which can tell."""
        self.mm.register(matchmaker_api.endpoint('suspect'), 60)
        self.put(b'maybe', suspect='suspect')
        self.put(b'surely')
        self.assertEqual(1, self.drain('other'))
        self.assertEqual([b'surely'], self.got)
        self.assertEqual(1, self.drain('suspect'))
        self.assertEqual([b'surely', b'maybe'], self.got)

    def test_others_get_it_when_the_suspect_is_gone(self):
        self.put(b'1', suspect='never registered')
        self.assertEqual(1, self.drain('other'))
        self.mm.register(matchmaker_api.endpoint(
            'stopped', state=base.STOPPED), 60)
        self.put(b'2', suspect='stopped')
        self.assertEqual(1, self.drain('other'))

    def test_put_tells_whom_to_poke(self):
        self.assertEqual([[]], self.put(b'nobody there'))
        row = matchmaker_api.endpoint('a', state=base.DRAINING)
        self.mm.register(row, 60)
        self.mm.subscribe([matchmaker_api.subscription('a')], 60, 60)
        self.assertEqual([[]], self.put(b'it will look once more'))
        self.mm.register(row.replace(state=base.LIVE), 60)
        routes, = self.put(b'live')
        self.assertEqual(['a'], [r.endpoint.instance for r in routes])

    def test_put_to_a_topic_tells_any_listener(self):
        self.mm.register(matchmaker_api.endpoint('a'), 60)
        self.mm.subscribe([matchmaker_api.subscription('a')], 60, 60)
        box = base.Box('cell1', 'nova', 'compute')
        routes = self.mailbox.put(box, mailbox.new_id('s', 1), b'')
        self.assertEqual(1, len(routes))

    def test_hand_over_has_no_gap(self):
        """Rule C10: sender and starting server, in every order of steps."""
        for sender_step in range(6):
            memory.reset()
            self.got = []
            self._hand_over(sender_step)
            self.assertEqual([b'x'], self.got, sender_step)

    def _hand_over(self, sender_step):
        own = registrar.Registrar(self.mm, self.settings)
        poked = []
        steps = [
            lambda: own.start(matchmaker_api.endpoint('srv')),
            lambda: own.subscribe([matchmaker_api.subscription('srv')]),
            lambda: self.drain('srv'),
            lambda: own.set_state(base.LIVE),
            lambda: self.drain('srv')]
        steps.insert(sender_step, lambda: poked.extend(self.put(b'x')[0]))
        for step in steps:
            step()
        if poked:
            self.drain('srv')

    def test_full_mailbox_refuses(self):
        self.mailbox.settings = self.settings.replace(mailbox_max_messages=5)
        self.put(*[b''] * 5)
        error = self.assertRaises(mailbox.MailboxFull, self.put, b'')
        self.assertIn('mailbox_max_messages', str(error))
        self.assertEqual(5, self.mm.mailbox_depth(BOX))
        self.drain()
        self.put(b'')

    def test_too_large_message_is_refused(self):
        self.mailbox.settings = self.settings.replace(
            store_max_message_size=70000)
        self.put(b'x' * 60000)
        error = self.assertRaises(base.MatchmakerRefused, self.put,
                                  b'x' * 70001)
        self.assertIn('store_max_message_size', str(error))

    def test_bodies_are_encrypted(self):
        self.mailbox.cipher = Rot13()
        self.put(b'password')
        stored, = self.mm.mailbox_fetch(BOX, 10)
        self.assertNotIn(b'password', stored.body)
        self.drain()
        self.assertEqual([b'password'], self.got)

    def test_foreign_body_is_dropped_and_the_rest_delivered(self):
        self.put(b'forged')
        self.mailbox.cipher = Rot13()
        self.put(b'good')
        with self.assertLogs('luc_drivers.messaging.mailbox',
                             'ERROR') as logs:
            self.assertEqual(1, self.drain())
        self.assertEqual([b'good'], self.got)
        self.assertEqual(1, len(logs.output))
        self.assertEqual(0, self.mm.mailbox_depth(BOX))


class RegistrarTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        memory.reset()
        self.addCleanup(memory.reset)
        self.settings = opts.load({'matchmaker': 'memory'})
        self.mm = memory.MemoryMatchmaker(self.settings)
        self.registrar = registrar.Registrar(self.mm, self.settings)
        self.sub = matchmaker_api.subscription('i')

    def start(self):
        self.registrar.start(base.Endpoint('i', 'h', 1, 'site1', ('tcp://1',)))
        self.registrar.subscribe([self.sub])

    def lookup(self):
        return self.mm.lookup('cell1', 'nova', 'compute')

    def test_life(self):
        self.start()
        endpoint = self.lookup()[0].endpoint
        self.assertEqual(base.DRAINING, endpoint.state)
        self.assertEqual(registrar.boot_id(), endpoint.boot)
        self.registrar.set_state(base.LIVE)
        self.assertEqual(base.LIVE, self.lookup()[0].endpoint.state)
        self.assertFalse(self.registrar.refresh())
        self.registrar.stop()
        self.assertEqual([], self.lookup())
        self.assertEqual(base.STOPPED, self.mm.endpoint('i').state)
        self.assertTrue(registrar.proven_gone(self.mm, endpoint))
        self.assertEqual({'server1'}, self.mm.known('cell1', 'nova',
                                                    'compute'))
        self.assertFalse(self.registrar.refresh())
        self.assertEqual(base.STOPPED, self.mm.endpoint('i').state)

    def test_wiped_registry_is_mended_by_one_refresh(self):
        self.start()
        self.registrar.set_state(base.LIVE)
        memory.reset()
        self.assertEqual([], self.lookup())
        self.assertTrue(self.registrar.refresh())
        self.assertEqual(base.LIVE, self.lookup()[0].endpoint.state)
        self.assertEqual({'server1'}, self.mm.known('cell1', 'nova',
                                                    'compute'))
        self.assertFalse(self.registrar.refresh())

    def test_lost_subscriptions_are_mended(self):
        self.start()
        self.registrar.subscribe([matchmaker_api.subscription(
            'i', topic='other')])
        self.mm.unsubscribe([self.sub])
        self.assertTrue(self.registrar.refresh() or self.registrar.refresh())
        self.assertEqual(1, len(self.lookup()))

    def test_refresh_does_not_touch_subscriptions(self):
        """Rule D3: one row a refresh, not one a topic."""
        self.start()
        self.registrar.refresh()
        with mock.patch.object(self.mm, 'subscribe') as subscribe:
            for _ in range(10):
                self.registrar.refresh()
            subscribe.assert_not_called()
            # But they must not expire.
            later = time.monotonic() + self.settings.subscription_ttl / 3 + 1
            with mock.patch('time.monotonic', return_value=later):
                self.registrar.refresh()
            subscribe.assert_called_once()

    def test_gone_is_not_proven_by_expiry_or_a_namesake(self):
        """Rule C1: a paused process expires and lives."""
        old = matchmaker_api.endpoint('old', boot=registrar.boot_id())
        self.mm.register(old, 60)
        self.mm.unregister(old)
        self.mm.register(matchmaker_api.endpoint(
            'new', boot=registrar.boot_id()), 60)
        self.assertFalse(registrar.proven_gone(self.mm, old))

    def test_gone_is_proven_by_a_newer_boot(self):
        old = matchmaker_api.endpoint('old', boot='1000000000-aaa')
        self.mm.register(old, 60)
        self.assertFalse(registrar.proven_gone(self.mm, old))
        self.mm.register(matchmaker_api.endpoint(
            'new', boot='1000000100-bbb'), 60)
        self.assertTrue(registrar.proven_gone(self.mm, old))

    def test_newer_boot(self):
        self.assertFalse(registrar.newer_boot('', '1000000000-a'))
        self.assertFalse(registrar.newer_boot('1000000000-a', ''))
        # The clock was set: the same boot.
        self.assertFalse(registrar.newer_boot('1000000005-a',
                                              '1000000000-a'))
        self.assertFalse(registrar.newer_boot('1000000000-b',
                                              '1000000005-a'))
        self.assertTrue(registrar.newer_boot('1000000005-b',
                                             '1000000000-a'))

    def test_set_state_before_start(self):
        self.assertRaises(base.MatchmakerError, self.registrar.set_state,
                          base.LIVE)


class OptsTest(testtools.TestCase):

    def refused(self, **query):
        return str(self.assertRaises(opts.SettingsError, opts.load, query))

    def test_url_overrides(self):
        settings = opts.load({'matchmaker': 'embedded', 'rpc_prefetch': '7',
                              'advertise': '192.0.2.1,2001:db8::1',
                              'site': 'site3'})
        self.assertEqual(('embedded', 7, 'site3'), (
            settings.matchmaker, settings.rpc_prefetch, settings.site))
        self.assertEqual(['192.0.2.1', '2001:db8::1'], settings.advertise)

    def test_key_tells_settings_apart(self):
        self.assertEqual(opts.load({}).key, opts.load().key)
        self.assertNotEqual(opts.load().key,
                            opts.load({'rpc_prefetch': '7'}).key)

    def test_bad_options_are_named(self):
        self.assertIn('"colour"', self.refused(colour='red'))
        self.assertIn('"rpc_prefetch"', self.refused(rpc_prefetch='many'))
        self.assertIn('registration_ttl', self.refused(refresh_interval='60'))
        self.assertIn('bind', self.refused(bind='localhost'))
        self.assertIn('advertise', self.refused(advertise='a.example.org'))
        for ports in ('5:4', '0:9', '1:70000'):
            self.assertIn('port_range', self.refused(port_range=ports))

    def test_public_address_needs_security(self):
        for address in ('0.0.0.0', '192.0.2.1', '::', '[2001:db8::1]'):
            self.assertIn('allow_insecure', self.refused(bind=address))
            opts.load({'bind': address, 'allow_insecure': 'true'})
            opts.load({'bind': address, 'security': 'curve'})
        for address in ('127.0.0.1', '127.8.9.1', '::1', '[::1]'):
            opts.load({'bind': address})

    def test_settings_are_read_only(self):
        settings = opts.load()
        self.assertRaises(AttributeError, setattr, settings, 'bind', 'x')
        self.assertRaises(AttributeError, getattr, settings, 'colour')
        self.assertRaises(opts.SettingsError, settings.replace, colour=1)

    def test_every_option_has_help(self):
        for opt in opts.all_opts:
            self.assertTrue(opt.help and opt.help.endswith('.'), opt.name)
