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

"""How many rounds DDL costs on Cassandra.

Services' suites make their whole schema for each test, and a service's
``db sync`` its whole schema for once.
"""

import statistics
import uuid

import testtools

from luc_drivers.db import dbapi
from luc_drivers.db import engine
from luc_drivers.db.store import settings as store_settings
from luc_drivers.testing import shared


def tables(count, first=0):
    """Return the DDL of tables with a key, an index and a foreign key."""
    found = []
    for number in range(first, first + count):
        found.append(
            f'CREATE TABLE t{number} (id INTEGER PRIMARY KEY AUTOINCREMENT, '
            f'a TEXT UNIQUE, b TEXT, p INTEGER REFERENCES t{first} (id))')
        found.append(f'CREATE INDEX i{number} ON t{number} (b)')
    return found


class DdlRoundsTest(testtools.TestCase):

    def open(self, **options):
        """Return a database and a connection of its own."""
        host, port = shared.endpoint()
        self.database = engine.Database(
            f'ddl{uuid.uuid4().hex[:12]}', store_settings.resolve(
                hosts=host, port=port,
                query={'store': 'cassandra', **options}))
        self.addCleanup(self.database.workspaces.close)
        connection = dbapi.Connection(lambda: self.database)
        connection.isolation_level = None
        self.addCleanup(connection.close)
        return connection

    def rounds(self, connection, *statements):
        """Return the rounds of each statement."""
        found = []
        for sql in statements:
            before = self.database.store.rounds
            connection.execute(sql)
            found.append(self.database.store.rounds - before)
        return found

    def test_a_fresh_name_space(self):
        connection = self.open(fresh='1')
        connection.execute('SELECT 1')
        connection.execute('CREATE TABLE first (id INTEGER PRIMARY KEY)')
        self.assertEqual([0] * 100, self.rounds(connection, *tables(50)))

    def test_a_database(self):
        connection = self.open(
            keyspace_template='luc_ddl_rounds_{locality}')
        connection.execute('SELECT * FROM sqlite_master')
        self.addCleanup(self.database.catalog.close)
        found = self.rounds(connection, *tables(10))
        # the log; now and then a newer one is looked for
        self.assertEqual(1, statistics.median(found[::2]))
        # the log, who else is there, whether there are rows, the log
        self.assertEqual(4, statistics.median(found[1::2]))
