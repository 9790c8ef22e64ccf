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


"""The plug-in's programs on real nodes: a site, its roles, another site."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

from luc_drivers import cql
from luc_drivers.testing import addresses
from luc_drivers.testing import cassandra

LIB = pathlib.Path(__file__).resolve().parents[3] / 'devstack' / 'lib'
_TIMEOUT = 400


_SQL = """
import json, sys, sqlalchemy
engine = sqlalchemy.create_engine(
    'sqlite+luc://luc_keystone:of-keystone@/' + sys.argv[1])
with engine.begin() as connection:
    for statement in sys.argv[2:]:
        result = connection.execute(sqlalchemy.text(statement))
    rows = [list(r) for r in result] if result.returns_rows else []
print(json.dumps(rows))
"""


class SqlError(Exception):
    """The service's process failed; its text is what it wrote."""


class Site:
    """A host of a site: its files, its node."""

    def __init__(self, folder, address, site, seeds=''):
        self.folder = pathlib.Path(folder, site)
        self.folder.mkdir()
        self.address, self.site, self.seeds = address, site, seeds
        self.conf = self.folder / 'luc.conf'
        self.process = None
        self.conf.write_text(
            f'[DEFAULT]\nsite = {site}\nstate_path = {self.folder}\n'
            f'[cassandra]\ncontact_points = {address}\n'
            'username = luc_control\npassword = of-control\n'
            'connect_timeout = 60\nrequest_timeout = 60\n'
            '[bus]\nstore_timeout = 60\n')
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            jmx = probe.getsockname()[1]
        self.options = ['--directory', str(self.folder / 'cassandra'),
                        '--address', address, '--site', site, '--heap', '384',
                        '--jmx-port', str(jmx), '--auth']
        if seeds:
            self.options += ['--seeds', seeds]

    def run(self, program, *words, status=0):
        """Run one of the plug-in's programs; return what it wrote."""
        done = subprocess.run(
            [sys.executable, str(LIB / program), *words],
            capture_output=True, text=True, timeout=_TIMEOUT, env={
                **os.environ, 'LUC_CONFIG': str(self.conf),
                'LUC_ADMIN_USER': 'luc_admin',
                'LUC_ADMIN_PASSWORD': 'of-admin',
                'LUC_CONTROL_PASSWORD': 'of-control',
                'LUC_AGENT_PASSWORD': 'of-agent',
                'LUC_ROLE_PASSWORD': 'of-keystone'})
        if done.returncode != status:
            raise AssertionError(
                f'{program} {" ".join(words)}: {done.returncode}\n'
                f'{done.stdout}{done.stderr}')
        return done.stdout.strip()

    def start(self):
        """Do what lib/cassandra does."""
        source = ''
        if self.seeds:
            source = self.run('store.py', 'before-join', '--seeds',
                              self.seeds)
        self.run('node.py', 'prepare', *self.options)
        with open(self.folder / 'output', 'w') as output:
            self.process = subprocess.Popen(
                [str(self.folder / 'cassandra' / 'run')],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True)
        self.run('node.py', 'wait', *self.options)
        self.run('store.py', 'node', '--seeds', self.seeds)
        if source:
            self.run('node.py', 'nodetool', 'rebuild', source, *self.options)

    def stop(self):
        """Kill the node."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def session(self, role, password):
        """Return a session of a role, to be closed by the caller."""
        return cql.Session(cql.CqlSettings(
            (self.address,), site=self.site, username=role,
            password=password, connect_timeout=60.0, request_timeout=60.0))

    def execute(self, statement, role='luc_admin', password='of-admin'):
        """Run a statement as a role; return its rows."""
        session = self.session(role, password)
        try:
            return session.execute(statement, None)
        finally:
            session.close()

    def sql(self, *statements, database='keystone'):
        """Run SQL as keystone's service would; return the last one's rows.

        In a process of its own, since the test drops what a process would
        remember.
        """
        done = subprocess.run(
            [sys.executable, '-c', _SQL, database, *statements],
            capture_output=True, text=True, timeout=_TIMEOUT,
            env={**os.environ, 'LUC_CONFIG': str(self.conf)})
        if done.returncode:
            raise SqlError(done.stderr)
        return json.loads(done.stdout)


@unittest.skipUnless(os.environ.get('LUC_TEST_LONG'),
                     'two nodes of its own take minutes: LUC_TEST_LONG=1')
class PluginTest(unittest.TestCase):
    """One node for all tests; they run in order of their names."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cassandra.find_java()
        except cassandra.CassandraError as exc:
            raise unittest.SkipTest(str(exc)) from None
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.address = addresses.claim()
        cls.first = Site(cls.folder.name, cls.address, 'site1')
        cls.addClassCleanup(cls.first.stop)
        cls.first.start()
        cls.first.run('store.py', 'bus')
        cls.first.run('store.py', 'database', 'keystone', '--role',
                      'luc_keystone')

    def refused(self, *arguments):
        with self.assertRaises((cql.Refused, cql.Unavailable)) as caught:
            self.first.execute(*arguments)
        return str(caught.exception)

    def test_1_roles(self):
        self.assertIn('cassandra', self.refused(
            'SELECT * FROM system.local', 'cassandra', 'cassandra'))
        for role, password in (('luc_agent', 'of-agent'),
                               ('luc_keystone', 'of-keystone')):
            with self.subTest(role):
                self.assertIn('CREATE', self.refused(
                    "CREATE KEYSPACE x WITH replication = {'class': "
                    "'SimpleStrategy', 'replication_factor': 1}",
                    role, password))
        self.assertIn('SELECT', self.refused(
            'SELECT * FROM keystone_global.rows', 'luc_agent', 'of-agent'))
        self.assertIn('SELECT', self.refused(
            'SELECT * FROM luc_bus_site1.endpoints_control', 'luc_keystone',
            'of-keystone'))
        # an agent may not pass for a control host
        self.assertIn('MODIFY', self.refused(
            "INSERT INTO luc_bus_site1.endpoints_control (instance) "
            "VALUES ('x')", 'luc_agent', 'of-agent'))

    def test_2_service(self):
        self.first.sql('CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)')
        self.first.sql("INSERT INTO t (a, b) VALUES (1, 'one')")
        self.assertEqual([[1, 'one']], self.first.sql('SELECT a, b FROM t'))
        with self.assertRaisesRegex(SqlError, 'glance_global'):
            self.first.sql('SELECT a FROM t', database='glance')

    def test_3_recreate(self):
        rows = 'SELECT db FROM keystone_global.catalog'
        self.assertNotEqual([], self.first.execute(rows))
        self.first.run('store.py', 'database', 'keystone', '--role',
                       'luc_keystone')
        self.assertNotEqual([], self.first.execute(rows))
        self.first.run('store.py', 'database', 'keystone', '--recreate',
                       '--role', 'luc_keystone')
        self.assertEqual([], self.first.execute(rows))

    def test_4_drop(self):
        listed = pathlib.Path(self.folder.name, 'databases.txt')
        listed.write_text('keystone luc_keystone\nkeystone luc_keystone\n')
        self.first.run('store.py', 'drop', str(listed))
        names = {row[0] for row in self.first.execute(
            'SELECT keyspace_name FROM system_schema.keyspaces')}
        self.assertEqual(set(), {name for name in names
                                 if not name.startswith('system')})
        self.assertEqual({('luc_admin',), ('cassandra',)}, set(
            self.first.execute('SELECT role FROM system_auth.roles')))

    def test_5_second_site(self):
        second = Site(self.folder.name, addresses.following(self.address),
                      'site2', seeds=self.address)
        self.addCleanup(second.stop)
        self.first.run('store.py', 'bus')
        self.first.run('store.py', 'database', 'keystone', '--role',
                       'luc_keystone')
        self.first.sql(
            'CREATE TABLE project (id TEXT PRIMARY KEY, name TEXT)',
            "INSERT INTO project (id, name) VALUES ('p', 'shared')")
        second.start()
        second.run('store.py', 'bus')
        second.run('store.py', 'database', 'keystone', '--role',
                   'luc_keystone')
        places = dict(self.first.execute(
            'SELECT keyspace_name, replication FROM '
            'system_schema.keyspaces'))
        for keyspace in ('system_auth', 'keystone_global'):
            self.assertEqual(
                {'site1': '1', 'site2': '1'},
                {k: v for k, v in places[keyspace].items() if k != 'class'})
        self.assertNotIn('site1', places['keystone_at_site2'])
        # what is global is read at the second site, by the same role
        self.assertEqual([['shared']],
                         second.sql('SELECT name FROM project'))
        # and it goes without leaving anything behind
        second.run('store.py', 'leave')
        second.run('node.py', 'nodetool', 'decommission', 'force',
                   *second.options)
        second.run('store.py', 'leave', '--gone-from', self.address)
        places = dict(self.first.execute(
            'SELECT keyspace_name, replication FROM '
            'system_schema.keyspaces'))
        self.assertEqual([], [name for name, options in places.items()
                              if 'site2' in options or 'site2' in name])
        self.assertEqual([], self.first.execute('SELECT peer FROM '
                                                'system.peers_v2'))
