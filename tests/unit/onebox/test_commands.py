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

"""The one-box command line, and the programs that it runs."""

import os
import sys
import time

from luc_drivers.onebox import commands
from luc_drivers.onebox import daemons
from luc_drivers.onebox import errors
from luc_drivers.onebox import settings as onebox_settings
from tests import waiting
from tests.unit.onebox.base import OneboxTest


class CommandLineTest(OneboxTest):

    def test_argument_errors(self):
        for argv, text in (
                (['up', '--backend', 'baseline', '--store', 'embedded'],
                 '--store belongs to --backend luc'),
                (['boot', '0'], 'count must be at least 1'),
                (['up', '--workers', '0'], 'workers must be at least 1'),
                (['bench', '--parallel', '20', '0'],
                 'parallel must be at least 1'),
                (['bench', '--backend', 'baseline', '--against', 'baseline'],
                 '--against baseline: that is the cloud itself'),
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

    def test_wiped_cloud_is_no_longer_meant(self):
        def meant():
            return onebox_settings.load(self.state, None, None).variant

        for backend, store in (('luc', 'embedded'), ('baseline', None)):
            onebox_settings.save(self.cloud(backend, store).settings)
        self.assertEqual(0, self.call('wipe', '--store', 'embedded')[0])
        self.assertEqual('baseline', meant())
        self.assertEqual(0, self.call('wipe')[0])
        self.assertEqual('cassandra', meant())


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
        waiting.until(settings.folder.joinpath('up').exists)
        group = daemons.status(settings, [daemon])[0].pid
        daemons.stop(settings, [daemon], cloud.progress)
        self.assertNotIn(group, daemons.process.groups())
        self.assertIn('ignored SIGTERM', cloud.progress._stream.getvalue())

    def test_workers_are_left_to_the_one_that_leads_them(self):
        cloud = self.cloud()
        settings = cloud.settings
        settings.folder.mkdir(parents=True)
        worker = 'trap "touch told" TERM; touch up; while :; do sleep .1; done'
        daemon = self.daemon(
            'sh', '-c', f"trap 'exit 0' TERM; sh -c '{worker}' & "
            'while :; do sleep .1; done')
        self.start(settings, daemon)
        waiting.until(settings.folder.joinpath('up').exists)
        group = daemons.status(settings, [daemon])[0].pid
        daemons.stop(settings, [daemon], cloud.progress)
        self.assertFalse(settings.folder.joinpath('told').exists())
        self.assertNotIn('ignored SIGTERM', cloud.progress._stream.getvalue())
        waiting.until(lambda: group not in daemons.process.groups())

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
