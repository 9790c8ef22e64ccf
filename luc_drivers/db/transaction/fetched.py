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

"""What a transaction has fetched: nothing is fetched twice."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any

from luc_drivers.db.catalog.schema import Index
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Path

Key = tuple[Any, ...]
#: tells whether a table of the workspace has a row: (table, columns, key)
Present = Callable[[Table, tuple[str, ...], Key], bool]


class Fetched:
    """Remembers accesses, and keys that nothing was found under.

    :param enforce: foreign keys hold: a group without its root row is empty.
    :param present: looks into the workspace.
    :ivar checked_keys: (index number, key) that no unloaded row has.
    """

    def __init__(self, schema: Schema, enforce: bool, present: Present
                 ) -> None:
        self.schema = schema
        self.enforce = enforce
        self.checked_keys: set[tuple[int, Key]] = set()
        self._present = present
        self._accesses: set[Any] = set()
        # numbers of tables
        self._whole: set[int] = set()
        # groups that the transaction found to have no root row
        self._absent: set[tuple[Any, Key]] = set()

    def clear(self) -> None:
        """Forget all."""
        for memo in (self._accesses, self._whole, self._absent,
                     self.checked_keys):
            memo.clear()

    def left(self, access: BoundAccess) -> BoundAccess | None:
        """Return what of an access has still to be fetched."""
        table = access.table
        if table.number in self._whole:
            return None
        if access.path is Path.SCAN:
            return access
        keys = access.keys
        left = [key for key in keys if not self._has(access, key)]
        if not left:
            return None
        if len(left) < len(keys):
            return dataclasses.replace(access, keys=left)
        return access

    def _has(self, access: BoundAccess, key: tuple[Any, ...]) -> bool:
        table = access.table
        number = table.number
        if access.path is Path.INDEX:
            assert access.index is not None
            if (number, access.index.number, key, access.lower,
                    access.upper) in self._accesses:
                return True
        else:
            group = key[:len(table.grouping.columns)]
            if (number, group) in self._accesses:
                return True
            if access.path is Path.ROW and (
                    number, 'row', key) in self._accesses:
                return True
            if (self._absent and (table.grouping.name, group)
                    in self._absent and self._depends(table)):
                return True
        if access.unique and len(key) == len(access.key_columns) and (
                None not in key):
            return self._present(table, access.key_columns, key)
        return False

    def note(self, access: BoundAccess) -> None:
        """Remember that an access has been fetched."""
        table = access.table
        number = table.number
        if access.path is Path.SCAN:
            self._whole.add(number)
        elif access.path is Path.INDEX:
            assert access.index is not None
            index = access.index.number
            self._accesses.update(
                (number, index, key, access.lower, access.upper)
                for key in access.keys)
        elif access.path is Path.ROW:
            self._accesses.update((number, 'row', key) for key in access.keys)
        else:
            self._accesses.update((number, key) for key in access.keys)
            if not table.grouping.columns:
                self._whole.add(number)

    def note_none(self, table: Table, index: Index, key: Key,
                  alone: bool) -> None:
        """Remember that no unloaded row has a unique key.

        :param alone: nor was any other row found with it.
        """
        self.checked_keys.add((index.number, key))
        columns = [c.lower() for c in table.grouping.columns]
        unique = [c.lower() for c in index.unique_columns]
        if alone and columns and set(columns) == set(unique):
            given = dict(zip(unique, key))
            self._absent.add((table.grouping.name, tuple(
                given[c] for c in columns)))

    def _depends(self, table: Table) -> bool:
        """Tell whether rows of a table need their group's root row."""
        if not self.enforce:
            return False
        columns = [c.lower() for c in table.grouping.columns]
        for key in table.foreign_keys:
            parent = self.schema.table(key.parent)
            if parent is not None and (
                    parent.grouping.name == table.grouping.name and
                    [c.lower() for c in key.columns] == columns and
                    [c.lower() for c in key.parent_columns] ==
                    [c.lower() for c in parent.grouping.columns]):
                return True
        return False


def merged(accesses: Sequence[BoundAccess]) -> list[BoundAccess]:
    """Put accesses that differ only in their keys together."""
    found: dict[Any, tuple[BoundAccess, dict[Key, None]]] = {}
    for access in accesses:
        name = (access.table.number, access.path, access.unique,
                access.index and access.index.number, access.lower,
                access.upper, access.key_columns)
        if name not in found:
            # a limit is one of each set of parameters
            found[name] = dataclasses.replace(access, limit=None), {}
        found[name][1].update(dict.fromkeys(access.keys))
    return [dataclasses.replace(access, keys=list(keys))
            for access, keys in found.values()]
