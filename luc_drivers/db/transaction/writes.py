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

"""What the protocol writes: every RowWrite is made here.

All conditions of the protocol are in this module: a row is only written if
it is as read *and* unlocked, or locked by this very transaction (rule 2).
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import enum
import struct

import msgpack

from luc_drivers.db.catalog import address
from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import Lock
from luc_drivers.db.store.base import MARKER_TABLE
from luc_drivers.db.store.base import Row
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.store.base import RowWrite
from luc_drivers.db.transaction import clock

#: how long a row remembers its writers, and how many at most (rule 3)
HISTORY_SECONDS = 120
HISTORY_LENGTH = 64
#: seconds of one interval of the list that the sweeper goes by
INTERVAL = 600

_NUMBER = struct.Struct('>Q')
_MOVED = b'\xff' * 8


class State(enum.Enum):
    """What a transaction's marker says."""

    COMMITTED = 'C'
    ABORTED = 'A'


@dataclasses.dataclass(frozen=True, slots=True)
class Marker:
    """A decided transaction.

    :ivar secondaries: the rows outside the primary group (rule 7).
    """

    state: State
    secondaries: tuple[tuple[Group, tuple[RowKey, ...]], ...] = ()


@dataclasses.dataclass(slots=True)
class Intent:
    """One row that a commit writes, before the commit's id is known.

    :ivar expected: the version for Expect.VERSION; else None.
    :ivar history: of the state that is expected.
    :ivar document: after the commit; None = deleted.
    :ivar fresh: there is no live row before: nothing, or a tombstone.
    :ivar check: nothing is changed, the row must only be as expected.
    :ivar valid: of rows that are only checked or touched: whether another
        document, met instead of the expected one, does as well.
    :ivar first: lock the row before the commit, also in the primary group
        (rule 25: the deleted parent).
    :ivar generated: the table whose sequence gave the key (rule 24).
    :ivar label: name of the table, for messages.
    """

    group: Group
    key: RowKey
    expect: Expect
    expected: bytes | None = None
    history: tuple[bytes, ...] = ()
    document: bytes | None = None
    moved_to: bytes | None = None
    fresh: bool = False
    check: bool = False
    valid: Callable[[bytes], bool] | None = None
    first: bool = False
    generated: str | None = None
    label: str = ''


def extend(history: Sequence[bytes], txid: bytes, moved: bool = False
           ) -> tuple[bytes, ...]:
    """Return the history of a row after ``txid``.

    It keeps all writers of the last HISTORY_SECONDS and one before, at most
    HISTORY_LENGTH; an insert's begins with BEGINNING.  So, of a history
    whose first id is not later than T, one can tell whether T wrote the row.

    :param moved: the row that was here has moved to another place. That is
        noted, too: see `moves`.
    """
    before = tuple(history) or (clock.BEGINNING,)
    horizon = clock.micros(txid) - HISTORY_SECONDS * 10 ** 6
    start = 0
    for n, one in enumerate(before):
        if clock.micros(one) < horizon:
            start = n
    mark = (txid[:8] + _MOVED,) if moved else ()
    return (*before[start:], *mark, txid)[-HISTORY_LENGTH:]


def is_plain(history: Sequence[bytes]) -> bool:
    """Tell, quickly, that a history holds no move: an insert's."""
    return len(history) == 2 and history[0] == clock.BEGINNING


def moves(history: Sequence[bytes]) -> list[bytes]:
    """Return marks of the moves away from a place, one for each.

    They outlive the tombstone that says where the row went: another row may
    have come to its place (rule 13).
    """
    return [one for one in history if one[8:] == _MOVED]


def change(intent: Intent, txid: bytes, tombstone_ttl: int) -> RowWrite:
    """Return the write that commits an intent at once."""
    if intent.check:
        return RowWrite(
            intent.key, Expect.VERSION, intent.expected,
            version=intent.expected, document=intent.document,
            history=intent.history, moved_to=intent.moved_to)
    return RowWrite(
        intent.key, intent.expect, intent.expected, version=txid,
        document=intent.document, moved_to=intent.moved_to,
        history=extend(intent.history, txid, intent.moved_to is not None),
        ttl=tombstone_ttl if intent.document is None else None)


