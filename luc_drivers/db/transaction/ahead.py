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

"""What a transaction has read of a group before it needs it.

A service loads an instance with one statement, its metadata with the next.
Where a round costs more than some rows do, the first reads for all of them:
the tables that a profile says are used together.  What is read ahead is as
committed at that moment, as all that the transaction has loaded.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import Row
from luc_drivers.db.store.base import RowKey

Place = tuple[Group, RowKey]

#: groups of one wave, above which nothing is read ahead
_WIDE = 128
#: groups up to which a statement that names one table reads ahead: one that
#: counts a project's servers needs nothing else of them
_FEW = 4
#: slices that a transaction keeps at most
_KEPT = 8 * _WIDE


def together(schema: Schema, names: Sequence[Sequence[str]]
             ) -> dict[int, frozenset[int]]:
    """Return which tables are read together, by their numbers.

    :param names: sets of tables of one group, as a profile has them.
    """
    found = {}
    for some in names:
        tables = [t for t in map(schema.table, some) if t is not None]
        groups = {t.grouping.name for t in tables}
        if len(groups) != 1:
            # another release's tables
            continue
        numbers = frozenset(t.number for t in tables)
        found.update(dict.fromkeys(numbers, numbers))
    return found


@dataclasses.dataclass(slots=True)
class Ahead:
    """Slices of groups that were read; used by one transaction.

    :ivar tables: which are read together; see `together`.
    :ivar named: numbers of the tables that the running statement names.
    """

    tables: Mapping[int, frozenset[int]]
    slices: dict[tuple[Group, int], list[Row]] = dataclasses.field(
        default_factory=dict)
    named: frozenset[int] = frozenset()

    def statement(self, schema: Schema, names: Iterable[str]) -> None:
        """Note the tables that a statement names, before it reads."""
        found = map(schema.table, names)
        self.named = frozenset(t.number for t in found if t is not None)

    def widen(self, wanted: dict[Group, set[int]],
              single: dict[Place, None]) -> None:
        """Add what is used together with what is wanted.

        :param wanted: slices to be read, by group: added to.
        :param single: rows to be read: those of widened groups are taken
            out.
        """
        count = len(wanted) + len(single)
        if count > _WIDE:
            return
        for numbers in wanted.values():
            for number in tuple(numbers):
                numbers |= self._more(number, count)
        for place in tuple(single):
            more = self._more(place[1].table, count)
            if more:
                wanted.setdefault(place[0], set()).update(more)
                del single[place]

    def _more(self, number: int, groups: int) -> frozenset[int]:
        """Return what is used together with a table of some groups."""
        found = self.tables.get(number, frozenset())
        if groups > _FEW and len(found & self.named) < 2:
            return frozenset()
        return found

    def keep(self, group: Group, number: int, rows: list[Row]) -> None:
        """Note a slice that was read."""
        if number in self.tables and len(self.slices) < _KEPT:
            self.slices[group, number] = rows

    def clear(self) -> None:
        """Forget all: what follows must see the latest rows."""
        self.slices.clear()
