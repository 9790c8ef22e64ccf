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

"""What transactions read after a statement: what is it likely to be again?

Services ask for the same things over and over: a port with its network, a
user with his roles.  Where a transaction had to wait for the store, it notes
what it read there and later; the next that runs the same statement with the
same parameters reads all of it in that one round.  Only where rows are is
remembered, never what is in them.
"""

from collections.abc import Hashable
from collections.abc import Iterable
import dataclasses
import threading
from typing import Generic
from typing import TypeVar

from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import RowKey

#: a table's slice of a group, a single row, or an index slice
Item = tuple[Group, int] | tuple[Group, RowKey] | IndexRead
What = TypeVar('What', bound=Hashable)

#: statements that are remembered; each with its items takes some kilobytes
_MOST = 512
#: items that may follow one of them; more are a list, whose reads are few
WIDE = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Habit(Generic[What]):
    """What followed a statement.

    :ivar items: what is expected to follow.
    :ivar last: what followed the last time.
    :ivar careful: most of what was expected did not follow once: only what
        did twice is expected.
    """

    items: frozenset[What]
    last: frozenset[What]
    careful: bool


class Habits(Generic[What]):
    """The habits of one process and database.  Thread-safe.

    What follows is said by `Item`, or relative to what the thread has used
    before (`recent.Near`).
    """

    def __init__(self) -> None:
        self._habits: dict[Hashable, Habit[What]] = {}
        self._lock = threading.Lock()

    def expected(self, key: Hashable) -> frozenset[What]:
        """Return what is expected to follow a statement."""
        habit = self._habits.get(key)
        return frozenset() if habit is None else habit.items

    def learn(self, key: Hashable, followed: Iterable[What]) -> None:
        """Note what has followed a statement."""
        last = frozenset(followed)
        with self._lock:
            # in order of their last use
            old = self._habits.pop(key, None)
            careful = old is not None and (
                old.careful or 2 * len(old.items & last) < len(old.items))
            items = last & old.last if old is not None and careful else last
            self._habits[key] = Habit(items, last, careful)
            if len(self._habits) > _MOST:
                del self._habits[next(iter(self._habits))]
