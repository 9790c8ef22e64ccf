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

"""The record of a transaction, and running it again (rule 27).

A conflict is invisible if every result that the caller has seen comes out
the same on fresh rows.
"""

from collections.abc import Sequence
import dataclasses
import random
import time
from typing import Any

from luc_drivers.db import errors
from luc_drivers.db.catalog.sqltext import Statement
from luc_drivers.db.planner.plan import Parameters
from luc_drivers.db.workspace.functions import Draws
from luc_drivers.db.workspace.workspace import Outcome

#: pauses between replays grow up to this, in seconds
_LONGEST = 0.5


@dataclasses.dataclass(slots=True)
class Entry:
    """A statement of a transaction and what the caller saw of it.

    :ivar sql: '' for a savepoint's statement.
    :ivar sets: several sets of parameters (executemany).
    :ivar savepoint: (method of Transaction, name).
    :ivar ddl: DDL of a temporary object.
    """

    sql: str = ''
    parameters: Parameters = ()
    sets: Sequence[Parameters] | None = None
    savepoint: tuple[str, str] | None = None
    ddl: Statement | None = None
    draws: Draws = dataclasses.field(default_factory=Draws)
    outcome: Outcome | None = None
    error: type[Exception] | None = None

    def saw(self, outcome: Outcome | None, error: type[Exception] | None
            ) -> bool:
        """Tell whether the caller saw just this."""
        return self.error is error and self.outcome == outcome

    def recounted(self, outcome: Outcome | None) -> bool:
        """Tell whether only the number of changed rows differs, and nobody
        has looked at it; then take the new one.

        Of two that delete the same rows at once, the later one finds none,
        as it would behind the locks of another database.
        """
        mine = self.outcome
        if mine is None or outcome is None or mine.counted or (
                dataclasses.replace(mine, changes=outcome.changes)
                != outcome):
            return False
        mine.changes = outcome.changes
        return True


class Attempts:
    """Bounds replays by time; pauses longer and longer in between.

    :param bound: seconds.
    """

    def __init__(self, bound: float) -> None:
        self._bound = bound
        self._end: float | None = None
        self.count = 0

    def again(self, why: Exception) -> None:
        """Pause before the next replay.

        :raises WriteConflict: time is up.
        """
        now = time.monotonic()
        if self._end is None:
            self._end = now + self._bound
        self.count += 1
        if now >= self._end:
            raise errors.WriteConflict(
                'database is locked: not committed after %d attempts within '
                '[database] commit_timeout = %g s (%s)' % (
                    self.count, self._bound, why)) from why
        if self.count > 1:
            time.sleep(random.random() * min(
                _LONGEST, 0.002 * 2 ** min(self.count, 10)))


def differs(entry: Entry, why: Any) -> errors.WriteConflict:
    """Return the error for a replay that gave other results."""
    return errors.WriteConflict(
        'database is locked: another transaction committed first and changed '
        'what this one had read (%s; %s)' % (
            ' '.join(entry.sql.split())[:120], why))
