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

"""What bootstrap makes, it makes once."""

import testtools

from luc_drivers.onebox import bootstrap


class Network:
    """neutron's API as far as bootstrap uses it, kept in memory."""

    def __init__(self):
        self.things = {'networks': [], 'subnets': [], 'routers': [],
                       'ports': [], 'subnetpools': []}

    def network(self, method, path, params=None, json=None):
        parts = path.strip('/').split('/')
        kind = parts[0]
        if method == 'GET':
            return {kind: [thing for thing in self.things[kind]
                           if all(thing.get(name) == value
                                  for name, value in params.items())]}
        if method == 'POST':
            [(single, body)] = json.items()
            self.things[kind].append({'id': f'{single}-{body["name"]}',
                                      **body})
            return {single: self.things[kind][-1]}
        subnet = next(thing for thing in self.things['subnets']
                      if thing['id'] == json['subnet_id'])
        self.things['ports'].append({'device_id': parts[1],
                                     'network_id': subnet['network_id']})
        return None


class SeedTest(testtools.TestCase):

    def test_networks(self):
        cloud = Network()
        bootstrap.seed_networks(cloud)
        found = cloud.things
        self.assertEqual(['private', 'public'],
                         [one['name'] for one in found['networks']])
        private, public = found['networks']
        self.assertNotIn('router:external', private)
        self.assertTrue(public['router:external'])
        # What neutron makes networks from for those who ask for any.
        [pool] = found['subnetpools']
        self.assertEqual((True, True, True), (
            public['is_default'], pool['is_default'], pool['shared']))
        self.assertEqual([private['id'], public['id']],
                         [one['network_id'] for one in found['subnets']])
        [router] = found['routers']
        self.assertEqual({'network_id': public['id']},
                         router['external_gateway_info'])
        self.assertEqual([{'device_id': router['id'],
                           'network_id': private['id']}], found['ports'])

    def test_again_makes_nothing(self):
        cloud = Network()
        bootstrap.seed_networks(cloud)
        before = {kind: list(things)
                  for kind, things in cloud.things.items()}
        bootstrap.seed_networks(cloud)
        self.assertEqual(before, cloud.things)

    def test_goes_on_after_an_interruption(self):
        cloud = Network()
        bootstrap.seed_networks(cloud)
        cloud.things['ports'].clear()
        cloud.things['subnets'].pop()
        bootstrap.seed_networks(cloud)
        self.assertEqual([2, 2, 1, 1], [
            len(cloud.things[kind])
            for kind in ('networks', 'subnets', 'routers', 'ports')])
