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


"""The registry expires, is wiped, goes down and comes back."""

import threading
import time
from unittest import mock

import oslo_messaging

from luc_drivers.messaging.matchmaker import base
from tests.functional.messaging import support


class RegistryCase(support.TransportCase):

    OPTIONS = {'matchmaker': 'memory', 'lookup_cache': 0.05,
               'negative_cache': 0.05, 'refresh_interval': 0.5,
               'registration_ttl': 2.0}

    def setUp(self):
        super().setUp()
        self.tr = self.transport()
        self.rpc, self.endpoint = self.serve(self.tr)
        self.server = self.node(self.tr)
        other = self.transport(queue_max_messages=9999)
        self.client_node = self.node(other)
        self.one = self.client(other, 'a', timeout=5)
        self.one.call({}, 'echo', x='warm')

    def wipe(self):
        matchmaker = self.server.matchmaker
        for endpoint in matchmaker.endpoints():
            matchmaker.unregister(endpoint)
        matchmaker.unsubscribe(matchmaker.subscriptions())

    def paused(self):
        """No refreshes meanwhile, as in a process that is stopped."""
        return mock.patch.object(self.server.agent, '_refresh',
                                 lambda: setattr(self.server.agent,
                                                 '_refresh_at',
                                                 time.monotonic() + 0.2))


class ExpiryTest(RegistryCase):

    def test_connection_beats_an_expired_registration(self):
        with self.paused():
            self.wipe()
            for i in range(20):
                with self.lasts(0, 2):
                    self.assertEqual(i, self.one.call({}, 'echo', x=i))
                time.sleep(0.06)
            # Who has no connection can't know of it.
            stranger = self.client(self.transport(queue_max_messages=9998),
                                   'a', timeout=1)
            with self.assertRaises(oslo_messaging.MessagingTimeout):
                stranger.call({}, 'echo', x='late')
        # A refresh mends it, with one line.
        self.assertEqual('back', self.client(
            self.transport(queue_max_messages=9997), 'a').call(
                {}, 'echo', x='back'))
        self.assertNotIn('late', self.endpoint.ran)

    def test_wiped_registry_is_mended_with_one_line(self):
        with self.assertLogs('luc_drivers.messaging.agent',
                             'WARNING') as logs:
            self.wipe()
            self.wait_for(lambda: self.server.matchmaker.lookup(
                'test', 'openstack', self.topic, 'a'))
            time.sleep(1.2)
        self.assertEqual(1, len(logs.output), logs.output)
        self.assertIn('lost this process', logs.output[0])

    def test_stopped_server_is_not_kept_by_its_connection(self):
        self.stop(self.rpc)
        with self.lasts(1, 1.9), self.assertRaises(
                oslo_messaging.MessagingTimeout):
            self.client(self.transport(queue_max_messages=9999), 'a',
                        timeout=1).call({}, 'echo', x='late')
        self.assertNotIn('late', self.endpoint.ran)


class OutageTest(RegistryCase):

    METHODS = ('register', 'lookup', 'subscribe', 'subscribed', 'known',
               'mailbox_fetch', 'mailbox_put', 'mailbox_depth')

    def down(self, matchmaker):
        for name in self.METHODS:
            setattr(matchmaker, name, mock.Mock(
                side_effect=base.MatchmakerUnavailable('it is down')))

    def up(self, matchmaker):
        for name in self.METHODS:
            delattr(matchmaker, name)

    def test_known_peers_go_on_and_all_is_registered_again(self):
        with self.assertLogs('luc_drivers.messaging', 'INFO') as logs:
            for node in (self.server, self.client_node):
                self.down(node.matchmaker)
            end = time.monotonic() + 3
            i = 0
            while time.monotonic() < end:
                self.assertEqual(i, self.one.call({}, 'echo', x=i))
                time.sleep(0.05)
                i += 1
            self.wipe()
            for node in (self.server, self.client_node):
                self.up(node.matchmaker)
            self.wait_for(lambda: any('registered again' in line
                                      for line in logs.output))
            self.wait_for(lambda: self.server.matchmaker.lookup(
                'test', 'openstack', self.topic, 'a'))
        warnings = [line for line in logs.output
                    if line.startswith('WARNING')]
        # One of the server's refreshes, one of the client's look-ups.
        self.assertEqual(2, len(warnings), warnings)
        self.assertEqual('new', self.client(
            self.transport(queue_max_messages=9998), 'a').call(
                {}, 'echo', x='new'))

    def test_server_that_starts_while_it_is_down(self):
        self.down(self.server.matchmaker)
        with self.assertLogs('luc_drivers.messaging', 'WARNING') as logs:
            rpc, late = self.serve(self.tr, 'late')
        self.assertIn("can't be registered yet", logs.output[0])
        result = []
        thread = threading.Thread(target=lambda: result.append(self.client(
            self.transport(queue_max_messages=9999), 'late',
            timeout=15).call({}, 'echo', x=1)))
        thread.start()
        time.sleep(0.5)
        self.up(self.server.matchmaker)
        thread.join()
        self.assertEqual([1], result)

    def test_casts_wait_for_the_store(self):
        self.stop(self.rpc)
        self.down(self.client_node.matchmaker)
        done = threading.Event()

        def cast():
            self.one.cast({}, 'echo', x='kept')
            done.set()

        with self.assertLogs('luc_drivers.messaging', 'WARNING'):
            threading.Thread(target=cast).start()
            self.assertFalse(done.wait(1.5))
            self.up(self.client_node.matchmaker)
            self.assertTrue(done.wait(10))
        _, endpoint = self.serve(self.tr)
        self.wait_for(lambda: endpoint.ran == ['kept'])
