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

import io

import testtools

from luc_drivers.db.tools import transfer
from luc_drivers.testing import shared
from tests.unit.db import tools_contract


class CassandraCheckTest(tools_contract.CheckTests, testtools.TestCase):

    def options(self):
        host, port = shared.endpoint()
        return {'store': 'cassandra', 'host': host, 'port': port}


class CassandraTransferTest(tools_contract.TransferTests,
                            testtools.TestCase):

    def url(self, name):
        host, port = shared.endpoint()
        return (f'sqlite+luc://{host}:{port}/{name}'
                '?store=cassandra&keyspace_template=luc_tools_{locality}')

    def test_copy_over_rows_that_were_deleted(self):
        """Their tombstones are older than what is filled."""
        transfer.load(self.two, io.StringIO(
            '\n'.join(transfer.dump(self.one)) + '\n'))
        two = self.connect(self.two)
        two.executescript('DELETE FROM k; DELETE FROM p')
        list(transfer.copy(self.one, self.two))
        self.assertEqual(self.everything(self.connect(self.one)),
                         self.everything(two))
