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

"""Where rows, index entries and unique rows are stored.

Everybody who turns a row's values into keys of the store does it here, so
that writers and readers can't differ.  Formats:

* group key: ``keys.encode((grouping.name, *values of grouping.columns))``;
* row key in the group: ``keys.encode(values of table.key)``; for a table
  without a storage key, or a row with a NULL in it, ``keys.encode((None,
  created))``: a proper key holds no NULL, so the two can't collide;
* ref (what index entries and unique rows hold): group key and row key.

Values of columns that are declared NOCASE or RTRIM are folded first, so that
values which SQLite takes for equal share one key.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import struct
import zlib

from luc_drivers.db import keys
from luc_drivers.db.catalog.schema import Guard
from luc_drivers.db.catalog.schema import Index
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import SQLValue
from luc_drivers.db.rows import Address
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import RowKey

GLOBAL = 'global'

_LENGTH = struct.Struct('>I')


def locality(table: Table, site: str) -> str:
    """Return the locality that new rows of a table go to at a site."""
    return GLOBAL if table.locality == 'global' else 'at_' + site


def fold(table: Table, columns: Sequence[str],
         values: Sequence[SQLValue]) -> tuple[SQLValue, ...]:
    """Return the values of these columns with their collations applied."""
    folded = []
    for name, value in zip(columns, values):
        collation = table.column(name).collation
        if collation != 'BINARY' and isinstance(value, str):
            value = keys.fold(value, collation)
        folded.append(value)
    return tuple(folded)


def pick(table: Table, columns: Sequence[str],
         values: Mapping[int, SQLValue]) -> tuple[SQLValue, ...]:
    """Return a row's values of these columns, folded.

    A column that the row does not hold was added later: the value it then
    got (rule 26).
    """
    picked = []
    for name in columns:
        column = table.column(name)
        value = values.get(column.number, column.initial)
        if column.collation != 'BINARY' and isinstance(value, str):
            value = keys.fold(value, column.collation)
        picked.append(value)
    return tuple(picked)


def group_key(table: Table, values: Sequence[SQLValue]) -> bytes:
    """Return the key of the group with these values of grouping.columns."""
    grouping = table.grouping
    return keys.encode(
        (grouping.name, *fold(table, grouping.columns, values)))


def row_key(table: Table, values: Sequence[SQLValue]) -> bytes:
    """Return the key, inside its group, of the row with these values of
    table.key, none of them NULL.
    """
    return keys.encode(fold(table, table.key, values))


def address(table: Table, values: Mapping[int, SQLValue], created: int,
            locality: str) -> Address:
    """Return where a row is stored.

    :param values: {column number: value} of the row.
    :param created: the row's creation number.
    :param locality: name of its locality; see ``locality()``.
    """
    key = pick(table, table.key, values)
    if not key or None in key:
        pk = keys.encode((None, created))
    else:
        pk = keys.encode(key)
    group = keys.encode(
        (table.grouping.name, *pick(table, table.grouping.columns, values)))
    return Address(Group(locality, group), RowKey(table.number, pk))


def encode_ref(group: bytes, pk: bytes) -> bytes:
    """Return a reference to a row: what index entries hold."""
    return _LENGTH.pack(len(group)) + group + pk


def decode_ref(ref: bytes) -> tuple[bytes, bytes]:
    """Return (group key, row key) of a reference."""
    end = _LENGTH.size + _LENGTH.unpack_from(ref)[0]
    return ref[_LENGTH.size:end], ref[end:]


def bucket(index: Index, ref: bytes) -> int:
    """Return the bucket of a row's entries in an index."""
    return zlib.crc32(ref) % index.buckets if index.buckets > 1 else 0


def index_key(table: Table, index: Index,
              values: Sequence[SQLValue]) -> tuple[bytes, bytes]:
    """Return (first, rest) for values of the index's first columns.

    A whole key gives an entry's place, a shorter one the prefix of a slice
    (at least one value, unless it is a scan index, all of whose entries are
    in one partition per bucket).
    """
    if not index.columns:
        return b'', keys.encode_index(fold(table, index.order, values))
    folded = fold(table, index.columns, values)
    return keys.encode_index(folded[:1]), keys.encode_index(folded[1:])


def index_entry(table: Table, index: Index, values: Mapping[int, SQLValue],
                where: Address) -> IndexEntry:
    """Return the entry of a row in an index."""
    ref = encode_ref(where.group.key, where.key.pk)
    first, rest = index_key(
        table, index, pick(table, index.key_columns, values))
    return IndexEntry(
        locality=where.group.locality, table=table.number,
        index=index.number, first=first, bucket=bucket(index, ref),
        rest=rest, ref=ref)


def unique_address(table: Table, index: Index, values: Mapping[int, SQLValue],
                   where: Address) -> Address | None:
    """Return the place of the unique row that guards a row's key.

    :param where: the row's own address.
    :returns: None if there is none: the key holds a NULL (SQL: NULLs are
        distinct), or the partition itself guards it.  For SEQUENCE it is the
        place for an explicitly given value.
    """
    if index.guard is None or index.guard is Guard.PARTITION:
        return None
    key = pick(table, index.unique_columns, values)
    if None in key:
        return None
    return unique_place(table, index, key, where)


def unique_place(table: Table, index: Index, key: Sequence[SQLValue],
                 where: Address) -> Address:
    """Return the unique row's place for a whole key, already folded."""
    encoded = keys.encode(key)
    if index.guard is Guard.GROUP:
        group = where.group
    else:
        group = Group(where.group.locality,
                      keys.encode((index.number, *key)))
    return Address(group, RowKey(index.number, encoded))
