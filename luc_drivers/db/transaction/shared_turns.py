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

"""Turns between processes: rows beside the rows, which vanish by themselves.

`Turns` lets the threads of one process wait for each other at their
compare-and-sets; these let processes.  A turn is a row among the group's
markers, inserted on the condition that the row in question is unlocked and
still at the version that the transaction knows: one conditional batch takes
the turn and makes sure that there is nothing newer to read.  It goes with the
transaction, or by its TTL.  Nothing relies on it: a commit that finds its row
changed is refused whoever had the turn.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import logging
import math
import struct

from luc_drivers.db import errors
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import MARKER_TABLE
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.store.base import RowWrite
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction import background as background_module
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.beside import Beside
from luc_drivers.db.transaction.bounds import Bounds
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.hooks import step
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.transaction.resolve import Resolver
from luc_drivers.db.transaction.resolve import write_all
from luc_drivers.db.transaction.writes import Intent

LOG = logging.getLogger(__name__)

#: most rows of one statement that turns are taken for
MOST = 8

_TABLE = struct.Struct('>I')
_DOCUMENT = b'T'


def turn_key(key: RowKey) -> RowKey:
    """Return where the turn of a row is: longer than any marker's id."""
    return RowKey(MARKER_TABLE, b'turn' + _TABLE.pack(key.table) + key.pk +
                  bytes(16))


def _place(row: StoredRow) -> Place:
    return row.address.group, row.address.key


class SharedTurns:
    """Takes, waits for and gives turns.  Thread-safe."""

    def __init__(self, store: Store, clock: Clock, resolver: Resolver,
                 background: background_module.Background, bounds: Bounds
                 ) -> None:
        self.store = store
        self.clock = clock
        self.resolver = resolver
        self.background = background
        self.bounds = bounds
        self.ttl = max(1, math.ceil(bounds.lock_age))

    def deadline(self) -> float:
        """Return until when, by the clock's monotonic(), to wait for turns:
        longer than any turn of a dead process lasts.
        """
        return self.clock.monotonic() + 2 * self.ttl

    def take(self, holder: bytes, rows: Sequence[StoredRow],
             beside: Beside | None = None) -> bool:
        """Take the turns of rows, if they are all as they were read.

        :param holder: 16 bytes that tell the transaction from others.
        :param beside: to be read in the same round.
        :returns: False: none is taken; `wait`, and read the rows anew.
        :raises StoreUnavailable: nothing is taken.
        """
        groups: dict[Group, list[StoredRow]] = {}
        for row in rows:
            groups.setdefault(row.address.group, []).append(row)
        batches = [writes.batch(group, *(
            write for row in members for write in self._writes(holder, row)))
            for group, members in groups.items()]
        if beside is None:
            outcomes = self.store.write(batches)
        else:
            outcomes = beside.send(
                self.resolver, batches, self.bounds.removal_delay)
        step('turn:answered')
        if all(o is Outcome.APPLIED for o in outcomes):
            return True
        sent = {group: [_place(row) for row in members]
                for (group, members), outcome in zip(
                    groups.items(), outcomes)
                if outcome is not Outcome.REFUSED}
        if len(sent) == len(groups):
            # nothing was refused, but something is not known
            holders = self._holders(p for places in sent.values()
                                    for p in places)
            if all(h == holder for h in holders.values()):
                return True
        self.give(holder, (p for places in sent.values() for p in places))
        return False

    def _writes(self, holder: bytes, row: StoredRow) -> tuple[RowWrite, ...]:
        known = Intent(
            row.address.group, row.address.key, Expect.VERSION, row.version,
            row.history, row.document,
            check=True)
        return (
            RowWrite(turn_key(row.address.key), Expect.ABSENT,
                     version=holder, document=_DOCUMENT, ttl=self.ttl),
            writes.change(known, holder, 0))

    def _holders(self, places: Iterable[Place]) -> dict[Place, bytes | None]:
        """Return who has the turn of rows now."""
        turns = {(group, turn_key(key)): (group, key)
                 for group, key in places}
        found = self.resolver.rows(turns, serial=True)
        return {turns[turn]: row.version if row is not None else None
                for turn, row in found.items()}

    def wait(self, holder: bytes, rows: Sequence[StoredRow], deadline: float
             ) -> bool:
        """Wait until nobody else has a turn of these rows, or a lock.

        :param deadline: by the clock's monotonic().
        :returns: False: the deadline has passed.
        """
        places = [_place(row) for row in rows]
        pause = self.bounds.wound_after / 4
        while True:
            holders = self._holders(places)
            if all(h in (None, holder) for h in holders.values()):
                break
            if self.clock.monotonic() >= deadline:
                return False
            self.clock.sleep(pause * (0.5 + self.clock.jitter()))
            pause = min(pause * 1.5, 0.05)
        try:
            self.resolver.unlocked(
                places, self.clock.new_id(), deadline, serial=False)
        except errors.Refused:
            return False
        return True

    def give(self, holder: bytes, places: Iterable[Place]) -> None:
        """Let others have the turns, soon; it never fails: what is not given
        back goes by its TTL.
        """
        for place in places:
            self.background.collect(self._erase, (holder, *place))

    def _erase(self, turns: Sequence[tuple[bytes, Group, RowKey]]) -> None:
        try:
            write_all(self.store, [
                writes.batch(group, RowWrite(
                    turn_key(key), Expect.VERSION, holder, erase=True))
                for holder, group, key in turns])
        except errors.StoreUnavailable as error:
            LOG.debug('Turns go by their TTL (%d s): %s', self.ttl, error)
