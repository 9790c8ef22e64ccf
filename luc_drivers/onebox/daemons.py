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

"""The cloud's processes: start, wait for, look at, stop."""

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import functools
import os
import pathlib
import socket
import time
import urllib.error
import urllib.request

from luc_drivers.onebox import errors
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.testing import process

# Who has ignored SIGTERM for so long is killed. A nova service spends up to
# 4 s of processor time on its end, and others stop beside it.
STOP_TIMEOUT = 30.0
# A service that ends is noticed at once; a loaded machine may take long.
READY_TIMEOUT = 300.0


@dataclasses.dataclass(frozen=True)
class Daemon:
    """One long-running process (with its workers).

    :ivar name: as in ``onebox.sh logs NAME``.
    :ivar env: added to the common environment.
    :ivar url: answers (anything) when it is ready; '' = not HTTP.
    :ivar ready: another way to see that it is ready.
    :ivar port: TCP port that it takes, 0 for none.
    :ivar log: its own log file, when it does not log to standard error.
    """

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    url: str = ''
    ready: Callable[[], bool] | None = None
    port: int = 0
    log: str = ''
    stop_timeout: float = STOP_TIMEOUT


@dataclasses.dataclass
class State:
    """A daemon as found: memory in MiB, processor time in seconds.

    Both are of its whole process group.
    """

    name: str
    pid: int | None
    processes: int
    rss_mb: float
    pss_mb: float
    cpu_seconds: float


def environment(settings: onebox_settings.Settings) -> dict[str, str]:
    """Return the environment that all of the cloud's commands run in.

    The user's own OS_* variables stay out of it: they are for clients.
    """
    env = {name: value for name, value in os.environ.items()
           if not name.startswith(('OS_', 'LUC_', 'PYTHON'))}
    env['PATH'] = f'{settings.venv}/bin:{env.get("PATH", os.defpath)}'
    env['LC_ALL'] = 'C.UTF-8'
    # uwsgi and children find the environment by this, without activation.
    env['VIRTUAL_ENV'] = str(settings.venv)
    return env


def pid_file(settings: onebox_settings.Settings, name: str) -> pathlib.Path:
    """Return where a daemon's process id is kept."""
    return settings.folder / 'pids' / name


def output_file(settings: onebox_settings.Settings,
                daemon: Daemon) -> pathlib.Path:
    """Return where a daemon's standard output goes."""
    return settings.logs / f'{daemon.name}.out'


def log_files(settings: onebox_settings.Settings,
              daemon: Daemon) -> list[pathlib.Path]:
    """Return the files in which a daemon's messages are, that exist."""
    names = [settings.logs / daemon.log] if daemon.log else []
    return [path for path in (*names, output_file(settings, daemon))
            if path.exists()]


def start(settings: onebox_settings.Settings, daemon: Daemon,
          env: dict[str, str]) -> bool:
    """Start a daemon unless it runs; return whether it was started.

    :raises errors.OneboxError: its port is taken, or it can't be run.
    """
    file = pid_file(settings, daemon.name)
    if process.find(file) is not None:
        return False
    if daemon.port:
        _check_free(settings, daemon)
    file.parent.mkdir(parents=True, exist_ok=True)
    settings.logs.mkdir(parents=True, exist_ok=True)
    try:
        process.spawn(daemon.command, file, output_file(settings, daemon),
                      env={**env, **daemon.env}, cwd=settings.folder)
    except OSError as exc:
        raise errors.OneboxError(
            f'{daemon.name} can\'t be started: {daemon.command[0]}: '
            f'{exc.strerror}') from None
    return True


def wait(settings: onebox_settings.Settings, daemons: Iterable[Daemon],
         timeout: float = READY_TIMEOUT) -> None:
    """Wait until daemons are ready.

    :param timeout: seconds for all of them.
    :raises errors.OneboxError: one ended or is not ready in time.
    """
    deadline = time.monotonic() + timeout
    for daemon in daemons:
        while not _is_ready(daemon):
            if process.find(pid_file(settings, daemon.name)) is None:
                raise errors.OneboxError(
                    f'{daemon.name} ended: '
                    f'{last_error(log_files(settings, daemon))}')
            if time.monotonic() > deadline:
                raise errors.OneboxError(
                    f'{daemon.name} is not ready after {timeout:.0f} s: '
                    f'{last_error(log_files(settings, daemon))}')
            time.sleep(0.1)


def _is_ready(daemon: Daemon) -> bool:
    if daemon.ready is not None:
        return daemon.ready()
    return not daemon.url or answers(daemon.url)


def answers(url: str) -> bool:
    """Return whether anything but a server error comes from a URL."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as exc:
        return exc.code < 500
    except (OSError, ValueError):
        return False


def listens(host: str, port: int) -> bool:
    """Return whether somebody listens on a TCP port."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _check_free(settings: onebox_settings.Settings, daemon: Daemon) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host_ip, daemon.port))
        except OSError as exc:
            raise errors.OneboxError(
                f'{daemon.name}: port {daemon.port} of {settings.host_ip} '
                f'can\'t be used ({exc.strerror}): stop what listens there '
                '(another cloud: onebox.sh down), or give --port-offset N'
            ) from None


def stop(settings: onebox_settings.Settings, daemons: list[Daemon],
         progress: progress_module.Progress) -> None:
    """Stop daemons side by side: SIGTERM, SIGKILL after a time."""
    def one(daemon: Daemon) -> None:
        file = pid_file(settings, daemon.name)
        if process.find(file) is None:
            file.unlink(missing_ok=True)
        elif not process.stop(file, daemon.stop_timeout, group=True):
            progress.say(f'{daemon.name} ignored SIGTERM for '
                         f'{daemon.stop_timeout:.0f} s: killed')

    progress_module.run_all(
        [functools.partial(one, daemon) for daemon in daemons])


def kill(settings: onebox_settings.Settings, daemon: Daemon) -> None:
    """``kill -9`` a daemon and its workers."""
    process.kill(pid_file(settings, daemon.name), group=True)


def status(settings: onebox_settings.Settings,
           daemons: Iterable[Daemon]) -> list[State]:
    """Return how daemons are found."""
    members = process.groups()
    found = []
    for daemon in daemons:
        pid = process.find(pid_file(settings, daemon.name))
        found.append(state(daemon.name, pid,
                           members.get(pid, []) if pid else []))
    return found


def state(name: str, pid: int | None, pids: list[int]) -> State:
    """Return the state of a daemon that has these processes."""
    return State(name, pid, len(pids),
                 sum(process.rss_mb(member) for member in pids),
                 sum(process.pss_mb(member) for member in pids),
                 sum(process.cpu_seconds(member) for member in pids))


_MARKS = (' ERROR ', ' CRITICAL ', 'rror: ', 'xception: ', 'rror:')


def error_line(text: str) -> str | None:
    """Return the last line of a log or output that tells of an error."""
    for line in reversed(text.splitlines()):
        if any(mark in line for mark in _MARKS) and 'Warning' not in line:
            return line.strip()[-300:]
    return None


def last_error(files: Iterable[pathlib.Path]) -> str:
    """Return the last line of log files that tells of an error."""
    names = []
    for path in files:
        names.append(str(path))
        with open(path, 'rb') as file:
            file.seek(max(0, path.stat().st_size - 65536))
            line = error_line(file.read().decode(errors='replace'))
        if line:
            return f'{line} (see {path})'
    return 'see ' + ', '.join(names) if names else 'it logged nothing'
