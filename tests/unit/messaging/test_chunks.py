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

from luc_drivers.messaging import chunks
from luc_drivers.messaging import wire

SIZE = 1000


def _body(record):
    return wire.parse(wire.frame(0, b'a' * 16, b'b' * 16, 0, [record])
                      )[1][0][1]


class TransferTest(unittest.TestCase):

    def test_window(self):
        transfer = chunks.Transfer(wire.REPLY, 1, b'x' * 10 * SIZE, SIZE, 4)
        count = 0
        while transfer.ready:
            transfer.next_chunk(0.0)
            count += 1
        self.assertEqual(4, count)
        transfer.on_credit(SIZE, 0.0)
        self.assertTrue(transfer.ready)

    def test_arrives_over_a_bad_link(self):
        rng = random.Random(5)
        data = rng.randbytes(25 * SIZE + 17)
        transfer = chunks.Transfer(wire.REQUEST, 1, data, SIZE, 4)
        reassembly = chunks.Reassembly()
        now, message = 0.0, None
        for _ in range(10000):
            now += 0.1
            if transfer.ready:
                record = transfer.next_chunk(now)
                if rng.random() < 0.2:
                    continue  # lost
                have, whole = reassembly.add(
                    *wire.parse_chunk(_body(record)), now)
                message = whole or message
                if message:
                    break
                if rng.random() < 0.8:
                    transfer.on_credit(have, now)
            elif transfer.stalled(now):
                transfer.rewind(now)
        self.assertEqual(data, message)
        self.assertEqual(0, reassembly.size)

    def test_receiver_that_forgot(self):
        data = b'y' * 3 * SIZE
        transfer = chunks.Transfer(wire.REQUEST, 1, data, SIZE, 4)
        transfer.next_chunk(0.0)
        transfer.on_credit(SIZE, 0.0)
        record = transfer.next_chunk(0.0)
        reassembly = chunks.Reassembly()
        have, _ = reassembly.add(*wire.parse_chunk(_body(record)), 0.0)
        self.assertEqual(0, have)
        transfer.on_credit(have, 0.0)
        message = None
        while transfer.ready:
            have, message = reassembly.add(
                *wire.parse_chunk(_body(transfer.next_chunk(0.0))), 0.0)
        self.assertEqual(data, message)

    def test_abandoned_pieces_go(self):
        reassembly = chunks.Reassembly()
        reassembly.add(wire.REPLY, 1, 100, 0, b'z' * 50, 0.0)
        self.assertEqual(50, reassembly.size)
        reassembly.sweep(chunks.ABANDONED + 1)
        self.assertEqual(0, reassembly.size)
