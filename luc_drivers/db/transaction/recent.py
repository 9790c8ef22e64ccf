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

"""Which groups a thread has just used: its next transaction often goes on
with them.

A request looks a provider up in one transaction, makes a consumer in the next
and claims in a third.  The statements of the third name them only one by one,
after a round each; but what they will read can be said before: the provider
that this thread used last, and the consumer.  `Near` says a read that way, so
that it can be remembered for other providers and consumers.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import threading
import time

from luc_drivers.db import keys
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.transaction.habits import Item

#: groups of one kind that are known, the last one first
_GROUPS = 4
#: seconds after which a thread does something else: a request has ended, or
#: the group's locality may not be reached any more
_SECONDS = 30.0

#: a kind of groups (a grouping's name) → those that were used, last first
Groups = Mapping[str | int, tuple[Group, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Near:
    """A read, said by a group that was used before.

    :ivar kind: the grouping's name.
    :ivar place: 0: the group of this kind that was used last, 1: the one
        before...
    :ivar what: the number of a table: its slice of the group; a row's key
        without ``pk``: its row with the values of the group's key; an index
        slice without ``first``: the one of these values.
    """

    kind: str | int
    place: int
    what: int | RowKey | IndexRead


def _values(kind: str | int, group: Group) -> bytes | None:
    """Return the encoded values of a group's key; None: it is a hash."""
    prefix = keys.encode((kind,))
    if group.key.startswith(prefix):
        return group.key[len(prefix):]
    return None


def relative(items: Iterable[Item], groups: Groups) -> set[Near]:
    """Say reads by the groups that were used before; others are left out."""
    known = {group: (kind, place) for kind, some in groups.items()
             for place, group in enumerate(some)}
    by_value = {(group.locality, _values(kind, group)): (kind, place)
                for group, (kind, place) in known.items()}
    found: set[Near] = set()
    for item in items:
        if isinstance(item, IndexRead):
            where = by_value.get((item.locality, item.first))
            if where is not None and item.limit is None:
                found.add(Near(*where, dataclasses.replace(item, first=b'')))
            continue
        group, what = item
        where = known.get(group)
        if where is None:
            continue
        if not isinstance(what, RowKey):
            found.add(Near(*where, what))
        elif what.pk == _values(where[0], group):
            found.add(Near(*where, RowKey(what.table, b'')))
    return found


def absolute(reads: Iterable[Near], groups: Groups) -> list[Item]:
    """Return reads that were said by groups, with the groups of now."""
    found: list[Item] = []
    for read in reads:
        some = groups.get(read.kind, ())
        if read.place >= len(some):
            continue
        group, what = some[read.place], read.what
        values = _values(read.kind, group)
        if not isinstance(what, IndexRead | RowKey):
            found.append((group, what))
        elif values is None:
            continue
        elif isinstance(what, IndexRead):
            if what.locality == group.locality:
                found.append(dataclasses.replace(what, first=values))
        else:
            found.append((group, RowKey(what.table, values)))
    return found


class _Here(threading.local):
    """The groups of the current thread (or greenlet), and when each was
    used."""

    def __init__(self) -> None:
        self.groups: dict[str | int, dict[Group, float]] = {}


class Recent:
    """The groups that each thread of a process has used of a database.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._here = _Here()

    def note(self, kind: str | int, group: Group) -> None:
        """Note that the current thread has used a group."""
        some = self._here.groups.setdefault(kind, {})
        # in order of their last use
        some.pop(group, None)
        some[group] = time.monotonic()
        if len(some) > _GROUPS:
            del some[next(iter(some))]

    def groups(self) -> Groups:
        """Return what the current thread has used shortly before."""
        since = time.monotonic() - _SECONDS
        found = {}
        for kind, some in self._here.groups.items():
            late = tuple(g for g, used in reversed(some.items())
                         if used >= since)
            if late:
                found[kind] = late
        return found
