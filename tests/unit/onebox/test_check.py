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

"""Checks of a cloud: they see wrong answers, and remove what they make."""

import io
import pathlib
from unittest import mock

import testtools

from luc_drivers.onebox import boot
from luc_drivers.onebox import check
from luc_drivers.onebox import cloud as clouds
from luc_drivers.onebox import errors
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import settings as onebox_settings


class Openstack:
    """Answers commands like a cloud of one host; may forget to delete."""

    def __init__(self, **wrong):
        self.wrong = wrong
        self.things = {'image': [], 'aggregate': [], 'server': []}
        self.data = b''
        self.commands = []

    def __call__(self, *words, as_json=True):
        self.commands.append(words)
        named = ' '.join(word for word in words[:2])
        if named in self.wrong:
            return self.wrong[named]
        if named == 'compute service':
            return [{'Binary': f'nova-{name}', 'Host': 'h', 'State': 'up'}
                    for name in ('conductor', 'scheduler', 'compute')]
        if words[0] == 'port':
            return ([{'Status': 'ACTIVE'}] if self.things['server'] else [])
        return getattr(self, words[1])(words[0], *words[2:])

    def create(self, kind, *words):
        if kind == 'image':
            self.data = pathlib.Path(words[-2]).read_bytes()
        self.things[kind].append({'ID': f'{kind}-id', 'Name': words[-1]})
        return {'id': f'{kind}-id'}

    def save(self, kind, option, path, name):
        pathlib.Path(path).write_bytes(self.data)

    def delete(self, kind, *words):
        self.things[kind].clear()

    def list(self, kind):
        return list(self.things[kind])

    def show(self, kind, name):
        return {'status': 'ACTIVE', 'addresses': {'private': ['10.0.0.2']},
                'hosts': ['h']}

    def add(self, *words):
        pass

    remove = add


class CheckTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.cloud = clouds.Cloud(
            onebox_settings.Settings(pathlib.Path('/none'),
                                     pathlib.Path('/none'),
                                     store='embedded'),
            progress_module.Progress(io.StringIO()))

    def run_commands(self, openstack):
        with mock.patch.object(check, 'client', return_value=openstack):
            check.run_commands(self.cloud)

    def test_all_is_well(self):
        openstack = Openstack()
        self.run_commands(openstack)
        self.assertEqual({'image': [], 'aggregate': [], 'server': []},
                         openstack.things)
        self.assertIn(('aggregate', 'add', 'host', 'check', 'h'),
                      openstack.commands)

    def test_wrong_answers(self):
        down = [{'Binary': f'nova-{name}', 'Host': 'h', 'State': 'down'}
                for name in ('conductor', 'scheduler', 'compute')]
        for named, answer, told in (
                ('compute service', down, 'compute service list'),
                ('server show', {'status': 'ERROR', 'addresses': {}},
                 'server show: ACTIVE with an address'),
                ('server show', {'status': 'ACTIVE', 'addresses': {}},
                 'server show: ACTIVE with an address'),
                ('server list', [], 'server list: server-id'),
                ('aggregate show', {'hosts': []}, 'aggregate show'),
                ('server delete', None, 'server list without'),
                ('port list', [], 'port list: one port')):
            openstack = Openstack(**{named: answer})
            error = self.assertRaises(
                errors.OneboxError, self.run_commands, openstack)
            self.assertIn(told, str(error), named)

    def test_damaged_image(self):
        openstack = Openstack()
        openstack.save = lambda kind, option, path, name: pathlib.Path(
            path).write_bytes(b'x')
        error = self.assertRaises(
            errors.OneboxError, self.run_commands, openstack)
        self.assertIn('the bytes that were uploaded: found 1 others',
                      str(error))

    def test_boots_after_kills(self):
        killed = []
        booted = [boot.Boot('a', 'id', 'ACTIVE', 1.0),
                  boot.Boot('b', 'id', 'ERROR', 1.0, 'no host')]
        with mock.patch.object(clouds, 'restart', side_effect=(
                lambda cloud, name, hard, pause: killed.append(
                    (name, hard, pause)))), \
                mock.patch.object(check.bootstrap, 'Cloud'), \
                mock.patch.multiple(boot, parts=mock.DEFAULT,
                                    delete=mock.DEFAULT,
                                    boot=mock.Mock(side_effect=booted)):
            error = self.assertRaises(
                errors.OneboxError, check.survive_kills, self.cloud,
                ['nova-conductor', 'cassandra'], 5.0)
        self.assertEqual([('nova-conductor', True, 5.0),
                          ('cassandra', True, 5.0)], killed)
        self.assertEqual('boot after kill -9 of cassandra: ACTIVE: found '
                         'ERROR no host', str(error))

    def test_victims(self):
        self.assertEqual(
            ['nova-conductor', 'nova-conductor-cell1', 'nova-scheduler',
             'nova-compute', 'neutron-rpc'], check.victims(self.cloud))
        for name in check.victims(self.cloud):
            self.cloud.service(name)
