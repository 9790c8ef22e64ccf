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

"""What DDL statements came to before, for databases that begin empty.

Test suites replay the same schema on one private database after the other.
A state is immutable, so a statement on the same state, by the same profile,
comes to the same again; only the twin has to run it.
"""

import collections
from typing import Any

from luc_drivers import native
from luc_drivers.db.catalog import change
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.profiles.base import Profile

#: the state that databases begin with: one object, so that it can be a key
EMPTY = change.State()

_SIZE = 2048


class Memo:
    """Finished statements by state, profile and text (LRU). Thread-safe."""

    def __init__(self, size: int = _SIZE) -> None:
        self._size = size
        self._lock = native.lock()
        # values hold state and profile, so that their ids stay their own
        self._done: collections.OrderedDict[Any, Any] = (
            collections.OrderedDict())

    def find(self, state: change.State, profile: Profile,
             statement: sqltext.Statement, rows: change.RowCheck
             ) -> change.Done | None:
        """Return what the statement comes to; None if not known.

        :param rows: looks whether tables that had to be without rows then
            are so now.
        """
        key = (id(state), id(profile), statement.sql)
        with self._lock:
            found = self._done.get(key)
            if found is None:
                return None
            self._done.move_to_end(key)
        done: change.Done = found[2]
        tables: tuple[Table, ...] = found[3]
        return None if any(map(rows.occupied, tables)) else done

    def keep(self, state: change.State, profile: Profile,
             done: change.Done, rows: change.RowCheck) -> None:
        """Remember what a statement came to, unless rows decided it."""
        if done.statement is None or any(rows.consulted.values()):
            return
        tables = tuple(
            table for table in state.schema.tables.values()
            if table.number in rows.consulted)
        key = (id(state), id(profile), done.statement.sql)
        with self._lock:
            self._done[key] = (state, profile, done, tables)
            while len(self._done) > self._size:
                self._done.popitem(last=False)


#: of this process
MEMO = Memo()
