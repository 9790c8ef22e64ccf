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

"""libvirt's daemon for real virtual machines under software emulation.

It runs in a mount name space of its own, with the cloud's folders in the
place of the machine's ``/etc/libvirt``, ``/run/libvirt`` and so on, so that a
libvirt that the machine runs already is left alone.  QEMU runs as the daemon
does; there are no cgroups, no security driver and no virtlogd.
"""

import os
import pathlib
import shlex
import shutil
import socket

from luc_drivers.onebox import daemons
from luc_drivers.onebox import errors
from luc_drivers.onebox import settings as onebox_settings

#: folder of the machine -> folder below the cloud's libvirt folder
_FOLDERS = {'/etc/libvirt': 'etc', '/run/libvirt': 'run',
            '/var/lib/libvirt': 'lib', '/var/log/libvirt': 'log',
            '/var/cache/libvirt': 'cache'}
_DAEMON_CONF = """\
unix_sock_dir = "{folder}/sock"
unix_sock_rw_perms = "0700"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "3:stderr"
"""
_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""


def uri(settings: onebox_settings.Settings) -> str:
    """Return the connection URI of the cloud's libvirt."""
    return ('qemu+unix:///system?socket='
            f'{settings.folder}/libvirt/sock/libvirt-sock')


def write_config(settings: onebox_settings.Settings) -> None:
    """Write libvirtd.conf and qemu.conf.

    :raises errors.OneboxError: the user may not mount, a program is missing,
        or there are to be several compute hosts.
    """
    if settings.computes > 1:
        raise errors.OneboxError(
            '--virt qemu works with --computes 1 only: a libvirt goes by the '
            "machine's name")
    if os.geteuid() != 0:
        raise errors.OneboxError('--virt qemu needs root: libvirt gets '
                                 'a mount name space and tap devices')
    for name in ('libvirtd', 'qemu-system-x86_64', 'qemu-img'):
        if shutil.which(name, path='/usr/sbin:/usr/bin') is None:
            raise errors.OneboxError(
                f'{name} is missing: apt-get install libvirt-daemon-system '
                'libvirt-daemon-driver-qemu qemu-system-x86 qemu-utils')
    folder = settings.folder / 'libvirt'
    for name in (*_FOLDERS.values(), 'sock'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / 'etc' / 'libvirtd.conf').write_text(
        _DAEMON_CONF.format(folder=folder))
    (folder / 'etc' / 'qemu.conf').write_text(_QEMU_CONF)


def daemon(settings: onebox_settings.Settings) -> daemons.Daemon:
    """Return libvirt's daemon."""
    folder = settings.folder / 'libvirt'
    mounts = [f'mkdir -p {there} && mount --bind '
              f'{shlex.quote(str(folder / here))} {there}'
              for there, here in _FOLDERS.items()]
    script = ' && '.join([*mounts, 'exec libvirtd --config '
                          f'{shlex.quote(str(folder / "etc/libvirtd.conf"))} '
                          f'--pid-file {shlex.quote(str(folder / "pid"))}'])
    path = folder / 'sock' / 'libvirt-sock'
    return daemons.Daemon(
        'libvirtd', ('unshare', '--mount', 'sh', '-c', script),
        env={'PATH': f'/usr/sbin:{os.environ.get("PATH", os.defpath)}'},
        ready=lambda: _answers(path))


def _answers(path: pathlib.Path) -> bool:
    """Return whether somebody accepts connections at a socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True
