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


"""What processes use, read from /proc."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess

_TICKS = os.sysconf('SC_CLK_TCK')
_PAGE = os.sysconf('SC_PAGE_SIZE')


@dataclasses.dataclass(frozen=True)
class Usage:
    """Sums over the processes looked at."""

    cpu: float = 0.0
    """Seconds of CPU time so far, user and system."""
    memory: int = 0
    """Resident bytes."""
    threads: int = 0
    files: int = 0
    """Open file descriptors."""
    connections: int = 0
    """Established TCP connections' ends."""

    def __add__(self, other: 'Usage') -> 'Usage':
        return Usage(*(a + b for a, b in zip(
            dataclasses.astuple(self), dataclasses.astuple(other))))


def _established() -> set[str]:
    """Inodes of the sockets of established TCP connections."""
    found = set()
    for name in ('tcp', 'tcp6'):
        lines = pathlib.Path('/proc/net', name).read_text().splitlines()
        for line in lines[1:]:
            fields = line.split()
            if fields[3] == '01':
                found.add('socket:[%s]' % fields[9])
    return found


def usage(pid: int) -> Usage:
    """Return what one process uses; zeros if it is gone."""
    root = pathlib.Path('/proc', str(pid))
    try:
        fields = (root / 'stat').read_text().rpartition(')')[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        memory = int((root / 'statm').read_text().split()[1]) * _PAGE
        threads = len(os.listdir(root / 'task'))
        names = os.listdir(root / 'fd')
    except FileNotFoundError:
        return Usage()
    open_sockets = _established()
    connections = 0
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            connections += os.readlink(root / 'fd' / name) in open_sockets
    return Usage(cpu, memory, threads, len(names), connections)


def _session(leader: int) -> list[int]:
    """Pids of all processes of a session."""
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(name)) == leader:
                    found.append(int(name))
    return found


def usage_of_session(leader: int) -> Usage:
    """Return what the processes of a session use together."""
    return sum((usage(pid) for pid in _session(leader)), Usage())


def end_session(process: subprocess.Popen, seconds: float = 10.0) -> None:
    """Wait for a session's leader; kill what is left of the session."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    for pid in _session(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
