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

import os
import signal
import threading
import time

import oslo_messaging
import zmq

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
        client = self.client(self.tr, timeout=60)
        result = []
        # It must last until the second server is up, on a busy machine.
        thread = threading.Thread(target=lambda: result.append(
            client.call({}, 'slow', seconds=8, x='once')))
        thread.start()
        self.wait_for(self.ran)
        second = self.peer('b')
        first.kill()
        thread.join(60)
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

    def test_black_holed_server_is_given_nothing_after_seconds(self):
        """Within 3 s on a quiet machine (tests/bench measures it)."""
        self.serve(self.transport(queue_max_messages=9998), 'b')
        client = self.client(self.tr, timeout=15)
        self.wait_for(lambda: client.call({}, 'echo', x='first') and
                      len(self.proxies) == 2)
        self.proxy.frozen.set()
        began = time.monotonic()
        lost, threads = [], []

        def call(begun):
            try:
                client.call({}, 'echo', x='later')
            except oslo_messaging.MessagingTimeout:
                lost.append(begun)

        while (begun := time.monotonic() - began) < 8:
            threads.append(threading.Thread(target=call, args=(begun,)))
            threads[-1].start()
            time.sleep(0.2)
        for thread in threads:
            thread.join()
        # Some went into the hole before anybody could know.
        self.assertTrue(lost)
        self.assertLess(max(lost), 5)

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
