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

"""Rows as documents: what the store keeps of a row, in msgpack.

A document is the array [creation number, {column number: value}]; a later
version may append to the array.  SQLite's five storage classes are msgpack's
nil, integer, float, string and binary, kept apart exactly.
"""

from collections.abc import Mapping
import struct

import msgpack

from luc_drivers.db.keys import SQLValue

#: how a document begins whose creation number takes 64 bits, as all do
#: that are made of the time
_LARGE = b'\x92\xcf'
_NUMBER = struct.Struct('>Q')
_CLASSES = frozenset((type(None), int, float, str, bytes))


def encode(values: Mapping[int, SQLValue], created: int) -> bytes:
    """Return the document of a row.

    :param values: by column number.
    :param created: the row's creation number (see rows.StoredRow).
    :raises TypeError: a value that is not of SQLite's five classes.
    :raises OverflowError: an integer beyond 64 bits.
    """
    classes = set(map(type, values.values()))
    if not classes <= _CLASSES:
        names = sorted(c.__name__ for c in classes - _CLASSES)
        raise TypeError('not SQL values: ' + ', '.join(names))
    return msgpack.packb((created, values), use_bin_type=True)


def created_of(document: bytes) -> int:
    """Return the creation number of a document's row, without the values.

    :raises ValueError: the bytes are not a document.
    """
    if document[:2] == _LARGE:
        return _NUMBER.unpack_from(document, 2)[0]
    return decode(document)[1]


def decode(document: bytes) -> tuple[dict[int, SQLValue], int]:
    """Return (values by column number, creation number) of a document.

    :raises ValueError: the bytes are not a document.
    """
    created, values = msgpack.unpackb(
        document, raw=False, strict_map_key=False)[:2]
    return values, created
