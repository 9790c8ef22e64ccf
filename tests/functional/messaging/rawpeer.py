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


"""A peer of the tests' own making: it speaks ZMTP, and lies if it must."""

import os
import time

import zmq

from luc_drivers.messaging import clock
from luc_drivers.messaging import wire
from tests.functional.messaging import support

ECHO = (b'{"c": {}, "m": {"method": "echo", "args": {"x": %s}, '
        b'"version": "1.0"}}')


class RawPeerCase(support.TransportCase):
    """A server of ours and a socket that sends it whatever a test says."""

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

    def connect(self, **options):
        """A DEALER connected to the server; options of pyzmq's sockets."""
        sock = self.context.socket(zmq.DEALER)
        sock.linger = 0
        # libzmq gives a connection up whose handshake failed: who sends over
        # none would wait for ever
        sock.sndtimeo = 2000
        for name, value in options.items():
            setattr(sock, name, value)
        sock.connect(self.server.addresses[0])
        return sock

    def frame(self, *records, src=None, dst=None, floor=0):
        """A frame from us to the server."""
        return wire.frame(clock.now_us(), src or self.me,
                          dst or self.server.instance, floor, list(records))

    def send(self, *records, sock=None, **kw):
        (sock or self.sock).send(self.frame(*records, **kw))

    def request(self, seq, flags=0, body=ECHO % b'1', deadline=0,
                listener=None, target=None):
        """A REQUEST record."""
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

    def assert_serves(self):
        """The server still answers everyone else."""
        self.assertEqual('fine', self.client(self.tr, 'a', timeout=10).call(
            {}, 'echo', x='fine'))
        self.assertTrue(self.server.io.alive)
        self.assertNotIn('faults', self.server.state())
