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

"""What one-box writes and how it answers, without any service."""

import configparser
import io
import json
import os
import pathlib
import re
import stat
import sys
import tempfile
import time
import unittest
from unittest import mock

from luc_drivers.onebox import backends
from luc_drivers.onebox import bench
from luc_drivers.onebox import bootstrap
from luc_drivers.onebox import cloud as clouds
from luc_drivers.onebox import commands
from luc_drivers.onebox import config
from luc_drivers.onebox import daemons
from luc_drivers.onebox import errors
from luc_drivers.onebox import main
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.testing import cqlping


class OneboxTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = pathlib.Path(folder.name, 'state')
        self.venv = pathlib.Path(folder.name, 'venv')
        for name in ('nova/api-paste.ini', 'neutron/api-paste.ini',
                     'glance/glance-api-paste.ini'):
            path = self.venv / 'etc' / name
            path.parent.mkdir(parents=True)
            path.write_text('[pipeline:x]\n')

    def cloud(self, backend='luc', store=None, **given):
        settings = onebox_settings.with_passwords(onebox_settings.load(
            self.state, backend, store, self.venv, given))
        return clouds.Cloud(settings, progress_module.Progress(io.StringIO()))

    def written(self, cloud):
        """Return {relative path: parsed file} of a cloud's configuration."""
        clouds.write_config(cloud)
        found = {}
        for path in cloud.settings.etc.rglob('*.conf'):
            parsed = configparser.ConfigParser(
                interpolation=None, default_section='none')
            parsed.read(path)
            found[str(path.relative_to(cloud.settings.etc))] = parsed
        return found

    def call(self, *argv):
        """Run the command line; return (exit status, output, errors)."""
        with mock.patch('sys.stdout', io.StringIO()) as out, \
                mock.patch('sys.stderr', io.StringIO()) as err:
            try:
                status = main.main([*argv, '--state', str(self.state),
                                    '--venv', str(self.venv)])
            except SystemExit as exc:
                status = exc.code
        return status, out.getvalue(), err.getvalue()


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


class CommandLineTest(OneboxTest):

    def test_argument_errors(self):
        for argv, text in (
                (['up', '--backend', 'baseline', '--store', 'embedded'],
                 '--store belongs to --backend luc'),
                (['boot', '0'], 'count must be at least 1'),
                (['up', '--workers', '0'], 'workers must be at least 1'),
                (['bench', '--parallel', '20', '0'],
                 'parallel must be at least 1'),
                (['up', '--port-offset', '60000'],
                 '--port-offset must be from 0'),
                (['restart', 'nova'], "no service 'nova': there are "
                                      'cassandra, memcached'),
                (['logs', 'glance'], 'glance has logged nothing yet'),
                (['calls'], 'do not log their database calls'),
                (['up', '--cassandra', 'x:y'], 'write it as host:port')):
            status, _, err = self.call(*argv)
            self.assertEqual(1, status, argv)
            self.assertIn(text, err)
            self.assertEqual(1, err.count('\n'), err)
        for argv in (['up', '--store', 'redis'], ['fly'], []):
            self.assertEqual(2, self.call(*argv)[0], argv)

    def test_empty_environment(self):
        (self.venv / 'etc' / 'nova').rename(self.venv / 'etc' / 'away')
        status, _, err = self.call('up', '--store', 'embedded')
        self.assertEqual(1, status)
        self.assertIn(f'there is no nova in the virtual environment '
                      f'{self.venv}', err)

    def test_status_and_wipe_of_nothing(self):
        status, out, _ = self.call('status', '--store', 'embedded')
        self.assertEqual(3, status)
        self.assertRegex(out, r'keystone +stopped')
        self.assertEqual(0, self.call('wipe', '--store', 'embedded')[0])
        self.assertEqual(0, self.call('wipe')[0])

    def test_wipe_leaves_other_clouds(self):
        for backend, store in (('luc', 'embedded'), ('luc', 'cassandra')):
            onebox_settings.save(self.cloud(backend, store).settings)
        self.assertEqual(0, self.call('wipe', '--store', 'embedded')[0])
        self.assertFalse((self.state / 'embedded').exists())
        self.assertTrue((self.state / 'cassandra').exists())


