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

"""Entries of the catalog's log: deltas and, now and then, snapshots.

An entry is msgpack of a map.  ``steps`` are plain SQLite statements for the
twin, ``layouts`` what tables they leave changed ({name: layout}, None for a
dropped one).  Replaying a log from its last snapshot on gives the schema.
"""

from collections.abc import Mapping
import dataclasses
import uuid

import msgpack

from luc_drivers.db import errors
from luc_drivers.db.catalog.layout import Layout

FORMAT = 1
#: deltas between snapshots
SNAPSHOT_EVERY = 200


@dataclasses.dataclass(frozen=True)
class Entry:
    """One version of the catalog.

    :ivar snapshot: steps and layouts are the whole schema's, not a change's.
    :ivar next_number: the number that the next table or index gets.
    :ivar sql: the statement that caused it, for people.
    """

    steps: tuple[str, ...]
    layouts: Mapping[str, Layout | None]
    next_number: int
    sql: str = ''
    snapshot: bool = False

    def encode(self) -> bytes:
        """Return the entry's bytes, different for each writer: the store
        recognises its own entry after an unknown outcome."""
        return msgpack.packb({
            'format': FORMAT, 'writer': uuid.uuid4().bytes,
            'snapshot': self.snapshot, 'sql': self.sql,
            'steps': self.steps, 'next': self.next_number,
            'layouts': {name: layout.pack() if layout else None
                        for name, layout in self.layouts.items()}})

    @classmethod
    def decode(cls, data: bytes) -> 'Entry':
        """Return the entry of ``encode()``'s bytes.

        :raises InternalError: a newer format.
        """
        entry = msgpack.unpackb(data)
        if entry['format'] > FORMAT:
            raise errors.InternalError(
                'the catalog was written by a newer release of luc-drivers '
                '(format %s, this one knows %d): upgrade this host'
                % (entry['format'], FORMAT))
        return cls(
            tuple(entry['steps']),
            {name: Layout.unpack(data) if data else None
             for name, data in entry['layouts'].items()},
            entry['next'], entry['sql'], entry['snapshot'])


def since_snapshot(entries: list[tuple[int, bytes]]) -> list[
        tuple[int, Entry]]:
    """Decode the entries from the last snapshot on; all if there is none."""
    found: list[tuple[int, Entry]] = []
    for version, data in reversed(entries):
        entry = Entry.decode(data)
        found.append((version, entry))
        if entry.snapshot:
            break
    found.reverse()
    return found
