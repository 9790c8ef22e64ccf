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

"""The CQL connection against a server that the test plays."""

import struct
import time
import unittest

from luc_drivers.cql import connection
from luc_drivers.cql import errors
from luc_drivers.cql import frames
from luc_drivers.cql import settings
from tests.unit.cql import played

_VOID = (frames.RESULT, struct.pack('>i', 1))


def error(code, text):
    raw = text.encode()
    return frames.ERROR, struct.pack('>iH', code, len(raw)) + raw


class ConnectionTest(unittest.TestCase):

    def connect(self, answer, authenticator=None, timeout=60.0):
        self.server = played.Node(self, answer)
        found = connection.Connection(
            self.server.address, None, authenticator, timeout)
        self.addCleanup(found.close)
        return found

    @staticmethod
    def jobs(count):
        return [connection.Job(n, frames.QUERY, b'%d' % n, ())
                for n in range(count)]

    def test_answers_in_any_order(self):
        waiting = []

        def answer(opcode, body):
            if opcode == frames.STARTUP:
                return played.READY
            waiting.append(body)
            return error(0x2000, body.decode())
        used = self.connect(answer)
        jobs = self.jobs(50)
        used.send(jobs, time.monotonic() + 60)
        used.receive(jobs)
        self.assertEqual([str(n) for n in range(50)],
                         [job.answer.message for job in jobs])
        self.assertEqual(
            sum(frames.HEADER.size + len(b) for _, b in self.server.seen),
            used.sent)

    def test_no_answer_in_time(self):
        used = self.connect(
            lambda o, b: played.READY if o == frames.STARTUP else None)
        jobs = self.jobs(1)
        used.send(jobs, time.monotonic() + 0.2)
        with self.assertRaises(connection.Lost) as caught:
            used.receive(jobs)
        self.assertTrue(caught.exception.timeout)
        self.assertTrue(jobs[0].sent)
        self.assertIsNone(jobs[0].answer)

    def test_closed_by_the_server(self):
        used = self.connect(
            lambda o, b: played.READY if o == frames.STARTUP else 'close')
        self.assertFalse(used.broken)
        jobs = self.jobs(2)
        used.send(jobs, time.monotonic() + 60)
        with self.assertRaises(connection.Lost) as caught:
            used.receive(jobs)
        self.assertFalse(caught.exception.timeout)
        self.assertTrue(used.broken)

    def test_forgotten_statement_is_prepared_again(self):
        statement = frames.Statement('SELECT 1', b'id', (), None, None, None)
        prepared = []

        def answer(opcode, body):
            if opcode == frames.STARTUP:
                return played.READY
            if opcode == frames.PREPARE:
                prepared.append(body[4:])
                return _VOID
            return _VOID if prepared else (frames.ERROR, struct.pack(
                '>iH', frames.UNPREPARED, 0) + struct.pack('>H', 2) + b'id')
        used = self.connect(answer)
        job = connection.Job(
            0, frames.EXECUTE, frames.execute(statement, [], 1, None, 0),
            (statement,))
        used.send([job], time.monotonic() + 60)
        used.receive([job])
        self.assertEqual([], job.answer)
        self.assertEqual([b'SELECT 1'], prepared)

    def test_credentials_are_wanted(self):
        with self.assertRaisesRegex(connection.AuthenticationError,
                                    'wants a user'):
            self.connect(lambda o, b: (frames.AUTHENTICATE, b'\0\1x'))

    def test_credentials(self):
        class Authenticator:
            def initial_response(self):
                return b'\0me\0secret'

        def answer(opcode, body):
            if opcode == frames.STARTUP:
                return frames.AUTHENTICATE, b'\0\1x'
            if body == frames.auth_response(b'\0me\0secret'):
                return frames.AUTH_SUCCESS, struct.pack('>i', -1)
            return error(0x0100, 'wrong')
        self.connect(answer, lambda address: Authenticator())
        with self.assertRaises(connection.AuthenticationError) as caught:
            self.connect(lambda o, b: error(0x0100, 'wrong')
                         if o == frames.AUTH_RESPONSE
                         else (frames.AUTHENTICATE, b'\0\1x'),
                         lambda address: Authenticator())
        self.assertNotIn('secret', str(caught.exception))


class SecretsTest(unittest.TestCase):

    def test_a_password_is_never_shown(self):
        found = settings.CqlSettings(username='me', password='hush')
        self.assertNotIn('hush', repr(found))
        self.assertNotIn('hush', found.where)
        self.assertNotIn('hush', str(errors.from_driver(
            RuntimeError('x'), found.where, found.site, 1.0)))


class FramesTest(unittest.TestCase):

    def test_parameters_must_fit(self):
        statement = frames.Statement(
            'x', b'id', (frames._text,), None, (0,), 'ks')
        self.assertRaises(ValueError, statement.bind, ())
        self.assertRaises(AttributeError, statement.bind, (1,))
        self.assertEqual([None], statement.bind([None]))
        self.assertEqual(b'a', statement.routing_key([b'a']))

    def test_key_of_several_columns(self):
        statement = frames.Statement(
            'x', b'id', (frames._text,) * 2, None, (1, 0), 'ks')
        self.assertEqual(b'\0\2bb\0\0\1a\0',
                         statement.routing_key([b'a', b'bb']))
