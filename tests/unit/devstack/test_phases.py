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


"""What the plug-in does in each of DevStack's phases, and undoes."""

import os
import stat
from unittest import mock

import ddt
from oslotest import base

from luc_drivers import config
from luc_drivers.db.store import settings as store_settings
from luc_drivers.messaging import opts as messaging_opts
from tests.unit.devstack import harness

_START = ('run_phase stack pre-install\nrun_phase stack install\n'
          'configure_database_cassandra\n')


class _Base(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.stack = self.useFixture(harness.Stack())

    def run_ok(self, script, **arguments):
        result = self.stack.run(script, **arguments)
        self.assertEqual(0, result.status, result.stderr)
        return result

    def options(self, name='luc.conf'):
        """Return the drivers' own view of a file that was written."""
        path = str(self.stack.conf / name)
        with mock.patch.dict(os.environ, LUC_CONFIG=path):
            with mock.patch.dict(config._cache, clear=True):
                conf = config.load()
                bus = messaging_opts.load()
                store = store_settings.resolve()
        return conf, bus, store


@ddt.ddt
class StackTest(_Base):

    def test_pre_install(self):
        result = self.run_ok('run_phase stack pre-install\n'
                             'install_database_cassandra\n'
                             'install_database_python_cassandra')
        self.assertEqual(
            ['install_package openjdk-17-jre-headless maven',
             f'setup_develop {harness.ROOT}'], result.calls)

    @ddt.data({'LUC_CASSANDRA_HOSTS': '10.0.0.1'},
              {'LUC_STORE': 'embedded', 'LUC_MATCHMAKER': 'embedded'},
              {'services': 'n-cpu', 'SERVICE_HOST': '10.1.0.9'})
    def test_no_java_without_a_node(self, arguments):
        result = self.run_ok('run_phase stack pre-install', **arguments)
        self.assertEqual([f'setup_develop {harness.ROOT}'], result.calls)

    def test_install_happens_once_and_in_order(self):
        result = self.run_ok(_START)
        done = [line.split(' --')[0] for line in result.calls
                if not line.startswith(('install', 'setup'))]
        self.assertEqual(
            ['echo_summary Configuring luc-drivers for site site1',
             'echo_summary Starting Cassandra', 'python3 node.py prepare',
             f'run_process cassandra {self.stack.root}/data/luc/cassandra/run',
             'python3 node.py wait', 'python3 store.py node',
             'luc bus keys create', 'python3 store.py bus'], done)

    def test_node(self):
        result = self.run_ok(
            _START, LUC_CASSANDRA_ADDRESS='10.2.0.1', LUC_SITE='paris',
            LUC_CASSANDRA_PORT='9142', LUC_CASSANDRA_STORAGE_PORT='7100',
            LUC_CASSANDRA_JMX_PORT='7299', LUC_CASSANDRA_HEAP='512')
        call, = result.called('python3 node.py prepare')
        for words in ('--address 10.2.0.1', '--site paris', '--port 9142',
                      '--storage-port 7100', '--jmx-port 7299',
                      '--heap 512', '--auth'):
            self.assertIn(words, call)
        self.assertNotIn('--seeds', call)

    def test_limit_of_open_files(self):
        self.run_ok(_START)
        drop_in = (self.stack.root / 'systemd'
                   / 'devstack@cassandra.service.d' / 'luc.conf')
        self.assertEqual('[Service]\nLimitNOFILE=100000\n',
                         drop_in.read_text())

    def test_node_without_authentication(self):
        result = self.run_ok(_START, LUC_CASSANDRA_AUTH='False')
        self.assertNotIn('--auth', result.called('python3 node.py p')[0])
        conf, _, _ = self.options()
        self.assertIsNone(conf.cassandra.username)

    def test_second_site(self):
        result = self.run_ok(_START, LUC_CASSANDRA_SEEDS='10.0.0.1,10.0.0.2',
                             LUC_SITE='site2', FAKE_SITE='site1')
        call, = result.called('python3 node.py prepare')
        self.assertIn('--seeds 10.0.0.1,10.0.0.2', call)
        self.assertNotIn('--bootstrap', call)
        self.assertEqual(1, len(result.called(
            'python3 node.py nodetool rebuild site1')))
        # stack.sh run again: the data is there
        result = self.run_ok(_START, LUC_CASSANDRA_SEEDS='10.0.0.1',
                             LUC_SITE='site2', FAKE_SITE='site1')
        self.assertEqual([], result.called('python3 node.py nodetool'))

    def test_second_node_of_a_site(self):
        result = self.run_ok(_START, LUC_CASSANDRA_SEEDS='10.0.0.1',
                             FAKE_SITE='site1')
        self.assertIn('--bootstrap',
                      result.called('python3 node.py prepare')[0])
        self.assertEqual([], result.called('python3 node.py nodetool'))

    def test_existing_cluster(self):
        result = self.run_ok(
            _START, LUC_CASSANDRA_HOSTS='10.0.0.1,10.0.0.2',
            LUC_CASSANDRA_USER='boss', LUC_CASSANDRA_PASSWORD='other',
            LUC_CASSANDRA_REPLICATION='site1:3')
        self.assertEqual([], result.called('run_process'))
        self.assertEqual([], result.called('python3 node.py'))
        self.assertEqual(['python3 store.py bus'],
                         result.called('python3 store.py'))
        self.assertIn('LUC_ADMIN_USER=boss', result.environment)
        self.assertIn('LUC_ADMIN_PASSWORD=other', result.environment)
        conf, _, store = self.options()
        self.assertEqual(['10.0.0.1', '10.0.0.2'],
                         conf.cassandra.contact_points)
        self.assertEqual((('site1', 3),), store.replication)

    def test_package(self):
        result = self.run_ok(_START, LUC_CASSANDRA_PACKAGE='True',
                             LUC_CASSANDRA_SERIES='41x',
                             before='mkdir -p $DATA_DIR/luc/cassandra/conf; '
                             'touch $DATA_DIR/luc/cassandra/conf/x')
        self.assertEqual(['install_package cassandra'],
                         result.called('install_package'))
        self.assertEqual(['restart_service cassandra'],
                         result.called('restart_service'))
        self.assertEqual([], result.called('run_process'))
        self.assertEqual(1, len(result.called('python3 node.py package')))
        self.assertEqual(1, len(result.called('sudo cp')))

    def test_package_on_other_systems(self):
        result = self.stack.run(_START, LUC_CASSANDRA_PACKAGE='True',
                                FAKE_DISTRO='fedora')
        self.assertEqual(18, result.status)

    def test_messaging_only_starts_cassandra(self):
        result = self.run_ok('run_phase stack pre-install\n'
                             'run_phase stack install', LUC_DATABASE='False')
        self.assertEqual(1, len(result.called('run_process cassandra')))
        self.assertEqual(['python3 store.py node --seeds ',
                          'python3 store.py bus'],
                         result.called('python3 store.py'))

    def test_database_only_makes_no_bus(self):
        result = self.run_ok(_START, LUC_MESSAGING='False')
        self.assertEqual([], result.called('python3 store.py bus'))
        self.assertEqual([], result.called('luc'))
        self.assertEqual(
            ['devstack@cassandra.service.d'],
            [path.name for path in (self.stack.root / 'systemd').iterdir()])

    def test_extra_lists_services(self):
        result = self.run_ok('run_phase stack extra')
        self.assertEqual(1, len(result.called('luc bus status')))
        self.assertEqual([], self.run_ok(
            'run_phase stack extra', LUC_MESSAGING='False').called('luc'))

    @ddt.data('stack post-config', 'stack test-config', 'source', '')
    def test_nothing_to_do(self, phase):
        self.assertEqual([], self.run_ok(f'run_phase {phase}').calls)

    def test_failure_stops_stack(self):
        for step in ('node.py prepare', 'node.py wait', 'store.py node',
                     'keys create', 'store.py bus'):
            result = self.stack.run(_START + 'say going on', FAKE_FAILS=step)
            self.assertNotEqual(0, result.status, step)
            self.assertEqual([], result.called('going on'), step)


class HostFileTest(_Base):

    def test_control_and_agent(self):
        self.run_ok(_START, LUC_BIND='10.3.0.1', LUC_PORT_RANGE='21000:21500',
                    LUC_SITE='paris')
        for name, plane in (('luc.conf', 'control'),
                            ('luc-agent.conf', 'agent')):
            conf, bus, store = self.options(name)
            self.assertEqual('paris', conf.site)
            self.assertEqual(['10.1.0.1'], conf.cassandra.contact_points)
            self.assertEqual(f'luc_{plane}', conf.cassandra.username)
            self.assertEqual(plane, bus.plane)
            self.assertEqual('10.3.0.1', bus.bind)
            self.assertEqual((21000, 21500), bus.port_range)
            self.assertEqual('curve', bus.security)
            self.assertEqual(f'{self.stack.conf}/keys', bus.keys_dir)
            self.assertEqual('cassandra', store.kind)
            mode = os.stat(self.stack.conf / name).st_mode
            self.assertEqual(0o600, stat.S_IMODE(mode))
        passwords = {self.options(name)[0].cassandra.password
                     for name in ('luc.conf', 'luc-agent.conf')}
        self.assertEqual(2, len(passwords))

    def test_units_of_agents(self):
        self.run_ok(_START, NUMBER_FAKE_NOVA_COMPUTE='2')
        units = {path.name for path in (self.stack.root / 'systemd').iterdir()}
        for service in ('n-cpu', 'n-cpu-1', 'n-cpu-2', 'q-ovn-agent'):
            self.assertIn(f'devstack@{service}.service.d', units)
        self.assertNotIn('devstack@n-cond.service.d', units)
        drop_in = (self.stack.root / 'systemd' / 'devstack@n-cpu.service.d'
                   / 'luc.conf')
        self.assertEqual(
            f'[Service]\nEnvironment=LUC_CONFIG={self.stack.conf}/'
            'luc-agent.conf\n', drop_in.read_text())

    def test_compute_host_has_the_agents_role_only(self):
        result = self.run_ok('run_phase stack install', services='n-cpu',
                             SERVICE_HOST='10.1.0.9')
        conf, bus, _ = self.options()
        self.assertEqual('luc_agent', conf.cassandra.username)
        self.assertEqual('agent', bus.plane)
        self.assertEqual(['luc bus keys create --plane agent'],
                         result.called('luc'))
        control = self.run_ok('echo $LUC_CONTROL_PASSWORD').stdout.strip()
        for path in self.stack.conf.rglob('*.conf'):
            self.assertNotIn(control, path.read_text())

    def test_embedded(self):
        result = self.run_ok(_START, LUC_STORE='embedded',
                             LUC_MATCHMAKER='embedded')
        conf, bus, store = self.options()
        self.assertEqual(('embedded', 'embedded'),
                         (store.kind, bus.matchmaker))
        self.assertEqual(f'{self.stack.root}/data/luc', conf.state_path)
        self.assertEqual([], result.called('python3'))

    def test_without_security(self):
        result = self.run_ok(_START, LUC_SECURITY='none')
        _, bus, _ = self.options()
        self.assertEqual(('none', True), (bus.security, bus.allow_insecure))
        self.assertEqual([], result.called('luc bus keys'))

    def test_keys_of_other_hosts(self):
        stored = self.stack.root / 'other.secret'
        stored.write_text('key\n')
        result = self.run_ok(_START, LUC_ALLOWED_KEYS='/a.key,/b.key',
                             LUC_STORED_MESSAGES_KEY=str(stored))
        self.assertEqual(
            ['luc bus keys create --plane control',
             'luc bus keys allow /a.key', 'luc bus keys allow /b.key'],
            result.called('luc'))
        kept = self.stack.conf / 'keys' / 'store.secret'
        self.assertEqual('key\n', kept.read_text())
        self.assertEqual(0o600, stat.S_IMODE(os.stat(kept).st_mode))
        # keys outlive another stack.sh
        self.assertEqual([], self.run_ok(_START).called('luc'))


@ddt.ddt
class UndoTest(_Base):

    def test_unstack_leaves_cassandra(self):
        self.run_ok(_START)
        result = self.run_ok('run_phase unstack')
        self.assertEqual([], result.calls)

    def test_unstack_all_stops_cassandra_last(self):
        result = self.run_ok(
            'trap "say mine" EXIT\nrun_phase unstack\nsay stop services',
            UNSTACK_ALL='-1')
        self.assertEqual(['stop services', 'stop_process cassandra', 'mine'],
                         result.calls)

    @ddt.data({'LUC_CASSANDRA_HOSTS': '10.0.0.1'},
              {'services': 'n-cpu', 'SERVICE_HOST': '10.1.0.9'})
    def test_unstack_all_without_a_node(self, arguments):
        self.assertEqual([], self.run_ok(
            'run_phase unstack', UNSTACK_ALL='-1', **arguments).calls)

    def test_clean(self):
        before = {path for path in self.stack.root.rglob('*')}
        self.run_ok(_START)
        self.assertTrue(self.stack.conf.exists())
        result = self.run_ok('run_phase clean\ncleanup_database_cassandra')
        self.assertEqual(['stop_process cassandra'], result.calls)
        after = {path for path in self.stack.root.rglob('*')}
        self.assertEqual(set(), {path for path in after - before
                                 if not path.name.startswith('calls')})

    def test_clean_of_a_second_site(self):
        self.run_ok(_START, LUC_CASSANDRA_SEEDS='10.0.0.9', LUC_SITE='site2')
        result = self.run_ok('run_phase clean', LUC_SITE='site2',
                             LUC_CASSANDRA_SEEDS='10.0.0.9')
        done = [line.split(' --')[0] for line in result.calls]
        self.assertEqual(
            ['python3 store.py leave',
             'python3 node.py nodetool decommission force',
             'python3 store.py leave', 'stop_process cassandra'], done[-4:])
        self.assertEqual([], result.called('warn'))

    def test_clean_says_what_it_could_not_undo(self):
        self.run_ok(_START, LUC_CASSANDRA_SEEDS='10.0.0.9', LUC_SITE='site2')
        result = self.run_ok('run_phase clean', LUC_SITE='site2',
                             LUC_CASSANDRA_SEEDS='10.0.0.9',
                             FAKE_FAILS='decommission')
        self.assertEqual(1, len(result.called('warn')))
        self.assertFalse(self.stack.conf.exists())

    def test_clean_of_a_cluster_of_others(self):
        self.run_ok(_START + 'recreate_database_cassandra keystone',
                    LUC_CASSANDRA_HOSTS='10.0.0.1')
        result = self.run_ok('run_phase clean',
                             LUC_CASSANDRA_HOSTS='10.0.0.1')
        self.assertEqual(
            [f'python3 store.py drop {self.stack.root}/data/luc/'
             'databases.txt'], result.calls)

    def test_clean_removes_a_package_only_if_it_is_ours(self):
        arguments = {'LUC_CASSANDRA_PACKAGE': 'True'}
        conf = ('mkdir -p $DATA_DIR/luc/cassandra/conf; '
                'touch $DATA_DIR/luc/cassandra/conf/x')
        self.run_ok(_START, before=conf, **arguments)
        result = self.run_ok('run_phase clean',
                             INSTALLED_PACKAGES='cassandra', **arguments)
        self.assertEqual(['uninstall_package cassandra'],
                         result.called('uninstall'))
        self.run_ok(_START, before=conf, INSTALLED_PACKAGES='cassandra',
                    **arguments)
        result = self.run_ok('run_phase clean',
                             INSTALLED_PACKAGES='cassandra', **arguments)
        self.assertEqual(['stop_service cassandra'], result.calls)

    def test_clean_of_nothing(self):
        self.assertEqual([], self.run_ok('run_phase clean').calls)
