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

"""Rows that a transaction has loaded into its workspace.

They are kept here, too: what SQLite undoes by ROLLBACK TO was still read
(rule 1), and a commit's conditions are on what was read.
"""

from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Sequence
import functools
import itertools
from typing import Any

from luc_drivers.db import errors
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.rows import Address
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.workspace.workspace import Touch
from luc_drivers.db.workspace.workspace import Workspace

#: rows that are decoded at once
_AT_ONCE = 1000


@functools.lru_cache(maxsize=4096)
def _present(table: str, columns: tuple[str, ...]) -> str:
    where = ' AND '.join(sqltext.quote(c) + ' = ?' for c in columns)
    return f'SELECT 1 FROM {sqltext.quote(table)} WHERE {where} LIMIT 1'


class Loaded:
    """Loads rows, and knows them.

    Rows that the transaction has written are never replaced: methods that
    replace others are told which those are (``written``).

    :ivar tables: lower-case names of the tables made in the workspace.
    :ivar newest: the greatest version of the rows.
    """

    def __init__(self, schema: Schema, workspace: Workspace) -> None:
        self.schema = schema
        self.workspace = workspace
        self.tables: set[str] = set()
        self.newest: bytes = b''
        self._known: dict[str, dict[int, StoredRow]] = {}
        # where in _loaded
        self._addresses: dict[Address, int] = {}
        # None: replaced by a later one
        self._loaded: list[tuple[str, int, StoredRow] | None] = []
        self._refreshed: set[Touch] = set()
        # rows that others changed after they had been read: as first read
        self._outdated: dict[Address, bytes] = {}

    def __len__(self) -> int:
        """Count the loads, for `again`."""
        return len(self._loaded)

    def __contains__(self, address: object) -> bool:
        """Tell whether the row of an address is loaded."""
        return address in self._addresses

    def ensure(self, names: Iterable[str]) -> None:
        """Make tables in the workspace."""
        new = [n.lower() for n in names]
        self.workspace.ensure(self.schema, new)
        self.tables.update(new)

    def present(self, table: Table, columns: tuple[str, ...],
                key: tuple[Any, ...]) -> bool:
        """Tell whether a row of the workspace has these values."""
        self.ensure((table.name,))
        return bool(self.workspace.query(_present(table.name, columns), key))

    def load(self, table: Table, rows: Sequence[StoredRow]) -> None:
        """Put rows into the workspace, except those that it knows.

        :raises Refused: one contradicts what the transaction has read or
            written: others have committed since.
        """
        fresh = [r for r in rows if r.address not in self._addresses]
        if not fresh:
            return
        name = table.name.lower()
        self.ensure((name,))
        for start in range(0, len(fresh), _AT_ONCE):
            self._load(name, table, fresh[start:start + _AT_ONCE])

    def _load(self, name: str, table: Table, rows: Sequence[StoredRow]
              ) -> None:
        known = self._known.setdefault(name, {})
        pairs = []
        for row in rows:
            values = row.values
            rowid = self.workspace.rowid(name, row.created, values)
            if table.rowid_column is None:
                while rowid in known or not self.workspace.is_free(
                        name, rowid):
                    rowid += 1
            elif rowid in known:
                raise errors.Refused(
                    f'row {rowid} of {table.name} has moved')
            known[rowid] = row
            self._addresses[row.address] = len(self._loaded)
            self._loaded.append((name, rowid, row))
            pairs.append((rowid, values))
            if row.version > self.newest:
                self.newest = row.version
        try:
            self.workspace.load(name, pairs)
        except errors.IntegrityError as exc:
            raise errors.Refused(
                f'rows read at different times do not fit together: {exc}'
                ) from exc

    def again(self, start: int, written: Iterable[Touch]) -> None:
        """Load again what was loaded since, after a ROLLBACK TO.

        :param start: how many loads there were at the savepoint.
        :param written: what had been written then.
        """
        if self._refreshed:
            for touch in self._refreshed.difference(written):
                if self.stored(touch) is None:
                    self.workspace.forget(*touch)
        again = [one for one in self._loaded[start:] if one]
        for name, rowid, _ in again:
            if (name, rowid) in self._refreshed:
                self.workspace.forget(name, rowid)
        for name, group in itertools.groupby(again, lambda one: one[0]):
            self.workspace.load(
                name, ((rowid, row.values) for _, rowid, row in group))

    def rows(self, name: str) -> dict[int, StoredRow]:
        """Return a table's rows by their rowids."""
        return self._known.get(name, {})

    def stored(self, touch: Touch) -> StoredRow | None:
        """Return a row of the workspace as it was read."""
        return self._known.get(touch[0], {}).get(touch[1])

    def is_outdated(self, row: StoredRow) -> bool:
        """Tell whether others changed a row after it was first read."""
        return self._outdated.get(row.address, row.version) != row.version

    def refresh(self, table: Table, rows: Sequence[StoredRow],
                suspects: Iterable[Address], written: Container[Touch]
                ) -> set[Touch]:
        """Put newer versions of loaded, unwritten rows in their place.

        :param suspects: rows that are gone if they are not among ``rows``.
        :returns: the rows that others have changed.
        """
        there: dict[Address, StoredRow | None] = {
            row.address: row for row in rows}
        gone = set(suspects).difference(there)
        changed: set[Touch] = set()
        for address in (*there, *gone):
            place = self._addresses.get(address)
            one = self._loaded[place] if place is not None else None
            if place is None or one is None or one[:2] in written:
                continue
            row = there.get(address)
            if row is None or row.version > one[2].version:
                changed.add(self._forget(place))
        if changed:
            self.load(table, rows)
        return changed

    def forget(self, written: Container[Touch]) -> None:
        """Forget what was read and not written."""
        for place, one in enumerate(self._loaded):
            if one is not None and one[:2] not in written:
                self._forget(place)

    def _forget(self, place: int) -> Touch:
        """Take a loaded, unwritten row out of the workspace."""
        one = self._loaded[place]
        assert one is not None
        name, rowid, row = one
        self._loaded[place] = None
        self.workspace.forget(name, rowid)
        self._known[name].pop(rowid)
        del self._addresses[row.address]
        self._refreshed.add((name, rowid))
        self._outdated.setdefault(row.address, row.version)
        return name, rowid
