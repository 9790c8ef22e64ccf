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

"""Unique keys at statement time: which rows that aren't loaded could clash?

A workspace holds only some of a table's rows, so SQLite can't see all
violations.  After a statement the new key values are looked up; a clashing
row is loaded and the statement run again: then SQLite words the error, or
obeys OR IGNORE and ON CONFLICT.  Races are decided at commit; but between
threads of one process the second waits for the first's end, and learns at its
statement that the key is taken.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
from typing import Any
from typing import TYPE_CHECKING

from luc_drivers.db.catalog import address
from luc_drivers.db.catalog.schema import Index
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.transaction import references
from luc_drivers.db.transaction import shared_turns
from luc_drivers.db.transaction import turns
from luc_drivers.db.transaction.written import Step

if TYPE_CHECKING:
    from luc_drivers.db.transaction.statements import Transaction


@dataclasses.dataclass(slots=True)
class Lookup:
    """A key value that no committed row outside the workspace may have."""

    table: Table
    index: Index
    key: tuple[Any, ...]
    access: BoundAccess

    def clashing(self, rows: Iterable[StoredRow]) -> Iterator[StoredRow]:
        """Yield those of the rows that have the key."""
        for row in rows:
            if address.pick(self.table, self.index.unique_columns,
                            row.values) == self.key:
                yield row


def lookups(transaction: 'Transaction', steps: Iterable[Step]
            ) -> list[Lookup]:
    """Return what must be looked up for the rows that a statement wrote."""
    found: dict[tuple[int, tuple[Any, ...]], Lookup] = {}
    for step in steps:
        if step.after is None:
            continue
        table = step.table
        generated = transaction.is_generated(step)
        for index in table.unique_keys:
            columns = index.unique_columns
            if generated and len(columns) == 1 and table.rowid_column and (
                    columns[0].lower() == table.rowid_column.lower()):
                continue
            if any(table.column(c).generated for c in columns):
                continue
            key = address.pick(table, columns, step.after)
            if None in key:
                continue
            if step.before is not None and key == address.pick(
                    table, columns, step.before):
                continue
            name = (index.number, key)
            if name in found or name in transaction.fetched.checked_keys:
                continue
            access = transaction.fetched.left(
                references.access(table, columns, key))
            if access is not None:
                found[name] = Lookup(table, index, key, access)
    return list(found.values())


def take_turns(transaction: 'Transaction', found: Iterable[Lookup]) -> None:
    """Wait for other threads that have given a row one of these keys.

    As at a relational database's lock of an index entry.  Services look for
    a duplicate at their INSERT (placement's projects, neutron's default
    security groups); what comes out at COMMIT only is a DBDeadlock.
    """
    names = [(one.table.number, one.index.number, one.key) for one in found]
    if transaction.alone or len(names) > shared_turns.MOST:
        return
    # all in one order, so that no two wait for each other
    for name in sorted(names, key=repr):
        transaction.take_turn(name, turns.WAIT)
