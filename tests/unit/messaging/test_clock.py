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

import unittest

from luc_drivers.messaging import clock


class PeerClockTest(unittest.TestCase):

    def test_same_host(self):
        peer = clock.PeerClock()
        peer.same_host()
        peer.on_stamp(5, 1000)
        self.assertEqual(77, peer.to_local(77))

    def test_round_trip_bounds_the_offset(self):
        """Offset 1000 s; ways of 10 and 30 ms: half a round trip off."""
        peer = clock.PeerClock()
        offset, out, back = 10 ** 9, 10_000, 30_000
        peer.on_pong(0, out - offset, out + back)
        error = peer.to_local(5_000_000 - offset) - 5_000_000
        self.assertLessEqual(abs(error), (out + back) // 2)

    def test_shortest_round_trip_counts(self):
        peer = clock.PeerClock()
        peer.on_pong(0, 1000, 2000)
        peer.on_pong(10_000, 500_000, 1_000_000)
        self.assertEqual(0, peer.to_local(0))

    def test_frames_that_waited_do_not_prolong(self):
        """A frame that lay 60 s in a buffer: the next ones mend that."""
        peer = clock.PeerClock()
        peer.on_stamp(0, 60_000_000)
        self.assertEqual(60_000_000, peer.to_local(0))
        peer.on_stamp(60_000_000, 60_000_100)
        self.assertEqual(100, peer.to_local(0))
