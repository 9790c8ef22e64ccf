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

"""``luc db``'s tools on Cassandra."""

import testtools

from luc_drivers.db.tools import naming
from luc_drivers.testing import shared
from tests.unit.db import tools_contract


class CassandraCheckTest(tools_contract.CheckTests, testtools.TestCase):

    def options(self):
        host, port = shared.endpoint()
        return {'store': 'cassandra', 'host': host, 'port': port}


class CassandraTransferTest(tools_contract.TransferTests,
                            testtools.TestCase):

    def setUp(self):
        # databases of this name may be left of a run that was killed
        self.host, self.port = shared.endpoint()
        for name in ('one', 'two'):
            naming.database(self.url(name)).store.prepare(['global'])
            naming.database(self.url(name)).store.drop()
        super().setUp()

    def url(self, name):
        return (f'sqlite+luc://{self.host}:{self.port}/{name}'
                '?store=cassandra&keyspace_template=luc_tools_{locality}')

    def query(self):
        return {'store': 'cassandra',
                'keyspace_template': 'luc_tools_{locality}'}

    def test_databases_are_found_by_name(self):
        # the host's file names no contact points here: by the URL
        database = naming.database(self.url('one'))
        self.assertIn('one', database.store.databases(database.settings))
