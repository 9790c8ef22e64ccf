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

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import itertools
import logging
from typing import Any
from typing import TYPE_CHECKING

from luc_drivers.db import document
from luc_drivers.db.catalog.schema import Column
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.transaction.reader import decode_move
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.transaction.resolve import Resolver

if TYPE_CHECKING:
    from luc_drivers.db.engine import Database

LOG = logging.getLogger(__name__)

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
    shown = columns(table)
    for answer in reader.resolver.read(
            [GroupRead(group, (table.number,)) for group in groups]):
        for row in answer:
            if row.document is not None:
                yield _shown(shown, document.decode(row.document)[0])
    walk = _Walk(reader.resolver, places)
    left = iter(places)
    until = database.clock.monotonic() + database.limits.tombstone_ttl
    while chunk := list(itertools.islice(left, _AT_ONCE)):
        if database.clock.monotonic() > until:
            LOG.warning(
                'Reading table %s of %s takes longer than %d s: rows that are '
                'moved to another group meanwhile may be left out. Are the '
                'services stopped?', table.name, database.name,
                database.limits.tombstone_ttl)
            until = float('inf')
        for values in walk.read(chunk):
            yield _shown(shown, values)


def _shown(shown: list[Column], values: dict[int, Any]) -> list[Any]:
    return [values.get(c.number, c.initial) for c in shown]


class _Walk:
    """Reads each row once, though rows move while places are read.

    :ivar unread: places that are read later anyway.
    :ivar at: by creation number, where a row was read.
    """

    def __init__(self, resolver: Resolver, places: Iterable[Place]) -> None:
        self.resolver = resolver
        self.unread = set(places)
        self.at: dict[int, Place] = {}

    def read(self, places: Sequence[Place]) -> Iterator[dict[int, Any]]:
        """Yield the values of rows that are at places, or have left them for
        places that were read before.
        """
        followed: set[tuple[Place, bytes | None]] = set()
        self.unread.difference_update(places)
        while places:
            moved = []
            for place, row in self.resolver.views(places).items():
                if row is None:
                    continue
                if row.document is not None:
                    values, created = document.decode(row.document)
                    if not self._known(created, place):
                        self.at[created] = place
                        yield values
                elif row.moved_to is not None and (
                        (place, row.version) not in followed):
                    followed.add((place, row.version))
                    to = decode_move(row.moved_to, place[1].table)
                    if to not in self.unread:
                        moved.append(to)
            places = moved

    def _known(self, created: int, place: Place) -> bool:
        """Tell whether a row was read already, maybe at another place."""
        before = self.at.get(created)
        if before is None or before == place:
            return before is not None
        row = self.resolver.views([before])[before]
        # two processes may have drawn the same number
        return row is None or row.document is None or (
            document.decode(row.document)[1] != created)
