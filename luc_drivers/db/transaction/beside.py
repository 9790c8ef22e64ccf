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

"""What is read in the round in which a compare-and-set takes its turn.

The turn is refused if the row is not as the transaction knows it.  So if it
is taken, nobody has changed the row since the transaction read it: what is
read in the same round is not older than what the row says.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import logging

from luc_drivers.db import errors
from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import Row
from luc_drivers.db.transaction.habits import Item
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.transaction.resolve import place_reads
from luc_drivers.db.transaction.resolve import Resolver

LOG = logging.getLogger(__name__)


class Beside:
    """Some reads, and what they gave.

    :ivar items: what is read.
    :ivar answered: it was read, and the batches beside it were applied.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = list(items)
        self.answered = False
        self.slices: dict[tuple, list[Row]] = {}
        self.rows: dict[Place, Row | None] = {}
        self.index: dict[IndexRead, list[tuple[bytes, bytes]]] = {}

    def send(self, resolver: Resolver, batches: Sequence[Batch],
             patience: float) -> list[Outcome]:
        """Send batches, of one group each, and read beside them.

        What can't be read, or is read beside a refused batch, is left out.

        :param patience: seconds after which index entries may have been
            removed that were stale at the beginning (rule 12): what took
            longer is left out, too.
        :raises StoreUnavailable: none of the batches was sent.
        """
        places, slices, index = [], [], []
        for item in self.items:
            if isinstance(item, IndexRead):
                index.append(item)
            elif isinstance(item[1], int):
                slices.append(item)
            else:
                places.append(item)
        reads = [GroupRead(group, (number,)) for group, number in slices]
        single = place_reads(places)
        begin = resolver.clock.monotonic()
        outcomes, found = resolver.store.write_and_read(
            batches, reads + single, index)
        if found is None or any(o is not Outcome.APPLIED for o in outcomes) \
                or resolver.clock.monotonic() - begin >= patience:
            return outcomes
        try:
            rows = resolver.committed(reads + single, found[0])
        except (errors.StoreUnavailable, errors.OperationalError) as exc:
            LOG.debug('What follows a compare-and-set is read later: %s', exc)
            return outcomes
        self.slices = dict(zip(slices, rows))
        self.rows = dict.fromkeys(places)
        for read, some in zip(single, rows[len(reads):]):
            self.rows.update({(read.group, row.key): row for row in some})
        self.index = dict(zip(index, found[1]))
        self.answered = True
        return outcomes
