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

"""Keys, CURVE, signatures, encrypted bodies (rules B8, B10, D1, D2)."""

import os
import time

import fixtures
import testtools
import zmq

from luc_drivers.messaging import admin
from luc_drivers.messaging import keys
from luc_drivers.messaging import opts
from luc_drivers.messaging import security
from luc_drivers.messaging.matchmaker import base
from tests.unit.messaging import matchmaker_api


class SecurityCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.settings = opts.load({'security': 'curve'}).replace(
            keys_dir=self.folder, host='host1', keys_reload=0.0)
        keys.save(self.folder, keys.generate('host1', base.CONTROL))
        keys.add_store_key(self.folder)

    def other_host(self, name='host2', plane=base.AGENT, allowed=True):
        """Return the Security of a host with its own folder."""
        folder = self.useFixture(fixtures.TempDir()).path
        secret = keys.generate(name, plane)
        keys.save(folder, secret)
        for key in keys.allowed(self.folder).values():
            keys.allow(folder, key)
        with open(os.path.join(self.folder, keys.STORE_FILE)) as f:
            keys._write(os.path.join(folder, keys.STORE_FILE), f.read(),
                        0o600)
        if allowed:
            keys.allow(self.folder, secret.public)
        return security.Security(self.settings.replace(
            keys_dir=folder, host=name))


class KeysTest(SecurityCase):

    def test_round_trip(self):
        secret = keys.generate('a.example.org')
        keys.save(self.folder, secret)
        self.assertEqual(secret, keys.load(self.folder, 'a.example.org'))
        self.assertEqual(secret.public,
                         keys.allowed(self.folder)[secret.public.curve])

    def test_secrets_are_not_for_everyone(self):
        for name in ('host1.secret', keys.STORE_FILE):
            path = os.path.join(self.folder, name)
            self.assertEqual(0, os.stat(path).st_mode & 0o007, name)
            os.chmod(path, 0o644)
        error = self.assertRaises(keys.KeyFileError, keys.load, self.folder,
                                  'host1')
        self.assertIn('chmod', str(error))
        self.assertRaises(keys.KeyFileError, keys.load_store_keys,
                          self.folder)

    def test_missing_files_say_what_to_do(self):
        error = self.assertRaises(keys.KeyFileError, keys.load, self.folder,
                                  'nobody')
        self.assertIn('luc bus keys create', str(error))
        self.assertIn('keys_dir', str(error))
        os.unlink(os.path.join(self.folder, keys.STORE_FILE))
        error = self.assertRaises(keys.KeyFileError, security.Security,
                                  self.settings)
        self.assertIn(keys.STORE_FILE, str(error))

    def test_malformed_files_are_named(self):
        good = keys.generate('h').public
        path = os.path.join(self.folder, keys.ALLOWED, 'bad.key')
        for text in ('', '[]', '{}', 'x', '{"host": "h"}',
                     '{"host": "../x", "curve": "%s", "sign": "%s"}'
                     % (good.curve, good.sign),
                     '{"host": "h", "curve": "short", "sign": "%s"}'
                     % good.sign,
                     '{"host": "h", "curve": "%s", "sign": "00"}'
                     % good.curve,
                     '{"host": "h", "curve": "%s", "sign": "%s", '
                     '"plane": "root"}' % (good.curve, good.sign)):
            with open(path, 'w') as f:
                f.write(text)
            error = self.assertRaises(keys.KeyFileError, keys.allowed,
                                      self.folder)
            self.assertIn(path, str(error))

    def test_malformed_file_at_the_start(self):
        with open(os.path.join(self.folder, keys.ALLOWED, 'x.key'),
                  'w') as f:
            f.write('oops')
        error = self.assertRaises(keys.KeyFileError, security.Security,
                                  self.settings)
        self.assertIn('x.key', str(error))

    def test_store_file_malformed(self):
        path = os.path.join(self.folder, keys.STORE_FILE)
        for text in ('', 'zz', 'ab' * 31):
            with open(path, 'w') as f:
                f.write(text)
            self.assertRaises(keys.KeyFileError, keys.load_store_keys,
                              self.folder)

    def test_odd_host_names(self):
        for name in ('', '../x', 'a/b', 'a b', '.hidden'):
            self.assertRaises(keys.KeyFileError, keys.generate, name)

    def test_revoke(self):
        second = keys.generate('host1')
        keys.allow(self.folder, second.public)
        self.assertEqual(1, keys.revoke(self.folder, 'host1',
                                        second.public.fingerprint))
        self.assertEqual(1, keys.revoke(self.folder, 'host1'))
        self.assertEqual(0, keys.revoke(self.folder, 'host1'))

    def test_admin(self):
        folder = self.useFixture(fixtures.TempDir()).path
        settings = self.settings.replace(keys_dir=folder)
        written = admin.create_keys(settings)
        self.assertEqual(2, len(written))
        self.assertEqual(1, len(admin.create_keys(settings, 'host2',
                                                  'agent')))
        self.assertEqual([('host1', 'control'), ('host2', 'agent')],
                         [(row['host'], row['plane'])
                          for row in admin.list_keys(settings)])
        for row in admin.list_keys(settings):
            self.assertNotIn('secret', row)
        key = next(os.path.join(folder, 'allowed', name)
                   for name in os.listdir(os.path.join(folder, 'allowed'))
                   if name.startswith('host2'))
        admin.allow_key(self.settings, key)
        self.assertEqual(2, len(admin.list_keys(self.settings)))
        self.assertEqual(1, admin.revoke_key(self.settings, 'host2'))


