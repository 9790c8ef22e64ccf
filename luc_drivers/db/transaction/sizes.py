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

"""A commit that Cassandra could not take is refused before it begins.

What binds there: a mutation holds at most half a segment of the commit log
and a request at most one frame (16 MiB each by default), a batch 65,535
statements.  (Keys beyond 64 KiB are hashed: see `luc_drivers.db.keys`.)  Both
stores keep to it, so that what works on one works on the other.
"""

from collections.abc import Iterable

from luc_drivers.db import errors
from luc_drivers.db.transaction.writes import by_group
from luc_drivers.db.transaction.writes import Intent

#: bytes that one group's part of a transaction may hold: 16 MiB less what
#: Paxos and the protocol add
MAX_BATCH = 15 << 20
#: rows that one group's part may hold
MAX_ROWS = 65000
#: bytes that a row costs besides its keys and document
_ROW = 200


def check(intents: Iterable[Intent]) -> None:
    """Refuse what is too large.

    :raises DataError: names the table and the limit; nothing was written.
    """
    total = _ROW
    groups = by_group(intents)
    for group, members in groups.items():
        size = 0
        for intent in members:
            row = _size(intent)
            if row > MAX_BATCH:
                raise errors.DataError(
                    f'a row of {_name(intent)} would hold {row} bytes: '
                    f'at most {MAX_BATCH} can be stored')
            size += row
        if size > MAX_BATCH or len(members) > MAX_ROWS:
            names = sorted({_name(i) for i in members})
            raise errors.DataError(
                f'a transaction would write {len(members)} rows of '
                f'{size} bytes to one entity group ({", ".join(names)}): at '
                f'most {MAX_ROWS} rows and {MAX_BATCH} bytes can be '
                'committed at once')
        # the marker names them all
        total += len(group.key) + sum(len(i.key.pk) + 16 for i in members)
    if len(groups) > 1 and total > MAX_BATCH:
        raise errors.DataError(
            f'a transaction would write to {len(groups)} entity groups, '
            f'whose names hold {total} bytes: at most {MAX_BATCH} can be '
            'committed at once')


def _size(intent: Intent) -> int:
    return (_ROW + len(intent.group.key) + len(intent.key.pk)
            + len(intent.document or b''))


def _name(intent: Intent) -> str:
    return intent.label or f'table {intent.key.table}'
