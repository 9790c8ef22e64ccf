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


"""Which requests are sent again, when and to whom, against played nodes."""

import struct
import subprocess
import sys
import threading
import time
import types
import unittest
from unittest import mock

from luc_drivers import cql
from luc_drivers.cql import connection
from luc_drivers.cql import frames
from luc_drivers.cql import nodes
from luc_drivers.cql import sessions
from tests.unit.cql import played

_SERIAL, _LOCAL_QUORUM = 8, 6


def _text(text):
    return struct.pack('>H', len(text)) + text.encode()


_COLUMN = _text('k') + _text('t') + _text('c') + struct.pack('>H', 0xD)
#: of a statement whose one parameter, a text, is the partition key
PREPARED = frames.RESULT, (
    struct.pack('>i', 4) + _text('id') + struct.pack('>iiiH', 1, 1, 1, 0)
    + _COLUMN + struct.pack('>ii', 1, 1) + _COLUMN)


def rows(value):
    """Return a RESULT of one row with one text."""
    raw = value.encode()
    return frames.RESULT, (
        struct.pack('>iii', 2, 1, 1) + _COLUMN
        + struct.pack('>ii', 1, len(raw)) + raw)


def _error(code, more=b''):
    return frames.ERROR, struct.pack('>i', code) + _text('no') + more


READ_TIMEOUT = _error(0x1200, struct.pack('>HiiB', _SERIAL, 1, 2, 0))
CAS_TIMEOUT = _error(
    0x1100, struct.pack('>Hii', _SERIAL, 1, 2) + _text('CAS'))
OVERLOADED = _error(0x1001)
SYNTAX = _error(0x2000)


def too_few(level):
    return _error(0x1000, struct.pack('>Hii', level, 2, 1))


class Node(played.Node):
    """A node that answers requests from a list; the last again and again.

    An answer is (opcode, body), 'close', None = silence, or what must be
    true before the next answer of the list is given.
    """

    def __init__(self, test, *answers):
        self.answers = list(answers)
        self.requests = 0
        self._over = threading.Event()
        super().__init__(test, self._from_list)
        test.addCleanup(self._over.set)

    def _next(self):
        return self.answers.pop(0) if len(self.answers) > 1 else (
            self.answers[0])

    def _from_list(self, opcode, body):
        if opcode == frames.STARTUP:
            return played.READY
        self.requests += 1
        answer = self._next()
        while callable(answer):
            while not answer():
                self._over.wait(0.01)
            answer = self._next()
        return answer


def after(seconds):
    """Return what is true some time after it was asked first."""
    asked = []

    def over():
        asked.append(time.monotonic())
        return asked[-1] - asked[0] > seconds
    return over


