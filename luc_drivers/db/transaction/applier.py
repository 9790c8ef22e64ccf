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

"""What follows a commit of several groups: its prepared rows are applied."""

from collections.abc import Mapping
from collections.abc import Sequence
import logging

from luc_drivers.db import errors
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction import background as background_module
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.bounds import Bounds
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.clock import micros
from luc_drivers.db.transaction.hooks import step
from luc_drivers.db.transaction.resolve import Resolver
from luc_drivers.db.transaction.resolve import write_all
from luc_drivers.db.transaction.writes import Intent

LOG = logging.getLogger(__name__)

#: seconds before the second try; doubled each time
_FIRST_PAUSE = 0.1


def roll_forward(store: Store, resolver: Resolver, bounds: Bounds,
                 txid: bytes, listed: Mapping[Group, Sequence[RowKey]],
                 tries: int = 3) -> bool:
    """Apply a committed transaction's rows that are still locked by it.

    An unknown outcome is looked at again until a row is seen unlocked
    (rule 4).

    :returns: whether none is locked any more.
    """
    left = {(group, key) for group, keys in listed.items() for key in keys}
    for _ in range(tries + 1):
        rows = resolver.rows(left, serial=True)
        locked = {place: row for place, row in rows.items()
                  if row is not None and row.lock is not None and
                  row.lock.txid == txid}
        if not locked:
            return True
        left = set(locked)
        groups: dict[Group, list] = {}
        for (group, _), row in locked.items():
            groups.setdefault(group, []).append(
                writes.forward(row, bounds.tombstone_ttl))
        outcomes = write_all(store, [
            writes.batch(group, *todo) for group, todo in groups.items()])
        step('apply:again')
        if all(o is Outcome.APPLIED for o in outcomes):
            return True
    return False


class Applier:
    """Applies secondaries in the background, then removes the marker."""

    def __init__(self, store: Store, clock: Clock, resolver: Resolver,
                 background: background_module.Background, bounds: Bounds
                 ) -> None:
        self.store = store
        self.clock = clock
        self.resolver = resolver
        self.background = background
        self.bounds = bounds

    def submit(self, primary: Group, txid: bytes,
               secondaries: Mapping[Group, Sequence[Intent]]) -> None:
        """Apply a committed transaction's secondaries soon."""
        end = self.clock.monotonic() + self.bounds.marker_age / 2

        def first() -> None:
            try:
                done = self._apply(txid, secondaries)
            except errors.StoreUnavailable as error:
                LOG.debug('Applying %s: %s', txid.hex(), error)
                done = False
            self._after(primary, txid, secondaries, done, end, _FIRST_PAUSE)

        self.background.submit(first, needed=True)

    def _apply(self, txid: bytes,
               secondaries: Mapping[Group, Sequence[Intent]]) -> bool:
        batches = [
            writes.batch(group, *(
                writes.apply(i.key, txid, i.document, i.moved_to, i.history,
                             self.bounds.tombstone_ttl) for i in members))
            for group, members in secondaries.items()]
        if not batches:
            return True
        step('apply:send')
        outcomes = write_all(self.store, batches)
        step('apply:answered')
        left = {group: [i.key for i in members]
                for (group, members), outcome in zip(
                    secondaries.items(), outcomes)
                if outcome is not Outcome.APPLIED}
        return not left or roll_forward(
            self.store, self.resolver, self.bounds, txid, left)

    def _after(self, primary: Group, txid: bytes,
               secondaries: Mapping[Group, Sequence[Intent]], done: bool,
               end: float, pause: float) -> None:
        if done:
            self.erase(primary, txid)
            return
        if self.clock.monotonic() + pause > end:
            LOG.warning('Rows of the committed transaction %s are still '
                        'locked: readers and the sweeper will apply them',
                        txid.hex())
            return

        def again() -> None:
            try:
                done = roll_forward(
                    self.store, self.resolver, self.bounds, txid,
                    {g: [i.key for i in m] for g, m in secondaries.items()})
            except errors.StoreUnavailable as error:
                LOG.debug('Applying %s: %s', txid.hex(), error)
                done = False
            self._after(primary, txid, secondaries, done, end, pause * 2)

        self.background.submit(again, pause)

    def erase(self, primary: Group, txid: bytes) -> None:
        """Remove the marker of an applied transaction.

        If that fails, the sweeper finds it.
        """
        try:
            outcome = self.store.write(
                [writes.batch(primary, writes.erase_marker(txid))])[0]
            step('apply:marker-erased')
            if outcome is Outcome.APPLIED:
                self.store.remove_index(
                    [writes.listing(primary, txid)], micros(txid))
        except errors.StoreUnavailable as error:
            LOG.debug('The marker of %s stays for the sweeper: %s',
                      txid.hex(), error)
