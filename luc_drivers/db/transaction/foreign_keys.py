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

"""Foreign keys at statement time: parents that must be there, children that
must not be, or that follow (ON DELETE, ON UPDATE).

The workspace knows nothing of foreign keys.  After each statement the rows
that it wrote are looked at here; what happens between the statement and the
commit is the committer's (references.py).
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import TYPE_CHECKING

from luc_drivers.db import errors
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Affinity
from luc_drivers.db.catalog.schema import ForeignKey
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.transaction import references
from luc_drivers.db.transaction.written import Step

if TYPE_CHECKING:
    from luc_drivers.db.transaction.statements import Transaction

Key = tuple[Any, ...]

_FAILED = 'FOREIGN KEY constraint failed'


@dataclasses.dataclass(frozen=True, slots=True)
class Need:
    """A parent row that must be there."""

    parent: Table
    columns: tuple[str, ...]
    values: Key

    def access(self) -> BoundAccess:
        """Return how to fetch it."""
        return references.access(self.parent, self.columns, self.values)


def failed() -> errors.IntegrityError:
    """Return the error of a violated foreign key."""
    error = errors.IntegrityError(_FAILED)
    error.sqlite_errorcode = 787  # type: ignore[attr-defined]
    error.sqlite_errorname = (  # type: ignore[attr-defined]
        'SQLITE_CONSTRAINT_FOREIGNKEY')
    return error


def _where(columns: Sequence[str]) -> str:
    return ' AND '.join(sqltext.quote(c) + ' = ?' for c in columns)


def _key(table: Table, columns: Sequence[str],
         values: dict[int, Any] | None) -> Key | None:
    """Return a row's key; None if there is no row or a NULL in it."""
    if values is None:
        return None
    found = tuple(values.get(c.number, c.initial)
                  for c in map(table.column, columns))
    return None if None in found else found


def _converted(table: Table, columns: Sequence[str], values: Key) -> Key:
    """Return values as columns of ``table`` would hold them."""
    found = []
    for name, value in zip(columns, values):
        affinity = table.column(name).affinity
        if affinity is Affinity.TEXT and isinstance(value, int):
            value = str(value)
        elif isinstance(value, str) and affinity in (
                Affinity.INTEGER, Affinity.NUMERIC) and value.lstrip(
                    '-').isdigit():
            value = int(value)
        found.append(value)
    return tuple(found)


def needs(transaction: 'Transaction', steps: Iterable[Step]) -> list[Need]:
    """Return the parents that rows need and that the workspace lacks."""
    found: dict[Need, None] = {}
    for step in steps:
        for key in step.table.foreign_keys:
            values = _key(step.table, key.columns, step.after)
            if values is None or values == _key(
                    step.table, key.columns, step.before):
                continue
            parent = transaction.schema.table(key.parent)
            if parent is None:
                raise errors.OperationalError(
                    f'no such table: main.{key.parent}')
            need = Need(parent, key.parent_columns, _converted(
                parent, key.parent_columns, values))
            if need not in found and not _there(transaction, need):
                found[need] = None
    return list(found)


def _there(transaction: 'Transaction', need: Need) -> bool:
    transaction.loaded.ensure((need.parent.name,))
    return bool(transaction.workspace.query(
        f'SELECT 1 FROM {sqltext.quote(need.parent.name)} '
        f'WHERE {_where(need.columns)} LIMIT 1', need.values))


def require(transaction: 'Transaction', wanted: Iterable[Need]) -> None:
    """Raise unless these parents are in the workspace now.

    :raises IntegrityError: FOREIGN KEY constraint failed.
    """
    for need in wanted:
        if not _there(transaction, need):
            raise failed()


