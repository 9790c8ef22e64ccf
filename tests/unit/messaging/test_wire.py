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

import random
import unittest

from luc_drivers.messaging import wire

SRC = b's' * 16
DST = b'd' * 16


def _frame(*records):
    return wire.frame(7, SRC, DST, 3, list(records))


class FrameTest(unittest.TestCase):

    def test_round_trip(self):
        data = _frame(wire.record(wire.POKE, b'abc'),
                      wire.seqs(wire.ACK, [1, 2 ** 40]))
        frame, records = wire.parse(data)
        self.assertEqual((7, SRC, DST, 3), frame)
        self.assertEqual([wire.POKE, wire.ACK], [k for k, _ in records])
        self.assertEqual((1, 2 ** 40), wire.parse_seqs(records[1][1]))

    def test_request(self):
        target = wire.address('ns', 'ex', 'topic', 'host')
        head = wire.request_head(5, 6, 7, 8, wire.F_CAST, target)
        request = wire.parse_request(head + b'body')
        self.assertEqual((5, 6, 7, 8, wire.F_CAST, target, b'body'), request)
        self.assertEqual(('ns', 'ex', 'topic', 'host'),
                         wire.split_address(target))
        self.assertIsNone(wire.split_address(
            wire.address('ns', 'ex', 'topic', None))[3])

    def test_reply_nack_chunk_credit_ping(self):
        self.assertEqual((9, wire.R_FAILURE, b'x'),
                         wire.parse_reply(wire.reply_body(9, 1, b'x')))
        _, [(_, body)] = wire.parse(_frame(wire.nack(4, wire.BUSY, 'why')))
        self.assertEqual((4, wire.BUSY, 'why'), wire.parse_nack(body))
        _, [(_, body)] = wire.parse(_frame(
            wire.chunk(wire.REPLY, 4, 10, 2, b'data')))
        self.assertEqual((wire.REPLY, 4, 10, 2, b'data'),
                         wire.parse_chunk(body))
        _, [(_, body)] = wire.parse(_frame(wire.credit(wire.REPLY, 4, 6)))
        self.assertEqual((wire.REPLY, 4, 6), wire.parse_credit(body))
        _, [(_, body)] = wire.parse(_frame(wire.pong(1, 2)))
        self.assertEqual((1, 2), wire.parse_pong(body))

    def test_document(self):
        _, [(_, body)] = wire.parse(_frame(
            wire.document(wire.HELLO, {'a': [1]})))
        self.assertEqual({'a': [1]}, wire.parse_document(body))

    def test_foreign_version_says_so(self):
        data = bytearray(_frame())
        data[2] = 9
        with self.assertRaisesRegex(wire.WireError, 'version 9'):
            wire.parse(bytes(data))

    def test_foreign_protocol(self):
        with self.assertRaisesRegex(wire.WireError, 'not one of our frames'):
            wire.parse(b'GET / HTTP/1.1\r\n' + b'x' * 100)

    def test_truncated_everywhere(self):
        data = _frame(wire.record(wire.POKE, b'abc'))
        for size in range(len(data)):
            if size == wire.FRAME_HEADER:
                continue  # a frame without records is one
            with self.assertRaises(wire.WireError):
                wire.parse(data[:size])

    def test_nested_document_is_refused(self):
        with self.assertRaises(wire.WireError):
            wire.parse_document(b'[' * 10000 + b']' * 2)
        with self.assertRaises(wire.WireError):
            wire.parse_document(b'[1]')
        with self.assertRaisesRegex(wire.WireError, 'control record of'):
            wire.parse_document(b'"' + b'x' * 100000 + b'"')

    def test_chunk_outside_of_its_message(self):
        for total, offset in ((3, 0), (10, 8), (0, 0)):
            _, [(_, body)] = wire.parse(_frame(
                wire.chunk(wire.REPLY, 4, total, offset, b'data')))
            with self.assertRaises(wire.WireError):
                wire.parse_chunk(body)

    def test_news(self):
        def parse(kind, content):
            body = wire.document(kind, content)[wire.RECORD_HEADER:]
            return wire.parse_news(kind, body)

        self.assertEqual([1, 7], parse(wire.GOAWAY, {'listeners': [1, 7]}))
        self.assertEqual([('n', 'x', 't')], parse(
            wire.LISTENERS, {'topics': [['n', 'x', 't', 'newer']]}))
        self.assertEqual([], parse(wire.GOAWAY, {}))
        for kind, content in (
                (wire.GOAWAY, {'listeners': ['1']}),
                (wire.GOAWAY, {'listeners': 5}),
                (wire.LISTENERS, {'topics': [['n', 'x']]}),
                (wire.LISTENERS, {'topics': [['n', 'x', 5]]}),
                (wire.LISTENERS, {'topics': ['abc']})):
            with self.assertRaises(wire.WireError):
                parse(kind, content)

    def test_random_bytes_raise_wire_errors_only(self):
        rng = random.Random(1)
        parsers = (wire.parse, wire.parse_request, wire.parse_reply,
                   wire.parse_seqs, wire.parse_nack, wire.parse_chunk,
                   wire.parse_credit, wire.parse_ping, wire.parse_pong,
                   wire.parse_document, wire.split_address,
                   lambda body: wire.parse_news(wire.GOAWAY, body),
                   lambda body: wire.parse_news(wire.LISTENERS, body))
        good = _frame(wire.record(wire.REQUEST, wire.request_head(
            1, 2, 3, 4, 0, b'a\0b\0c\0d') + b'{}'))
        for _ in range(3000):
            data = bytearray(rng.choice((good, rng.randbytes(60))))
            for _ in range(rng.randrange(1, 5)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            for parser in parsers:
                try:
                    parser(bytes(data[:rng.randrange(len(data))]))
                except wire.WireError:
                    pass
