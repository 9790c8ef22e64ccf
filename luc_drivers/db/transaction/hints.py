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


"""Hints: where rows with unique keys were found.

A look-up by a unique key that is not the row's own place takes two rounds:
the index, then the row.  Most rows stay where they are, so the row is read in
the same round as the index where it was the last time; the index, which is
read all the same, decides whether that was right.  Likewise a row of a group
may lead to another group: that is read with the first where it was the last
time; the row decides.
"""

from collections.abc import Hashable
import threading
from typing import Generic
from typing import TypeVar

What = TypeVar('What', bound=Hashable)
Where = TypeVar('Where')

#: slices that are remembered; each takes about a kilobyte
_MOST = 4096
#: slices of one look-up, above which nothing is remembered
MANY = 16


class Hints(Generic[What, Where]):
    """The hints of one process and database.  Thread-safe."""

    def __init__(self) -> None:
        self._places: dict[What, Where] = {}
        self._lock = threading.Lock()

    def find(self, read: What) -> Where | None:
        """Return where a slice has led to; None: not known."""
        return self._places.get(read)

    def note(self, read: What, place: Where) -> None:
        """Remember where a slice leads to."""
        with self._lock:
            # in order of their last use
            self._places.pop(read, None)
            self._places[read] = place
            if len(self._places) > _MOST:
                del self._places[next(iter(self._places))]