def lock(intent: Intent, txid: bytes, primary: Group, groups: int
         ) -> RowWrite:
    """Return the write that prepares an intent.

    :param groups: how many the transaction writes to.
    """
    return RowWrite(
        intent.key, intent.expect, intent.expected,
        prepare=Lock(txid, primary, intent.document, intent.moved_to,
                     groups))


def apply(key: RowKey, txid: bytes, document: bytes | None,
          moved_to: bytes | None, history: Sequence[bytes],
          tombstone_ttl: int) -> RowWrite:
    """Return the write that makes a prepared change the row's state.

    :param history: the row's, before this change.
    """
    return RowWrite(
        key, Expect.LOCKED, txid, version=txid, document=document,
        history=extend(history, txid, moved_to is not None),
        moved_to=moved_to,
        ttl=tombstone_ttl if document is None else None)


def forward(row: Row, tombstone_ttl: int) -> RowWrite:
    """Return the write that rolls a locked row forward."""
    assert row.lock is not None
    return apply(row.key, row.lock.txid, row.lock.document,
                 row.lock.moved_to, row.history, tombstone_ttl)


def back(key: RowKey, txid: bytes, version: bytes | None) -> RowWrite:
    """Return the write that rolls a locked row back.

    :param version: the row's; None: only the lock ever was there.
    """
    return RowWrite(key, Expect.LOCKED, txid, unlock=version is not None,
                    erase=version is None)


def committed_view(row: Row) -> Row:
    """Return what a locked row becomes when its transaction committed."""
    assert row.lock is not None
    return Row(row.key, row.lock.txid, row.lock.document,
               extend(row.history, row.lock.txid,
                      row.lock.moved_to is not None),
               moved_to=row.lock.moved_to)


def old_view(row: Row) -> Row | None:
    """Return what a locked row was before; None: it was not there."""
    if row.version is None:
        return None
    return Row(row.key, row.version, row.document, row.history,
               moved_to=row.moved_to)


# --- markers


def marker_key(txid: bytes) -> RowKey:
    """Return where a transaction's marker is in its primary group."""
    return RowKey(MARKER_TABLE, txid)


def commit_marker(txid: bytes, secondaries: Iterable[
        tuple[Group, Iterable[RowKey]]]) -> RowWrite:
    """Return the write that is the commit point; never with a TTL (rule 6).
    """
    listed = [[g.locality, g.key, [[k.table, k.pk] for k in keys]]
              for g, keys in secondaries]
    return RowWrite(
        marker_key(txid), Expect.ABSENT, version=txid,
        document=msgpack.packb([State.COMMITTED.value, listed]))


def abort_marker(txid: bytes, ttl: int) -> RowWrite:
    """Return the write that fences a transaction; it goes by its TTL only
    (rule 5).
    """
    return RowWrite(
        marker_key(txid), Expect.ABSENT, version=txid, ttl=ttl,
        document=msgpack.packb([State.ABORTED.value, []]))


def erase_marker(txid: bytes) -> RowWrite:
    """Return the write that removes a committed, applied marker."""
    return RowWrite(marker_key(txid), Expect.VERSION, txid, erase=True)


def read_marker(row: Row) -> Marker:
    """Return what a marker row says."""
    assert row.document is not None
    state, listed = msgpack.unpackb(row.document)
    return Marker(State(state), tuple(
        (Group(locality, key), tuple(RowKey(t, pk) for t, pk in keys))
        for locality, key, keys in listed))


def interval(number: int) -> bytes:
    """Return the key of the list of transactions of one interval."""
    return _NUMBER.pack(number)


def listing(primary: Group, txid: bytes) -> IndexEntry:
    """Return the index entry that lists a transaction for the sweeper."""
    return IndexEntry(
        primary.locality, MARKER_TABLE, MARKER_TABLE,
        interval(clock.micros(txid) // (INTERVAL * 10 ** 6)), 0, txid,
        address.encode_ref(primary.key, txid))


def by_group(intents: Iterable[Intent]) -> dict[Group, list[Intent]]:
    """Return the intents of each group."""
    groups: dict[Group, list[Intent]] = {}
    for intent in intents:
        groups.setdefault(intent.group, []).append(intent)
    return groups


def batch(group: Group, *row_writes: RowWrite) -> Batch:
    """Return a batch of these writes."""
    return Batch(group, row_writes)
