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

"""The commit protocol on Cassandra: the tests of tests/unit/db/protocol."""

import unittest

from luc_drivers.db.store import base
from luc_drivers.db.store import cassandra
from luc_drivers.testing import shared
from tests.unit.db.protocol import contract


class CassandraProtocolTest(contract.ProtocolContract, unittest.TestCase):

    def setUp(self):
        host, port = shared.endpoint()
        self.store = cassandra.CassandraStore('test', base.StoreSettings(
            kind='cassandra', contact_points=(host,), port=port, fresh=True,
            url='test://'))
        self.store.prepare(['global', 'at_site1'])
        super().setUp()
