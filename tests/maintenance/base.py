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

"""What a maintenance command is, and how it is run."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import datetime
import os
import pathlib
import subprocess
import sys
import time

import sqlalchemy as sa
from sqlalchemy import event

_SITE = pathlib.Path(__file__).with_name('site')
_ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where one command's databases are.

    :ivar url: of a database by its name.
    """

    folder: pathlib.Path
    url: Callable[[str], str]

    def engine(self, name: str) -> sa.Engine:
        """Return an engine that sends BEGIN, as oslo.db's do."""
        engine = sa.create_engine(self.url(name))

        @event.listens_for(engine, 'connect')
        def connected(connection, record):
            connection.isolation_level = None

        @event.listens_for(engine, 'begin')
        def begin(connection):
            connection.exec_driver_sql('BEGIN')

        return engine


@dataclasses.dataclass(frozen=True)
class Command:
    """One maintenance command.

    :ivar sync: makes the tables (argument lists).
    :ivar seed: fills them; gives the number of rows that the command is to
        move or remove.
    :ivar run: the command (argument lists, after the program's path).
    :ivar again: whether a code of the program says "run me again".
    :ivar check: what is wrong: after a kill (False) or at the end (True).
    """

    name: str
    config: Callable[[Place], None]
    sync: Callable[[Place], Sequence[list[str]]]
    seed: Callable[[Place, int], int]
    run: Callable[[Place], list[str]]
    check: Callable[[Place, bool], list[str]]
    again: Callable[[int, str], bool] = lambda code, output: False
    good: frozenset[int] = frozenset((0,))


@dataclasses.dataclass(frozen=True)
class Kill:
    """When a program is killed (-9).

    :ivar step: at which step of the commit protocol; 0 = at none.
    :ivar seconds: so long after it has started, if ``step`` is 0: somewhere
        between two steps, one of which may write thousands of rows.
    """

    step: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return f'step {self.step}' if self.step else f'{self.seconds:.1f} s'


NEVER = Kill(seconds=3600.0)


def execute(place: Place, arguments: list[str], kill: Kill = NEVER
            ) -> subprocess.CompletedProcess[str]:
    """Run a program of the services' environment.

    One that was killed has the code -9.
    """
    program = pathlib.Path(sys.executable).with_name(arguments[0])
    environment = dict(os.environ, PYTHONWARNINGS='ignore')
    if kill.step:
        environment['LUC_TEST_KILL_AT'] = str(kill.step)
        environment['PYTHONPATH'] = f'{_SITE}:{_ROOT}'
    else:
        environment['PYTHONPATH'] = str(_ROOT)
    command = [sys.executable, str(program), *arguments[1:]]
    try:
        return subprocess.run(
            command, cwd=place.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=kill.seconds or NEVER.seconds)
    except subprocess.TimeoutExpired:
        if kill == NEVER:
            raise
        return subprocess.CompletedProcess(command, -9, '', '')


@dataclasses.dataclass
class Result:
    """What came out.

    :ivar rows: how many there were to move or remove.
    :ivar start: seconds of the command with nothing to do: that is the
        program's start, mostly.
    :ivar seconds: of all runs of the command with something to do.
    :ivar kills: how often it was killed half-way.
    :ivar load: of the machine: a mean of five minutes, at the end.
    """

    command: str
    store: str
    rows: int
    start: float = 0.0
    seconds: float = 0.0
    runs: int = 0
    kills: int = 0
    load: float = 0.0
    date: str = ''
    wrong: list[str] = dataclasses.field(default_factory=list)


def try_out(command: Command, place: Place, store: str, rows: int,
            kills: Sequence[Kill] = ()) -> Result:
    """Seed, run (killed in these ways, one after the other), and check.

    :param kills: seconds are those after the command's usual start.

    :raises RuntimeError: the command failed; with its output.
    """
    command.config(place)
    for arguments in command.sync(place):
        done = execute(place, arguments)
        if done.returncode:
            raise RuntimeError(f'{arguments}: {done.stdout[-4000:]}')
    command.seed(place, 0)
    begin = time.monotonic()
    done = execute(place, command.run(place))
    start = time.monotonic() - begin
    if done.returncode not in command.good:
        raise RuntimeError(
            f'{command.run(place)} ended with {done.returncode}: '
            f'{done.stdout[-4000:]}')
    result = Result(command.name, store, command.seed(place, rows),
                    start=round(start, 1))
    left = list(kills)
    while True:
        last = left.pop(0) if left else NEVER
        if last.seconds and last is not NEVER:
            last = Kill(seconds=start + last.seconds)
        begin = time.monotonic()
        done = execute(place, command.run(place), last)
        result.seconds += time.monotonic() - begin
        result.runs += 1
        if done.returncode == -9:
            result.kills += 1
            result.wrong += [
                f'killed at {last}: {line}'
                for line in command.check(place, False)]
            continue
        if command.again(done.returncode, done.stdout):
            continue
        if done.returncode not in command.good:
            raise RuntimeError(
                f'{command.run(place)} ended with {done.returncode}: '
                f'{done.stdout[-4000:]}')
        break
    result.seconds = round(result.seconds, 1)
    result.load = round(os.getloadavg()[1], 1)
    result.date = datetime.datetime.now(datetime.UTC).isoformat(
        timespec='minutes')
    result.wrong += command.check(place, True)
    return result
