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

"""Stock services with wrong settings: one clear error, in bounded time.

nova and keystone must be installed beside this Python; the suites' own
environment has neither, the environment of a one-box cloud has both.
"""

import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import testtools

from luc_drivers.onebox import config
from luc_drivers.testing import addresses
from luc_drivers.testing import cassandra

BIN = pathlib.Path(sys.executable).parent
#: seconds for a command's start on a loaded machine
START = 120.0
#: what oslo.db is told: one more attempt after a pause of a second
RETRIES = {'max_retries': 1, 'retry_interval': 1}
CONNECT_TIMEOUT = 2


@unittest.skipUnless(BIN.joinpath('nova-manage').exists()
                     and BIN.joinpath('keystone-manage').exists(),
                     'nova and keystone are not installed')
class BadInputTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.log = self.folder / 'service.log'

    def write(self, url, **cassandra_options):
        """Write configuration files with one URL for every database."""
        config.write(self.folder / 'luc.conf', {
            'DEFAULT': {'state_path': self.folder},
            'database': {'store': 'embedded'},
            'bus': {'matchmaker': 'embedded'},
            'cassandra': {'connect_timeout': CONNECT_TIMEOUT,
                          **cassandra_options}})
        database = {'connection': url, **RETRIES}
        config.write(self.folder / 'service.conf', {
            'DEFAULT': {'transport_url': 'zmq:///', 'use_stderr': False},
            'database': database, 'api_database': database,
            # nova-conductor looks at this first; nobody is asked.
            'placement': {
                'auth_type': 'password', 'auth_url': 'http://127.0.0.1:1',
                'username': 'nova', 'password': 'x'}})

    def run_program(self, name, *words, timeout=START):
        """Run a service's program; return (exit status, output)."""
        env = {key: value for key, value in os.environ.items()
               if not key.startswith(('OS_', 'LUC_'))}
        done = subprocess.run(
            [str(BIN / name), '--config-file',
             str(self.folder / 'service.conf'), '--log-file', str(self.log),
             *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=timeout,
            cwd=self.folder,
            env={**env, 'LUC_CONFIG': str(self.folder / 'luc.conf')})
        return done.returncode, done.stdout

    def assert_told(self, expected, within=START):
        """Commands fail and say why; so does a service, in its log."""
        for name, words in (('nova-manage', ('api_db', 'sync')),
                            ('keystone-manage', ('db_sync',))):
            self.log.unlink(missing_ok=True)
            started = time.monotonic()
            status, output = self.run_program(name, *words, timeout=within)
            self.assertNotEqual(0, status, output)
            self.assertLess(time.monotonic() - started, within)
            told = output + (self.log.read_text() if self.log.exists()
                             else '')
            self.assertRegex(told, expected)
        self.log.unlink(missing_ok=True)
        status, output = self.run_program('nova-conductor', timeout=within)
        self.assertNotEqual(0, status)
        self.assertRegex(self.log.read_text(), expected)

    def test_unknown_store(self):
        self.write('sqlite+luc:///nova_api?store=redis')
        self.assert_told(
            r"unknown store 'redis' \(store= in the connection URL, or "
            r'\[database\] store in luc.conf\): there are cassandra, embedded')

    def test_malformed_url(self):
        self.write('sqlite+luc:///')
        self.assert_told(r'connection URL sqlite\+luc:/+ names no database; '
                         r'the form is sqlite\+luc://')

    def test_unknown_parameter(self):
        self.write('sqlite+luc:///nova_api?storre=embedded')
        self.assert_told(
            'connection URL .*storre=embedded: no such parameter: storre; '
            'there are: .*store')

    def test_unreachable_cassandra(self):
        with socket.socket() as taken:
            # Bound but not listening: connections are refused.
            taken.bind(('127.0.0.1', 0))
            port = taken.getsockname()[1]
            self.write('sqlite+luc:///nova_api?store=cassandra',
                       contact_points='127.0.0.1', port=port)
            self.assert_told(
                rf'Cassandra at 127.0.0.1:{port} does not answer '
                r'\(\[cassandra\] contact_points, port, or the hosts in the '
                rf'URL; waited {CONNECT_TIMEOUT} s, connect_timeout\)')

    def test_never_synced(self):
        self.write('sqlite+luc:///nova_api')
        status, output = self.run_program('nova-manage', 'cell_v2',
                                          'list_cells')
        self.assertNotEqual(0, status, output)
        self.assertRegex(
            output, r'database nova_api has no tables \(connection .*\): run '
            r'the service.s "db sync" command first')

    def test_wrong_password(self):
        cluster = cassandra.Cluster(
            self.folder / 'cassandra', base_address=addresses.claim(),
            auth=True)
        self.addCleanup(cluster.wipe)
        cluster.start()
        host, port = cluster.endpoint
        self.write('sqlite+luc:///nova_api?store=cassandra',
                   contact_points=host, port=port, username='cassandra',
                   password='wrong')
        self.assert_told(
            rf"Cassandra at {re.escape(host)}:{port} refuses user 'cassandra' "
            r'and its password \(\[cassandra\] username and password, or '
            r'user:password@ in the URL\)')
