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

"""From a transaction's row changes to what a commit must write.

Every change is a row that leaves a place (`old`), one that comes to a place
(`new`), or both.  What leaves and what comes to one place becomes one
conditional write (rule 32): an update, a swap, a delete and an insert of the
same key are the same thing here.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from luc_drivers.db import document
from luc_drivers.db import errors
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.rows import Address
from luc_drivers.db.rows import RowChange
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Row
from luc_drivers.db.transaction import indexes
from luc_drivers.db.transaction import uniques
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.reader import encode_move
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.transaction.writes import Intent


@dataclasses.dataclass(slots=True)
class Plan:
    """What a commit writes.

    :ivar intents: by place; each place once.
    :ivar index: what happens to index entries.
    :ivar owners: unique rows that lose their owner: which one, so that they
        can be read before the commit.
    :ivar inserted: the rows that come into being.
    """

    intents: dict[Place, Intent]
    index: indexes.Difference
    owners: dict[Place, bytes]
    inserted: list[tuple[Table, Mapping[int, Any], Address]]

    def versions(self) -> list[bytes]:
        """Return the versions that the commit is based on."""
        return [i.expected for i in self.intents.values() if i.expected]


def _generated_key(table: Table) -> bool:
    """Tell whether the place of a row follows from its generated id."""
    name = (table.rowid_column or '').lower()
    return name in [c.lower() for c in (*table.key, *table.grouping.columns)]


class _Builder:

    def __init__(self, clock: Clock, site: str) -> None:
        self.site = site
        self.base = clock.now() << 12
        self.intents: dict[Place, Intent] = {}
        self.left: set[Place] = set()
        self.came: set[Place] = set()
        self.owners: dict[Place, bytes] = {}
        self.before: list = []
        self.after: list = []
        self.inserted: list = []

    def add(self, number: int, change: RowChange) -> None:
        table, old = change.table, change.old
        if old is not None:
            created = old.created
        elif change.created is not None:
            created = change.created
        else:
            created = self.base + number
        where = None
        if change.new is not None:
            where = address.address(
                table, change.new, created,
                old.address.group.locality if old is not None
                else address.locality(table, self.site))
        uniques_before: Mapping[Place, bytes] = {}
        if old is not None:
            self._leave(change, where)
            # the row may have been read under an older schema: the keys and
            # indexes that it has are those of its own table object
            values = old.values
            self.before += indexes.entries(old.table, values, old.address)
            uniques_before = uniques.owned(old.table, values, old.address)
        uniques_after: Mapping[Place, bytes] = {}
        if where is not None:
            assert change.new is not None
            self._come(change, where, document.encode(change.new, created))
            self.after += indexes.entries(table, change.new, where)
            if old is None:
                self.inserted.append((table, change.new, where))
            uniques_after = uniques.owned(
                table, change.new, where, old is None and change.generated)
        self._uniques(table, uniques_before, uniques_after)

    def _leave(self, change: RowChange, to: Address | None) -> None:
        old = change.old
        assert old is not None
        place = (old.address.group, old.address.key)
        if place in self.left:
            raise errors.InternalError(
                f'a row of {change.table.name} is changed twice')
        self.left.add(place)
        intent = self.intents.get(place)
        if intent is None:
            intent = self.intents[place] = Intent(
                *place, Expect.VERSION, label=change.table.name)
        if to is not None and (to.group, to.key) != place:
            # kept also if another row comes to this place
            intent.moved_to = encode_move(to)
        intent.expect = Expect.VERSION
        intent.expected = old.version
        intent.history = old.history
        intent.fresh = False

    def _come(self, change: RowChange, where: Address, doc: bytes) -> None:
        place = (where.group, where.key)
        if place in self.came:
            raise errors.IntegrityError(
                f'two rows of {change.table.name} have the same key')
        self.came.add(place)
        intent = self.intents.get(place)
        if intent is None:
            intent = self.intents[place] = Intent(
                *place, Expect.ABSENT, fresh=True, label=change.table.name)
        intent.document = doc
        if change.generated and _generated_key(change.table):
            intent.generated = change.table.name

    def _uniques(self, table: Table, before: Mapping[Place, bytes],
                 after: Mapping[Place, bytes]) -> None:
        for place, ref in before.items():
            if after.get(place) != ref:
                self.owners[place] = ref
                self.intents.setdefault(place, Intent(
                    *place, Expect.ABSENT, fresh=True, label=table.name))
        for place, ref in after.items():
            if before.get(place) == ref:
                continue
            intent = self.intents.setdefault(place, Intent(
                *place, Expect.ABSENT, fresh=True, label=table.name))
            if intent.document is not None:
                raise errors.IntegrityError(
                    f'two rows of {table.name} have the same unique key')
            intent.document = ref


def plan(changes: Sequence[RowChange], clock: Clock, site: str) -> Plan:
    """Return what the changes come to.

    :param site: of this process: where new rows of site tables go.
    :raises InternalError, IntegrityError: two changes contradict each other.
    """
    builder = _Builder(clock, site)
    for number, change in enumerate(changes):
        builder.add(number, change)
    return Plan(builder.intents,
                indexes.difference(builder.before, builder.after),
                builder.owners, builder.inserted)


def found_owners(planned: Plan, rows: Mapping[Place, Row | None]) -> None:
    """Base the writes of unique rows on what has been read.

    A unique row that is not there, or not this owner's (written under an
    older schema), is left alone.

    :raises Refused: a value that this transaction takes over has a new
        owner.
    """
    for place, ref in planned.owners.items():
        row = rows.get(place)
        intent = planned.intents[place]
        if row is not None and row.document == ref:
            intent.fresh = False
            intent.expect = Expect.VERSION
            intent.expected = row.version
            intent.history = row.history
        elif intent.document is None:
            del planned.intents[place]
        else:
            rebase(intent, row)


def rebase(intent: Intent, row: Row | None) -> None:
    """Base an intent on a row's present, unlocked state.

    :raises Refused: the row is not what the transaction saw.
    """
    if intent.fresh:
        if row is None or row.version is None:
            intent.expect, intent.expected = Expect.ABSENT, None
            intent.history = ()
            return
        if row.document is None:
            # a tombstone: its version bounds the new id (rule 10)
            intent.expect, intent.expected = Expect.VERSION, row.version
            intent.history = row.history
            return
        raise errors.Refused(
            f'a row of {intent.label} with this key has appeared',
            intent.generated)
    if row is not None and row.version == intent.expected:
        return
    if (intent.valid is not None and row is not None and
            row.document is not None and intent.valid(row.document)):
        intent.expected = row.version
        intent.history = row.history
        intent.document = row.document
        return
    raise errors.Refused(f'a row of {intent.label} was changed by another '
                         'transaction')


def values_of(doc: bytes) -> dict[int, Any]:
    """Return the values in a document."""
    return document.decode(doc)[0]
