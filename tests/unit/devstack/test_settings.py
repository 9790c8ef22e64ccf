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


"""What the plug-in's settings make of local.conf."""

import hashlib
import re

import ddt
from oslotest import base

from tests.unit.devstack import harness

_PRINT = ('echo "$DATABASE_TYPE|$DATABASE_BACKENDS|$ENABLED_SERVICES|'
          '$(get_transport_url)|$LUC_PLANE|$LUC_CASSANDRA_HOSTS|'
          '$LUC_RECREATE_DATABASES|$DATABASE_PASSWORD"')


class _Base(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.stack = self.useFixture(harness.Stack())

    def values(self, **arguments):
        result = self.stack.run(_PRINT, **arguments)
        self.assertEqual((0, ''), (result.status, result.stderr))
        names = ('type', 'backends', 'services', 'url', 'plane', 'hosts',
                 'recreate', 'password')
        found = dict(zip(names, result.stdout.strip().split('|'),
                         strict=True))
        found['services'] = found['services'].split(',')
        return found


@ddt.ddt
class SettingsTest(_Base):

    def test_both_halves(self):
        found = self.values()
        self.assertEqual('cassandra', found['type'])
        self.assertIn('cassandra', found['backends'].split())
        self.assertIn('cassandra', found['services'])
        for service in ('mysql', 'postgresql', 'rabbit'):
            self.assertNotIn(service, found['services'])
        self.assertEqual('zmq:///', found['url'])
        self.assertEqual('True', found['recreate'])

    def test_messaging_only(self):
        found = self.values(LUC_DATABASE='False')
        self.assertEqual('mysql', found['type'])
        self.assertIn('mysql', found['services'])
        self.assertNotIn('rabbit', found['services'])
        # for the registry of the bus
        self.assertIn('cassandra', found['services'])
        self.assertNotIn('cassandra', found['backends'])

    def test_messaging_only_without_cassandra(self):
        found = self.values(LUC_DATABASE='False', LUC_MATCHMAKER='embedded')
        self.assertNotIn('cassandra', found['services'])
        self.assertEqual('zmq:///', found['url'])

    def test_database_only(self):
        found = self.values(LUC_MESSAGING='False')
        self.assertEqual('cassandra', found['type'])
        self.assertNotIn('mysql', found['services'])
        self.assertIn('rabbit', found['services'])
        self.assertEqual('rabbit:///', found['url'])

    def test_compute_host(self):
        found = self.values(services='n-cpu,q-ovn-agent',
                            SERVICE_HOST='10.1.0.9')
        self.assertEqual('agent', found['plane'])
        self.assertEqual('10.1.0.9', found['hosts'])
        # what it is told is the type of the controller's database
        self.assertEqual('cassandra', found['type'])
        self.assertNotIn('cassandra', found['services'])

    def test_volume_host_uses_databases(self):
        found = self.values(services='c-vol', SERVICE_HOST='10.1.0.9')
        self.assertEqual('control', found['plane'])

    def test_further_service_with_database(self):
        found = self.values(services='h-eng', SERVICE_HOST='10.1.0.9',
                            LUC_DATABASE_SERVICES='h-eng')
        self.assertEqual('control', found['plane'])

    def test_second_site_keeps_databases(self):
        found = self.values(LUC_CASSANDRA_SEEDS='10.1.0.9',
                            LUC_SITE='site2')
        self.assertEqual('False', found['recreate'])
        self.assertEqual('', found['hosts'])

    def test_password_is_made_once(self):
        first = self.values(DATABASE_PASSWORD=None)['password']
        self.assertTrue(first)
        kept = (self.stack.root / '.localrc.password').read_text()
        self.assertEqual(f'DATABASE_PASSWORD={first}\n', kept)
        self.assertEqual(first, self.values(
            DATABASE_PASSWORD=None)['password'])
        self.assertEqual(kept, (self.stack.root
                                / '.localrc.password').read_text())

    def test_mysql_password_wins(self):
        self.assertEqual('mine', self.values(
            MYSQL_PASSWORD='mine', DATABASE_PASSWORD='other')['password'])

    def test_agent_password_is_enough_on_a_compute_host(self):
        found = self.values(services='n-cpu', SERVICE_HOST='10.1.0.9',
                            DATABASE_PASSWORD=None, LUC_AGENT_PASSWORD='a')
        self.assertEqual('a', found['password'])
        self.assertFalse((self.stack.root / '.localrc.password').exists())

    def test_derived_passwords_differ(self):
        result = self.stack.run(
            'echo $LUC_CONTROL_PASSWORD $LUC_AGENT_PASSWORD '
            '$(luc_derive luc_nova)')
        found = result.stdout.split()
        self.assertEqual(3, len(set(found)))
        self.assertEqual(
            hashlib.sha256(b'luc:agent:secret').hexdigest()[:32], found[1])
        self.assertNotIn('secret', result.stdout)

    @ddt.data(('LUC_STORE', 'mysql'), ('LUC_MATCHMAKER', 'redis'),
              ('LUC_SECURITY', 'tls'), ('LUC_SITE', 'Site 1'),
              ('LUC_PLANE', 'both'))
    @ddt.unpack
    def test_refuses(self, name, value):
        result = self.stack.run(**{name: value})
        self.assertEqual(17, result.status)
        self.assertIn(f'{name}={value}', result.stderr)

    def test_refuses_a_cluster_to_use_and_one_to_join(self):
        result = self.stack.run(LUC_CASSANDRA_HOSTS='10.0.0.1',
                                LUC_CASSANDRA_SEEDS='10.0.0.2')
        self.assertEqual(17, result.status)
        self.assertIn('LUC_CASSANDRA_SEEDS', result.stderr)

    def test_refuses_a_compute_host_without_cassandra(self):
        result = self.stack.run(services='n-cpu')
        self.assertEqual(17, result.status)
        self.assertIn('LUC_CASSANDRA_HOSTS', result.stderr)

    @ddt.data({'LUC_CASSANDRA_SEEDS': '10.1.0.9'},
              {'services': 'n-cpu', 'SERVICE_HOST': '10.1.0.9'})
    def test_never_makes_up_the_password_of_others(self, arguments):
        result = self.stack.run(DATABASE_PASSWORD=None, **arguments)
        self.assertEqual(17, result.status)
        self.assertIn('DATABASE_PASSWORD', result.stderr)

    def test_base_url(self):
        result = self.stack.run('echo $BASE_SQL_CONN')
        self.assertEqual('sqlite+luc://luc_admin:secret@\n', result.stdout)

    def test_sourced_again(self):
        # clean.sh runs unstack.sh and sources the settings itself
        again = self.stack.run(
            f'source {harness.PLUGIN}/settings\n{_PRINT}')
        self.assertEqual((0, ''), (again.status, again.stderr))
        self.assertEqual(self.stack.run(_PRINT).stdout.split('|')[2:],
                         again.stdout.split('|')[2:])


class DocumentationTest(base.BaseTestCase):

    def test_every_variable(self):
        settings = (harness.PLUGIN / 'settings').read_text()
        settings += (harness.PLUGIN / 'lib' / 'passwords').read_text()
        # set by the user: those that are taken as they are given
        used = set(re.findall(r'^ *(LUC_\w+)=(?:\$\(trueorfalse \w+ \1\)|'
                              r'\$\{\1:-)', settings, re.MULTILINE))
        used |= {'LUC_DATABASE_SERVICES'}
        self.assertIn('LUC_SITE', used)
        text = (harness.PLUGIN / 'README.rst').read_text()
        documented = set(re.findall(r'^``(LUC_\w+)``$', text, re.MULTILINE))
        self.assertEqual(set(), used - documented, 'not documented')
        self.assertEqual(set(), documented - used, 'not there any more')


@ddt.ddt
class SamplesTest(_Base):

    @ddt.data('one-node', 'second-site', 'compute', 'messaging-only',
              'database-only', 'existing-cluster')
    def test_sample(self, name):
        text = (harness.PLUGIN / 'samples' / f'{name}.conf').read_text()
        _, _, body = text.partition('[[local|localrc]]\n')
        before = self.stack.root / 'localrc'
        before.write_text(body.partition('[[')[0])
        result = self.stack.run(
            _PRINT + '; echo "$PLUGIN_URL"', DATABASE_PASSWORD=None,
            before='enable_plugin() { PLUGIN_URL=$2; '
                   '[[ $1 == luc-drivers ]]; }\n'
                   f'source {before}')
        self.assertEqual((0, ''), (result.status, result.stderr))
        url = result.stdout.split()[-1]
        self.assertRegex(url, r'^https://')
        values = result.stdout.split('|')
        self.assertEqual(name != 'messaging-only',
                         values[0] == 'cassandra', values)
        self.assertEqual(name != 'database-only',
                         values[3] == 'zmq:///', values)
