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

"""The matchmaker in a real Cassandra."""

import dataclasses
import os
import time
import uuid

import fixtures
import testtools

from luc_drivers import config
from luc_drivers import cql
from luc_drivers.messaging.matchmaker import base
from luc_drivers.messaging.matchmaker import cassandra
from luc_drivers.messaging.matchmaker import cassandra_schema as schema
from luc_drivers.testing import shared
from tests.unit.messaging import matchmaker_api


class Host(fixtures.Fixture):
    """A host's file that names the shared server."""

    def _setUp(self):
        server = shared.endpoint()
        path = os.path.join(self.useFixture(fixtures.TempDir()).path,
                            'luc.conf')
        with open(path, 'w') as f:
            f.write('[DEFAULT]\nsite = site1\n[cassandra]\n'
                    'contact_points = %s\nport = %d\n' % server)
        self.useFixture(fixtures.EnvironmentVariable('LUC_CONFIG', path))
        config.load()


def drop_keyspace(prefix):
    """Drop a test class's keyspace, and close its sessions."""
    host = Host()
    host.setUp()
    try:
        cql.session(cql.host_settings()).execute(
            'DROP KEYSPACE IF EXISTS %s_site1' % prefix, None, timeout=30.0)
    finally:
        host.cleanUp()
        cql.close_all()


class CassandraTest(matchmaker_api.MatchmakerTests, testtools.TestCase):

    short = 1

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # One keyspace for all tests: DDL is slow. Tests are kept apart by
        # emptying its tables.
        cls.prefix = 'bus' + uuid.uuid4().hex[:8]

    @classmethod
    def tearDownClass(cls):
        drop_keyspace(cls.prefix)
        super().tearDownClass()

    def setUp(self):
        self.useFixture(Host())
        super().setUp()
        self.mm.prepare()
        session = cql.session(cql.host_settings())
        for table in schema.TABLE_NAMES:
            # Deletes partition by partition: TRUNCATE takes a second each.
            self._empty(session, '%s_site1.%s' % (self.prefix, table))
        # But messages are written older than any deletion.
        self.box = dataclasses.replace(self.box, namespace=uuid.uuid4().hex)

    @staticmethod
    def _empty(session, table):
        keyspace, name = table.split('.')
        keys = [row[0] for row in sorted(session.execute(
            'SELECT column_name, position, kind FROM system_schema.columns '
            'WHERE keyspace_name = ? AND table_name = ?', (keyspace, name)),
            key=lambda row: row[1]) if row[2] == 'partition_key']
        rows = session.execute('SELECT DISTINCT %s FROM %s'
                               % (', '.join(keys), table))
        for result in session.execute_many([cql.Request(
                'DELETE FROM %s WHERE %s' % (
                    table, ' AND '.join('%s = ?' % k for k in keys)), row)
                for row in rows]):
            if isinstance(result, cql.Error):
                raise result

    def make(self, **settings):
        return cassandra.CassandraMatchmaker(self.settings(
            matchmaker='cassandra', keyspace_prefix=self.prefix,
            **settings))

    def expire(self, seconds):
        time.sleep(seconds + 1.3)

    def test_least_uuid_sorts_first(self):
        self.mm.log_append(matchmaker_api.LOG, 0, base.LogEntry('e', b''),
                           60)
        entry, = self.read()
        self.assertEqual(['e'], [e.id for e in self.read(
            since=entry.position)])
        self.assertEqual([], self.read(since=entry.position + 1))

    def test_child_has_its_own_connection(self):
        self.mm.register(matchmaker_api.endpoint('parent'), 60)
        pid = os.fork()
        if not pid:
            code = 1
            try:
                there = self.mm.endpoint('parent')
                self.mm.register(matchmaker_api.endpoint('child'), 60)
                code = 0 if there else 2
            finally:
                os._exit(code)
        self.assertEqual(0, os.waitpid(pid, 0)[1])
        self.assertIsNotNone(self.mm.endpoint('child'))

    def test_many_instances(self):
        count = cassandra.MANY + 50
        for n in range(0, count, 50):
            self.mm.subscribe([matchmaker_api.subscription('i%03d' % m)
                               for m in range(n, n + 50)], 60, 60)
        for n in range(count):
            self.mm.register(matchmaker_api.endpoint('i%03d' % n), 60)
        self.assertEqual(count, len(self.mm.lookup('cell1', 'nova',
                                                   'compute')))

    def test_prepared_keyspace_is_left_alone(self):
        self.make().prepare()

    def test_unreachable_store_names_the_setting(self):
        settings = self.settings(keyspace_prefix=self.prefix)
        settings.conf.set_override('port', 1, 'cassandra')
        settings.conf.set_override('connect_timeout', 1.0, 'cassandra')
        self.addCleanup(settings.conf.clear_override, 'port', 'cassandra')
        self.addCleanup(settings.conf.clear_override, 'connect_timeout',
                        'cassandra')
        mm = cassandra.CassandraMatchmaker(settings)
        error = self.assertRaises(base.MatchmakerUnavailable, mm.endpoints)
        self.assertIn('contact_points', str(error))
