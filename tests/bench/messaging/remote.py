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
with what the method returned. Benchmark and soak have such processes.
"""

import json
import os
import subprocess
import sys
import typing as ty

from tests.bench.messaging import process

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__)))))

#: how threads are made: first argument of such a program
NATIVE = 'native'
EVENTLET = 'eventlet'


class Died(Exception):
    """A process ended by itself; its stderr says why."""


class Remote:
    """A started process, seen from the one that gives the commands."""

    def __init__(self, name: str, module: str, arguments: ty.Sequence[str],
                 environment: dict[str, str]) -> None:
        """Start it.

        :param name: for messages.
        :param module: run with ``python -m``; calls :func:`obey`.
        :param environment: variables beside our own.
        """
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-m', module, *arguments],
            cwd=_ROOT, env={**os.environ, 'PYTHONPATH': _ROOT, **environment},
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True)
        self.pid = self.process.pid

    def begin(self, do: str, **arguments: ty.Any) -> None:
        """Give a command; ``result`` waits for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({'do': do, **arguments}) + '\n')
        self.process.stdin.flush()

    def result(self) -> dict:
        """Wait for the answer to a command.

        :raises Died: there will be none.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Died('%s (pid %d) ended' % (self.name, self.pid))
        return json.loads(line)

    def run(self, do: str, **arguments: ty.Any) -> dict:
        """Give a command and wait for its answer."""
        self.begin(do, **arguments)
        return self.result()

    def usage(self) -> process.Usage:
        """What the process uses."""
        return process.usage(self.pid)

    def close(self) -> None:
        """End it and all that it started."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        process.end_session(self.process)


def patch(threads: str) -> None:
    """Make threads as asked for; before anything else is imported."""
    if threads == EVENTLET:
        import eventlet
        eventlet.monkey_patch()


def obey(subject: ty.Any, threads: str) -> ty.NoReturn:
    """Do what standard input says until it ends, then end the process."""
    while line := _read_line(threads):
        command = json.loads(line)
        result = getattr(subject, command.pop('do'))(**command)
        print(json.dumps(result), flush=True)
    sys.stdout.flush()
    os._exit(0)


def _read_line(threads: str) -> str:
    if threads == EVENTLET:
        # Here it would block all greenlets: read in a native thread.
        from eventlet import tpool
        return tpool.execute(sys.stdin.readline)
    return sys.stdin.readline()


def stop(servers: ty.Iterable[ty.Any], transport: ty.Any) -> dict:
    """Stop serving, as a service does when it is asked to."""
    for server in servers:
        server.stop()
    for server in servers:
        server.wait()
    transport.cleanup()
    return {}
