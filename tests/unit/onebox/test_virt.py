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

"""Several compute hosts and virtual machines: what one-box writes for them."""

import gzip
import os
import pathlib
import shutil
import tempfile
from unittest import mock

from luc_drivers.onebox import boot
from luc_drivers.onebox import cloud as clouds
from luc_drivers.onebox import errors
from luc_drivers.onebox import guest
from luc_drivers.onebox.services import libvirt
from luc_drivers.onebox.services import nova
from tests.unit.onebox import base


class ComputesTest(base.OneboxTest):

    def test_each_is_a_host_by_itself(self):
        cloud = self.cloud(store='embedded', computes=2)
        files = self.written(cloud)
        first, second = (files[f'{name}/nova.conf']['DEFAULT']
                         for name in ('nova-compute', 'nova-compute2'))
        for option in ('host', 'state_path'):
            self.assertNotEqual(first[option], second[option])
        self.assertEqual(first['transport_url'], second['transport_url'])
        found = {daemon.name: daemon for daemon in cloud.services()
                 if daemon.name.startswith('nova-compute')}
        self.assertEqual(['nova-compute', 'nova-compute2'], list(found))
        # Neither has the databases' role.
        self.assertEqual({str(cloud.settings.etc / 'luc-compute/luc.conf')},
                         {one.env['LUC_CONFIG'] for one in found.values()})
        self.assertIn('nova-compute2/nova.conf',
                      ' '.join(found['nova-compute2'].command))

    def test_the_first_is_named_as_the_machine(self):
        with mock.patch('socket.gethostname', return_value='box'):
            self.assertEqual(['box', 'box-2'], [
                nova.compute_host(name) for name in
                ('nova-compute', 'nova-compute2')])


class QemuTest(base.OneboxTest):

    def test_nova_reaches_the_clouds_own_libvirt(self):
        cloud = self.cloud(store='embedded', virt='qemu')
        with mock.patch.object(os, 'geteuid', return_value=0), \
                mock.patch.object(shutil, 'which', return_value='/x'):
            files = self.written(cloud)
        conf = files['nova-compute/nova.conf']
        self.assertEqual('libvirt.LibvirtDriver',
                         conf['DEFAULT']['compute_driver'])
        self.assertEqual('qemu', conf['libvirt']['virt_type'])
        self.assertEqual(libvirt.uri(cloud.settings),
                         conf['libvirt']['connection_uri'])
        names = [daemon.name for daemon in cloud.services()]
        self.assertLess(names.index('libvirtd'),
                        names.index('nova-compute'))
        self.assertNotIn('libvirtd', [
            daemon.name for daemon in self.cloud().services()])

    def test_several_hosts(self):
        self.assertRaisesRegex(
            errors.OneboxError, '--computes 1', clouds.write_config,
            self.cloud(store='embedded', virt='qemu', computes=2))

    def test_needs_root(self):
        with mock.patch.object(os, 'geteuid', return_value=1000):
            self.assertRaisesRegex(
                errors.OneboxError, 'needs root', clouds.write_config,
                self.cloud(store='embedded', virt='qemu'))


class ConsoleTest(base.OneboxTest):

    def console(self, *shown, timeout=60.0):
        client = mock.Mock()
        client.compute.side_effect = [{'output': text} for text in shown]
        with mock.patch('time.sleep'):
            return boot.console(client, 'id', 'is up', timeout)

    def test_waits_for_the_text(self):
        self.assertEqual('a\nis up\n', self.console('', 'a\n',
                                                    'a\nis up\n'))

    def test_shows_the_end_of_one_that_never_says_it(self):
        self.assertRaisesRegex(
            errors.OneboxError, "does not say .* its end: 'panic'",
            self.console, 'panic', timeout=-1.0)


class GuestTest(base.OneboxTest):

    def test_initramfs(self):
        with tempfile.TemporaryDirectory() as name:
            program = pathlib.Path(name, 'busybox')
            program.write_bytes(b'\x7fELF' + b'x' * 5)
            with mock.patch.object(shutil, 'which',
                                   return_value=str(program)):
                path = guest.initramfs(pathlib.Path(name))
            found = dict(entries(gzip.decompress(path.read_bytes())))
        self.assertEqual(
            ['bin', 'dev', 'proc', 'sys', 'bin/busybox', 'init',
             'dev/console', 'TRAILER!!!'], list(found))
        self.assertEqual((0o100755, b'\x7fELFxxxxx'), found['bin/busybox'])
        mode, script = found['init']
        self.assertEqual(0o100755, mode)
        self.assertIn(guest.GREETING.encode(), script)

    def test_without_busybox(self):
        with mock.patch.object(shutil, 'which', return_value=None):
            self.assertRaisesRegex(errors.OneboxError, 'busybox-static',
                                   guest.initramfs, self.state)


def entries(archive):
    """Yield (name, (mode, content)) of a cpio archive (newc)."""
    at = 0
    while at < len(archive):
        if archive[at:at + 6] != b'070701':
            raise AssertionError(f'no header at {at}')
        fields = [int(archive[at + 6 + 8 * i:at + 14 + 8 * i], 16)
                  for i in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110:at + 110 + length - 1].decode()
        start = at + 110 + length + -(110 + length) % 4
        yield name, (mode, archive[start:start + size])
        at = start + size + -size % 4
