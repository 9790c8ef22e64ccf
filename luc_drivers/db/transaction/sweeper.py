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

"""Finds markers that their coordinators left, and ends them (rule 7).

Every transaction of several groups is listed, before its commit, in an index
of its primary's locality, by intervals of time; the list is what makes
left markers findable without reading everything.
"""

from collections.abc import Iterable
import logging

from luc_drivers.db import errors
from luc_drivers.db.catalog import address
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import MARKER_TABLE
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction import applier
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.bounds import Bounds
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.clock import micros
from luc_drivers.db.transaction.hooks import step
from luc_drivers.db.transaction.resolve import Resolver
from luc_drivers.db.transaction.writes import State

LOG = logging.getLogger(__name__)

class Sweeper:
    """Applies and removes committed markers older than ``marker_age``."""

    def __init__(self, store: Store, clock: Clock, resolver: Resolver,
                 bounds: Bounds) -> None:
        self.store = store
        self.clock = clock
        self.resolver = resolver
        self.bounds = bounds
        self._done = 0

    def sweep(self, localities: Iterable[str], back: float = 86400.0) -> int:
        """Sweep what was listed since the last call, or in the last day.

        Where the store fails, the next call begins there again.

        :param back: seconds to look back at the first call.
        :returns: the number of markers removed.
        """
        try:
            return self._sweep(localities, back)
        except errors.StoreUnavailable as error:
            LOG.info('Left transactions are looked for again later: %s',
                     error)
            return 0

    def _sweep(self, localities: Iterable[str], back: float) -> int:
        now = self.clock.now()
        length = writes.INTERVAL * 10 ** 6
        newest = int(now - self.bounds.marker_age * 1e6) // length
        oldest = self._done or int(now - back * 1e6) // length
        reads = [IndexRead(one, MARKER_TABLE, MARKER_TABLE, writes.interval(n))
                 for one in localities for n in range(oldest, newest + 1)]
        removed = 0
        for read, found in zip(reads, self.store.read_index(reads)):
            for txid, ref in found:
                age = now - micros(txid)
                if age > self.bounds.marker_age * 1e6:
                    group = Group(read.locality, address.decode_ref(ref)[0])
                    removed += self.end(group, txid)
        self._done = newest
        return removed

    def end(self, primary: Group, txid: bytes) -> bool:
        """End one listed transaction; tell whether a marker was removed.

        :raises StoreUnavailable: from the store.
        """
        name = (primary, txid)
        marker = self.resolver.markers([name])[name]
        step('sweeper:marker-read')
        removed = False
        if marker is not None and marker.state is State.COMMITTED:
            if not applier.roll_forward(
                    self.store, self.resolver, self.bounds, txid,
                    dict(marker.secondaries)):
                return False
            outcome = self.store.write([writes.batch(
                primary, writes.erase_marker(txid))])[0]
            step('sweeper:marker-erased')
            if outcome is Outcome.UNKNOWN:
                return False
            removed = outcome is Outcome.APPLIED
        # 'aborted' markers go by their own TTL (rule 5)
        self.store.remove_index([writes.listing(primary, txid)], micros(txid))
        return removed
