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

"""What both stores do alike: check batches, pack ids and locks."""

from collections.abc import Sequence

import msgpack

from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import Lock
from luc_drivers.db.store.base import RowWrite

#: bytes of a transaction's id
ID_LENGTH = 16
#: how a history begins, mostly: one object for all rows
_ZEROS = bytes(ID_LENGTH)


def check(batch: Batch) -> None:
    """Refuse a batch that no store can carry out as it is meant.

    :raises ValueError: an empty batch, a row twice (rule 32), or a write
        that makes no sense; a bug in the caller.
    """
    writes = batch.writes
    if not writes:
        raise ValueError('a batch without writes')
    if len(writes) > 1 and len({w.key for w in writes}) < len(writes):
        raise ValueError('a batch writes one row twice')
    for write in writes:
        if write.expect is Expect.ABSENT:
            # IF ver = null (rule 2) is said by the statement itself
            bad = write.expected is not None
        else:
            bad = not write.expected
        if bad:
            raise ValueError(f'{write.expect} does not go with '
                             f'expected={write.expected!r}')
        if write.prepare is not None:
            if write.ttl is not None or write.expect is Expect.LOCKED:
                raise ValueError('a lock neither expires nor replaces one')
        elif write.unlock:
            if write.expect is not Expect.LOCKED:
                raise ValueError('unlock needs the lock that it takes off')
        elif write.erase:
            if write.expect is Expect.ABSENT:
                raise ValueError('nothing to erase')
        elif write.version is None:
            raise ValueError('a state without a version would be absent')


def pack_ids(ids: Sequence[bytes]) -> bytes:
    """Return the ids of a history as one string.

    :raises ValueError: one of them is not an id.
    """
    packed = b''.join(ids)
    if len(packed) != ID_LENGTH * len(ids):
        raise ValueError(f'an id is not of {ID_LENGTH} bytes')
    return packed


def unpack_ids(packed: bytes | None) -> tuple[bytes, ...]:
    """Return the ids that `pack_ids` packed."""
    if not packed:
        return ()
    if len(packed) == ID_LENGTH:
        return (packed,)
    if len(packed) == 2 * ID_LENGTH:  # an insert's, mostly
        first = packed[:ID_LENGTH]
        return _ZEROS if first == _ZEROS else first, packed[ID_LENGTH:]
    return tuple(packed[n:n + ID_LENGTH]
                 for n in range(0, len(packed), ID_LENGTH))


def pack_lock(lock: Lock) -> bytes:
    """Return what a lock says, but for its txid."""
    primary = lock.primary
    return msgpack.packb(
        (primary.locality, primary.key, lock.document, lock.moved_to,
         lock.groups))


def unpack_lock(txid: bytes, packed: bytes) -> Lock:
    """Return the lock that `pack_lock` packed."""
    # releases before this one wrote four, and take the first four
    locality, key, document, moved_to, *more = msgpack.unpackb(packed)
    return Lock(txid, Group(locality, key), document, moved_to, *more[:1])


def write_kind(write: RowWrite) -> str:
    """Return 'prepare', 'unlock', 'erase' or 'state'."""
    if write.prepare is not None:
        return 'prepare'
    if write.unlock:
        return 'unlock'
    return 'erase' if write.erase else 'state'
