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

"""In which order a listener hands out what it read of one log (rule D5).

A sender appends to the stripes in turn and a listener reads them at
different moments, so what it has read may lack something older.  Two rules
give the order in which each sender sent:

* What one look at the log found is handed out after the next look only.
  A sender begins an entry when the one before it is stored: that look found
  it.
* While a stripe has more to read, nothing is handed out that is newer than
  what was read of it.

Positions come from the clocks of several nodes; within what is handed out,
the numbers that senders give have the last word.
"""

import collections
from collections.abc import Callable
import dataclasses
import itertools
import random
import uuid

from luc_drivers.messaging import stripes
from luc_drivers.messaging.matchmaker import base


class Numbers:
    """Numbers the entries of one sender in one log."""

    def __init__(self) -> None:
        self._sender = uuid.uuid4().hex[:16]
        self._turn = itertools.count()
        # Each sender starts elsewhere, so that many load all alike.
        self._start = random.randrange(1 << 16)

    def next(self, count: int) -> tuple[str, int]:
        """Return an id that tells the entry's number, and its stripe.

        :param count: of stripes.
        """
        number = next(self._turn)
        # The number first: see ``stripes.key_of``.
        return ('%06x-%s' % (number, self._sender),
                (self._start + number) % count)


def number_of(entry_id: str) -> tuple[str, int] | None:
    """Return an id's sender and number; None if an older version made it."""
    number, _, sender = entry_id.partition('-')
    try:
        return (sender, int(number, 16)) if sender else None
    except ValueError:
        return None


@dataclasses.dataclass(slots=True, eq=False)
class Found:
    """An entry that was read."""

    entry: base.LogEntry
    stripe: stripes.Stripe
    look: int
    """Number of the look that found it."""
    sender: str = ''
    number: int = -1

    def __post_init__(self) -> None:
        known = number_of(self.entry.id)
        if known is not None:
            self.sender, self.number = known


class Pending:
    """What was read and not handed out yet."""

    def __init__(self) -> None:
        self._found: list[Found] = []
        self._of: collections.Counter[int] = collections.Counter()

    def __len__(self) -> int:
        return len(self._found)

    def count(self, stripe: stripes.Stripe) -> int:
        """Return how many are of a stripe."""
        return self._of[stripe.number]

    def add(self, found: list[Found]) -> None:
        """Put in what was read."""
        self._found += found
        self._of.update(f.stripe.number for f in found)

    def drop(self, unwanted: Callable[[Found], bool]) -> None:
        """Forget some: others read them."""
        self._found = [f for f in self._found if not unwanted(f)]
        self._of = collections.Counter(f.stripe.number for f in self._found)

    def take(self, room: int, look: int, limit: float) -> list[Found]:
        """Take out what can be handed out now, in order.

        :param room: most that are taken.
        :param look: number of the last look that was completed.
        :param limit: highest position that can be handed out.
        """
        newest = max((f.entry.position for f in self._found
                      if f.look < look and f.entry.position <= limit),
                     default=None)
        if newest is None:
            return []
        # The last look may have found what belongs before these.
        free = [f for f in self._found if f.entry.position <= newest]
        # So may what the positions say is newer, against its sender.
        last: dict[str, int] = {}
        for found in free:
            last[found.sender] = max(found.number,
                                     last.get(found.sender, -1))
        chosen = set(free)
        free += [f for f in self._found if f not in chosen
                 and f.number < last.get(f.sender, -1)]
        out = in_order(free)[:room]
        self.drop(set(out).__contains__)
        return out


def in_order(found: list[Found]) -> list[Found]:
    """Sort by position, and those of each sender as it numbered them."""
    out = sorted(found, key=lambda f: f.entry.position)
    places: dict[str, list[tuple[int, int]]] = {}
    for place, one in enumerate(out):
        if one.sender:
            places.setdefault(one.sender, []).append((one.number, place))
    for numbered in places.values():
        ordered = [out[place] for _, place in sorted(numbered)]
        for (_, place), one in zip(numbered, ordered):
            out[place] = one
    return out
