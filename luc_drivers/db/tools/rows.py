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

"""All rows of a table, piece by piece: a table may be larger than memory."""

from collections.abc import Iterator
from collections.abc import Sequence
import itertools
from typing import Any
from typing import TYPE_CHECKING

from luc_drivers.db import document
from luc_drivers.db.catalog.schema import Column
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import Row
from luc_drivers.db.transaction.reader import decode_move
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.transaction.resolve import place_reads

if TYPE_CHECKING:
    from luc_drivers.db.engine import Database

#: rows that are fetched at once
_AT_ONCE = 500


def columns(table: Table) -> list[Column]:
    """Return the columns that a row's values are given for: all but the
    generated ones."""
    return [c for c in table.columns if not c.generated]


def rows(database: 'Database', table: Table,
         localities: Sequence[str]) -> Iterator[list[Any]]:
    """Yield the values of ``columns(table)`` of each committed row.

    Each row is as it was at some time during the walk: rows that change
    together may be from before and after the change.

    :param localities: where rows of tables that are kept per site may be.
    :raises StoreUnavailable: from the store.
    """
    reader = database.reader
    (groups, places), = reader.places(
        [BoundAccess(table, Path.SCAN, [])], localities)
    known = set(places)
    shown = columns(table)
    for answer in reader.resolver.read(
            [GroupRead(group, (table.number,)) for group in groups]):
        for row in answer:
            if row.document is not None:
                yield _values(shown, row.document)
    left = iter(places)
    while chunk := list(itertools.islice(left, _AT_ONCE)):
        for row in _follow(database, chunk, known):
            if row.document is not None:
                yield _values(shown, row.document)


def _follow(database: 'Database', places: list[Place],
            known: set[Place]) -> list[Row]:
    """Read rows where they are, or where they have moved to.

    :param known: places that are read anyway.
    """
    found = []
    while places:
        reads = place_reads(places)
        places = []
        for answer in database.reader.resolver.read(reads):
            for row in answer:
                if row.document is None and row.moved_to is not None:
                    to = decode_move(row.moved_to, row.key.table)
                    if to not in known:
                        known.add(to)
                        places.append(to)
                else:
                    found.append(row)
    return found


def _values(shown: list[Column], doc: bytes) -> list[Any]:
    values, _ = document.decode(doc)
    return [values.get(c.number, c.initial) for c in shown]
