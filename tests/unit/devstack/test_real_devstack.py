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


"""DevStack's own functions over the plug-in: which URLs services get.

Only where DEVSTACK_DIR names a checkout of openstack/devstack.  Minutes of
bash; nothing is fetched or started, and nothing written outside of a
temporary folder.
"""

import configparser
import hashlib
import os
import pathlib
import subprocess
import unittest

import fixtures
from oslotest import base

from tests.unit.devstack import harness

_DEVSTACK = os.environ.get('DEVSTACK_DIR')
_SCRIPT = pathlib.Path(__file__).with_name('real.sh')


def _database(name, role):
    password = hashlib.sha256(f'luc:{role}:secret'.encode()).hexdigest()[:32]
    return f'sqlite+luc://{role}:{password}@/{name}'


#: file, section, option: value
_DATABASES = {
    ('keystone/keystone.conf', 'database', 'connection'):
        _database('keystone', 'luc_keystone'),
    ('glance/glance-api.conf', 'database', 'connection'):
        _database('glance', 'luc_glance'),
    ('placement/placement.conf', 'placement_database', 'connection'):
        _database('placement', 'luc_placement'),
    ('nova/nova.conf', 'database', 'connection'):
        _database('nova_cell0', 'luc_nova'),
    ('nova/nova.conf', 'api_database', 'connection'):
        _database('nova_api', 'luc_nova'),
    ('nova/nova_cell1.conf', 'database', 'connection'):
        _database('nova_cell1', 'luc_nova'),
    ('neutron/neutron.conf', 'database', 'connection'):
        _database('neutron', 'luc_neutron'),
    ('cinder/cinder.conf', 'database', 'connection'):
        _database('cinder', 'luc_cinder'),
}
_TRANSPORTS = {
    ('keystone/keystone.conf', 'oslo_messaging_notifications',
     'transport_url'): 'zmq:///',
    ('glance/glance-api.conf', 'DEFAULT', 'transport_url'): 'zmq:///',
    ('nova/nova.conf', 'DEFAULT', 'transport_url'): 'zmq:///',
    ('nova/nova.conf', 'oslo_messaging_notifications', 'transport_url'):
        'zmq:///',
    ('nova/nova_cell1.conf', 'DEFAULT', 'transport_url'):
        'zmq:///nova_cell1',
    ('nova/nova-cpu.conf', 'DEFAULT', 'transport_url'): 'zmq:///nova_cell1',
    # a copy of nova.conf's
    ('nova/nova-cpu.conf', 'oslo_messaging_notifications', 'transport_url'):
        'zmq:///',
    ('neutron/neutron.conf', 'DEFAULT', 'transport_url'): 'zmq:///',
    ('cinder/cinder.conf', 'DEFAULT', 'transport_url'): 'zmq:///',
}


@unittest.skipUnless(_DEVSTACK, 'DEVSTACK_DIR names no checkout of DevStack')
class RealDevstackTest(base.BaseTestCase):

    def run_devstack(self, localrc=''):
        """Return the folder of what was written, and the script's results."""
        work = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path) / 'work'
        done = subprocess.run(
            ['bash', str(_SCRIPT), _DEVSTACK, str(harness.ROOT), str(work)],
            capture_output=True, text=True, timeout=900,
            env={**os.environ, 'LOCALRC': localrc})
        self.assertEqual(0, done.returncode, done.stderr[-2000:])
        self.assertIn('RESULT done', done.stdout)
        results = {}
        for line in done.stdout.splitlines():
            if line.startswith('RESULT '):
                _, kind, *words = line.split(' ')
                results.setdefault(kind, []).append(' '.join(words))
        return work, results

    def urls(self, work):
        """Return all URLs of databases and transports that were written."""
        found = {}
        folder = work / 'written'
        for path in folder.rglob('*.conf'):
            parser = configparser.RawConfigParser(
                default_section='none', strict=False)
            parser.read(path)
            for section in parser.sections():
                for option in ('connection', 'transport_url'):
                    if parser.has_option(section, option):
                        found[str(path.relative_to(folder)), section,
                              option] = parser.get(section, option)
        return found

    def test_both_halves(self):
        work, results = self.run_devstack()
        self.assertEqual(['cassandra'], results['type'])
        self.assertEqual({**_DATABASES, **_TRANSPORTS}, self.urls(work))
        self.assertEqual(['stack post-config', 'stack extra',
                          'stack test-config'], results['phase'])
        unit = (work / 'written-systemd' / 'devstack@n-cpu-1.service.d'
                / 'luc.conf')
        self.assertIn('luc-agent.conf', unit.read_text())
        # undone
        self.assertFalse((work / 'etc' / 'luc').exists())
        self.assertEqual([], list((work / 'systemd').rglob('luc.conf')))

    def test_messaging_only(self):
        work, results = self.run_devstack('LUC_DATABASE=False')
        self.assertEqual(['mysql'], results['type'])
        found = self.urls(work)
        self.assertEqual(_TRANSPORTS, {
            key: url for key, url in found.items()
            if key[2] == 'transport_url'})
        databases = {key: url for key, url in found.items()
                     if key[2] == 'connection'}
        self.assertEqual(set(_DATABASES), set(databases))
        for url in databases.values():
            self.assertRegex(url, '^mysql')

    def test_database_only(self):
        work, _ = self.run_devstack('LUC_MESSAGING=False')
        found = self.urls(work)
        self.assertEqual(_DATABASES, {
            key: url for key, url in found.items()
            if key[2] == 'connection'})
        transports = {key: url for key, url in found.items()
                      if key[2] == 'transport_url'}
        self.assertEqual(set(_TRANSPORTS), set(transports))
        for url in transports.values():
            self.assertRegex(url, '^rabbit://')
