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


"""Processes that do what they are told: both ends of a pipe of JSON lines.

One command a line, ``{"do": METHOD, ARGUMENT: VALUE, ...}``, and one line
with what the method returned, or ``{"error": TRACEBACK}``.  Both benchmarks
and the soak have such processes.
"""

from collections.abc import Callable
from collections.abc import Sequence
import json
import os
import pathlib
import signal
import subprocess
import sys
import traceback
from typing import Any
from typing import TextIO

_ROOT = pathlib.Path(__file__).resolve().parents[2]
#: seconds for ending by itself
_END = 30.0


class Failed(Exception):
    """A process ended by itself, or could not do what it was told to."""


class Remote:
    """A started process, seen from the one that gives the commands.

    :param name: for messages.
    :param module: run with ``python -m``; calls :func:`obey`.
    :param environment: variables beside our own.
    :param log: where its stderr goes; None = where ours does.
    """

    def __init__(self, name: str, module: str, arguments: Sequence[str],
                 environment: dict[str, str],
                 log: pathlib.Path | None = None) -> None:
        self.name = name
        self._log = log
        errors = None if log is None else open(log, 'ab')
        try:
            self.process = subprocess.Popen(
                [sys.executable, '-W', 'ignore', '-m', module, *arguments],
                cwd=_ROOT, env={**os.environ, 'PYTHONPATH': str(_ROOT),
                                **environment},
                text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, start_new_session=True)
        finally:
            if errors is not None:
                errors.close()
        self.pid = self.process.pid

    def begin(self, do: str, **arguments: Any) -> None:
        """Give a command; ``result`` waits for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({'do': do, **arguments}) + '\n')
        self.process.stdin.flush()

    def result(self) -> dict:
        """Wait for the answer to a command.

        :raises Failed: there will be none, or it is an error.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        seen = '' if self._log is None else f' (see {self._log})'
        if not line:
            raise Failed(f'{self.name} (pid {self.pid}) ended{seen}')
        answer = json.loads(line)
        if 'error' in answer:
            *_, why = answer['error'].strip().splitlines()
            raise Failed(f'{self.name}: {why}{seen}')
        return answer

    def run(self, do: str, **arguments: Any) -> dict:
        """Give a command and wait for its answer.

        :raises Failed: see ``result``.
        """
        self.begin(do, **arguments)
        return self.result()

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(_END)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()


def obey(subject: Any, read: Callable[[], str], output: TextIO) -> None:
    """Do what the lines say until they end.

    What raises is written to stderr and told.

    :param read: returns a line; '' = the end.
    """
    while line := read():
        command = json.loads(line)
        try:
            answer = getattr(subject, command.pop('do'))(**command)
        except Exception:
            traceback.print_exc()
            answer = {'error': traceback.format_exc()}
        print(json.dumps(answer), file=output, flush=True)
