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

"""Run the services' own commands, with a log and one clear error."""

from collections.abc import Callable
import pathlib
import subprocess

from luc_drivers.onebox import daemons
from luc_drivers.onebox import errors
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import settings as onebox_settings

# The slowest, a first db_sync on a loaded machine, took two minutes.
TIMEOUT = 900.0

#: run(what, command, log name, accepted=(0,)): see :func:`runner`.
Runner = Callable[..., None]


def runner(settings: onebox_settings.Settings, env: dict[str, str],
           progress: progress_module.Progress) -> Runner:
    """Return a function that runs one command as a step of progress.

    What the command prints is appended to ``logs/LOG.cmd``.  It raises
    OneboxError when the exit status is not among the accepted ones.
    """
    def run(what: str, command: tuple[str, ...], log: str,
            accepted: tuple[int, ...] = (0,)) -> None:
        path = settings.logs / f'{log}.cmd'
        path.parent.mkdir(parents=True, exist_ok=True)
        with progress.step(what), open(path, 'ab') as out:
            before = out.tell()
            try:
                status = subprocess.run(
                    command, env=env, cwd=settings.folder,
                    stdin=subprocess.DEVNULL, stdout=out,
                    stderr=subprocess.STDOUT, timeout=TIMEOUT).returncode
            except subprocess.TimeoutExpired:
                raise errors.OneboxError(
                    f'{what}: {command[0]} took more than {TIMEOUT:.0f} s '
                    f'(see {path})') from None
            except OSError as exc:
                raise errors.OneboxError(
                    f'{what}: {command[0]}: {exc.strerror}') from None
        if status not in accepted:
            raise errors.OneboxError(
                f'{what}: exit status {status}: '
                f'{_reason(path, before, settings.logs / f"{log}.log")}')

    return run


def _reason(output: pathlib.Path, start: int, log: pathlib.Path) -> str:
    """Return why a command failed, from what it said or from its log."""
    with open(output, 'rb') as file:
        file.seek(start)
        said = file.read().decode(errors='replace').strip()
    line = daemons.error_line(said)
    if line is None and log.exists():
        return daemons.last_error([log])
    if line is None:
        line = said.splitlines()[-1][-300:] if said else 'it said nothing'
    return f'{line} (see {output})'
