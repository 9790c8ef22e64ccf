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

"""How many rounds the services' own functions cost on Cassandra.

Needs the services (tests/peers/requirements.txt): ``tox -e bench`` has them,
the environment of run_tests.sh has not.
"""

import importlib.util
import pathlib
import statistics
import tempfile
import unittest

from luc_drivers.testing import shared

#: function of the benchmark → rounds at most
BOUNDS = {
    'nova.instance_get': 2,
    'nova.instance_show': 3,
    'nova.instances_of_project': 4,
    'nova.instance_save': 2,
    'nova.service_by_host': 2,
    'nova.services_by_binary': 2,
    'glance.image_get': 2,
    'keystone.user_by_name': 2,
    # of the users that were looked up by name; of others 2: passwords know
    # the number of their local user only
    'keystone.user_get': 1,
    'keystone.project_get': 1,
    'keystone.roles_of_user_and_project': 1,
    'keystone.revoke_events': 1,
    'placement.claim': 4,
    'neutron.network_get': 1,
    'neutron.networks_of_project': 1,
    'neutron.subnet_get': 1,
    'neutron.port_get': 2,
    'neutron.ports_of_server': 3,
    'neutron.port_create': 17,
    'neutron.port_bind': 36,
}


class RoundsTest(unittest.TestCase):

    def service(self, name, instances):
        if importlib.util.find_spec(name) is None:
            self.skipTest(f'{name} is not installed: see tox -e bench')
        from tests.bench.db import stores
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        places = stores.Places(pathlib.Path(folder.name), ())
        places.endpoint = shared.endpoint()
        worker = stores.worker(places, name, 'cassandra', instances)
        self.addCleanup(worker.close)
        worker.run('sync')
        worker.run('seed')
        return worker

    def bounded(self, name, instances=100):
        worker = self.service(name, instances)
        found = {}
        for function in BOUNDS:
            if function.partition('.')[0] != name:
                continue
            # the first calls also look for what stays in the process
            worker.run('measure', function=function, threads=1, calls=3,
                       seed=1)
            # now and then a call also looks for a newer catalog
            found[function] = statistics.median(worker.run(
                'measure', function=function, threads=1, calls=5,
                seed=2)['each'])
        self.assertEqual({}, {f: rounds for f, rounds in found.items()
                              if rounds > BOUNDS[f]})

    def test_nova(self):
        self.bounded('nova')

    def test_glance(self):
        self.bounded('glance')

    def test_keystone(self):
        self.bounded('keystone')

    def test_placement(self):
        self.bounded('placement')

    def test_neutron(self):
        # each port is made by some 100 rounds
        self.bounded('neutron', 4)
