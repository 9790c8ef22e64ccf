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

"""A tiny guest for software emulation: Debian's kernel and a busybox.

The kernel is taken out of Debian's package, which is not installed; the
initramfs holds busybox and one script that says on the serial console that
the machine is up.
"""

import gzip
import os
import pathlib
import re
import shutil
import stat
import subprocess

from luc_drivers.onebox import errors

#: what the guest says on its console when it is up
GREETING = 'luc-onebox: this machine is up'
#: the guest kernel's command line
COMMAND_LINE = 'console=ttyS0 panic=-1'

_META_PACKAGE = 'linux-image-cloud-amd64'
_INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
seconds=$(cut -d' ' -f1 /proc/uptime)
echo "{GREETING} (kernel $(uname -r), after $seconds s)" >/dev/ttyS0
while :; do sleep 3600; done
"""


def kernel(folder: pathlib.Path) -> pathlib.Path:
    """Return the kernel of Debian's cloud image package, fetched once.

    :param folder: where it is kept.
    :raises errors.OneboxError: the package can't be had or holds no kernel.
    """
    path = folder / 'vmlinuz'
    if path.exists():
        return path
    aside = folder / 'package'
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    depends = _run(['apt-cache', 'depends', _META_PACKAGE], aside)
    named = re.search(r'Depends: (linux-image-\S+)', depends)
    if named is None:
        raise errors.OneboxError(
            f'apt-cache knows no package {_META_PACKAGE}: apt-get update')
    _run(['apt-get', '-q', 'download', named[1]], aside)
    package, = aside.glob('*.deb')
    _run(['dpkg-deb', '-x', str(package), str(aside / 'files')], aside)
    found = sorted(aside.glob('files/boot/vmlinuz-*'))
    if not found:
        raise errors.OneboxError(f'{package.name} holds no /boot/vmlinuz')
    found[0].replace(path)
    shutil.rmtree(aside)
    return path


def _run(command: list[str], folder: pathlib.Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise errors.OneboxError(f'{command[0]}: {exc}') from None
    if done.returncode:
        raise errors.OneboxError(
            f'{" ".join(command)}: {done.stderr.strip()[-300:]}')
    return done.stdout


def initramfs(folder: pathlib.Path) -> pathlib.Path:
    """Return the initramfs, made anew.

    :raises errors.OneboxError: there is no statically linked busybox.
    """
    busybox = shutil.which('busybox', path='/usr/bin:/bin')
    if busybox is None:
        raise errors.OneboxError(
            'busybox is missing: apt-get install busybox-static')
    path = folder / 'initramfs.gz'
    folder.mkdir(parents=True, exist_ok=True)
    directory, program = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
    path.write_bytes(gzip.compress(_archive([
        *[(name, directory, b'', 0)
          for name in ('bin', 'dev', 'proc', 'sys')],
        ('bin/busybox', program, pathlib.Path(busybox).read_bytes(), 0),
        ('init', program, _INIT.encode(), 0),
        # The kernel opens it for init before /dev is there.
        ('dev/console', stat.S_IFCHR | 0o600, b'', os.makedev(5, 1)),
    ]), mtime=0))
    return path


def _archive(entries: list[tuple[str, int, bytes, int]]) -> bytes:
    """Return a cpio archive of the format "newc".

    :param entries: (path, mode, content, device number)
    """
    out = bytearray()
    for number, (name, mode, content, device) in enumerate(
            [*entries, ('TRAILER!!!', 0, b'', 0)], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0,
                  os.major(device), os.minor(device), len(name) + 1, 0)
        out += b'070701' + b''.join(b'%08X' % value for value in fields)
        out += name.encode() + b'\0'
        out += bytes(-len(out) % 4)
        out += content
        out += bytes(-len(out) % 4)
    return bytes(out)
