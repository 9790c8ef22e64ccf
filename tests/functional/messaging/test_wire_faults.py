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

"""What comes over the wire, and what must not: frames of our own making."""

import logging
import os
import socket
import time

import zmq

from luc_drivers.messaging import clock
from luc_drivers.messaging import wire
from luc_drivers.messaging.matchmaker import base
from tests.functional.messaging import rawpeer
from tests.functional.messaging import support


class WireTest(rawpeer.RawPeerCase):

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
        self.assertEqual(63, self.server.rpc_listeners()[0]._credit.free)

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


class PokeSenderTest(support.TransportCase):
    """Whoever has mail waiting hears of it, whatever becomes of a connection.
    """

    OPTIONS = {'matchmaker': 'memory', 'resend_interval': 0.3}
    TARGET = wire.address('test', 'openstack', 't', 'a')

    def setUp(self):
        super().setUp()
        self.sender = self.node(self.transport())
        self.context = zmq.Context()
        self.addCleanup(self.context.destroy, 0)
        self.instance = os.urandom(16)
        self.address = 'tcp://127.0.0.1:*'
        self.listen()
        self.sender.io.push(self.sender.io.poke, base.Endpoint(
            self.instance.hex(), 'host', 1, 'site1', (self.address,)),
            self.TARGET)

    def listen(self):
        self.sock = self.context.socket(zmq.ROUTER)
        end = time.monotonic() + 10.0
        while True:
            try:
                self.sock.bind(self.address)
                break
            except zmq.ZMQError as e:
                # the one before is closed by libzmq's own thread, later
                if e.errno != zmq.EADDRINUSE or time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.address = self.sock.getsockopt(zmq.LAST_ENDPOINT).decode(
            ).rstrip('\0')

    def poke(self, seconds=10.0):
        """The next POKE: its connection and the stamp to answer, or None."""
        end = time.monotonic() + seconds
        while self.sock.poll(max(0, (end - time.monotonic()) * 1000)):
            connection, data = self.sock.recv_multipart()
            _frame, records = wire.parse(data)
            for i, (kind, body) in enumerate(records):
                if kind == wire.POKE:
                    self.assertEqual(self.TARGET, body)
                    self.assertEqual(wire.PING, records[i + 1][0])
                    return connection, wire.parse_ping(records[i + 1][1])
        return None

    def answer(self, connection, stamp):
        self.sock.send_multipart([connection, wire.frame(
            clock.now_us(), self.instance, self.sender.instance, 0,
            [wire.pong(stamp, clock.now_us())])])

    def test_comes_again_over_the_next_connection(self):
        _, first = self.poke()
        self.sock.close(0)
        self.listen()
        connection, second = self.poke()
        self.assertGreater(second, first)
        # It is the last one that has to be answered: the one before may have
        # been lost.
        self.answer(connection, first)
        connection, third = self.poke()
        self.answer(connection, third)
        # No other than what was on its way by then.
        while (last := self.poke(1.0)) is not None:
            self.answer(*last)
        self.assertEqual({}, self.sender.io.out_peers[self.instance].pokes)

    def test_answered_one_is_not_repeated(self):
        self.answer(*self.poke())
        self.assertIsNone(self.poke(1.0))