@dataclasses.dataclass(slots=True)
class _Departure:
    """A key value that no parent row has any more."""

    parent: Table
    child: Table
    key: ForeignKey
    values: Key
    parent_values: Key
    #: the parent's new values; None: deleted, or a NULL among them
    new: Key | None
    updated: bool
    action: str

    @property
    def where(self) -> str:
        """SQL that finds the children: the parent's collation counts."""
        return ' AND '.join(
            f'{sqltext.quote(c)} = ? COLLATE '
            + self.parent.column(p).collation
            for c, p in zip(self.key.columns, self.key.parent_columns))

    @property
    def access(self) -> BoundAccess:
        """How to fetch the children."""
        if any(self.parent.column(p).collation !=
               self.child.column(c).collation for c, p in zip(
                   self.key.columns, self.key.parent_columns)):
            # no key of the child's says what the parent takes for equal
            return BoundAccess(self.child, Path.SCAN, [])
        return references.access(self.child, self.key.columns, self.values)


def _departures(transaction: 'Transaction', steps: Iterable[Step]
                ) -> Iterator[_Departure]:
    for step in steps:
        if step.before is None:
            continue
        for name, key in step.table.referenced_by:
            values = _key(step.table, key.parent_columns, step.before)
            if values is None:
                continue
            updated = step.after or step.moved
            new = _key(step.table, key.parent_columns, updated)
            if new is not None and values == new:
                continue
            child = transaction.schema.table(name)
            if child is None or (updated is not None and _there(
                    transaction, Need(
                        step.table, key.parent_columns, values))):
                continue
            action = key.on_delete if updated is None else key.on_update
            yield _Departure(
                step.table, child, key,
                _converted(child, key.columns, values), values, new,
                updated is not None, action.upper())


def follow(transaction: 'Transaction', steps: list[Step]) -> None:
    """Do what the foreign keys of children say about parents that went.

    Actions may touch further parents; a child that has no action must be
    gone when all is done.

    :raises IntegrityError: FOREIGN KEY constraint failed.
    """
    left: list[_Departure] = []
    while steps:
        departures = list(_departures(transaction, steps))
        if not departures:
            break
        transaction.loaded.ensure({d.child.name for d in departures})
        transaction.fetch([d.access for d in departures])
        steps = []
        for departure in departures:
            if departure.action == 'RESTRICT' and _children(
                    transaction, departure):
                raise failed()
            done = _act(transaction, departure)
            if done is None:
                left.append(departure)
            steps += done or ()
        wanted = needs(transaction, steps)
        transaction.fetch([n.access() for n in wanted])
        require(transaction, wanted)
    for departure in left:
        # REPLACE may have put the key back
        if _children(transaction, departure) and not _there(
                transaction, Need(departure.parent,
                                  departure.key.parent_columns,
                                  departure.parent_values)):
            raise failed()


def _children(transaction: 'Transaction', departure: _Departure) -> bool:
    return bool(transaction.workspace.query(
        f'SELECT 1 FROM {sqltext.quote(departure.child.name)} '
        f'WHERE {departure.where} LIMIT 1', departure.values))


def _act(transaction: 'Transaction', departure: _Departure
         ) -> list[Step] | None:
    """Carry out a key's action; None if it has none."""
    table = sqltext.quote(departure.child.name)
    columns = departure.key.columns
    where = departure.where
    if departure.action == 'CASCADE' and not departure.updated:
        return transaction.write(
            departure.child,
            f'DELETE FROM {table} WHERE {where}', departure.values)
    if departure.action == 'CASCADE' and departure.new is not None:
        values: list[str] = ['?'] * len(columns)
        given = departure.new
    elif departure.action == 'CASCADE':
        values, given = ['NULL'] * len(columns), ()
    elif departure.action == 'SET NULL':
        values, given = ['NULL'] * len(columns), ()
    elif departure.action == 'SET DEFAULT':
        values = [departure.child.column(c).default or 'NULL'
                  for c in columns]
        given = ()
    else:
        return None
    sets = ', '.join(f'{sqltext.quote(c)} = {v}'
                     for c, v in zip(columns, values))
    return transaction.write(
        departure.child, f'UPDATE {table} SET {sets} WHERE {where}',
        (*given, *departure.values))
