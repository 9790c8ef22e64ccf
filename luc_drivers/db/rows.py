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

"""Rows on their way between store and workspace: plain data."""

import dataclasses
from typing import Any
from typing import NamedTuple

from luc_drivers.db import document
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import RowKey


class Address(NamedTuple):
    """Where a row is stored."""

    group: Group
    key: RowKey


class StoredRow(NamedTuple):
    """A committed row, as read; never changed.

    A transaction keeps those that it has read. Decoded they take three times
    the memory of their documents, and few of them are looked at twice.

    :ivar created: creation number: (microseconds << 12 | n), unique enough
        to order rows by their insertion, and the workspace's rowid in tables
        without an INTEGER PRIMARY KEY.
    """

    table: Table
    address: Address
    version: bytes
    document: bytes
    created: int
    history: tuple[bytes, ...] = ()

    @property
    def values(self) -> dict[int, Any]:
        """Return {column number: value}, decoded for each call.

        As in the document: also those of columns that this process's catalog
        does not know yet.
        """
        return document.decode(self.document)[0]


@dataclasses.dataclass(frozen=True, slots=True)
class RowChange:
    """A row that a transaction inserted, changed, deleted or only touched.

    :ivar old: None for an insert.
    :ivar new: {column number: value}; None for a delete; equal to
        ``old.values`` for a row that was locked or written without a change
        (committed as a no-op write: rules 21, 22).
    :ivar generated: the INTEGER PRIMARY KEY's value was drawn from the
        sequence, not given (rule 24).
    :ivar created: an insert's creation number (see StoredRow); None: the
        committer draws one.
    """

    table: Table
    old: StoredRow | None
    new: dict[int, Any] | None
    generated: bool = False
    created: int | None = None