class RetriesTest(unittest.TestCase):

    def session(self, *played, **more):
        """Return a session with some nodes, the first of which it prefers.
        """
        hosts = [types.SimpleNamespace(
            datacenter='site1', host_id=number, is_up=True,
            endpoint=types.SimpleNamespace(
                address=one.address[0], port=one.address[1]))
            for number, one in enumerate(played)]
        found = nodes.Nodes(
            types.SimpleNamespace(all_hosts=lambda: hosts), 'site1',
            lambda address, timeout: connection.Connection(
                address, None, None, timeout))
        found._turn = iter(lambda: 0, 1)
        self.addCleanup(found.close)
        session = sessions.Session(cql.CqlSettings(**more))
        session._control = types.SimpleNamespace(nodes=found)
        return session

    def read(self, session, **more):
        return session.execute('SELECT', None, 'SERIAL', idempotent=True,
                               **more)

    def test_a_read_that_times_out(self):
        node = Node(self, READ_TIMEOUT, READ_TIMEOUT, OVERLOADED,
                    too_few(_SERIAL), rows('right'))
        self.assertEqual([('right',)], self.read(self.session(node)))
        self.assertEqual(5, node.requests)

    def test_others_of_its_round_are_not_sent_again(self):
        node = Node(self, rows('a'), READ_TIMEOUT, rows('b'), rows('c'))
        found = self.session(node).execute_many(
            [cql.Request('SELECT', None, idempotent=True)] * 3)
        self.assertEqual([[('a',)], [('c',)], [('b',)]], found)
        self.assertEqual(4, node.requests)

    def test_within_the_time_out(self):
        node = Node(self, READ_TIMEOUT)
        started = time.monotonic()
        with self.assertRaises(cql.Unknown):
            self.read(self.session(node), timeout=1.0)
        self.assertGreater(node.requests, 1)
        self.assertLess(node.requests, 7)
        self.assertGreater(time.monotonic() - started, 0.2)

    def test_refused_is_final(self):
        node = Node(self, SYNTAX)
        with self.assertRaises(cql.Refused):
            self.read(self.session(node))
        self.assertEqual(1, node.requests)

    def conditional(self, session):
        return session.execute('UPDATE', None, serial_consistency='SERIAL')

    def test_a_conditional_write_of_unknown_outcome(self):
        """It may have been carried out: the transaction reads back."""
        for answer in (CAS_TIMEOUT, OVERLOADED, too_few(_LOCAL_QUORUM),
                       'close'):
            node = Node(self, answer, rows('wrong'))
            with self.assertRaises(cql.Error) as caught:
                self.conditional(self.session(node))
            self.assertFalse(cql.not_begun(caught.exception))
            self.assertEqual(1, node.requests)

    def test_a_conditional_write_that_was_not_begun(self):
        node = Node(self, too_few(_SERIAL), rows('right'))
        self.assertEqual([('right',)], self.conditional(self.session(node)))
        self.assertEqual(2, node.requests)

    def test_a_node_that_closes(self):
        dead, alive = Node(self, 'close'), Node(self, rows('right'))
        session = self.session(dead, alive)
        self.assertEqual([('right',)], self.read(session))
        self.assertEqual((1, 1), (dead.requests, alive.requests))
        # nor is it asked first while it has not answered a probe
        self.assertEqual([('right',)], self.conditional(session))
        self.assertEqual(1, dead.requests)

    def test_a_node_that_is_silent(self):
        stopped, alive = Node(self, None), Node(self, rows('right'))
        session = self.session(stopped, alive, speculative_delay=0.2)
        self.assertEqual([('right',)], self.read(session))
        self.assertEqual((1, 1), (stopped.requests, alive.requests))
        for _ in range(3):
            self.conditional(session)
        self.assertEqual((1, 4), (stopped.requests, alive.requests))

    def test_preparing_at_a_node_that_is_silent(self):
        stopped = Node(self, None)
        alive = Node(self, PREPARED, rows('a'), rows('b'))
        session = self.session(stopped, alive, speculative_delay=0.2)
        session._control.nodes._metadata.get_replicas = lambda *_: ()
        for number, value in enumerate('ab', 1):
            self.assertEqual([(value,)], session.execute(
                'UPDATE', ('x',), serial_consistency='SERIAL'))
            self.assertEqual((1, 1 + number),
                             (stopped.requests, alive.requests))
        statement = session._prepared['UPDATE']
        self.assertEqual((b'id', (0,), 'k', b'x'), (
            statement.id, statement.routing, statement.keyspace,
            statement.routing_key(statement.bind(('x',)))))

    def test_what_can_not_be_prepared(self):
        with self.assertRaises(cql.Refused):
            self.session(Node(self, SYNTAX)).execute('UPDATE', ('x',))
        # nothing was executed, whatever became of the PREPARE
        with self.assertRaises(cql.Unavailable) as caught:
            self.session(Node(self, None)).execute(
                'UPDATE', ('x',), serial_consistency='SERIAL', timeout=0.2)
        self.assertTrue(cql.not_begun(caught.exception))

    def test_a_node_that_answers_again(self):
        node, other = Node(self, None, rows('new')), Node(self, rows('x'))
        session = self.session(node, other, speculative_delay=1.0)
        self.assertEqual([('x',)], self.read(session))
        suspects = session._control.nodes._suspects
        self.assertEqual([node.address], list(suspects))
        suspects[node.address] = 0.0  # it was long ago
        # only what can be sent to another one, too, finds out
        self.conditional(session)
        self.assertEqual(1, node.requests)
        self.assertEqual([('new',)], self.read(session))
        self.assertEqual([('new',)], self.conditional(session))
        self.assertEqual(3, node.requests)

    def test_a_slow_node_that_is_first_after_all(self):
        silent = Node(self, None)
        slow = Node(self, lambda: silent.requests, rows('right'))
        session = self.session(slow, silent, speculative_delay=0.1)
        self.assertEqual([('right',)], self.read(session))
        self.assertEqual((1, 1), (slow.requests, silent.requests))
        self.assertEqual([silent.address],
                         list(session._control.nodes._suspects))

    def test_never_to_two_nodes(self):
        slow = Node(self, after(0.5), rows('right'))
        other = Node(self, rows('x'))
        session = self.session(slow, other, speculative_delay=0)
        self.assertEqual([('right',)], self.read(session))
        # nor a conditional write, whatever the setting
        slow.answers = [after(0.5), rows('right')]
        session = self.session(slow, other, speculative_delay=0.1)
        self.assertEqual([('right',)], self.conditional(session))
        self.assertEqual((2, 0), (slow.requests, other.requests))

    def test_all_are_silent(self):
        one, two = Node(self, None), Node(self, None)
        started = time.monotonic()
        with self.assertRaisesRegex(cql.Unknown, 'no answer for 0.6 s'):
            self.read(self.session(one, two, speculative_delay=0.2),
                      timeout=0.6)
        self.assertLess(time.monotonic() - started, 5)
        self.assertEqual((1, 1), (one.requests, two.requests))

    def test_very_many_requests(self):
        """Each part of them has the whole time-out."""
        node = Node(self, *[part for n in range(6) for part in (
            after(0.4), rows(f'{n}'))])
        session = self.session(node, request_timeout=1.6)
        with mock.patch.object(sessions, 'PART', 2):
            found = session.execute_many(
                [cql.Request('UPDATE', None, serial='SERIAL')] * 6)
        self.assertEqual([[(f'{n}',)] for n in range(6)], found)
        self.assertEqual((1, 6), (session.rounds, session.requests))

    def test_very_many_requests_that_nobody_answers(self):
        node = Node(self, rows('a'), rows('b'), None)
        session = self.session(node, request_timeout=0.3)
        with mock.patch.object(sessions, 'PART', 2):
            found = session.execute_many(
                [cql.Request('UPDATE', None, serial='SERIAL')] * 200)
        self.assertEqual([[('a',)], [('b',)]], found[:2])
        # what was sent may have been carried out, nothing else
        self.assertEqual([cql.Unknown] * 2, [type(e) for e in found[2:4]])
        self.assertTrue(all(map(cql.not_begun, found[4:])))
        self.assertEqual(4, session.requests)


class EventletTest(unittest.TestCase):

    def test_in_greenlets(self):
        """All of it, where sockets and threads are eventlet's."""
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c',
             'import eventlet; eventlet.monkey_patch()\n'
             'import unittest\n'
             f'unittest.main({__name__!r}, argv=["x", "RetriesTest"])'],
            capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertRegex(done.stderr, r'Ran [1-9]\d+ tests')
