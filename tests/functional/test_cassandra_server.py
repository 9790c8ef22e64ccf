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

"""The Cassandra server manager, on real servers."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from cassandra import ConsistencyLevel
from cassandra.cluster import Cluster as Driver
from cassandra.policies import WhiteListRoundRobinPolicy

from luc_drivers.testing import addresses
from luc_drivers.testing import cassandra
from luc_drivers.testing import cqlping
from luc_drivers.testing import shared


def _connect(address, **options):
    driver = Driver([address], protocol_version=4,
                    load_balancing_policy=WhiteListRoundRobinPolicy([address]),
                    **options)
    return driver, driver.connect()


class ClusterTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.address = addresses.claim()
        self.directory = tempfile.mkdtemp(prefix='luc-cluster-')
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def _cluster(self, **options):
        cluster = cassandra.Cluster(self.directory, base_address=self.address,
                                    heap_mb=384, **options)
        self.addCleanup(cluster.wipe)
        cluster.start()
        return cluster

    def test_data_outlives_kill_and_stop(self):
        cluster = self._cluster(durable=True)
        driver, session = _connect(self.address)
        self.addCleanup(driver.shutdown)
        session.execute(
            "CREATE KEYSPACE k WITH replication = {'class': "
            "'NetworkTopologyStrategy', 'site1': 1}")
        session.execute('CREATE TABLE k.t (a int PRIMARY KEY, b int)')
        insert = 'INSERT INTO k.t (a, b) VALUES (1, 2) IF NOT EXISTS'
        self.assertTrue(session.execute(insert).one().applied)
        self.assertFalse(session.execute(insert).one().applied)
        settings = dict(session.execute(
            'SELECT name, value FROM system_views.settings'))
        self.assertEqual('v2', settings['paxos_variant'])
        self.assertEqual('repaired', settings['paxos_state_purging'])
        driver.shutdown()

        cluster.kill(1)
        self.assertEqual([None], [n.pid for n in cluster.status()])
        with self.assertRaises(cqlping.NotReady):
            cqlping.ask(*cluster.endpoint)
        # As another process would: from what lies in the folder.
        again = cassandra.Cluster.load(self.directory)
        again.start()
        driver, session = _connect(self.address)
        self.assertEqual([(1, 2)], [tuple(row) for row in session.execute(
            'SELECT a, b FROM k.t')])
        driver.shutdown()
        pid = again.status()[0].pid
        again.start()
        self.assertEqual(pid, again.status()[0].pid)
        again.stop()
        self.assertEqual([None], [n.pid for n in again.status()])

    def test_two_sites_with_passwords(self):
        cluster = self._cluster(sites={'site1': 1, 'site2': 1}, auth=True)
        self.assertEqual(
            [self.address, addresses.following(self.address)],
            cluster.addresses)
        with self.assertRaisesRegex(cqlping.Refused, 'incorrect'):
            cqlping.ask(*cluster.endpoint, 'cassandra', 'wrong')
        from cassandra.auth import PlainTextAuthProvider
        driver, session = _connect(
            self.address, auth_provider=PlainTextAuthProvider(
                *cassandra.SUPERUSER))
        self.addCleanup(driver.shutdown)
        sites = [session.execute('SELECT data_center FROM system.local')
                 .one()[0]]
        sites += [row[0] for row in session.execute(
            'SELECT data_center FROM system.peers')]
        self.assertEqual(['site1', 'site2'], sites)
        session.execute(
            "CREATE KEYSPACE k WITH replication = {'class': "
            "'NetworkTopologyStrategy', 'site1': 1, 'site2': 1}")
        session.execute('CREATE TABLE k.t (a int PRIMARY KEY)')
        statement = session.prepare('INSERT INTO k.t (a) VALUES (?)')
        statement.consistency_level = ConsistencyLevel.ALL
        for value in range(8):
            session.execute(statement, (value,))

    def test_taken_port(self):
        import socket
        with socket.socket() as taken:
            taken.bind((self.address, 9042))
            taken.listen()
            with self.assertRaisesRegex(
                    cassandra.CassandraError,
                    re.escape(f"{self.address}:9042 can't be used ")
                    + '.*--base-address'):
                self._cluster()

    def test_setting_that_cassandra_refuses(self):
        with self.assertRaisesRegex(cassandra.CassandraError,
                                    'node1.* ended: .*no_such_setting'):
            self._cluster(overrides={'no_such_setting': 1})


class SharedTest(unittest.TestCase):

    def test_processes_share_one(self):
        mine = shared.endpoint()
        other = subprocess.run(
            [sys.executable, '-m', 'luc_drivers.testing.cassandra', 'start',
             '--shared'], capture_output=True, text=True, check=True)
        self.assertEqual(f'{mine.host}:{mine.port}',
                         other.stdout.splitlines()[-1])
        cqlping.ask(*mine)

    def test_existing_cluster(self):
        mine = shared.endpoint()
        code = ('from luc_drivers.testing import shared\n'
                'print(*shared.endpoint())')
        env = dict(os.environ, LUC_TEST_CASSANDRA=f'{mine.host}:{mine.port}',
                   LUC_TEST_CASSANDRA_DIR='/nonexistent')
        found = subprocess.run([sys.executable, '-c', code], env=env,
                               capture_output=True, text=True, check=True)
        self.assertEqual(f'{mine.host} {mine.port}', found.stdout.strip())

    @unittest.skipIf('LUC_TEST_CASSANDRA' in os.environ,
                     'an existing cluster is used')
    def test_server_is_stopped_when_nobody_uses_it(self):
        directory = tempfile.mkdtemp(prefix='luc-shared-')
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        address = addresses.claim()
        env = dict(os.environ, LUC_TEST_CASSANDRA_DIR=directory,
                   LUC_TEST_CASSANDRA_ADDRESS=address)
        code = ('from luc_drivers.testing import shared\n'
                'shared.IDLE = 1.0\n'
                'print(*shared.endpoint())\n'
                'import pathlib\n'
                'folder = shared.directory()\n'
                'shared._used.close()\n'
                'shared.supervise(folder, idle=1.0)\n')
        found = subprocess.run([sys.executable, '-c', code], env=env,
                               capture_output=True, text=True, timeout=120)
        self.assertEqual(f'{address} 9042', found.stdout.strip(),
                         found.stderr)
        with self.assertRaises(cqlping.NotReady):
            cqlping.ask(address, 9042)
        self.assertFalse(os.path.exists(os.path.join(directory, 'cluster')))
