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

"""The contract that services rely on, over real sockets in native threads."""

import threading
import time

import oslo_messaging

from luc_drivers.messaging import client as client_module
from luc_drivers.messaging.matchmaker import base
from tests.functional.messaging import support


class RpcTest(support.TransportCase):

    OPTIONS = {'matchmaker': 'memory'}

    def setUp(self):
        super().setUp()
        self.tr = self.transport()

    def test_call_returns_what_json_makes_of_it(self):
        self.serve(self.tr)
        client = self.client(self.tr, 'a')
        self.assertEqual({'a': [1, None, 'ü']},
                         client.call({}, 'echo', x={'a': (1, None, 'ü')}))
        self.assertEqual({'user': 'u'},
                         client.call({'user': 'u'}, 'context'))

    def test_exceptions(self):
        self.serve(self.tr)
        client = self.client(self.tr, 'a')
        with self.assertRaisesRegex(ValueError, 'boom'):
            client.call({}, 'boom')
        with self.assertRaises(oslo_messaging.RemoteError):
            client.call({}, 'nosuch')
        # The result can't be sent; the caller hears of it at once.
        with self.lasts(0, 2), self.assertRaises(TypeError):
            client.call({}, 'unsendable')

    def test_missing_peer_times_out_exactly(self):
        with self.lasts(1.0, 1.5):
            with self.assertRaises(oslo_messaging.MessagingTimeout):
                self.client(self.tr, 'zz', timeout=1).call({}, 'echo')

    def test_slow_method_times_out_exactly_and_late_reply_is_dropped(self):
        self.serve(self.tr)
        client = self.client(self.tr, 'a', timeout=1)
        with self.lasts(1.0, 1.4):
            with self.assertRaises(oslo_messaging.MessagingTimeout):
                client.call({}, 'slow', seconds=1.5)
        node = self.node(self.tr)
        with self.assertLogs('luc_drivers.messaging.agent', 'INFO') as logs:
            self.wait_for(lambda: node.state().get('late_replies'))
            self.wait_for(lambda: logs.output)
        self.assertEqual(1, len(logs.output))
        self.assertEqual(5, client.call({}, 'echo', x=5))

    def test_call_to_a_topic_whose_server_comes_later(self):
        result = []
        client = self.client(self.tr, timeout=8)
        thread = threading.Thread(target=lambda: result.append(
            client.call({}, 'echo', x=3)))
        thread.start()
        time.sleep(1)
        self.serve(self.tr)
        thread.join(5)
        self.assertEqual([3], result)

    def test_cast_to_a_stopped_server_waits_for_it(self):
        rpc, _ = self.serve(self.tr)
        self.stop(rpc)
        client = self.client(self.tr, 'a')
        for i in range(20):
            client.cast({}, 'echo', x=i)
        _, endpoint = self.serve(self.tr)
        self.wait_for(lambda: len(endpoint.ran) == 20)
        time.sleep(0.2)
        self.assertEqual(sorted(range(20)), sorted(endpoint.ran))

    def test_topic_cast_with_all_servers_stopped(self):
        rpc, _ = self.serve(self.tr)
        self.stop(rpc)
        self.client(self.tr).cast({}, 'echo', x='later')
        _, endpoint = self.serve(self.tr, 'b')
        self.wait_for(lambda: endpoint.ran == ['later'])

    def test_cast_to_the_unknown_is_dropped_with_a_warning(self):
        with self.assertLogs('luc_drivers.messaging.client',
                             'WARNING') as logs:
            self.client(self.tr, 'a').cast({}, 'echo')
        self.assertEqual(1, len(logs.output))
        self.assertIn(self.topic, logs.output[0])

    def test_at_least_once(self):
        options = oslo_messaging.TransportOptions(at_least_once=True)
        client = self.client(self.tr, 'a', timeout=30,
                             transport_options=options)
        with self.lasts(0, 1):
            with self.assertRaises(oslo_messaging.MessageUndeliverable):
                client.call({}, 'echo')
            with self.assertRaises(oslo_messaging.MessageUndeliverable):
                client.cast({}, 'echo')

    def test_expired_call_never_runs(self):
        rpc, _ = self.serve(self.tr)
        self.stop(rpc)
        with self.assertRaises(oslo_messaging.MessagingTimeout):
            self.client(self.tr, 'a', timeout=1).call({}, 'echo', x=1)
        _, endpoint = self.serve(self.tr)
        time.sleep(0.5)
        self.assertEqual([], endpoint.ran)

    def test_call_that_expires_after_hand_out_never_runs(self):
        # As in a process that is stopped (SIGSTOP) in just this moment.
        rpc, endpoint = self.serve(self.tr)
        listener = self.node(self.tr).rpc_listeners()[0]
        free = listener._credit.free
        original = rpc._process_incoming
        rpc._process_incoming = lambda incoming: (
            time.sleep(0.6), original(incoming))
        with (self.assertNoLogs('oslo_messaging', 'WARNING'),
              self.assertLogs('luc_drivers.messaging.server', 'INFO') as said):
            with self.assertRaises(oslo_messaging.MessagingTimeout):
                self.client(self.tr, 'a', timeout=0.3).call({}, 'echo', x=1)
            self.wait_for(lambda: said.output)
            time.sleep(0.2)
        self.assertIn('is not run', said.output[0])
        rpc._process_incoming = original
        self.assertEqual(2, self.client(self.tr, 'a').call({}, 'echo', x=2))
        self.assertEqual([2], endpoint.ran)
        self.wait_for(lambda: listener._credit.free == free)

    def test_call_that_expires_in_the_queue_never_runs(self):
        self.tr = self.transport(rpc_prefetch=1)
        _, endpoint = self.serve(self.tr)
        client = self.client(self.tr, 'a', timeout=0.7)
        client.cast({}, 'slow', seconds=1.5, x='first')
        with self.assertRaises(oslo_messaging.MessagingTimeout):
            client.call({}, 'echo', x='expired')
        time.sleep(1.2)
        self.assertEqual(['first'], endpoint.ran)

    def test_workers_of_one_server_take_turns_and_all_get_fanouts(self):
        other = self.transport()
        _, one = self.serve(self.tr)
        _, two = self.serve(other)
        client = self.client(self.tr, 'a')
        for i in range(10):
            client.call({}, 'echo', x=i)
        self.assertEqual((5, 5), (len(one.ran), len(two.ran)))
        self.client(self.tr, fanout=True).cast({}, 'echo', x='F')
        self.wait_for(lambda: 'F' in one.ran and 'F' in two.ran)
        self.assertEqual((6, 6), (len(one.ran), len(two.ran)))
        self.assertIs(self.node(self.tr), self.node(other))

    def test_exchanges_and_virtual_hosts_are_apart(self):
        other = oslo_messaging.get_rpc_transport(
            self.conf, url='zmq:///elsewhere')
        self.addCleanup(other.cleanup)
        _, mine = self.serve(self.tr)
        _, exchange = self.serve(self.tr, 'b', exchange='x2')
        _, vhost = self.serve(other, 'a')
        client = self.client(self.tr, fanout=True)
        client.cast({}, 'echo', x=1)
        self.wait_for(lambda: mine.ran)
        time.sleep(0.2)
        self.assertEqual(([1], [], []), (mine.ran, exchange.ran, vhost.ran))

    def test_monitored_call_outlives_its_monitor(self):
        self.serve(self.tr)
        client = self.client(self.tr, 'a', timeout=20)
        self.assertEqual(1, client.prepare(call_monitor_timeout=2).call(
            {}, 'slow', seconds=3.5, x=1))

    def test_large_messages(self):
        self.serve(self.tr)
        client = self.client(self.tr, 'a', timeout=30)
        for size in (131072 - 100, 131072, 131073, 3 << 20):
            text = 'x' * size
            self.assertEqual(text, client.call({}, 'echo', x=text))

    def test_small_calls_pass_a_large_one(self):
        self.serve(self.tr)
        large = threading.Thread(target=self.client(
            self.tr, 'a', timeout=30).call,
            args=({}, 'echo'), kwargs={'x': 'x' * (24 << 20)})
        large.start()
        client = self.client(self.tr, 'a')
        count = 0
        while large.is_alive():
            client.call({}, 'echo', x=1)
            count += 1
        self.assertGreater(count, 3)

    def test_too_large_is_one_clear_error_at_the_sender(self):
        tr = self.transport(max_message_size=100000)
        self.serve(tr)
        client = self.client(tr, 'a')
        with self.lasts(0, 1), self.assertRaisesRegex(
                Exception, 'max_message_size'):
            client.call({}, 'echo', x='x' * 100001)

    def test_too_large_for_the_receiver(self):
        self.serve(self.transport(max_message_size=150000))
        client = self.client(self.tr, 'a')
        # The other settings make another node: a real second process.
        with self.lasts(0, 2), self.assertRaisesRegex(
                oslo_messaging.MessageDeliveryFailure, 'max_message_size'):
            client.call({}, 'echo', x='x' * 300000)

    def test_busy_server_refuses_and_the_sender_waits(self):
        server = self.transport(rpc_prefetch=1, queue_max_messages=2)
        _, endpoint = self.serve(server)
        client = self.client(self.tr, 'a', timeout=20)
        threads = [threading.Thread(
            target=client.call, args=({}, 'slow'),
            kwargs={'seconds': 0.1, 'x': i}) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(list(range(12)), sorted(endpoint.ran))
        self.assertGreater(self.node(server).state()['busy'], 0)

    def test_stop_passes_on_what_was_not_begun(self):
        tr = self.transport(rpc_prefetch=1)
        rpc, one = self.serve(tr, 'one')
        client = self.client(self.tr, 'one', timeout=15)
        anyone = self.client(self.tr, timeout=15)
        client.cast({}, 'slow', seconds=1, x='running')
        self.wait_for(lambda: one.ran)
        results = []
        calls = [threading.Thread(target=lambda i=i: results.append(
            anyone.call({}, 'echo', x=i))) for i in range(3)]
        for thread in calls:
            thread.start()
        time.sleep(0.3)
        for i in range(3):
            anyone.cast({}, 'echo', x='cast%d' % i)
        two_rpc, two = self.serve(self.tr, 'two')
        self.stop(rpc)
        for thread in calls:
            thread.join()
        self.assertEqual([0, 1, 2], sorted(results))
        self.wait_for(lambda: len(two.ran) >= 6)
        self.assertEqual(['running'], one.ran)
        self.assertEqual({0, 1, 2, 'cast0', 'cast1', 'cast2'}, set(two.ran))

    def test_stop_waits_for_the_running_method(self):
        rpc, endpoint = self.serve(self.tr)
        result = []
        thread = threading.Thread(target=lambda: result.append(
            self.client(self.tr, 'a').call({}, 'slow', seconds=1, x=7)))
        thread.start()
        self.wait_for(lambda: endpoint.ran)
        self.stop(rpc)
        thread.join(2)
        self.assertEqual([7], result)

    def test_casts_of_one_thread_come_in_order(self):
        tr = self.transport(rpc_prefetch=1)
        _, endpoint = self.serve(tr)
        client = self.client(self.tr, 'a')
        for i in range(200):
            client.cast({}, 'echo', x=i)
        self.wait_for(lambda: len(endpoint.ran) == 200)
        self.assertEqual(list(range(200)), endpoint.ran)

    def test_many_callers(self):
        self.serve(self.tr)
        client = self.client(self.tr, 'a')
        wrong = []

        def run(n):
            for i in range(50):
                if client.call({}, 'echo', x=[n, i]) != [n, i]:
                    wrong.append((n, i))

        threads = [threading.Thread(target=run, args=(n,))
                   for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], wrong)
        state = self.node(self.tr).state()
        self.assertEqual(1, state['connections'])
        self.assertEqual(0, state['outstanding'])
        self.wait_for(lambda: self.node(self.tr).state()['unanswered'] == 0)
        self.assertEqual(0, self.node(self.tr).state()['reply_bytes'])

    def test_store_down_with_nobody_reachable(self):
        node = self.node(self.tr)

        def down(*args, **kwargs):
            raise base.MatchmakerUnavailable('down')

        for name in ('lookup', 'known', 'mailbox_put', 'mailbox_depth'):
            original = getattr(node.matchmaker, name)
            setattr(node.matchmaker, name, down)
            self.addCleanup(setattr, node.matchmaker, name, original)
        with self.lasts(0, 1):
            with self.assertRaises(oslo_messaging.MessageDeliveryFailure):
                self.client(self.tr, 'a', retry=0).cast({}, 'echo')
        with self.lasts(1, 1.5):
            with self.assertRaises(oslo_messaging.MessagingTimeout):
                self.client(self.tr, 'a', timeout=1).call({}, 'echo')

    def test_call_to_a_known_peer_touches_no_store(self):
        self.serve(self.tr)
        tr = self.transport(lookup_cache=600, refresh_interval=60,
                            registration_ttl=200)
        client = self.client(tr, 'a')
        client.call({}, 'echo')
        matchmaker = self.node(tr).matchmaker
        touched = []
        for name in dir(base.Matchmaker):
            if not name.startswith('_') and callable(
                    getattr(matchmaker, name)):
                self.addCleanup(setattr, matchmaker, name,
                                getattr(matchmaker, name))
                setattr(matchmaker, name,
                        lambda *args, name=name, **kwargs:
                        touched.append(name))
        for i in range(50):
            self.assertEqual(i, client.call({}, 'echo', x=i))
            client.cast({}, 'echo', x=i)
        self.assertEqual([], touched)

    def test_store_down_and_known_peers_go_on(self):
        self.serve(self.tr)
        tr = self.transport(lookup_cache=0.1)
        client = self.client(tr, 'a')
        client.call({}, 'echo')
        node = self.node(tr)
        asked = []

        def down(*args, **kwargs):
            asked.append(args)
            raise base.MatchmakerUnavailable('down')

        original = node.matchmaker.lookup
        node.matchmaker.lookup = down
        self.addCleanup(setattr, node.matchmaker, 'lookup', original)
        with self.assertLogs('luc_drivers.messaging.routing',
                             'WARNING') as logs:
            for i in range(10):
                self.assertEqual(i, client.call({}, 'echo', x=i))
                time.sleep(0.11)
        self.assertGreater(len(asked), 3)
        self.assertEqual(1, len(logs.output))


    def test_store_that_hangs(self):
        """No call outlives its time-out, whatever is down."""
        node = self.node(self.tr)

        def hang(*args, **kwargs):
            time.sleep(3)
            raise base.MatchmakerUnavailable('hung')

        for name in ('lookup', 'known', 'mailbox_put', 'mailbox_depth'):
            original = getattr(node.matchmaker, name)
            setattr(node.matchmaker, name, hang)
            self.addCleanup(setattr, node.matchmaker, name, original)
        with self.lasts(1, 1.5):
            with self.assertRaises(oslo_messaging.MessagingTimeout):
                self.client(self.tr, 'a', timeout=1).call({}, 'echo')
        with self.lasts(0, 1.1):
            with self.assertRaises(oslo_messaging.MessageDeliveryFailure):
                self.client(self.tr, 'a', retry=0).cast({}, 'echo')


class TurnsTest(support.TransportCase):

    def test_strict(self):
        turns = client_module.Turns()
        picked = [turns.pick('key', ['a', 'b', 'c']) for _ in range(9)]
        self.assertEqual({'a', 'b', 'c'}, set(picked[:3]))
        self.assertEqual(picked[:3] * 3, picked)
