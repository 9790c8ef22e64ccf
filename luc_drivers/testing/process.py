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

"""Processes that outlive who started them: start, find again, stop.

A pid file holds the number and the start time of a process, so that a number
that the system gave to another process meanwhile is never taken for ours.
Linux only: reads ``/proc``.
"""

from collections.abc import Sequence
import os
import pathlib
import signal
import subprocess
import time


def spawn(command: Sequence[str], pid_file: pathlib.Path, log: pathlib.Path,
          env: dict[str, str] | None = None,
          cwd: str | os.PathLike | None = None) -> int:
    """Start a process in a session of its own and note it in a pid file.

    :param log: file that its standard output and error are appended to.
    :param env: its whole environment; None: ours.
    :returns: its process id, the process group's, too.
    :raises OSError: the program can't be run.
    """
    with open(log, 'ab') as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, env=env, cwd=cwd,
            start_new_session=True)
    _children[process.pid] = process
    pid_file.write_text(f'{process.pid} {_start_time(process.pid)}\n')
    return process.pid


# Ours, to be waited for when they end, else they stay as zombies.
_children: dict[int, subprocess.Popen] = {}


def find(pid_file: pathlib.Path) -> int | None:
    """Return the id of the process of a pid file, None if it has ended."""
    try:
        pid, _, started = pid_file.read_text().strip().partition(' ')
        number = int(pid)
    except (OSError, ValueError):
        return None
    return number if _start_time(number) == started else None


def _start_time(pid: int) -> str | None:
    """Return when a process started (clock ticks since boot, as text)."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
    try:
        with open(f'/proc/{pid}/stat') as file:
            # The command's name, in parentheses, may hold anything.
            fields = file.read().rpartition(')')[2].split()
    except OSError:
        return None
    state, started = fields[0], fields[19]
    if state == 'X' or state == 'Z' and not _has_threads(pid):
        return None
    return started


def _has_threads(pid: int) -> bool:
    """Return whether other threads outlive a process's first one.

    They still hold its ports.
    """
    try:
        return len(os.listdir(f'/proc/{pid}/task')) > 1
    except OSError:
        return False


def send(pid: int, number: signal.Signals, group: bool = False) -> None:
    """Send a signal; a process that has ended meanwhile is no error."""
    try:
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        return


def stop(pid_file: pathlib.Path, timeout: float,
         group: bool = False) -> bool:
    """End a process: SIGTERM, and SIGKILL after ``timeout`` seconds.

    :param group: it leads a process group, its workers: it is to end them
        at SIGTERM, and those that are left then are killed.
    :returns: whether SIGTERM was enough (or it did not run at all).
    """
    pid = find(pid_file)
    gentle = True
    if pid is not None:
        # only the leader: a worker of uWSGI that is told twice, by us and by
        # its master, never ends
        send(pid, signal.SIGTERM)
        gentle = wait_end(pid_file, timeout)
        if not gentle:
            kill(pid_file, group)
        elif group:
            # Workers that outlive their master hold its ports.
            send(pid, signal.SIGKILL, group)
    pid_file.unlink(missing_ok=True)
    return gentle


def kill(pid_file: pathlib.Path, group: bool = False) -> None:
    """``kill -9`` a process (or its group); return when it is gone."""
    pid = find(pid_file)
    if pid is not None:
        send(pid, signal.SIGKILL, group)
        wait_end(pid_file, 30.0)


def wait_end(pid_file: pathlib.Path, timeout: float) -> bool:
    """Wait for a process to end; return whether it did in time."""
    deadline = time.monotonic() + timeout
    while find(pid_file) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def rss_mb(pid: int | None) -> float:
    """Return the resident memory of one process in MiB, 0 if it is gone."""
    try:
        with open(f'/proc/{pid}/statm') as file:
            pages = int(file.read().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf('SC_PAGE_SIZE') / (1 << 20)


def pss_mb(pid: int | None) -> float:
    """Return a process's memory in MiB, shared pages shared out (PSS)."""
    try:
        with open(f'/proc/{pid}/smaps_rollup') as file:
            for line in file:
                if line.startswith('Pss:'):
                    return int(line.split()[1]) / 1024
    except OSError:
        return 0.0
    return 0.0


def cpu_seconds(pid: int | None) -> float:
    """Return the processor time of one process, 0 if it is gone.

    :returns: seconds in user and system mode, with those of its children
        that ended (``proc_pid_stat(5)``: utime, stime, cutime, cstime).
    """
    try:
        with open(f'/proc/{pid}/stat') as file:
            # The command's name, in brackets, may have blanks in it.
            fields = file.read().rpartition(')')[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf('SC_CLK_TCK')


def groups() -> dict[int, list[int]]:
    """Return the ids of all processes, by process group."""
    found: dict[int, list[int]] = {}
    for entry in pathlib.Path('/proc').iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = entry.joinpath('stat').read_text().rpartition(')')[2]
        except OSError:
            continue
        state, _, group = fields.split()[:3]
        if state not in 'ZX':
            found.setdefault(int(group), []).append(int(entry.name))
    return found
