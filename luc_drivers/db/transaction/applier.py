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
import dataclasses
import logging

from luc_drivers.db import errors
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction import background as background_module
from luc_drivers.db.transaction import large
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.bounds import Bounds
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.clock import micros
from luc_drivers.db.transaction.hooks import step
from luc_drivers.db.transaction.resolve import Resolver
from luc_drivers.db.transaction.resolve import write_all
from luc_drivers.db.transaction.writes import Intent

LOG = logging.getLogger(__name__)

#: commits whose secondaries are applied at once
_AT_ONCE = 32
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


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """A committed transaction whose secondaries are to be applied.

    :ivar end: until when to try, by the clock's monotonic().
    """

    primary: Group
    txid: bytes
    secondaries: Mapping[Group, Sequence[Intent]]
    end: float

    def keys(self) -> dict[Group, list[RowKey]]:
        """Return which rows the secondaries are."""
        return {group: [i.key for i in members]
                for group, members in self.secondaries.items()}


class Applier:
    """Applies secondaries in the background, then removes the marker.

    Those of many commits go out together: one after the other they would
    take longer than it took to commit them, and the rows stay locked.
    """

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
        """Apply a committed transaction's secondaries soon.

        Those of a large one at once: locking them has taken as long.
        """
        commit = Commit(primary, txid, secondaries,
                        self.clock.monotonic() + self.bounds.marker_age / 2)
        if len(secondaries) > large.AT_ONCE:
            # not left to the background: whoever meets their locks had to
            # resolve them, and the process may end meanwhile
            self._first([commit])
        else:
            self.background.collect(self._first, commit)

    def _first(self, commits: Sequence[Commit]) -> None:
        for n in range(0, len(commits), _AT_ONCE):
            some = commits[n:n + _AT_ONCE]
            try:
                left = self._apply(some)
            except errors.StoreUnavailable as error:
                LOG.debug('Applying %d commits: %s', len(some), error)
                left = {c.txid: c.keys() for c in some}
            self.erase([c for c in some if c.txid not in left])
            for commit in some:
                if commit.txid in left:
                    self._roll(commit, left[commit.txid], _FIRST_PAUSE)

    def _apply(self, commits: Sequence[Commit]
               ) -> dict[bytes, dict[Group, list[RowKey]]]:
        """Apply what is expected to be locked still.

        :returns: by id the rows of which it is not known.
        """
        todo = [(commit, group, members) for commit in commits
                for group, members in commit.secondaries.items()]
        if not todo:
            return {}
        step('apply:send')
        outcomes = write_all(self.store, [
            writes.batch(group, *(
                writes.apply(i.key, commit.txid, i.document, i.moved_to,
                             i.history, self.bounds.tombstone_ttl)
                for i in members)) for commit, group, members in todo])
        step('apply:answered')
        left: dict[bytes, dict[Group, list[RowKey]]] = {}
        for (commit, group, members), outcome in zip(todo, outcomes):
            if outcome is not Outcome.APPLIED:
                left.setdefault(commit.txid, {})[group] = [
                    i.key for i in members]
        return left

    def _roll(self, commit: Commit, left: Mapping[Group, Sequence[RowKey]],
              pause: float) -> None:
        """Apply what is left of a commit; later again, if need be."""
        try:
            done = roll_forward(self.store, self.resolver, self.bounds,
                                commit.txid, left)
        except errors.StoreUnavailable as error:
            LOG.debug('Applying %s: %s', commit.txid.hex(), error)
            done = False
        if done:
            self.erase([commit])
        elif self.clock.monotonic() + pause > commit.end:
            LOG.warning('Rows of the committed transaction %s are still '
                        'locked: readers and the sweeper will apply them',
                        commit.txid.hex())
        else:
            self.background.submit(
                lambda: self._roll(commit, commit.keys(), pause * 2), pause)

    def erase(self, commits: Sequence[Commit]) -> None:
        """Remove the markers of applied transactions.

        If that fails, the sweeper finds them.
        """
        if not commits:
            return
        try:
            outcomes = write_all(self.store, [
                writes.batch(c.primary, writes.erase_marker(c.txid))
                for c in commits])
            step('apply:marker-erased')
            gone = [c for c, outcome in zip(commits, outcomes)
                    if outcome is Outcome.APPLIED]
            if gone:
                # entries of their ids, which nobody writes anew
                self.store.remove_index(
                    [writes.listing(c.primary, c.txid) for c in gone],
                    max(micros(c.txid) for c in gone))
        except errors.StoreUnavailable as error:
            LOG.debug('%d markers stay for the sweeper: %s', len(commits),
                      error)
