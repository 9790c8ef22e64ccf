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


def execute(place: Place, arguments: list[str], kill_at: int = 0
            ) -> subprocess.CompletedProcess[str]:
    """Run a program of the services' environment."""
    program = pathlib.Path(sys.executable).with_name(arguments[0])
    environment = dict(os.environ, PYTHONWARNINGS='ignore')
    if kill_at:
        environment['LUC_TEST_KILL_AT'] = str(kill_at)
        environment['PYTHONPATH'] = f'{_SITE}:{_ROOT}'
    else:
        environment['PYTHONPATH'] = str(_ROOT)
    return subprocess.run(
        [sys.executable, str(program), *arguments[1:]], cwd=place.folder,
        env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=3600)


@dataclasses.dataclass
class Result:
    """What came out.

    :ivar rows: how many there were to move or remove.
    :ivar seconds: of all runs of the command, without the seeding.
    :ivar kills: how often it was killed half-way.
    """

    command: str
    store: str
    rows: int
    seconds: float = 0.0
    runs: int = 0
    kills: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)


def try_out(command: Command, place: Place, store: str, rows: int,
            kill_at: Sequence[int] = ()) -> Result:
    """Seed, run (killed at these steps, one after the other), and check.

    :raises RuntimeError: the command failed; with its output.
    """
    command.config(place)
    for arguments in command.sync(place):
        done = execute(place, arguments)
        if done.returncode:
            raise RuntimeError(f'{arguments}: {done.stdout[-4000:]}')
    result = Result(command.name, store, command.seed(place, rows))
    kills = list(kill_at)
    while True:
        last = kills.pop(0) if kills else 0
        begin = time.monotonic()
        done = execute(place, command.run(place), last)
        result.seconds += time.monotonic() - begin
        result.runs += 1
        if done.returncode == -9:
            result.kills += 1
            result.wrong += [
                f'killed at step {last}: {line}'
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
    result.wrong += command.check(place, True)
    return result
