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

"""``luc bus``, on the embedded matchmaker."""

import io
import json
import os
from unittest import mock

from cliff import app
from cliff import commandmanager
import fixtures
import testtools

from luc_drivers import config
from luc_drivers.cmd import bus
from luc_drivers.messaging import admin
from luc_drivers.messaging import mailbox
from luc_drivers.messaging import matchmaker
from luc_drivers.messaging import notifications
from luc_drivers.messaging import opts
from luc_drivers.messaging import security
from luc_drivers.messaging.matchmaker import base
from tests.unit.messaging import matchmaker_api

COMMANDS = {
    'bus status': bus.Status, 'bus mailbox list': bus.MailboxList,
    'bus mailbox show': bus.MailboxShow,
    'bus mailbox purge': bus.MailboxPurge, 'bus pool list': bus.PoolList,
    'bus create': bus.Create, 'bus keys create': bus.KeysCreate,
    'bus keys list': bus.KeysList, 'bus keys allow': bus.KeysAllow,
    'bus keys revoke': bus.KeysRevoke, 'bus keys store': bus.KeysStore}


class BusCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        path = os.path.join(self.folder, 'luc.conf')
        with open(path, 'w') as f:
            f.write('[DEFAULT]\nstate_path = %s\n[bus]\n'
                    'matchmaker = embedded\nkeys_dir = %s/keys\n'
                    'host = host1\n%s'
                    % (self.folder, self.folder, self.more()))
        self.useFixture(fixtures.EnvironmentVariable('LUC_CONFIG', path))
        self.addCleanup(config._cache.pop, path, None)
        self.settings = opts.load()
        self.mm = matchmaker.load(self.settings)
        self.addCleanup(self.mm.close)

    def more(self):
        return ''

    def luc(self, *args, code=0):
        """Run a command; return what it prints."""
        manager = commandmanager.CommandManager('no.such.namespace')
        for name, found in COMMANDS.items():
            manager.add_command(name, found)
        out, err = io.StringIO(), io.StringIO()
        shell = app.App('luc', '1', manager, stdout=out, stderr=err)
        self.assertEqual(code, shell.run(['-q', *args]),
                         out.getvalue() + err.getvalue())
        return out.getvalue()

    def rows(self, *args):
        return json.loads(self.luc(*args, '-f', 'json'))

    def put(self, *bodies, cipher=None):
        box = mailbox.Mailbox(self.mm, self.settings, cipher)
        for n, body in enumerate(bodies):
            box.put(base.Box('cell1', 'nova', 'compute', 'server1'),
                    mailbox.new_id('s', n), body)

    BOX = ('compute', 'server1', '--exchange', 'nova', '--namespace',
           'cell1')


class BusTest(BusCase):

    def test_status(self):
        self.assertEqual([], self.rows('bus', 'status'))
        self.mm.register(matchmaker_api.endpoint('i'), 60)
        self.mm.register(matchmaker_api.endpoint(
            'gone', state=base.STOPPED), 60)
        self.mm.subscribe([matchmaker_api.subscription('i'),
                           matchmaker_api.subscription('i', topic='other'),
                           matchmaker_api.subscription('gone')], 60, 60)
        rows = self.rows('bus', 'status')
        self.assertEqual({'compute', 'other'},
                         {row['topic'] for row in rows if row['topic']})
        row, = self.rows('bus', 'status', '--topic', 'compute')
        self.assertEqual(('site1', 'host1', 'live', 'server1', '1-2'), (
            row['site'], row['host'], row['state'], row['server'],
            row['versions']))

    def test_mailbox(self):
        self.put(b'one', b'\xff')
        row, = self.rows('bus', 'mailbox', 'list')
        self.assertEqual((2, 'server1'), (row['depth'], row['server']))
        rows = self.rows('bus', 'mailbox', 'show', *self.BOX)
        self.assertNotIn('body', rows[0])
        rows = self.rows('bus', 'mailbox', 'show', '--body', *self.BOX)
        self.assertEqual(['one', 'base64:/w=='],
                         [row['body'] for row in rows])
        self.luc('bus', 'mailbox', 'purge', '--id', rows[0]['id'], *self.BOX)
        self.assertEqual(1, self.rows('bus', 'mailbox', 'list')[0]['depth'])
        self.assertIn('1 removed', self.luc('bus', 'mailbox', 'purge',
                                            '--all', *self.BOX))
        self.assertEqual([], self.rows('bus', 'mailbox', 'list'))

    def test_pools(self):
        self.mm.register(matchmaker_api.endpoint('i'), 60)
        listener = notifications.Listener(
            self.mm, self.settings, 'ns', [('x', 'n.info')], 'p', 'i', '1')
        self.addCleanup(listener.close)
        sender = notifications.Sender(self.mm, self.settings)
        sender.send(sender.place('ns', 'x', 'n.info'), b'')
        with mock.patch.object(admin, '_BESIDE', 0):
            row, = self.rows('bus', 'pool', 'list')
        self.assertEqual(('p', 0, 0), (row['pool'], row['readers'],
                                       row['lag']))
        delivery, = listener.poll(1.0, 1)
        self.assertEqual(1, self.rows('bus', 'pool', 'list')[0]['readers'])
        delivery.ack()
        listener.close()
        row, = self.rows('bus', 'pool', 'list')
        self.assertEqual((0, None), (row['readers'], row['lag']))

    def test_keys(self):
        self.assertIn('host1.secret', self.luc('bus', 'keys', 'create'))
        self.luc('bus', 'keys', 'create', '--host', 'h2', '--plane', 'agent')
        rows = self.rows('bus', 'keys', 'list')
        self.assertEqual([('h2', 'agent'), ('host1', 'control')],
                         [(row['host'], row['plane']) for row in rows])
        self.luc('bus', 'keys', 'revoke', 'h2')
        self.luc('bus', 'keys', 'revoke', 'h2', code=1)
        self.assertEqual(1, len(self.rows('bus', 'keys', 'list')))
        self.luc('bus', 'keys', 'store')
        with open(os.path.join(self.folder, 'keys', 'store.secret')) as f:
            self.assertEqual(2, len(f.read().split()))

    def test_create_needs_a_password(self):
        self.useFixture(fixtures.EnvironmentVariable('LUC_AGENT_PASSWORD'))
        log = self.useFixture(fixtures.FakeLogger())
        self.luc('bus', 'create', '--agent-role', 'x', code=1)
        self.assertIn('LUC_AGENT_PASSWORD', log.output)


class EncryptedBusTest(BusCase):

    def more(self):
        return 'security = curve\n'

    def test_mailbox(self):
        self.luc('bus', 'keys', 'create')
        self.put(b'secret', cipher=security.Security(self.settings).cipher)
        row, = self.rows('bus', 'mailbox', 'show', '--body', *self.BOX)
        self.assertEqual('secret', row['body'])
        self.put(b'forged')
        rows = self.rows('bus', 'mailbox', 'show', '--body', *self.BOX)
        self.assertIn('not encrypted', rows[1]['problem'])
        self.assertEqual('', rows[1]['body'])