class SignatureTest(SecurityCase):

    def setUp(self):
        super().setUp()
        self.security = security.Security(self.settings)
        self.signed = self.security.sign(matchmaker_api.endpoint('i'))

    def test_own_signature(self):
        self.assertEqual('host1', self.signed.host)
        self.assertEqual(self.security.public_key, self.signed.curve_key)
        self.security.check(self.signed)
        # The state may change without another signature.
        self.security.check(self.signed.replace(state=base.STOPPED))

    def test_forgeries(self):
        for changes in ({'addresses': ('tcp://192.0.2.66:1',)},
                        {'curve_key': 'x' * 40}, {'host': 'host2'},
                        {'instance': 'other'}, {'site': 'other'},
                        {'versions': (0, 1)}, {'boot': '9'},
                        {'plane': base.AGENT}, {'signature': ''},
                        {'signature': 'zz'}, {'signature': '00' * 64}):
            self.assertFalse(self.security.verify(
                self.signed.replace(**changes)), changes)

    def test_other_host(self):
        signed = self.other_host().sign(matchmaker_api.endpoint(
            'i', plane=base.AGENT))
        self.assertTrue(self.security.verify(signed))
        keys.revoke(self.folder, 'host2')
        self.assertFalse(self.security.verify(signed))

    def test_unknown_host(self):
        signed = self.other_host(allowed=False).sign(
            matchmaker_api.endpoint('i', plane=base.AGENT))
        error = self.assertRaises(security.SecurityError,
                                  self.security.check, signed)
        self.assertIn('luc bus keys list', str(error))

    def test_agent_can_not_be_a_control_host(self):
        """Rule D2: one compute host must not own the cloud."""
        agent = self.other_host()
        signed = agent.sign(matchmaker_api.endpoint(
            'i', plane=base.CONTROL))
        self.assertFalse(self.security.verify(signed))
        # Nor say that its endpoint is another host's.
        mine = agent.sign(matchmaker_api.endpoint('i', plane=base.AGENT))
        self.assertFalse(self.security.verify(mine.replace(host='host1')))

    def test_changed_key_of_a_host(self):
        first = self.other_host()
        signed = first.sign(matchmaker_api.endpoint('i', plane=base.AGENT))
        second = self.other_host()
        again = second.sign(matchmaker_api.endpoint('j', plane=base.AGENT))
        self.assertTrue(self.security.verify(signed))
        self.assertTrue(self.security.verify(again))

    def test_off(self):
        off = security.Security(opts.load())
        self.assertFalse(off.enabled)
        endpoint = matchmaker_api.endpoint('i')
        self.assertIs(endpoint, off.sign(endpoint))
        self.assertTrue(off.verify(endpoint))
        self.assertTrue(off.user_allowed(''))
        self.assertIsNone(off.cipher)
        self.assertIsNone(off.authenticator(None))


