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


"""Fanouts: to all listeners, to all sites, over each WAN link once."""

import threading
import time
from unittest import mock

from luc_drivers.messaging import fanout
from luc_drivers.messaging import wire
from luc_drivers.messaging.matchmaker import base
from tests.functional.messaging import support


class FanoutCase(support.TransportCase):
    """Nodes of several sites in one process; real sockets between them."""

    OPTIONS = {'matchmaker': 'embedded', 'lookup_cache': 60.0,
               'negative_cache': 0.2}

    def setUp(self):
        super().setUp()
        self.servers = []
        self.endpoints = {}
        self.nodes = {}
        self.tr = self.transport(site='paris')
        self.sender = self.node(self.tr)
        self.sent = []
        submit = self.sender.fanouts.submit

        def note(candidate, body, flags, slot, expires):
            self.sent.append((candidate.endpoint.site, flags))
            return submit(candidate, body, flags, slot, expires)

        self.sender.fanouts.submit = note

    def listeners(self, site, nodes, each=1, **options):
        """Start listeners in a site; several nodes, several in each."""
        for n in range(nodes):
            tr = self.transport(site=site, backlog=100 + n, **options)
            for i in range(each):
                name = '%s-%d-%d' % (site, n, i)
                self.nodes[name] = self.node(tr)
                rpc, self.endpoints[name] = self.serve(tr, name)
                self.servers.append(rpc)

    def tearDown(self):
        threads = [threading.Thread(target=self.stop, args=(rpc,))
                   for rpc in self.servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        super().tearDown()

    def cast(self, x='F'):
        start = time.monotonic()
        self.client(self.tr, fanout=True).cast({}, 'echo', x=x)
        return time.monotonic() - start

    def all_have(self, x='F', seconds=10.0):
        self.wait_for(lambda: all(x in e.ran
                                  for e in self.endpoints.values()), seconds,
                      'fanout %s everywhere' % x)
        time.sleep(0.5)
        self.assertEqual({name: 1 for name in self.endpoints},
                         {name: e.ran.count(x)
                          for name, e in self.endpoints.items()})

    def copies(self, site):
        return [flags for where, flags in self.sent if where == site]


class SitesTest(FanoutCase):

    def test_each_listener_once_each_link_once(self):
        self.listeners('paris', 2, each=2)
        self.listeners('rennes', 3, each=2)
        self.listeners('lyon', 1)
        for x in ('cold', 'warm'):
            self.sent.clear()
            self.cast(x)
            self.all_have(x)
            self.assertEqual(4, len(self.copies('paris')))
            self.assertEqual([wire.F_RELAY], self.copies('rennes'))
            self.assertEqual([wire.F_RELAY], self.copies('lyon'))

    def test_what_is_read_of_another_site_does_not_grow(self):
        self.listeners('rennes', 1, each=15)
        with mock.patch.object(self.sender.matchmaker, 'lookup',
                               wraps=self.sender.matchmaker.lookup) as look:
            self.cast()
            self.all_have()
        limits = [call.args[6] for call in look.call_args_list
                  if call.args[5] == 'rennes']
        self.assertEqual([fanout._SAMPLE], limits)

    def test_listener_that_nobody_here_has_heard_of(self):
        self.listeners('paris', 1)
        self.listeners('rennes', 1)
        self.cast('first')
        self.all_have('first')
        self.listeners('paris', 3)
        self.listeners('rennes', 3)
        self.cast('second')
        self.all_have('second')

    def test_site_that_had_none_before(self):
        rpc, _ = self.serve(self.transport(site='rennes'), 'before')
        self.cast('known')
        self.stop(rpc)
        time.sleep(0.3)
        self.cast('lost')
        self.listeners('rennes', 1)
        time.sleep(0.3)  # longer than negative_cache
        self.cast('found')
        self.wait_for(lambda: self.endpoints['rennes-0-0'].ran == ['found'])


class RelayTest(FanoutCase):

    def relays_do(self, function):
        for node in self.nodes.values():
            self.enterContext(mock.patch.object(node.fanouts, 'relay',
                                                function))

    def attempts(self):
        return len([f for f in self.copies('rennes') if f & wire.F_RELAY])

    def test_relay_that_forgets_is_replaced(self):
        self.enterContext(mock.patch.object(fanout, '_RELAY_DONE', 0.5))
        self.listeners('rennes', 3)
        forgot = []
        real = {id(n): n.fanouts.relay for n in self.nodes.values()}

        def relay(node):
            def run(sender, request):
                if not forgot:
                    forgot.append(node)
                else:
                    real[id(node)](sender, request)
            return run

        for node in self.nodes.values():
            node.fanouts.relay = relay(node)
        with self.assertLogs('luc_drivers.messaging.fanout', 'INFO') as logs:
            self.cast()
            self.all_have()
        self.assertEqual(1, len(logs.output))
        self.assertIn('did not pass it on', logs.output[0])
        self.assertEqual(2, self.attempts())

    def test_without_any_good_relay_all_get_it_from_the_sender(self):
        self.listeners('rennes', 4)

        def refuse(sender, request):
            for node in self.nodes.values():
                node.io.push(node.io.refuse, sender, request.seq, wire.BUSY)

        self.relays_do(refuse)
        self.cast()
        self.all_have()
        self.assertEqual(3, self.attempts())
        self.assertEqual(4, self.copies('rennes').count(wire.F_CAST))
        self.assertEqual(3, self.sender.state()['relays_failed'])

    def test_relay_whose_registry_is_down_is_replaced(self):
        self.listeners('rennes', 2)
        broken = self.nodes['rennes-0-0']
        broken.matchmaker.lookup = mock.Mock(
            side_effect=base.MatchmakerUnavailable('down'))
        broken.routing._entries.clear()
        # Whichever is asked first.
        for x in range(4):
            self.cast(x)
        for x in range(4):
            self.all_have(x)

    def test_second_copy_by_another_way_is_dropped(self):
        self.listeners('rennes', 2)
        self.cast('one')
        self.all_have('one')
        self.assertEqual({}, {
            name: n.state().get('duplicate') for name, n
            in self.nodes.items() if n.state().get('duplicate')})
        with mock.patch.object(self.sender.fanouts, '_pass_to',
                               side_effect=lambda key, site, body, _c: (
                                   self.sender.fanouts.send_to_all(
                                       key, site, body),
                                   self.sender.fanouts.send_to_all(
                                       key, site, body))):
            self.cast('two')
            self.all_have('two')
        self.assertEqual(2, sum(n.state().get('duplicate', 0)
                                for n in set(self.nodes.values())))


class NeverWaitsTest(FanoutCase):

    def test_registry_that_hangs(self):
        def hang(*args, **kwargs):
            time.sleep(6)
            raise base.MatchmakerUnavailable('hung')

        self.sender.matchmaker.lookup = hang
        self.assertLess(self.cast(), 3)

    def test_registry_of_another_site_that_is_cut_off(self):
        self.listeners('paris', 1)
        self.listeners('rennes', 1)
        real = self.sender.matchmaker.lookup

        def lookup(*args):
            if args[5] == 'rennes':
                raise base.MatchmakerUnavailable('cut off')
            return real(*args)

        self.sender.matchmaker.lookup = lookup
        with self.assertLogs('luc_drivers.messaging.fanout') as logs:
            self.cast()
            self.wait_for(lambda: self.endpoints['paris-0-0'].ran)
            self.wait_for(lambda: logs.output)
        self.assertEqual(1, len(logs.output))
        self.assertIn('did not reach site rennes', logs.output[0])
        self.assertEqual([], self.endpoints['rennes-0-0'].ran)

    def test_busy_listener_has_it_later(self):
        self.listeners('paris', 1, queue_max_messages=1, rpc_prefetch=1)
        client = self.client(self.tr, 'paris-0-0')
        client.cast({}, 'slow', seconds=1.5)
        time.sleep(0.3)
        client.cast({}, 'echo', x='queued')
        self.assertLess(self.cast(), 1.2)
        self.all_have()
        node = self.nodes['paris-0-0']
        self.assertGreaterEqual(node.state()['busy'], 1)


class NearestSiteTest(support.TransportCase):

    OPTIONS = {'matchmaker': 'embedded', 'lookup_cache': 0.1,
               'negative_cache': 0.1}

    def test_own_site_then_the_nearest(self):
        tr = self.transport(site='paris', nearest_sites='rennes,lyon')
        client = self.client(tr)
        here, mine = self.serve(tr, 'p')
        _, lyon = self.serve(self.transport(site='lyon'), 'l')
        _, aix = self.serve(self.transport(site='aix'), 'a')
        there, rennes = self.serve(self.transport(site='rennes'), 'r')
        for x in range(6):
            client.call({}, 'echo', x=x)
        self.assertEqual(list(range(6)), mine.ran)
        self.stop(here)
        for x in range(6):
            client.call({}, 'echo', x=x)
        self.assertEqual(list(range(6)), rennes.ran)
        self.stop(there)
        for x in range(6):
            client.call({}, 'echo', x=x)
        self.assertEqual(list(range(6)), lyon.ran)
        self.assertEqual([], aix.ran)
        # One server, wherever it is.
        self.client(tr, 'a').call({}, 'echo', x='aix')
        self.assertEqual(['aix'], aix.ran)
