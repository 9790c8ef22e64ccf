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


"""What a process and a WAN link cost must not grow with the cloud."""

import collections
import itertools
import unittest

from luc_drivers.messaging import routing
from tests.soak import growth


class GrowthTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.small = growth.simulate(10, 10)
        cls.sites = growth.simulate(40, 10)
        cls.servers = growth.simulate(10, 40)

    def test_process_pays_for_the_peers_that_it_talks_to(self):
        for figures in (self.small, self.sites, self.servers):
            peers = growth.NEAR_PEERS + growth.FAR_PEERS
            self.assertEqual(peers, figures.connections)
            self.assertEqual(peers, figures.heartbeats)
            # One look-up of each in lookup_cache, 2 s; its own site first.
            self.assertLessEqual(figures.near_looks, peers / 2)
            self.assertGreater(figures.near_looks, 0)
            self.assertLessEqual(figures.far_looks, growth.FAR_PEERS / 2)
            self.assertGreater(figures.far_looks, 0)
            self.assertEqual(growth.FAR_PEERS, figures.far_sites_asked)

    def test_registration_costs_two_requests_in_refresh_interval(self):
        for figures in (self.small, self.sites, self.servers):
            self.assertAlmostEqual(0.2, figures.registrations)
            self.assertAlmostEqual(0.2 * figures.servers,
                                   figures.registrations_site)

    def test_wan_link_carries_one_copy_of_a_fanout(self):
        for figures in (self.small, self.sites, self.servers):
            self.assertEqual(1, figures.fanout_copies)
            self.assertEqual(figures.servers, figures.fanout_own_site)


class HomeTest(unittest.TestCase):
    """A key is looked for first where it was found last."""

    def setUp(self):
        super().setUp()
        self.clock = growth.Clock()
        simulated = growth.simulated(self.clock)
        simulated.__enter__()
        self.addCleanup(simulated.__exit__, None, None, None)
        self.numbers = itertools.count(1)
        self.asked = collections.Counter()
        self.settings = growth.settings('site0')
        self.helpers = growth.Workers()
        self.routing = routing.Routing(
            growth.Counting(self.settings, self.asked), self.settings,
            self.helpers)
        self.routing._scouts = self.helpers
        for site in ('site1', 'site2', 'site3'):
            self.start(site, 'other')

    def start(self, site, server):
        return growth.start(site, [server], growth.settings(site),
                            collections.Counter(), self.numbers)[0]

    def look(self, server):
        """The site where it is found, and the sites asked for it."""
        self.clock.now += 10
        self.asked.clear()
        for _ in range(2):
            found = self.routing.live(
                routing.Key('ns', 'nova', growth.TOPIC, server), 0.0)
            self.helpers.run()
        found = self.routing.live(
            routing.Key('ns', 'nova', growth.TOPIC, server))
        sites = {site for _operation, site in self.asked}
        return [c.endpoint.site for c in found], sites - {'site0'}

    def test_found_server_costs_one_site(self):
        self.start('site2', 'a')
        self.look('a')
        self.assertEqual((['site2'], {'site2'}), self.look('a'))

    def test_server_that_moves_is_found(self):
        first = self.start('site2', 'a')
        self.look('a')
        first.stop()
        self.start('site3', 'a')
        self.assertEqual(['site3'], self.look('a')[0])
        self.assertEqual((['site3'], {'site3'}), self.look('a'))
        self.start('site0', 'a')
        self.assertEqual((['site0'], set()), (self.look('a')[0],
                                              self.look('a')[1]))

    def test_nearer_site_gets_a_topic_s_calls_once_it_has_listeners(self):
        self.start('site2', 'a')
        for site in ('site1', 'site3'):
            growth.memory._store.site(site).subscriptions.clear()
        self.assertEqual(['site2', 'site2'], self.look(None)[0])
        self.assertEqual({'site1', 'site2'}, self.look(None)[1])
        self.start('site1', 'b')
        self.assertEqual(['site1'], self.look(None)[0])