class CipherTest(SecurityCase):

    def setUp(self):
        super().setUp()
        self.cipher = security.BodyCipher(self.folder, 0.0)

    def test_round_trip(self):
        for plain in (b'', b'x', bytes(100000)):
            sealed = self.cipher.seal(plain, b'about')
            self.assertEqual(plain, self.cipher.open(sealed, b'about'))
        self.assertNotIn(b'password', self.cipher.seal(b'password', b''))

    def test_same_text_never_looks_the_same(self):
        self.assertNotEqual(self.cipher.seal(b'x', b''),
                            self.cipher.seal(b'x', b''))

    def test_any_change_is_noticed(self):
        sealed = self.cipher.seal(b'hello', b'about')
        for n in range(len(sealed)):
            changed = bytearray(sealed)
            changed[n] ^= 1
            self.assertRaises(ValueError, self.cipher.open, bytes(changed),
                              b'about')
        self.assertRaises(ValueError, self.cipher.open, sealed, b'other')
        self.assertRaises(ValueError, self.cipher.open, sealed[:-1],
                          b'about')
        self.assertRaises(ValueError, self.cipher.open, b'', b'about')
        self.assertRaises(ValueError, self.cipher.open, b'plain text', b'')

    def test_change_of_keys_without_restart(self):
        old = self.cipher.seal(b'old', b'')
        keys.add_store_key(self.folder)
        new = self.cipher.seal(b'new', b'')
        self.assertNotEqual(old[1:5], new[1:5])
        self.assertEqual(b'old', self.cipher.open(old, b''))
        self.assertEqual(b'new', self.cipher.open(new, b''))

    def test_key_that_came_later(self):
        later = security.BodyCipher(self.folder, 1000.0)
        keys.add_store_key(self.folder)
        sealed = security.BodyCipher(self.folder, 1000.0).seal(b'x', b'')
        self.assertEqual(b'x', later.open(sealed, b''))

    def test_unknown_key(self):
        sealed = self.cipher.seal(b'x', b'')
        os.unlink(os.path.join(self.folder, keys.STORE_FILE))
        keys.add_store_key(self.folder)
        error = self.assertRaises(
            ValueError, security.BodyCipher(self.folder, 0.0).open, sealed,
            b'')
        self.assertIn(keys.STORE_FILE, str(error))


