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

"""SQL functions of a workspace: ids, frozen time and chance.

What a statement draws (ids, the time, random numbers) is remembered, so that
a replay of the transaction draws the same (rule 27).
"""

from collections import defaultdict
from collections import deque
from collections.abc import Callable
import random
import re
import time
from typing import Any

import apsw

from luc_drivers.db import errors

#: draws a number from a table's sequence, by the table's name
DrawId = Callable[[str], int]
#: draws a creation number
DrawRowid = Callable[[], int]

_TIME_FUNCTIONS = ('date', 'time', 'datetime', 'julianday', 'unixepoch',
                   'strftime', 'timediff')
#: where the time value stands among a function's arguments
_FIRST_TIME = {'strftime': 1}


class Draws:
    """What one statement drew; given again at each of its runs.

    :ivar now: seconds since the epoch.
    """

    __slots__ = ('now', 'seed', '_ids', '_next', '_text', 'random')

    def __init__(self) -> None:
        self.now = time.time()
        self.seed = random.getrandbits(64)
        self._text: str | None = None
        self._ids: dict[str, list[int]] = defaultdict(list)
        self._next: dict[str, deque[int]] = {}
        self.random: random.Random | None = None

    def restart(self) -> None:
        """Begin another run of the statement: give all once more."""
        self._next = {name: deque(ids) for name, ids in self._ids.items()}
        self.random = None

    def forget(self, name: str) -> bool:
        """Drop a table's ids; tell whether there were any."""
        return self._ids.pop(name.lower(), None) is not None

    def draw(self, name: str, fresh: Callable[[], int]) -> int:
        """Return the next id for ``name``, a fresh one if none is left."""
        waiting = self._next.get(name)
        if waiting:
            return waiting.popleft()
        value = fresh()
        self._ids[name].append(value)
        return value

    def now_text(self) -> str:
        """Return the frozen time, in UTC, as SQLite writes it."""
        if self._text is None:
            whole = time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(self.now))
            self._text = '%s.%03d' % (whole, int(self.now * 1000) % 1000)
        return self._text


class Functions:
    """The functions of one workspace.

    :ivar draws: of the statement that runs now.
    :ivar draw_id: set by whoever runs statements.
    :ivar user: functions of the connection that uses the workspace now, by
        (lower-case name, number of arguments).
    """

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        # evaluates the time functions that ours shadow
        self._plain: apsw.Connection | None = None
        self._registered: set[tuple[str, int]] = set()
        self.draws = Draws()
        self.draw_id: DrawId | None = None
        self.draw_rowid: DrawRowid | None = None
        #: ids and creation numbers given in this transaction
        self.drawn: set[tuple[str, int]] = set()
        self.user: dict[tuple[str, int], Callable[..., Any]] = {}
        make: Callable[..., None] = db.create_scalar_function
        make('luc_next', self._next, 1)
        make('luc_rowid', self._rowid, 0)
        make('random', self._random, 0)
        make('randomblob', self._random_blob, 1)
        make('current_timestamp', lambda: self.draws.now_text()[:19], 0,
             deterministic=True)
        make('current_date', lambda: self.draws.now_text()[:10], 0,
             deterministic=True)
        make('current_time', lambda: self.draws.now_text()[11:19], 0,
             deterministic=True)
        for name in _TIME_FUNCTIONS:
            make(name, self._time_function(name), -1, deterministic=True)

    def _next(self, table: str) -> int:
        assert self.draw_id is not None
        draw = self.draw_id
        name = table.lower()
        value = self.draws.draw(name, lambda: draw(name))
        self.drawn.add((name, value))
        return value

    def _rowid(self) -> int:
        assert self.draw_rowid is not None
        value = self.draws.draw('', self.draw_rowid)
        self.drawn.add(('', value))
        return value

    def _dice(self) -> random.Random:
        if self.draws.random is None:
            self.draws.random = random.Random(self.draws.seed)
        return self.draws.random

    def _random(self) -> int:
        return self._dice().getrandbits(64) - (1 << 63)

    def _random_blob(self, length: Any) -> bytes:
        return self._dice().randbytes(max(1, int(length or 0)))

    def _time_function(self, name: str) -> Callable[..., Any]:
        first = _FIRST_TIME.get(name, 0)
        count = 2 if name == 'timediff' else 1

        def function(*given: Any) -> Any:
            values = list(given)
            if len(values) == first:
                values.append('now')
            for place in range(first, min(first + count, len(values))):
                value = values[place]
                if isinstance(value, str) and value.lower() == 'now':
                    values[place] = self.draws.now_text()
            return self._evaluate(name, values)

        return function

    def _evaluate(self, name: str, values: list[Any]) -> Any:
        if self._plain is None:
            self._plain = apsw.Connection(':memory:')
        marks = ', '.join('?' * len(values))
        return self._plain.execute(f'SELECT {name}({marks})', values).get

    # --- a connection's own functions

    def use(self, user: dict[tuple[str, int], Callable[..., Any]]) -> None:
        """Make a connection's functions the ones that SQL calls.

        SQLite gets a trampoline per name only: to define a function anew
        would make it prepare all statements again.
        """
        self.user = user
        for name, count in user:
            if (name, count) not in self._registered:
                self._register(name, count)

    def _register(self, name: str, count: int) -> None:
        key = (name, count)

        def call(*values: Any) -> Any:
            function = self.user.get(key)
            if function is None and name == 'regexp':
                function = regexp
            if function is None:
                raise errors.OperationalError(f'no such function: {name}')
            try:
                return function(*values)
            except Exception as exc:
                raise errors.OperationalError(
                    'user-defined function raised exception') from exc

        self._db.create_scalar_function(name, call, count)
        self._registered.add(key)


def regexp(pattern: Any, value: Any) -> bool | None:
    """Return whether ``value REGEXP pattern``; NULL gives NULL."""
    if pattern is None or value is None:
        return None
    return re.search(str(pattern), str(value)) is not None
