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

"""Index entries: which a row has, and when a stale one may be removed.

Entries are written before the commit and removed after it.  An entry (value,
row) is removed only with the timestamp of a committed state of that row that
lacks the value (rule 9): every later transaction that gives the row this
value writes the entry with a later timestamp (rule 11), so it can't be hurt.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import logging
from typing import Any

from luc_drivers.db import errors
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.rows import Address
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import Row
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.bounds import Bounds
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.clock import micros
from luc_drivers.db.transaction.hooks import step

LOG = logging.getLogger(__name__)

Values = Mapping[int, Any]

_SIGHTINGS = 20000


def entries(table: Table, values: Values, where: Address) -> list[IndexEntry]:
    """Return all index entries of a row; not yet public indexes too."""
    return [address.index_entry(table, index, values, where)
            for index in table.indexes if index.entries]


@dataclasses.dataclass(slots=True)
class Difference:
    """What a transaction does to the index.

    :ivar added: to be written before the commit.
    :ivar removed: to be removed some seconds after it.
    """

    added: dict[IndexEntry, None]
    removed: dict[IndexEntry, None]


def difference(before: Iterable[IndexEntry],
               after: Iterable[IndexEntry]) -> Difference:
    """Return what turns all entries before into all entries after."""
    old, new = dict.fromkeys(before), dict.fromkeys(after)
    return Difference({e: None for e in new if e not in old},
                      {e: None for e in old if e not in new})


class Cleaner:
    """Removes stale entries that readers meet (rules 9 and 12)."""

    def __init__(self, store: Store, clock: Clock, bounds: Bounds,
                 submit: Callable[[Callable[[], None]], None]) -> None:
        self.store = store
        self.clock = clock
        self.bounds = bounds
        self.submit = submit
        self._orphans: dict[IndexEntry, float] = {}
        # what is to be removed, by the row's version: one transaction may
        # have left thousands
        self._gone: dict[bytes, dict[IndexEntry, None]] = {}

    def stale(self, entry: IndexEntry, table: Table, where: Address,
              row: Row | None) -> None:
        """Take note of an entry whose row, as committed, lacks its value.

        :param row: the row's committed state; None: there is no row, which
            may mean that it is just being inserted.
        """
        patience = self.bounds.removal_delay + self.bounds.clock_skew
        if row is not None and row.version is not None:
            # the row's version must be old, not the entry: it may have
            # become stale only now, and be needed by another scan (rule 12)
            version = row.version
            age = self.clock.now() - micros(version)
            if age > patience * 1e6:
                self._soon(entry, version)
            return
        if len(self._orphans) > _SIGHTINGS:
            self._orphans.clear()
        now = self.clock.monotonic()
        first = self._orphans.setdefault(entry, now)
        if now - first > patience + self.bounds.send:
            self._orphans.pop(entry, None)
            self.submit(lambda: self._bury(entry, where))

    def _soon(self, entry: IndexEntry, version: bytes) -> None:
        """Have an entry removed, with others of its version.

        Should it be forgotten, the next reader meets it.
        """
        if len(self._gone) > _SIGHTINGS:
            self._gone.clear()
        entries = self._gone.setdefault(version, {})
        if entry in entries:
            return
        entries[entry] = None
        if len(entries) % _SIGHTINGS == 1:
            self.submit(lambda: self._remove(
                self._gone.pop(version, {}), version))

    def _remove(self, entries: Iterable[IndexEntry], version: bytes) -> None:
        self.store.remove_index(list(entries), micros(version))
        step('cleaner:removed')

    def _bury(self, entry: IndexEntry, where: Address) -> None:
        """Give an absent row a tombstone, then remove the entry at its time.

        Whoever was about to insert the row is refused by the tombstone, and
        begins again with a later id.
        """
        txid = self.clock.new_id()
        tomb = writes.Intent(where.group, where.key, Expect.ABSENT)
        write = writes.change(tomb, txid, self.bounds.tombstone_ttl)
        try:
            outcome = self.store.write(
                [writes.batch(where.group, write)])[0]
        except errors.StoreUnavailable as error:
            LOG.debug('An orphaned index entry stays for now: %s', error)
            return
        step('cleaner:buried')
        if outcome is Outcome.APPLIED:
            self._remove([entry], txid)