class SocketTest(SecurityCase):
    """Real sockets: who gets through, and who doesn't."""

    def setUp(self):
        super().setUp()
        self.context = zmq.Context()
        self.addCleanup(self.context.destroy, 0)
        self.security = security.Security(self.settings)
        self.zap = self.security.authenticator(self.context)
        self.router = self.context.socket(zmq.ROUTER)
        self.security.server(self.router)
        port = self.router.bind_to_random_port('tcp://127.0.0.1')
        self.endpoint = self.security.sign(matchmaker_api.endpoint(
            'i', addresses=('tcp://127.0.0.1:%d' % port,)))
        self.refusals = []

    def dealer(self, setup):
        context = zmq.Context()
        self.addCleanup(context.destroy, 0)
        dealer = context.socket(zmq.DEALER)
        self.addCleanup(dealer.close, 0)
        setup(dealer)
        dealer.connect(self.endpoint.addresses[0])
        dealer.send(b'hello')

    def receive(self, timeout=3.0):
        """Serve ZAP and the router; return (message, user id) or None."""
        poller = zmq.Poller()
        poller.register(self.zap.socket, zmq.POLLIN)
        poller.register(self.router, zmq.POLLIN)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and not self.refusals:
            ready = dict(poller.poll(50))
            if self.zap.socket in ready:
                self.refusals += self.zap.handle()
            if self.router in ready:
                frames = self.router.recv_multipart(copy=False)
                return frames[1].bytes, frames[1].get('User-Id')
        return None

    def test_allowed_host(self):
        other = self.other_host()
        self.dealer(lambda s: other.client(s, self.endpoint))
        body, user = self.receive()
        self.assertEqual(b'hello', body)
        self.assertTrue(user.startswith('host2/'))
        self.assertTrue(self.security.user_allowed(user))
        # Revoked: what an open connection sends is not accepted (B10).
        keys.revoke(self.folder, 'host2')
        self.assertFalse(self.security.user_allowed(user))

    def test_host_that_is_not_allowed(self):
        other = self.other_host(allowed=False)
        self.dealer(lambda s: other.client(s, self.endpoint))
        self.assertIsNone(self.receive())
        self.assertEqual(1, len(self.refusals))
        self.assertIn('127.0.0.1', self.refusals[0])
        self.assertIn('keys_dir', self.refusals[0])

    def test_host_allowed_later(self):
        other = self.other_host(allowed=False)
        self.dealer(lambda s: other.client(s, self.endpoint))
        self.assertIsNone(self.receive())
        self.refusals.clear()
        keys.allow(self.folder, other._secret.public)
        self.dealer(lambda s: other.client(s, self.endpoint))
        self.assertIsNotNone(self.receive())

    def test_peer_without_curve(self):
        self.dealer(lambda s: None)
        self.assertIsNone(self.receive(0.5))

    def test_any_curve_key(self):
        public, secret = zmq.curve_keypair()

        def setup(dealer):
            dealer.curve_serverkey = self.endpoint.curve_key.encode()
            dealer.curve_publickey, dealer.curve_secretkey = public, secret

        self.dealer(setup)
        self.assertIsNone(self.receive())

    def test_without_handler_nobody_gets_in(self):
        """Rule B8: libzmq's default would let everyone in."""
        self.zap.close()
        other = self.other_host()
        self.dealer(lambda s: other.client(s, self.endpoint))
        self.assertFalse(self.router.poll(500, zmq.POLLIN))

    def test_process_that_inherits_the_port(self):
        """Rule B5: another process on the port has another key."""
        stale = self.endpoint
        later = security.Security(self.settings)
        self.router = self.context.socket(zmq.ROUTER)
        later.server(self.router)
        port = self.router.bind_to_random_port('tcp://127.0.0.1')
        # The same host's registration of a process that had this port.
        self.endpoint = self.security.sign(stale.replace(
            addresses=('tcp://127.0.0.1:%d' % port,)))
        other = self.other_host()
        self.dealer(lambda s: other.client(s, self.endpoint))
        self.assertIsNone(self.receive(0.5))

    def test_forged_endpoint_is_not_connected_to(self):
        other = self.other_host()
        self.assertRaises(
            security.SecurityError, other.client,
            self.context.socket(zmq.DEALER),
            self.endpoint.replace(curve_key='x' * 40))

    def test_malformed_zap_requests(self):
        for question in ([b''], [b'', b'1.0'], [b'', b'2.0'] + [b'x'] * 6,
                         [b'', b'1.0', b'1', b'luc', b'a', b'', b'PLAIN',
                          b'u', b'p'],
                         [b'', b'1.0', b'1', b'luc', b'a', b'', b'CURVE',
                          b'short'],
                         [b'no delimiter']):
            asker = self.context.socket(zmq.DEALER)
            asker.linger = 0
            asker.connect(security.ZAP_ENDPOINT)
            asker.send_multipart(question)
            self.assertTrue(self.zap.socket.poll(1000))
            self.assertEqual(1, len(self.zap.handle()), question)
            self.assertTrue(asker.poll(1000))
            self.assertTrue({b'400', b'500'} & set(asker.recv_multipart()))
            asker.close()

    def test_slip_of_the_pen_shuts_nobody_out(self):
        with open(os.path.join(self.folder, keys.ALLOWED, 'x.key'),
                  'w') as f:
            f.write('oops')
        # A second process of this host, whose key was allowed before.
        self.dealer(lambda s: self.security.client(s, self.endpoint))
        self.refusals += self.zap.handle()
        self.assertEqual(1, len(self.refusals))
        self.assertIn('x.key', self.refusals.pop())
        self.zap._allowed.errors.clear()
        self.zap._allowed._reload = 1000.0
        self.assertIsNotNone(self.receive())
