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

import os
import tempfile
import unittest
from unittest import mock

from luc_drivers import config
from luc_drivers.db import errors
from luc_drivers.db.store import embedded
from luc_drivers.db.store import settings


class SettingsTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = os.path.join(folder.name, 'luc.conf')
        patch = mock.patch.dict(os.environ, {'LUC_CONFIG': self.file})
        patch.start()
        self.addCleanup(patch.stop)
        patch = mock.patch.dict(config._cache, clear=True)
        patch.start()
        self.addCleanup(patch.stop)
        self.write('')

    def write(self, text):
        config._cache.clear()
        with open(self.file, 'w') as file:
            file.write(text)

    def refused(self, pattern, **parts):
        with self.assertRaisesRegex(errors.OperationalError, pattern):
            settings.resolve(**parts)

    def test_defaults(self):
        found = settings.resolve()
        self.assertEqual(('cassandra', 'site1', ('127.0.0.1',), 9042),
                         (found.kind, found.site, found.contact_points,
                          found.port))
        self.assertEqual('/var/lib/luc/databases', found.path)
        self.assertEqual('{database}_{locality}', found.keyspace_template)
        self.assertFalse(found.fresh)
        self.assertIsNone(found.username)

    def test_file(self):
        self.write("""
[DEFAULT]
site = north
state_path = /srv/luc
[database]
store = embedded
keyspace_template = luc_{locality}
[cassandra]
contact_points = 10.0.0.1, 10.0.0.2
port = 9999
username = nova
password = secret
connect_timeout = 2.5
replication = north:3,south:2
tls = yes
""")
        found = settings.resolve()
        self.assertEqual(
            ('embedded', 'north', ('10.0.0.1', '10.0.0.2'), 9999, 'nova',
             'secret', 2.5, (('north', 3), ('south', 2)), True,
             'luc_{locality}', '/srv/luc/databases'),
            (found.kind, found.site, found.contact_points, found.port,
             found.username, found.password, found.connect_timeout,
             found.replication, found.tls, found.keyspace_template,
             found.path))

    def test_url_wins(self):
        self.write('[cassandra]\nport = 1\nusername = a\npassword = b\n'
                   '[database]\npath = /a\n')
        found = settings.resolve(
            'me', 'mine', 'h1, h2:77', None,
            {'store': 'embedded', 'path': '/b', 'fresh': '1',
             'keyspace_template': 'x_{locality}', 'profile': 'nova'})
        self.assertEqual(
            ('embedded', ('h1', 'h2'), 77, 'me', 'mine', '/b', True,
             'x_{locality}'),
            (found.kind, found.contact_points, found.port, found.username,
             found.password, found.path, found.fresh,
             found.keyspace_template))

    def test_a_user_does_not_get_the_files_password(self):
        self.write('[cassandra]\nusername = a\npassword = b\n')
        self.assertIsNone(settings.resolve('me').password)
        self.assertEqual('b', settings.resolve().password)

    def test_password_is_not_shown(self):
        self.assertNotIn('mine', repr(settings.resolve('me', 'mine')))

    def test_hosts(self):
        for hosts, points, port in (
                ('', ('127.0.0.1',), 9042), ('h', ('h',), 9042),
                ('h:1', ('h',), 1), ('[::1],[fe80::1]:5',
                                     ('::1', 'fe80::1'), 5)):
            found = settings.resolve(hosts=hosts)
            self.assertEqual((points, port),
                             (found.contact_points, found.port))
        self.assertEqual(7, settings.resolve(hosts='h', port=7).port)

    def test_bad_values(self):
        self.refused('a:b:c', hosts='a:b:c', url='u')
        self.refused('one port', hosts='a:1,b:2')
        self.refused('99999', hosts='a:99999')
        self.refused("'x' is no port", port='x')
        self.refused('fresh=maybe', query={'fresh': 'maybe'})
        self.refused('locality', query={'keyspace_template': 'luc'})
        self.refused('site', query={'keyspace_template': '{site}'})
        self.refused('template', query={'keyspace_template': '{locality'})

    def test_bad_file(self):
        for text, pattern in (
                ('[cassandra]\nport = x\n', 'port'),
                ('[DEFAULT]\nsite = Not A Site\n', 'site'),
                ('[database]\nfresh_ttl = 0\n', 'fresh_ttl'),
                ('no section\n', 'luc.conf'),
                ('[cassandra]\nreplication = north:none\n', 'replication')):
            self.write(text)
            self.refused(f'luc.conf.*{pattern}')

    def test_missing_named_file(self):
        os.remove(self.file)
        config._cache.clear()
        self.refused(f'{self.file}.*LUC_CONFIG')

    def test_open_store(self):
        store = settings.open_store('db', settings.resolve(
            query={'store': 'embedded', 'fresh': '1'}))
        self.addCleanup(store.close)
        self.assertIsInstance(store, embedded.EmbeddedStore)
        self.assertEqual('db', store.database)

    def test_unknown_store(self):
        with self.assertRaisesRegex(
                errors.OperationalError,
                "'redis'.*store=.*luc.conf.*cassandra, embedded"):
            settings.open_store('db', settings.resolve(
                query={'store': 'redis'}))
