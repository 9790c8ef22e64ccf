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

"""Peers that die, stop or lie; connections that break (rules B and C)."""

import logging
import os
import signal
import socket
import threading
import time

import oslo_messaging
import zmq

from luc_drivers.messaging import clock
from luc_drivers.messaging import wire
from tests.functional.messaging import support


class DeathTest(support.TransportCase):

    OPTIONS = {'matchmaker': 'embedded', 'cast_timeout': 1.0}

    def setUp(self):
        super().setUp()
        self.tr = self.transport()

    def test_killed_server_is_replaced_at_once(self):
        first = self.peer('a')
        client = self.client(self.tr, 'a', timeout=15)
        self.assertEqual(first.pid, client.call({}, 'pid'))
        first.kill()
        second = self.peer('a')
        with self.lasts(0, 4):
            self.assertEqual(second.pid, client.call({}, 'pid'))

    def test_call_in_flight_to_a_killed_server_fails_over(self):
        first = self.peer('a')
        client = self.client(self.tr, timeout=20)
        result = []
        thread = threading.Thread(target=lambda: result.append(
            client.call({}, 'slow', seconds=3, x='once')))
        thread.start()
        self.wait_for(self.ran)
        second = self.peer('b')
        first.kill()
        thread.join(15)
        self.assertEqual(['once'], result)
        # The death is proven (the port refuses): it may run once more.
        self.assertEqual([[first.pid, 'once'], [second.pid, 'once']],
                         self.ran())

    def test_frozen_server_costs_only_its_own_calls(self):
        self.peer('a')
        frozen = self.peer('b')
        client = self.client(self.tr, timeout=4)
        for i in range(4):
            client.call({}, 'echo', x=i)
        frozen.signal(signal.SIGSTOP)
        self.addCleanup(frozen.signal, signal.SIGCONT)
        one = self.client(self.tr, 'b', timeout=1)
        with self.lasts(1, 1.5):
            with self.assertRaises(oslo_messaging.MessagingTimeout):
                one.call({}, 'echo', x='expired')
        self.client(self.tr, 'a').call({}, 'echo', x='fine')
        frozen.signal(signal.SIGCONT)
        self.assertEqual('back', self.client(self.tr, 'b').call(
            {}, 'echo', x='back'))
        self.assertNotIn('expired', [what for _pid, what in self.ran()])

    def test_cast_to_a_frozen_server_runs_once_when_it_is_back(self):
        frozen = self.peer('a')
        client = self.client(self.tr, 'a')
        client.call({}, 'echo', x='warm')
        frozen.signal(signal.SIGSTOP)
        self.addCleanup(frozen.signal, signal.SIGCONT)
        with self.lasts(0.9, 2):
            client.cast({}, 'echo', x='cast')
        time.sleep(3)  # longer than the heartbeats' limit
        frozen.signal(signal.SIGCONT)
        self.wait_for(lambda: len(self.ran()) > 1, 15)
        time.sleep(1.5)
        self.assertEqual(['warm', 'cast'],
                         [what for _pid, what in self.ran()])

    def test_cast_to_a_killed_server_waits_for_the_next(self):
        first = self.peer('a')
        client = self.client(self.tr, 'a')
        client.call({}, 'echo', x='warm')
        first.kill()
        for i in range(5):
            client.cast({}, 'echo', x=i)
        second = self.peer('a')
        self.wait_for(lambda: len(self.ran()) == 6)
        self.assertEqual([second.pid] * 5,
                         [pid for pid, _what in self.ran()[1:]])

    def test_no_retry_and_nothing_reachable(self):
        peer = self.peer('a')
        client = self.client(self.tr, 'a', retry=0)
        client.cast({}, 'echo', x=1)
        peer.kill()
        with self.lasts(0, 1):
            client.cast({}, 'echo', x=2)  # its mailbox takes it

    def test_rolling_restart_loses_no_call(self):
        peers = [self.peer('a'), self.peer('b')]
        client = self.client(self.tr, timeout=20)
        results, stop = [], threading.Event()

        def run(n):
            i = 0
            while not stop.is_set():
                results.append(client.call({}, 'echo', x=[n, i]) == [n, i])
                i += 1

        threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for i in range(2):
            time.sleep(0.5)
            peers[i].stop()
            self.peer('ab'[i])
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join(25)
        self.assertGreater(len(results), 20)
        self.assertTrue(all(results))
        what = [str(w) for _pid, w in self.ran()]
        self.assertEqual(len(set(what)), len(what))

    def test_wiped_registry_mends_itself(self):
        self.OPTIONS = {}
        self.write_config(matchmaker='embedded', refresh_interval=0.5,
                          registration_ttl=2.0, lookup_cache=0.1)
        support.config._cache.clear()
        tr = self.transport()
        self.peer('a')
        client = self.client(tr, 'a', timeout=8)
        client.call({}, 'echo', x=1)
        matchmaker = self.node(tr).matchmaker
        for endpoint in matchmaker.endpoints():
            matchmaker.unregister(endpoint)
        matchmaker.unsubscribe(matchmaker.subscriptions())
        self.wait_for(lambda: matchmaker.lookup(
            'test', 'openstack', self.topic, 'a'), 5)
        self.assertEqual(2, client.call({}, 'echo', x=2))


