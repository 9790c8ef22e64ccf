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

"""Turns: threads of one process wait for each other at what only one can do.

Two transactions that compare and set one row can't both win, nor can two that
insert one unique key. A relational database lets the second wait at its
statement and then tells it that no row matched, or that the key is there;
services count on that (placement's generations and projects). Between threads
of one process a lock does the same; between processes the commit decides.
"""

import threading
from typing import Any

#: seconds to wait for another thread's transaction
WAIT = 5.0


class Turns:
    """Locks by name; only a means to avoid conflicts, never relied upon."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        # name: [lock, how many hold or wait for it]
        self._locks: dict[Any, list[Any]] = {}

    def take(self, name: Any, seconds: float) -> bool:
        """Wait for a turn.

        :param seconds: how long at most: two that wait for each other go
            on without, and the commit decides.
        :returns: whether ``give`` has to be called.
        """
        with self._guard:
            entry = self._locks.setdefault(name, [threading.Lock(), 0])
            entry[1] += 1
        if entry[0].acquire(timeout=seconds):
            return True
        self._leave(name, entry)
        return False

    def give(self, name: Any) -> None:
        """Let the next one have its turn."""
        entry = self._locks[name]
        entry[0].release()
        self._leave(name, entry)

    def _leave(self, name: Any, entry: list[Any]) -> None:
        with self._guard:
            entry[1] -= 1
            if not entry[1]:
                self._locks.pop(name, None)