class DaemonTest(OneboxTest):

    def daemon(self, *command, **options):
        return daemons.Daemon('sleeper', command, **options)

    def start(self, settings, daemon):
        started = daemons.start(settings, daemon, dict(os.environ))
        self.addCleanup(daemons.kill, settings, daemon)
        return started

    def test_life(self):
        cloud = self.cloud()
        settings, daemon = cloud.settings, self.daemon('sleep', '60')
        settings.folder.mkdir(parents=True)
        self.assertTrue(self.start(settings, daemon))
        self.assertFalse(self.start(settings, daemon))
        [state] = daemons.status(settings, [daemon])
        self.assertEqual(1, state.processes)
        self.assertGreater(state.rss_mb, 0)
        daemons.stop(settings, [daemon], cloud.progress)
        self.assertIsNone(daemons.status(settings, [daemon])[0].pid)
        daemons.stop(settings, [daemon], cloud.progress)

    def test_processor_time_of_the_whole_group(self):
        cloud = self.cloud()
        settings = cloud.settings
        settings.folder.mkdir(parents=True)
        burn = 'import time\nwhile time.process_time() < .3: pass\n'
        daemon = self.daemon(
            'sh', '-c', f'{sys.executable} -c "{burn}"; {sys.executable} -c '
            f'"{burn}time.sleep(60)"')
        self.start(settings, daemon)
        deadline = time.monotonic() + 60
        # Clock ticks: each process may lose one of 10 ms.
        while (used := daemons.status(settings, [daemon])[0].cpu_seconds
               ) < .55:
            self.assertLess(time.monotonic(), deadline, used)
            time.sleep(0.05)

    def test_deaf_one_is_killed_with_its_children(self):
        cloud = self.cloud()
        settings = cloud.settings
        settings.folder.mkdir(parents=True)
        daemon = self.daemon('sh', '-c', 'trap "" TERM; touch up; sleep 60 & '
                             'while :; do sleep 0.1; done', stop_timeout=0.3)
        self.start(settings, daemon)
        for _ in range(100):
            if settings.folder.joinpath('up').exists():
                break
            daemons.time.sleep(0.02)
        group = daemons.status(settings, [daemon])[0].pid
        daemons.stop(settings, [daemon], cloud.progress)
        self.assertNotIn(group, daemons.process.groups())
        self.assertIn('ignored SIGTERM', cloud.progress._stream.getvalue())

    def test_early_end_is_told_with_its_reason(self):
        settings = self.cloud().settings
        settings.folder.mkdir(parents=True)
        daemon = self.daemon('sh', '-c', 'echo "ValueError: bad luck"',
                             url='http://127.0.0.1:1/')
        self.start(settings, daemon)
        with self.assertRaisesRegex(errors.OneboxError,
                                    'sleeper ended: ValueError: bad luck'):
            daemons.wait(settings, [daemon], 20)

    def test_late_one(self):
        settings = self.cloud().settings
        settings.folder.mkdir(parents=True)
        daemon = self.daemon('sleep', '60', ready=lambda: False)
        self.start(settings, daemon)
        with self.assertRaisesRegex(errors.OneboxError,
                                    'sleeper is not ready after 0 s'):
            daemons.wait(settings, [daemon], 0.2)

    def test_taken_port_and_missing_program(self):
        settings = self.cloud().settings
        settings.folder.mkdir(parents=True)
        with daemons.socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            sock.listen()
            port = sock.getsockname()[1]
            with self.assertRaisesRegex(
                    errors.OneboxError, f'port {port} of 127.* --port-offset'):
                self.start(settings, self.daemon('sleep', '1', port=port))
        with self.assertRaisesRegex(errors.OneboxError,
                                    "sleeper can't be started: /no/such"):
            daemons.start(settings, self.daemon('/no/such'), {})


class CommandTest(OneboxTest):

    def test_failure_is_one_line(self):
        cloud = self.cloud()
        cloud.settings.folder.mkdir(parents=True)
        run = commands.runner(cloud.settings, dict(os.environ),
                              cloud.progress)
        run('fine', ('true',), 'x')
        run('fine, too', ('sh', '-c', 'exit 2'), 'x', accepted=(0, 2))
        with self.assertRaisesRegex(
                errors.OneboxError,
                r'^sync: exit status 3: DBError: no host \(see .*x.cmd\)$'):
            run('sync', ('sh', '-c', 'echo "DBError: no host"; '
                         'echo bye; exit 3'), 'x')
        with self.assertRaisesRegex(errors.OneboxError, 'sync: /no/such'):
            run('sync', ('/no/such',), 'x')


class BenchTest(unittest.TestCase):

    RESULT = {
        'cloud': 'cassandra', 'one_boot': [3.0, 1.0, 2.0],
        'one_delete': [0.5],
        'parallel': [
            {'count': count, 'active': count - 1, 'boot_wall': 9.0,
             'boot_median': 5.0, 'boot_max': 9.0, 'delete_wall': 4.0,
             'delete_median': 3.0} for count in (20, 100)]}

    def test_table(self):
        one = bench.with_daemons(self.RESULT, [
            daemons.State('glance', 7, 1, 90.0, 80.0, 30.0)], [
            daemons.State('glance', 7, 2, 100.4, 80.0, 42.5),
            daemons.State('gone', None, 0, 0.0, 0.0, 0.0),
            daemons.State('nova', 8, 1, 50.0, 40.0, 1.25)])
        text = bench.table([one, dict(self.RESULT, cloud='baseline',
                                      parallel=self.RESULT['parallel'][:1])])
        self.assertRegex(text, r'boots at once +20 +20')
        self.assertRegex(text, r'boots at once +100 +-')
        self.assertRegex(text, r'of them ACTIVE +99 +-')
        self.assertRegex(text, r'one boot, median s +2\.00 +2\.00')
        self.assertRegex(text, r'MB glance +100/80 +-')
        self.assertRegex(text, r'MB all +150/120 +0/0')
        self.assertRegex(text, r'CPU s glance +12\.5 +-')
        self.assertRegex(text, r'CPU s all +13\.8 +0\.0')
        self.assertNotIn('gone', text)

    def test_kept_as_lines(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'a', 'b.jsonl')
            bench.keep(self.RESULT, path)
            bench.keep(self.RESULT, path)
            self.assertEqual([self.RESULT] * 2, [
                json.loads(line) for line in path.read_text().splitlines()])
