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

"""A one-box cloud's configuration and settings."""

import os
import re
import stat
from unittest import mock

from luc_drivers.onebox import backends
from luc_drivers.onebox import bootstrap
from luc_drivers.onebox import cloud as clouds
from luc_drivers.onebox import config
from luc_drivers.onebox import errors
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.testing import cqlping
from tests.unit.onebox.base import OneboxTest


class ConfigTest(OneboxTest):

    def test_ours(self):
        cloud = self.cloud()
        files = self.written(cloud)
        for name, section, database in (
                ('keystone/keystone.conf', 'database', 'keystone'),
                ('glance/glance-api.conf', 'database', 'glance'),
                ('neutron/neutron.conf', 'database', 'neutron'),
                ('placement/placement.conf', 'placement_database',
                 'placement'),
                ('nova/nova.conf', 'api_database', 'nova_api'),
                ('nova/nova.conf', 'database', 'nova_cell0'),
                ('nova-cell1/nova.conf', 'database', 'nova_cell1')):
            self.assertEqual(f'sqlite+luc:///{database}',
                             files[name][section]['connection'])
        self.assertEqual('zmq:///',
                         files['nova/nova.conf']['DEFAULT']['transport_url'])
        for name in ('nova-cell1', 'nova-compute'):
            self.assertEqual(
                'zmq:///nova_cell1',
                files[f'{name}/nova.conf']['DEFAULT']['transport_url'])

    def test_compute_has_no_database(self):
        cloud = self.cloud()
        files = self.written(cloud)
        compute = files['nova-compute/nova.conf']
        self.assertFalse({'database', 'api_database'} & set(compute))
        host, own = files['luc/luc.conf'], files['luc-compute/luc.conf']
        self.assertNotIn('database', own)
        self.assertEqual('agent', own['bus']['plane'])
        self.assertEqual('luc_compute', own['cassandra']['username'])
        self.assertNotEqual(host['cassandra']['password'],
                            own['cassandra']['password'])
        envs = {daemon.name: daemon.env.get('LUC_CONFIG', '')
                for daemon in cloud.services()}
        self.assertIn('luc-compute', envs['nova-compute'])
        self.assertIn('/etc/luc/', envs['nova-conductor'])

    def test_embedded(self):
        host = self.written(self.cloud(store='embedded'))['luc/luc.conf']
        self.assertEqual('embedded', host['database']['store'])
        self.assertEqual('embedded', host['bus']['matchmaker'])
        self.assertNotIn('cassandra', host)

    def test_baseline(self):
        cloud = self.cloud('baseline')
        files = self.written(cloud)
        self.assertTrue(
            files['nova/nova.conf']['database']['connection'].startswith(
                'mysql+pymysql://os:'))
        self.assertIn(':25672/nova_cell1',
                      files['nova-compute/nova.conf']['DEFAULT'][
                          'transport_url'])
        self.assertNotIn('luc/luc.conf', files)

    def test_halves(self):
        for name, database, transport, server in (
                ('database-only', 'sqlite+luc:///', 'rabbit://', 'rabbitmq'),
                ('messaging-only', 'mysql+pymysql://', 'zmq:///',
                 'mariadb')):
            cloud = self.cloud(name, 'embedded')
            files = self.written(cloud)
            for path, section in (('keystone/keystone.conf', 'database'),
                                  ('nova-cell1/nova.conf', 'database')):
                self.assertRegex(files[path][section]['connection'],
                                '^' + re.escape(database))
            for path in ('nova/nova.conf', 'nova-compute/nova.conf'):
                self.assertRegex(files[path]['DEFAULT']['transport_url'],
                                '^' + re.escape(transport))
            self.assertEqual([server], cloud.backend.names(cloud.settings))
            self.assertEqual(f'{name}-embedded', cloud.settings.variant)

    def test_existing_cassandra(self):
        cloud = self.cloud(cassandra='10.0.0.1:9999')
        section = self.written(cloud)['luc/luc.conf']['cassandra']
        self.assertEqual(('10.0.0.1', '9999'),
                         (section['contact_points'], section['port']))
        self.assertNotIn('username', section)
        self.assertEqual([], cloud.backend.names(cloud.settings))
        with self.assertRaisesRegex(errors.OneboxError,
                                    '--cassandra h:p: write it'):
            self.written(self.cloud(cassandra='h:p'))

    def test_long_lived_cassandra_compiles_twice(self):
        for given in (False, True):
            onebox_settings.save(self.cloud(long_lived=given).settings)
            settings = onebox_settings.load(self.state, 'luc', None)
            node, = backends.luc._cluster(settings).nodes
            self.assertEqual(given, node.long_lived)

    def test_role_of_a_new_cassandra_comes_late(self):
        answers = [cqlping.Refused('no such role')] * 2 + [None]
        with mock.patch.object(cqlping, 'ask', side_effect=answers) as ask, \
                mock.patch.object(backends.luc.time, 'sleep'):
            backends.luc._wait_for_role('h', 9, 'cassandra', 'x')
            self.assertEqual(3, ask.call_count)
            ask.side_effect = cqlping.Refused('bad password')
            with mock.patch.object(backends.luc, 'ROLE_TIMEOUT', 0), \
                    self.assertRaisesRegex(
                        errors.OneboxError, 'at h:9 refuses role cassandra: '
                        'bad password .--cassandra-user'):
                backends.luc._wait_for_role('h', 9, 'cassandra', 'x')

    def test_port_offset_moves_all_ports(self):
        cloud = self.cloud(port_offset=100)
        for path in cloud.settings.etc.rglob('*.conf'):
            self.assertNotIn(':5000', path.read_text())
        self.assertEqual('9142', self.written(cloud)['luc/luc.conf'][
            'cassandra']['port'])
        self.assertEqual({5100, 8878, 9392, 8874, 9796, 11311},
                         {daemon.port for daemon in cloud.services()
                          if daemon.port})

    def test_keystone_has_no_threads(self):
        def option(daemon, name):
            return daemon.command[daemon.command.index(name) + 1]

        cloud = self.cloud(workers=3)
        keystone, glance = (cloud.service(name)
                            for name in ('keystone', 'glance'))
        self.assertEqual(('6', '1'), (option(keystone, '--processes'),
                                      option(keystone, '--threads')))
        self.assertEqual(('3', '4'), (option(glance, '--processes'),
                                      option(glance, '--threads')))

    def test_written_again_is_the_same(self):
        cloud = self.cloud()
        self.written(cloud)
        before = {path: path.read_text()
                  for path in cloud.settings.etc.rglob('*.*')}
        onebox_settings.save(cloud.settings)
        again = clouds.Cloud(onebox_settings.load(
            self.state, None, None, self.venv), cloud.progress)
        self.assertEqual(cloud.settings, again.settings)
        self.written(again)
        self.assertEqual(before, {
            path: path.read_text()
            for path in again.settings.etc.rglob('*.*')})

    def test_files_with_passwords_are_private(self):
        cloud = self.cloud()
        self.written(cloud)
        onebox_settings.save(cloud.settings)
        bootstrap.write_openrc(cloud.settings)
        files = [*cloud.settings.etc.rglob('*.conf'), cloud.settings.openrc,
                 cloud.settings.folder / 'settings.json']
        self.assertGreater(len(files), 8)
        for path in files:
            self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode), path)

    def test_render(self):
        self.assertEqual(
            ['[a]', 'b = true', 'c = 1', '', '[d]'],
            config.render({'a': {'b': True, 'c': 1}, 'd': {}})
            .splitlines()[2:])

    def test_openrc_names_the_environment(self):
        cloud = self.cloud()
        cloud.settings.folder.mkdir(parents=True)
        bootstrap.write_openrc(cloud.settings)
        text = cloud.settings.openrc.read_text()
        self.assertIn("OS_AUTH_URL='http://127.0.0.1:5000/v3'", text)
        self.assertIn(f'{self.venv}/bin', text)

    def test_environment_is_free_of_the_users(self):
        with mock.patch.dict(os.environ, OS_PASSWORD='x', LUC_CONFIG='y'):
            env = self.cloud().environment
        self.assertNotIn('OS_PASSWORD', env)
        self.assertNotIn('LUC_CONFIG', env)
        self.assertTrue(env['PATH'].startswith(f'{self.venv}/bin:'))

    def test_interrupted_set_up_goes_on(self):
        cloud = self.cloud()
        cloud.settings.folder.mkdir(parents=True)
        ran = []

        def run(what, *args, **options):
            ran.append(what)
            if what == broken:
                raise errors.OneboxError(what)

        broken = 'glance: tables'
        with mock.patch.object(clouds.Cloud, 'runner', return_value=run), \
                mock.patch.object(clouds, '_start'), \
                mock.patch.object(bootstrap, 'register'):
            with self.assertRaisesRegex(errors.OneboxError, broken):
                clouds.set_up(cloud)
            self.assertFalse(clouds._is_set_up(cloud.settings))
            self.assertIn('nova: API tables', ran)
            with self.assertRaisesRegex(
                    errors.OneboxError, f'^{broken}; an earlier onebox.sh '
                    'was interrupted in this step: .* wipe$'):
                clouds.set_up(cloud)
            first, broken = list(ran), ''
            clouds.set_up(cloud)
            self.assertTrue(clouds._is_set_up(cloud.settings))
            again = ran[len(first):]
            self.assertEqual('glance: tables', again[0])
            self.assertIn('neutron: tables', again)
            self.assertEqual({'glance: tables'}, set(first) & set(again))
            # Another Cassandra has none of it.
            other = self.cloud(cassandra='10.0.0.1:9042')
            self.assertFalse(clouds._is_set_up(other.settings))

    def test_backends_offer_the_same(self):
        names = ('start', 'stop', 'names', 'kill', 'logs', 'status',
                 'write_config', 'db_url', 'transport_url', 'env',
                 'describe')
        for backend in (backends.luc, backends.baseline, backends.half):
            for name in names:
                self.assertTrue(callable(getattr(backend, name)), name)


class SettingsTest(OneboxTest):

    def test_last_cloud_is_the_default(self):
        onebox_settings.save(self.cloud('luc', 'embedded').settings)
        found = onebox_settings.load(self.state, None, None)
        self.assertEqual('embedded', found.variant)
        onebox_settings.save(self.cloud('baseline').settings)
        found = onebox_settings.load(self.state, None, None)
        self.assertEqual(('baseline', 25000),
                         (found.variant, found.port('keystone')))
        self.assertEqual('embedded', onebox_settings.load(
            self.state, None, 'embedded').variant)

    def test_given_beats_saved(self):
        onebox_settings.save(self.cloud(port_offset=5).settings)
        self.assertEqual(5, onebox_settings.load(
            self.state, 'luc', None).port_offset)
        self.assertEqual(7, onebox_settings.load(
            self.state, 'luc', None, given={'port_offset': 7,
                                            'workers': None}).port_offset)

    def test_damaged(self):
        self.state.mkdir()
        (self.state / 'current.json').write_text('{')
        status, _, err = self.call('status')
        self.assertEqual(1, status)
        self.assertRegex(err, r"^onebox.sh status: .*current.json can't be "
                              r'read .*\n$')
