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


"""The contract on each matchmaker, and on RabbitMQ so that it stays true."""

import tempfile
import unittest

from luc_drivers import config
from luc_drivers import cql
from luc_drivers.messaging import keys
from luc_drivers.messaging.matchmaker import base
from luc_drivers.testing import shared
from tests.bench.messaging import broker
from tests.functional.messaging import contract
from tests.functional.messaging import support


class MemoryTest(contract.OwnContract, support.TransportCase):

    MATCHMAKER = 'memory'

    def test_forked_child_uses_an_inherited_transport(self):
        self.skipTest('this matchmaker is one process\'s: a child has none')


class EmbeddedTest(contract.OwnContract, support.TransportCase):
    pass


class CurveTest(contract.OwnContract, support.TransportCase):

    def setUp(self):
        self.keys_dir = tempfile.mkdtemp(prefix='luc-keys-')
        self.addCleanup(support.shutil.rmtree, self.keys_dir)
        keys.save(self.keys_dir, keys.generate('host1', base.CONTROL))
        keys.add_store_key(self.keys_dir)
        super().setUp()

    def options(self):
        return {**super().options(), 'security': 'curve', 'host': 'host1',
                'keys_dir': self.keys_dir}


class CassandraTest(contract.OwnContract, support.TransportCase):

    MATCHMAKER = 'cassandra'
    PREFIX = 'contract'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = shared.endpoint()

    @classmethod
    def tearDownClass(cls):
        cql.close_all()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        # The first time it makes a keyspace, which takes a while.
        self.node(self.client_transport).matchmaker.prepare()

    def options(self):
        return {**super().options(), 'keyspace_prefix': self.PREFIX,
                'negative_cache': 0.2}

    def write_config(self, **options):
        super().write_config(**options)
        with open(self.config_path, 'a') as f:
            f.write('[cassandra]\ncontact_points = %s\nport = %d\n'
                    % self.server)
        config._cache.pop(self.config_path, None)


@unittest.skipUnless(broker.Broker.installed(),
                     'RabbitMQ is not installed: apt-get install '
                     'rabbitmq-server')
class RabbitTest(contract.RabbitContract, support.TransportCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = broker.Broker(tempfile.mkdtemp(prefix='luc-rabbit-'))
        cls.addClassCleanup(cls.broker.stop)
        cls.broker.start()