class LinkTest(support.TransportCase):
    """One process, two nodes, a TCP proxy between them."""

    OPTIONS = {'matchmaker': 'embedded'}

    def setUp(self):
        super().setUp()
        server = self.transport(queue_max_messages=9999)
        self.server_node = self.node(server)
        _, self.endpoint = self.serve(server)
        self.tr = self.transport()
        self.proxies = support.through_proxy(self, self.node(self.tr))
        self.client(self.tr, 'a').call({}, 'echo', x='warm')
        self.proxy = next(iter(self.proxies.values()))

    def _slow_call(self, seconds, timeout=20):
        result = []
        thread = threading.Thread(target=lambda: result.append(
            self.client(self.tr, 'a', timeout=timeout).call(
                {}, 'slow', seconds=seconds, x='slow')))
        thread.start()
        self.wait_for(lambda: 'slow' in self.endpoint.ran)
        return thread, result

    def test_cut_between_request_and_reply(self):
        thread, result = self._slow_call(1.5)
        self.proxy.cut()
        thread.join(8)
        self.assertEqual(['slow'], result)
        self.assertEqual(['warm', 'slow'], self.endpoint.ran)

    def test_down_while_the_reply_is_sent(self):
        thread, result = self._slow_call(1)
        self.proxy.refusing = True
        self.proxy.cut()
        time.sleep(3)
        self.assertEqual([], result)
        self.proxy.refusing = False
        thread.join(8)
        self.assertEqual(['slow'], result)
        self.assertEqual(['warm', 'slow'], self.endpoint.ran)

    def test_black_hole_is_noticed_and_healed(self):
        self.proxy.frozen.set()
        with self.lasts(1, 1.5):
            with self.assertRaises(oslo_messaging.MessagingTimeout):
                self.client(self.tr, 'a', timeout=1).call({}, 'echo', x=1)
        time.sleep(3)
        self.proxy.frozen.clear()
        start = time.monotonic()
        self.assertEqual(2, self.client(self.tr, 'a').call(
            {}, 'echo', x=2))
        self.assertLess(time.monotonic() - start, 5)
        time.sleep(0.5)
        self.assertNotIn(1, self.endpoint.ran)

    def test_large_message_over_a_link_that_breaks(self):
        text = 'x' * (8 << 20)
        result = []
        thread = threading.Thread(target=lambda: result.append(
            self.client(self.tr, 'a', timeout=30).call(
                {}, 'echo', x=text) == text))
        thread.start()
        for _ in range(3):
            time.sleep(0.1)
            self.proxy.cut()
        thread.join(25)
        self.assertEqual([True], result)
        self.assertEqual(2, len(self.endpoint.ran))

    def test_connection_that_ends_between_the_look_and_the_send(self):
        io = self.node(self.tr).io
        peer = next(iter(io.out_peers.values()))
        flaky = _Ending(peer.sock)
        peer.sock = flaky
        client = self.client(self.tr, 'a')
        self.assertEqual(1, client.call({}, 'echo', x=1))
        self.assertEqual(2, client.call({}, 'echo', x=2))
        self.assertTrue(flaky.raised)
        self.assertTrue(io.alive)
        self.assertEqual(['warm', 1, 2], self.endpoint.ran)
        self.assertNotIn('faults', self.node(self.tr).state())

    def test_no_growth_over_many_cuts(self):
        client = self.client(self.tr, 'a')
        before = len(os.listdir('/proc/self/fd'))
        for i in range(15):
            client.call({}, 'echo', x=i)
            self.proxy.cut()
        client.call({}, 'echo', x='end')
        time.sleep(0.5)
        self.assertLess(len(os.listdir('/proc/self/fd')), before + 10)
        self.assertEqual(1, self.node(self.tr).state()['connections'])
        self.assertEqual(1, len(self.server_node.io.in_peers))
        self.assertLessEqual(len(self.server_node.io.routes), 5)


class _Ending:
    """A socket whose connection ends just before its first send."""

    def __init__(self, sock):
        self._sock = sock
        self.raised = False

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def send(self, *args):
        if not self.raised:
            self.raised = True
            raise zmq.Again
        return self._sock.send(*args)


