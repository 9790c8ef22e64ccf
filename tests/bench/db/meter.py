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

"""Counts what calls cost in this process: bytes on the wire, rounds.

A round is one wait for the server: for MariaDB one command, for our stores
what they count.  What goes out in one round are its requests (of our stores
only).  Bytes are those of the client's sockets, headers of TCP/IP not
included.
"""

import dataclasses
import threading
from typing import Any


@dataclasses.dataclass
class Cost:
    """What has been spent so far, by all threads."""

    sent: int = 0
    received: int = 0
    rounds: int = 0
    requests: int = 0

    def since(self, before: 'Cost') -> 'Cost':
        return Cost(self.sent - before.sent, self.received - before.received,
                    self.rounds - before.rounds,
                    self.requests - before.requests)


class _PyMySQL:
    """Looks into PyMySQL's connections."""

    def __init__(self) -> None:
        from pymysql import connections
        self._cost = Cost()
        self._lock = threading.Lock()
        kind = connections.Connection
        write, read = kind._write_bytes, kind._read_bytes
        command = kind._execute_command

        def _write_bytes(connection: Any, data: bytes) -> Any:
            with self._lock:
                self._cost.sent += len(data)
            return write(connection, data)

        def _read_bytes(connection: Any, count: int) -> Any:
            with self._lock:
                self._cost.received += count
            return read(connection, count)

        def _execute_command(connection: Any, *args: Any) -> Any:
            with self._lock:
                self._cost.rounds += 1
            return command(connection, *args)

        kind._write_bytes = _write_bytes
        kind._read_bytes = _read_bytes
        kind._execute_command = _execute_command

    def read(self) -> Cost:
        return dataclasses.replace(self._cost)


class _Ours:
    """Asks our stores and CQL sessions.

    :param mine: count the calling thread's rounds, not those of others
        (cleaning in the background).
    """

    def __init__(self, mine: bool = True) -> None:
        self._mine = mine

    def read(self) -> Cost:
        from luc_drivers import cql
        from luc_drivers.db import engine
        cost = Cost()
        for database in list(engine._databases.values()):
            count = database.store.here if self._mine else database.store
            cost.rounds += count.rounds
            cost.requests += count.requests
        for session in cql.all_sessions():
            cost.sent += session.bytes_sent
            cost.received += session.bytes_received
        return cost


def meter(store: str) -> Any:
    """Return the meter of a store: its read() gives the Cost so far."""
    return _PyMySQL() if store == 'mariadb' else _Ours()
