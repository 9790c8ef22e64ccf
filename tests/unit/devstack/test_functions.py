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


"""DevStack's database and message queue functions, as the plug-in has them."""

import configparser
import hashlib

import ddt
from oslo_messaging import transport
from oslotest import base
import sqlalchemy

from tests.unit.devstack import harness


def derived(role):
    return hashlib.sha256(f'luc:{role}:secret'.encode()).hexdigest()[:32]


class _Base(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.stack = self.useFixture(harness.Stack())

    def output(self, script, **arguments):
        result = self.stack.run(script, **arguments)
        self.assertEqual((0, ''), (result.status, result.stderr))
        return result.stdout.splitlines()


@ddt.ddt
class DatabaseTest(_Base):

    def test_type(self):
        self.assertEqual(['sqlite+luc'],
                         self.output('get_database_type_cassandra'))

    @ddt.data(('keystone', 'luc_keystone'), ('glance', 'luc_glance'),
              ('placement', 'luc_placement'), ('neutron', 'luc_neutron'),
              ('cinder', 'luc_cinder'), ('nova_api', 'luc_nova'),
              ('nova_cell0', 'luc_nova'), ('nova_cell1', 'luc_nova'),
              ('my-Service', 'luc_my_service'))
    @ddt.unpack
    def test_url(self, database, role):
        text, = self.output(f'database_connection_url_cassandra {database}')
        url = sqlalchemy.make_url(text)
        self.assertEqual(
            ('sqlite+luc', role, derived(role), None, database),
            (url.drivername, url.username, url.password, url.host,
             url.database))
        # what the dialect makes of it
        arguments, options = url.get_dialect()().create_connect_args(url)
        self.assertEqual(([database], role),
                         (arguments, options['username']))

    @ddt.data({'LUC_CASSANDRA_AUTH': 'False'}, {'LUC_STORE': 'embedded'},
              {'services': 'q-agt', 'SERVICE_HOST': '10.1.0.9'})
    def test_url_without_a_role(self, arguments):
        self.assertEqual(
            ['sqlite+luc:///neutron'],
            self.output('database_connection_url_cassandra neutron',
                        **arguments))

    def test_recreate(self):
        result = self.stack.run('recreate_database_cassandra nova_cell1')
        self.assertEqual(
            ['python3 store.py database nova_cell1 --recreate '
             '--role luc_nova'], result.calls)
        self.assertIn('LUC_ROLE_PASSWORD=' + derived('luc_nova'),
                      result.environment)
        # not on a command line, where everyone sees it
        self.assertNotIn(derived('luc_nova'), ''.join(result.calls))

    @ddt.data(({'LUC_RECREATE_DATABASES': 'False'}, ' --role luc_glance'),
              ({'LUC_CASSANDRA_AUTH': 'False'}, ' --recreate'),
              ({'LUC_CASSANDRA_SEEDS': '10.0.0.1', 'LUC_SITE': 'site2'},
               ' --role luc_glance'))
    @ddt.unpack
    def test_recreate_otherwise(self, arguments, words):
        result = self.stack.run('recreate_database_cassandra glance',
                                **arguments)
        self.assertEqual(['python3 store.py database glance' + words],
                         result.calls)

    def test_recreate_files(self):
        folder = self.stack.root / 'data' / 'luc' / 'databases'
        folder.mkdir(parents=True)
        for name in ('nova.global.db', 'nova_api.global.db'):
            (folder / name).touch()
        result = self.stack.run('recreate_database_cassandra nova',
                                LUC_STORE='embedded')
        self.assertEqual((0, []), (result.status, result.calls))
        self.assertEqual(['nova_api.global.db'],
                         [path.name for path in folder.iterdir()])

    def test_failure_is_not_swallowed(self):
        result = self.stack.run('recreate_database_cassandra keystone',
                                FAKE_FAILS='database')
        self.assertNotEqual(0, result.status)


@ddt.ddt
class RpcTest(_Base):

    @ddt.data(('get_transport_url', '', 'zmq:///'),
              ('get_transport_url', 'nova_cell1', 'zmq:///nova_cell1'),
              ('get_notification_url', '', 'zmq:///'),
              ('get_notification_url', 'x', 'zmq:///x'))
    @ddt.unpack
    def test_url(self, function, host, expected):
        self.assertEqual([expected], self.output(f'{function} {host}'))
        # in a shell of its own, too
        self.assertEqual([expected],
                         self.output(f'bash -c "{function} {host}"'))
        url = transport.TransportURL.parse(_conf(), expected)
        self.assertEqual(('zmq', host),
                         (url.transport, url.virtual_host or ''))

    def test_vhost_needs_no_making(self):
        self.assertEqual([], self.output('rpc_backend_add_vhost nova_cell1'))

    @ddt.data(('', 'DEFAULT', 'zmq:///'),
              ('oslo_messaging_notifications', 'oslo_messaging_notifications',
               'zmq:///'),
              ('DEFAULT nova_cell1', 'DEFAULT', 'zmq:///nova_cell1'))
    @ddt.unpack
    def test_iniset(self, words, section, expected):
        path = self.stack.root / 'x.conf'
        self.output(f'iniset_rpc_backend nova {path} {words}')
        found = configparser.RawConfigParser(
            default_section='none', strict=False)
        found.read(path)
        self.assertEqual(expected, found.get(section, 'transport_url'))

    def test_rabbit_is_left_alone(self):
        self.assertEqual(['rabbit:///x'], self.output(
            'get_transport_url x', LUC_MESSAGING='False'))


def _conf():
    from oslo_config import cfg
    return cfg.ConfigOpts()
