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


"""Worker processes whose threads are made as asked for (see bench.remote).
"""

import os
import sys
import typing as ty

from tests.bench import remote
from tests.bench.messaging import process

#: how threads are made: first argument of such a program
NATIVE = 'native'
EVENTLET = 'eventlet'

Failed = remote.Failed


class Remote(remote.Remote):
    """A process and all that it started."""

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
    remote.obey(subject, lambda: _read_line(threads), sys.stdout)
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
