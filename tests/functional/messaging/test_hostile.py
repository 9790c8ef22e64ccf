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


"""Peers that send what they must not: random bytes, and without a key."""

import contextlib
import os
import time
from unittest import mock
import uuid

import hypothesis
from hypothesis import strategies as st
import zmq

from luc_drivers import config
from luc_drivers.messaging import keys
from luc_drivers.messaging import mailbox
from luc_drivers.messaging import server as server_module
from luc_drivers.messaging import wire
from luc_drivers.messaging.matchmaker import base
from tests.functional.messaging import rawpeer

KINDS = st.integers(0, 20)
U64 = st.integers(0, 2 ** 64 - 1)
SMALL = st.binary(max_size=80)


def records():
    """Records of all kinds: well-formed ones with odd values, and not."""
    documents = st.dictionaries(
        st.sampled_from(['versions', 'boot', 'listeners', 'topics', 'site']),
        st.recursive(st.none() | st.integers() | st.text(max_size=9),
                     lambda x: st.lists(x, max_size=3), max_leaves=5),
        max_size=4)
    return st.lists(st.one_of(
        st.builds(wire.record, KINDS, SMALL),
        st.builds(wire.seqs, st.sampled_from([wire.ACK, wire.REPLY_ACK,
                                              wire.BEAT]),
                  st.lists(U64, max_size=4)),
        st.builds(wire.nack, U64, st.integers(0, 255), st.text(max_size=9)),
        st.builds(lambda kind, *rest: wire.record(
            wire.CHUNK_DATA, wire._CHUNK.pack(kind, *rest[:3]) + rest[3]),
            st.sampled_from([wire.REQUEST, wire.REPLY, 0]), U64, U64, U64,
            SMALL),
        st.builds(wire.credit, st.sampled_from([wire.REQUEST, wire.REPLY]),
                  U64, U64),
        st.builds(wire.ping, U64),
        st.builds(wire.pong, U64, U64),
        st.builds(wire.document, st.sampled_from(
            [wire.HELLO, wire.WELCOME, wire.GOAWAY, wire.LISTENERS]),
            documents),
        st.builds(lambda head, body: wire.record(
            wire.REQUEST, wire.request_head(*head) + body),
            st.tuples(U64, st.integers(0, 3), U64,
                      st.integers(0, 2 ** 32 - 1), st.integers(0, 255),
                      SMALL), SMALL)), max_size=5)


