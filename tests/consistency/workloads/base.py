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

"""What a workload is, and what all of them use."""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import random
from typing import Any

import sqlalchemy as sa

from tests.consistency.history import Operation

METADATA = sa.MetaData()


class Anomaly(Exception):
    """What a client found can't be, whatever else happens."""


@contextlib.contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction; oslo.db's engines send BEGIN."""
    with engine.begin() as connection:
        yield connection


class Workload:
    """One kind of transactions on tables of its own, and their checker.

    :cvar name: as in histories.
    :cvar conflicts: whether a DBDeadlock may come out of it when nothing is
        wrong with the store.
    """

    name = ''
    conflicts = True

    def fill(self, connection: sa.Connection) -> None:
        """Insert what is there at the start."""

    def draw(self, rng: random.Random, client: str) -> tuple[str, Any]:
        """Return the next operation's name and what it is asked for."""
        raise NotImplementedError

    def run(self, engine: sa.Engine, name: str, asked: Any) -> Any:
        """Carry an operation out; return what it found (JSON).

        :raises Anomaly: it found what can't be.
        """
        raise NotImplementedError

    def final(self, connection: sa.Connection) -> Any:
        """Return what is there at the end (JSON)."""
        raise NotImplementedError

    def check(self, operations: Sequence[Operation], final: Any
              ) -> list[str]:
        """Return what is wrong, one line each; [] if nothing is."""
        raise NotImplementedError


def rows(connection: sa.Connection, query: Any) -> list[list[Any]]:
    """Return a query's rows as lists."""
    return [list(row) for row in connection.execute(query)]
