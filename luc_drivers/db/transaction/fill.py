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

"""Many rows into tables that nobody else uses yet.

A copy of a whole cloud is millions of rows. By the commit protocol each entity
group of a transaction takes two conditional writes, which cost Cassandra many
times what plain ones do. Nobody can come between while a database is made.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
from typing import Any
from typing import TYPE_CHECKING

from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.rows import RowChange
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.transaction import changes as changes_module
from luc_drivers.db.transaction import sizes
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.clock import micros

if TYPE_CHECKING:
    from luc_drivers.db.engine import Database


class Filler:
    """Stands in for a database's committer while its tables are filled.

    New rows become as a commit leaves them, at once, without conditions: two
    rows with one key, or one unique key, are not refused, the later one
    wins. A transaction that breaks off may have written a part.

    Whatever else than new rows is committed, or with foreign keys, goes to
    the committer.

    :ivar filled: whether something was written past the committer.
    """

    def __init__(self, committer: Any) -> None:
        self.committer = committer
        self.filled = False

    def commit(self, schema: Schema, changes: Sequence[RowChange],
               seen_versions: Iterable[bytes] = (), *,
               parents: Iterable[StoredRow] = (),
               check_references: bool = True,
               holds: Callable[[], bool] = lambda: True) -> bytes | None:
        """Write new rows; as `Committer.commit`, see there."""
        if check_references or any(c.old is not None for c in changes):
            return self.committer.commit(
                schema, changes, seen_versions, parents=parents,
                check_references=check_references, holds=holds)
        if not self.filled:
            clock = self.committer.clock
            # what was deleted here just now must be older
            clock.sleep(clock.max_ahead)
            self.filled = True
        return write(self.committer, changes, seen_versions)


def write(committer: Any, changes: Sequence[RowChange],
          seen_versions: Iterable[bytes] = ()) -> bytes:
    """Write new rows as a commit leaves them; return its id.

    :param committer: the database's.
    """
    clock, store = committer.clock, committer.store
    plan = changes_module.plan(changes, clock, store.settings.site)
    sizes.check(plan.intents.values())
    txid = clock.new_id(seen_versions)
    store.fill([
        writes.batch(group, *(writes.change(i, txid, 0) for i in members))
        for group, members in writes.by_group(
            plan.intents.values()).items()],
        list(plan.index.added), micros(txid))
    return txid


@contextlib.contextmanager
def filling(database: 'Database') -> Iterator[None]:
    """Have this process's commits to a database go by a `Filler`, where that
    is quicker.

    Cassandra knows what is new by time. So there, before the first row and
    after the last one, as long is waited as clocks of hosts and nodes may
    differ (max_clock_skew).
    """
    if not database.store.fills:
        yield
        return
    committer = database.committer
    database.committer = filler = Filler(committer)
    try:
        yield
    finally:
        database.committer = committer
        if filler.filled:
            database.clock.sleep(database.clock.max_ahead)