class FuzzTest(rawpeer.RawPeerCase):
    """Nothing that comes over the wire harms whoever else is served."""

    def fuzz(self, strategy, send):
        @hypothesis.settings(
            max_examples=300, deadline=None, database=None,
            suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(strategy)
        def run(value):
            send(value)

        with self.assertLogs('luc_drivers.messaging', 'WARNING') as logs:
            run()
            self.sock.send(b'the last one')
            self.wait_for(lambda: logs.output)
            self.assert_serves()
        for line in logs.output:
            self.assertNotIn('Traceback', line)
        self.assertEqual(['fine'], [x for x in self.endpoint.ran])
        # One line a second for each sender, whatever it sends.
        self.assertLess(len(logs.output), 200)

    def test_random_bytes(self):
        self.fuzz(st.lists(st.binary(max_size=300), min_size=1, max_size=3),
                  lambda parts: self.sock.send_multipart(parts))

    def test_records_with_odd_values(self):
        other = [os.urandom(16) for _ in range(3)]
        self.fuzz(
            st.tuples(records(), st.sampled_from([self.me, *other]), U64),
            lambda value: self.send(*value[0], src=value[1], floor=value[2]))

    def test_damaged_frames(self):
        frame = self.frame(
            wire.document(wire.HELLO, {'versions': [1, 1]}), wire.ping(1),
            wire.seqs(wire.REPLY_ACK, [1, 2]),
            self.request(9, listener=77))

        def damage(value):
            at, byte, cut = value
            data = bytearray(frame)
            data[at % len(data)] = byte
            self.sock.send(bytes(data[:len(data) - cut % len(data)]))

        self.fuzz(st.tuples(st.integers(0, 10 ** 6), st.integers(0, 255),
                            st.one_of(st.just(0), st.integers(0, 10 ** 6))),
                  damage)


class PokeTest(rawpeer.RawPeerCase):
    """A POKE is a barrier: mail comes before casts sent after it (C10)."""

    def put_mail(self, x):
        box = base.Box('test', 'openstack', self.topic, 'a')
        self.server.mailbox.put(
            box, mailbox.new_id(self.server.name, 1),
            server_module.stored_body(self.me, 0, wire.F_CAST,
                                      rawpeer.ECHO % x))

    def slow_mail(self):
        fetch = self.server.matchmaker.mailbox_fetch

        def slow(*args, **kwargs):
            time.sleep(0.7)
            return fetch(*args, **kwargs)

        self.enterContext(mock.patch.object(self.server.matchmaker,
                                            'mailbox_fetch', slow))

    def test_cast_after_a_poke_comes_after_the_mail(self):
        self.slow_mail()
        self.put_mail(b'"mail"')
        self.send(wire.record(wire.POKE, self.address),
                  self.request(1, wire.F_CAST, rawpeer.ECHO % b'"direct"'))
        self.receive(wire.ACK)  # queued, whatever the store does
        self.wait_for(lambda: len(self.endpoint.ran) == 2)
        self.assertEqual(['mail', 'direct'], self.endpoint.ran)
        # Afterwards nothing is held back.
        self.send(self.request(2, wire.F_CAST, rawpeer.ECHO % b'"next"'))
        with self.lasts(0, 0.6):
            self.wait_for(lambda: self.endpoint.ran[-1] == 'next')

    def test_calls_are_not_held_back(self):
        self.slow_mail()
        self.put_mail(b'"mail"')
        self.send(wire.record(wire.POKE, self.address), self.request(1))
        self.receive(wire.REPLY)
        self.wait_for(lambda: self.endpoint.ran == [1, 'mail'])

    def test_store_that_fails_holds_nothing_back_for_ever(self):
        self.enterContext(mock.patch.object(
            self.server.matchmaker, 'mailbox_fetch',
            side_effect=base.MatchmakerUnavailable('down')))
        self.send(wire.record(wire.POKE, self.address),
                  self.request(1, wire.F_CAST, rawpeer.ECHO % b'"direct"'))
        self.wait_for(lambda: self.endpoint.ran == ['direct'])

    def test_stop_while_casts_are_held_back(self):
        self.slow_mail()
        self.send(wire.record(wire.POKE, self.address),
                  self.request(1, wire.F_CAST, rawpeer.ECHO % b'"held"'))
        self.receive(wire.ACK)
        self.stop(self.rpc)
        _, endpoint = self.serve(self.tr)
        self.wait_for(lambda: endpoint.ran + self.endpoint.ran == ['held'])


class KeyCase(rawpeer.RawPeerCase):
    """security = curve."""

    def setUp(self):
        self.keys_dir = os.path.join('/tmp', 'luc-keys-' + uuid.uuid4().hex)
        self.addCleanup(rawpeer.support.shutil.rmtree, self.keys_dir)
        keys.save(self.keys_dir, keys.generate('host1', base.CONTROL))
        keys.add_store_key(self.keys_dir)
        self.OPTIONS = {'matchmaker': 'embedded', 'security': 'curve',
                        'host': 'host1', 'keys_dir': self.keys_dir,
                        'keys_reload': 0.1, 'lookup_cache': 0.1}
        super().setUp()
        config._cache.pop(self.config_path, None)


class NoKeyTest(KeyCase):
    """A stranger who speaks ZMTP and our frames."""

    def strangers(self):
        """Sockets without a key, with a key of their own, with a bad one."""
        public, secret = zmq.curve_keypair()
        server_key = self.server.security.public_key.encode()
        other, _ = zmq.curve_keypair()
        yield 'no key', self.connect()
        yield 'plain', self.connect(plain_username=b'host1',
                                    plain_password=b'x')
        yield 'unknown key', self.connect(
            curve_serverkey=server_key, curve_publickey=public,
            curve_secretkey=secret)
        yield 'wrong server key', self.connect(
            curve_serverkey=other, curve_publickey=public,
            curve_secretkey=secret)
        # It knows the public key of a host that is allowed.
        allowed = next(iter(keys.allowed(self.keys_dir).values()))
        yield 'public key of another', self.connect(
            curve_serverkey=server_key,
            curve_publickey=allowed.curve.encode(), curve_secretkey=secret)

    def test_can_do_nothing(self):
        records = [
            wire.document(wire.HELLO, {'versions': [1, 1]}),
            self.request(1), self.request(2, wire.F_CAST),
            self.request(3, wire.F_CAST | wire.F_FANOUT,
                         wire.origin(self.me, 1) + rawpeer.ECHO % b'1'),
            self.request(4, wire.F_RELAY | wire.F_FANOUT,
                         wire.origin(self.me, 2) + rawpeer.ECHO % b'1'),
            self.request(5, listener=0, target=b'\0\0luc.control\0',
                         body=b'state'),
            wire.record(wire.POKE, self.address)]
        with self.assertLogs('luc_drivers.messaging.agent',
                             'WARNING') as logs:
            for name, sock in self.strangers():
                with self.subTest(name):
                    # refused already: there is nothing to send over
                    with contextlib.suppress(zmq.Again):
                        for _ in range(3):
                            self.send(*records, sock=sock)
                    self.assertFalse(sock.poll(500), 'it was answered')
                sock.close()
        self.assertTrue(any('refused' in line for line in logs.output))
        self.assertEqual([], self.endpoint.ran)
        self.assertEqual({}, self.server.io.in_peers)
        self.assertNotIn('relayed', self.server.state())
        self.assert_serves()

    def test_what_a_stranger_stores_is_not_believed(self):
        """It may write to the store, and has no key there either."""
        box = base.Box('test', 'openstack', self.topic, 'a')
        self.server.matchmaker.mailbox_put(box, base.StoredMessage(
            'x', server_module.stored_body(self.me, 0, wire.F_CAST,
                                           rawpeer.ECHO % b'"forged"')), 60)
        # A registration that would redirect calls to the stranger.
        real = self.server.registrar.endpoint
        for change in ({}, {'signature': ''}, {'host': 'host2'},
                       {'signature': real.signature}):
            instance = uuid.uuid4().hex
            self.server.matchmaker.register(real.replace(
                **{'instance': instance, 'addresses': ('tcp://127.0.0.1:9',),
                   'state': base.LIVE, **change}), 60)
            self.server.matchmaker.subscribe([base.Subscription(
                'test', 'openstack', self.topic, 'a', instance, '1')],
                60, 60)
        with self.assertLogs('luc_drivers.messaging', 'WARNING') as logs:
            for listener in self.server.rpc_listeners():
                self.server.agent.drain(listener)
            client = self.client(self.transport(queue_max_messages=9999),
                                 'a', timeout=5)
            for i in range(6):
                self.assertEqual(i, client.call({}, 'echo', x=i))
            self.wait_for(lambda: any('mailbox' in x for x in logs.output))
        self.assertTrue(any('not signed' in x for x in logs.output))
        self.assertNotIn('forged', self.endpoint.ran)


class RotationTest(KeyCase):
    """New keys for a host, one process after the other, no call lost."""

    def test_new_key_of_a_host(self):
        client_options = {'queue_max_messages': 9999}
        before = self.transport(**client_options)
        old_node = self.node(before)
        client = self.client(before, 'a')
        client.call({}, 'echo', x='old')
        # The new key is allowed beside the old one, everywhere first.
        new = keys.generate('host1', base.CONTROL)
        old, = keys.allowed(self.keys_dir).values()
        keys.save(self.keys_dir, new)
        keys.allow(self.keys_dir, old)
        self.assertEqual(2, len(keys.allowed(self.keys_dir)))
        time.sleep(0.3)
        # A process that was restarted has the new one.
        after = self.transport(queue_max_messages=9998)
        self.assertIsNot(old_node, self.node(after))
        both = [client, self.client(after, 'a')]
        for i, each in enumerate(both):
            self.assertEqual(i, each.call({}, 'echo', x=i))
        # When all were restarted the old one is shut out.
        keys.revoke(self.keys_dir, 'host1', old.fingerprint)
        time.sleep(0.3)
        with self.assertRaises(rawpeer.support.oslo_messaging
                               .MessagingTimeout):
            self.client(before, 'a', timeout=1).call({}, 'echo', x='late')
        self.assertNotIn('late', self.endpoint.ran)
        _, endpoint = self.serve(after, 'b')
        self.assertEqual(2, self.client(after, 'b').call({}, 'echo', x=2))

    def test_new_key_of_stored_messages(self):
        self.stop(self.rpc)
        client = self.client(self.tr, 'a')
        client.cast({}, 'echo', x='old')
        keys.add_store_key(self.keys_dir)
        time.sleep(0.3)
        client.cast({}, 'echo', x='new')
        _, endpoint = self.serve(self.tr)
        self.wait_for(lambda: sorted(endpoint.ran) == ['new', 'old'])
