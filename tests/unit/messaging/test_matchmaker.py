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

"""Matchmakers that need no service."""

import os
import tempfile
import time
from unittest import mock

import fixtures
import testtools

from luc_drivers.messaging import matchmaker
from luc_drivers.messaging.matchmaker import base
from luc_drivers.messaging.matchmaker import embedded
from luc_drivers.messaging.matchmaker import memory
from tests.unit.messaging import matchmaker_api


class MemoryTest(matchmaker_api.MatchmakerTests, testtools.TestCase):

    def setUp(self):
        memory.reset()
        self.addCleanup(memory.reset)
        super().setUp()

    def make(self, **settings):
        self.past = 0.0
        mm = memory.MemoryMatchmaker(self.settings(
            matchmaker='memory', **settings))
        mm.clock = lambda: time.monotonic() + self.past
        return mm

    def expire(self, seconds):
        self.past += seconds + 0.001

    def test_child_starts_empty(self):
        self.mm.register(matchmaker_api.endpoint('a'), 60)
        pid = os.fork()
        if not pid:
            os._exit(0 if not self.mm.endpoints() else 1)
        self.assertEqual(0, os.waitpid(pid, 0)[1])
        self.assertEqual(1, len(self.mm.endpoints()))


class EmbeddedTest(matchmaker_api.MatchmakerTests, testtools.TestCase):

    def setUp(self):
        self.folder = self.useFixture(fixtures.TempDir()).path
        super().setUp()

    def make(self, **settings):
        mm = embedded.EmbeddedMatchmaker(self.settings(
            matchmaker='embedded', state_path=self.folder, **settings))
        self.addCleanup(mm.close)
        return mm

    def expire(self, seconds):
        time.sleep(seconds + 0.01)

    def test_other_sites(self):
        other = self.make(site='site2')
        row = matchmaker_api.endpoint('b', site='site2')
        other.register(row, 60)
        other.subscribe([matchmaker_api.subscription('b')], 60, 60)
        self.assertEqual([], self.mm.lookup('cell1', 'nova', 'compute'))
        self.assertEqual([row], [r.endpoint for r in self.mm.lookup(
            'cell1', 'nova', 'compute', site='site2')])
        self.assertEqual(['site1', 'site2'], self.mm.sites())

    def test_processes_share_it(self):
        self.mm.register(matchmaker_api.endpoint('parent'), 60)
        pid = os.fork()
        if not pid:
            code = 1
            try:
                there = self.mm.endpoint('parent')
                self.mm.register(matchmaker_api.endpoint('child'), 60)
                self.put('1')
                code = 0 if there else 2
            finally:
                os._exit(code)
        self.assertEqual(0, os.waitpid(pid, 0)[1])
        self.assertIsNotNone(self.mm.endpoint('child'))
        self.assertEqual(['1'], self.fetched())
        self.mm.register(matchmaker_api.endpoint('later'), 60)

    def test_next_start_of_the_host_ends_registrations(self):
        self.mm.register(matchmaker_api.endpoint('a'), 3600)
        self.mm.mailbox_claim(self.box, 'o', 3600)
        self.mm.lease_claim(matchmaker_api.LOG, 'p', 0, 'o', 3600)
        self.put('1')
        with mock.patch('luc_drivers.messaging.registrar.boot_id',
                        return_value='0000000099-next'):
            self.assertIsNone(self.mm.endpoint('a'))
            self.assertEqual([], self.mm.endpoints())
            self.assertEqual('', self.mm.leases(matchmaker_api.LOG,
                                                'p')[0].owner)
            self.assertTrue(self.mm.mailbox_claim(self.box, 'n', 60))
            self.assertEqual(['1'], self.fetched())

    def test_what_is_over_is_removed(self):
        self.put('1', ttl=0.01)
        self.mm.subscribe([matchmaker_api.subscription('x')], 0.01, 0.01)
        self.mm.register(matchmaker_api.endpoint('x'), 0.01)
        self.mm.log_append(matchmaker_api.LOG, 0, base.LogEntry('e', b''),
                           0.01)
        time.sleep(0.02)
        self.mm.file._swept = 0.0
        self.mm.register(matchmaker_api.endpoint('a'), 60)
        for table, count in (('endpoints', 1), ('subscriptions', 0),
                             ('known', 0), ('mailbox', 0), ('log', 0),
                             ('heads', 0)):
            self.assertEqual([(count,)], self.mm.file.rows(
                'SELECT count(*) FROM ' + table), table)

    def test_unwritable_folder_names_the_setting(self):
        path = os.path.join(self.folder, 'file')
        with open(path, 'w'):
            pass
        mm = embedded.EmbeddedMatchmaker(self.settings(state_path=path))
        error = self.assertRaises(base.MatchmakerRefused, mm.prepare)
        self.assertIn('state_path', str(error))

    def test_not_a_database_names_the_setting(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, 'bus.sqlite'), 'w') as f:
                f.write('no database at all' * 100)
            mm = embedded.EmbeddedMatchmaker(self.settings(
                state_path=folder))
            error = self.assertRaises(base.MatchmakerRefused, mm.endpoints)
            self.assertIn('state_path', str(error))

    def test_locked_file_is_unavailable(self):
        other = self.make()
        with mock.patch(
                'luc_drivers.messaging.matchmaker.embedded_file.'
                'BUSY_TIMEOUT', 50):
            other.prepare()
        with self.mm.file.transaction():
            self.assertRaises(base.MatchmakerUnavailable, other.register,
                              matchmaker_api.endpoint(), 60)


class LoadTest(testtools.TestCase):

    def test_one_per_settings(self):
        settings = matchmaker_api.MatchmakerTests().settings(
            matchmaker='memory')
        self.assertIs(matchmaker.load(settings), matchmaker.load(
            settings.replace()))
        self.assertIsNot(matchmaker.load(settings), matchmaker.load(
            settings.replace(site='site9')))

    def test_unknown_names_the_setting(self):
        settings = matchmaker_api.MatchmakerTests().settings(
            matchmaker='redis')
        error = self.assertRaises(base.MatchmakerRefused, matchmaker.load,
                                  settings)
        self.assertIn('[bus]matchmaker redis', str(error))