class WireTest(support.TransportCase):
    """A peer of our own making, that speaks ZMTP and lies."""

    OPTIONS = {'matchmaker': 'memory'}

    def setUp(self):
        super().setUp()
        self.tr = self.transport()
        self.rpc, self.endpoint = self.serve(self.tr)
        self.server = self.node(self.tr)
        self.context = zmq.Context()
        self.addCleanup(self.context.destroy, 0)
        self.me = os.urandom(16)
        self.sock = self.connect()
        self.address = wire.address('test', 'openstack', self.topic, 'a')
        self.listener = self.server.rpc_listeners()[0].number

    def connect(self):
        sock = self.context.socket(zmq.DEALER)
        sock.linger = 0
        sock.connect(self.server.addresses[0])
        return sock

    def send(self, *records, src=None, dst=None, floor=0, sock=None):
        (sock or self.sock).send(wire.frame(
            clock.now_us(), src or self.me, dst or self.server.instance,
            floor, list(records)))

    def request(self, seq, flags=0, body=b'{"c": {}, "m": {"method": "echo",'
                b' "args": {"x": 1}, "version": "1.0"}}', deadline=0,
                listener=None, target=None):
        return wire.record(wire.REQUEST, wire.request_head(
            seq, self.listener if listener is None else listener, deadline,
            0, flags, target or self.address) + body)

    def receive(self, *kinds, sock=None, seconds=3):
        """The next record of one of the kinds."""
        sock = sock or self.sock
        end = time.monotonic() + seconds
        while sock.poll(max(0, (end - time.monotonic()) * 1000)):
            frame, records = wire.parse(sock.recv())
            for kind, body in records:
                if kind in kinds:
                    return kind, body
        self.fail('nothing of kind %s came' % (kinds,))

    def test_duplicate_call_runs_once_and_is_answered_again(self):
        self.send(self.request(5))
        _, first = self.receive(wire.REPLY)
        self.send(self.request(5))
        _, second = self.receive(wire.REPLY)
        self.assertEqual(first, second)
        self.send(wire.seqs(wire.REPLY_ACK, [5]))
        self.send(self.request(5))
        _, body = self.receive(wire.NACK)
        self.assertEqual(wire.LOST, wire.parse_nack(body)[1])
        self.assertEqual([1], self.endpoint.ran)

    def test_duplicate_cast_runs_once_and_is_acknowledged_again(self):
        for _ in range(2):
            self.send(self.request(5, wire.F_CAST))
            _, body = self.receive(wire.ACK)
            self.assertEqual((5,), wire.parse_seqs(body))
        self.wait_for(lambda: self.endpoint.ran)
        time.sleep(0.1)
        self.assertEqual([1], self.endpoint.ran)

    def test_reply_goes_to_the_callers_current_connection(self):
        body = (b'{"c": {}, "m": {"method": "slow", "args": '
                b'{"seconds": 0.5}, "version": "1.0"}}')
        self.send(self.request(1, body=body))
        self.receive(wire.ACK)
        again = self.connect()
        self.send(wire.ping(1), sock=again)
        self.receive(wire.REPLY, sock=again)

    def test_memory_survives_a_restart_of_the_server(self):
        self.send(self.request(5, wire.F_CAST))
        self.receive(wire.ACK)
        self.stop(self.rpc)
        self.serve(self.tr, endpoint=self.endpoint)
        self.listener = self.server.rpc_listeners()[0].number
        self.send(self.request(5, wire.F_CAST))
        self.receive(wire.ACK)
        time.sleep(0.2)
        self.assertEqual([1], self.endpoint.ran)

    def test_refusals(self):
        self.send(self.request(1, listener=99))
        self.assertEqual((1, wire.NO_LISTENER, ''), wire.parse_nack(
            self.receive(wire.NACK)[1]))
        self.send(self.request(2, target=b'a\0b\0c\0d'))
        self.assertEqual(wire.NO_LISTENER, wire.parse_nack(
            self.receive(wire.NACK)[1])[1])
        self.send(self.request(3, deadline=clock.now_us() - 10 ** 6))
        self.assertEqual(wire.EXPIRED, wire.parse_nack(
            self.receive(wire.NACK)[1])[1])
        # A refused number never runs later.
        self.send(self.request(2))
        self.assertEqual((2, wire.NO_LISTENER), wire.parse_nack(
            self.receive(wire.NACK)[1])[:2])
        self.assertEqual([], self.endpoint.ran)

    def test_frame_for_the_process_that_had_the_port_before(self):
        other = os.urandom(16)
        self.send(self.request(1), dst=other)
        _, body = self.receive(wire.WRONG_INSTANCE)
        self.assertEqual(other, body)
        self.assertEqual([], self.endpoint.ran)

    def test_hello_and_clocks(self):
        self.send(wire.document(wire.HELLO, {'versions': [1, 1]}))
        kind, body = self.receive(wire.WELCOME)
        self.assertEqual([1, 1], wire.parse_document(body)['versions'])
        self.send(wire.ping(123))
        _, body = self.receive(wire.PONG)
        self.assertEqual(123, wire.parse_pong(body)[0])

    def test_garbage_is_dropped_with_one_line(self):
        with self.assertLogs('luc_drivers.messaging.agent',
                             'WARNING') as logs:
            for size in (0, 10, 60, 1000):
                self.sock.send(os.urandom(size))
            self.sock.send_multipart([b'a', b'b', b'c'])
            self.send(wire.record(wire.REQUEST, b'short'))
            self.send(wire.record(wire.CHUNK_DATA, b'short'))
            self.send(wire.record(200, b'from the future'))
            self.send(self.request(1))
            self.receive(wire.REPLY)
            self.wait_for(lambda: logs.output)
        self.assertEqual(1, len(logs.output), logs.output)
        self.assertIn('127.0.0.1', logs.output[0])
        self.assertEqual(7, self.server.state()['malformed'])
        self.assertNotIn('faults', self.server.state())

    def test_newer_version_is_refused_with_a_line(self):
        data = bytearray(wire.frame(1, self.me, self.server.instance, 0, []))
        data[2] = 2
        with self.assertLogs('luc_drivers.messaging.agent',
                             'WARNING') as logs:
            self.sock.send(bytes(data))
            self.wait_for(lambda: logs.output)
        self.assertIn('version 2', logs.output[0])

    def test_oversized_frame_ends_its_connection_only(self):
        self.sock.send(b'x' * (3 << 20))
        fresh = self.connect()
        self.send(self.request(1), sock=fresh)
        self.receive(wire.REPLY, sock=fresh)
        self.assertEqual(1, self.client(self.tr, 'a').call(
            {}, 'echo', x=1))

    def test_too_large_in_chunks_is_refused(self):
        total = self.server.settings.max_message_size + (1 << 20)
        self.send(wire.chunk(wire.REQUEST, 1, total, 0, b'x' * 1000))
        self.assertEqual((1, wire.TOO_LARGE), wire.parse_nack(
            self.receive(wire.NACK)[1])[:2])

    def test_body_that_is_no_json(self):
        logging.getLogger('oslo_messaging').setLevel(logging.CRITICAL + 1)
        self.send(self.request(1, body=b'\xff\xfe{{{'))
        _, body = self.receive(wire.REPLY)
        self.assertEqual((1, wire.R_FAILURE), wire.parse_reply(body)[:2])
        # Nor does it take one of the places of those that may run.
        # (The thread that waits for the next one has one.)
        self.assertEqual(63, self.server.rpc_listeners()[0]._credit._value)

    def test_unacknowledged_replies_of_a_dead_caller_are_bounded(self):
        tr = self.transport(reply_cache_bytes=20000)
        _, endpoint = self.serve(tr, 'b')
        self.server = self.node(tr)
        self.sock = self.connect()
        self.listener = self.server.rpc_listeners()[0].number
        self.address = wire.address('test', 'openstack', self.topic, 'b')
        body = (b'{"c": {}, "m": {"method": "echo", "args": {"x": "%s"}, '
                b'"version": "1.0"}}' % (b'x' * 5000))
        for seq in range(1, 21):
            self.send(self.request(seq, body=body))
        self.wait_for(lambda: len(endpoint.ran) == 20)
        self.wait_for(lambda: self.server.state().get('replies_dropped'))
        self.assertLessEqual(self.server.state()['reply_bytes'], 20000)
        # An id whose reply was dropped is still remembered.
        self.send(self.request(1, body=body))
        while True:
            kind, answer = self.receive(wire.NACK, wire.REPLY)
            if kind == wire.NACK:
                break
        self.assertEqual((1, wire.LOST), wire.parse_nack(answer)[:2])
        self.assertEqual(20, len(endpoint.ran))

    def test_silent_tcp_connections(self):
        port = int(self.server.addresses[0].rpartition(':')[2])
        socks = [socket.create_connection(('127.0.0.1', port))
                 for _ in range(50)]
        self.addCleanup(lambda: [s.close() for s in socks])
        self.assertEqual(1, self.client(self.tr, 'a').call(
            {}, 'echo', x=1))
        socks[0].settimeout(6)
        socks[0].recv(64)  # the greeting
        with self.lasts(0, 5):  # the handshake's limit is 3 s
            while socks[0].recv(64):
                pass
