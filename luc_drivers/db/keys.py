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

"""Order-preserving binary keys for tuples of SQL values.

The memcmp order of two keys is SQLite's order of the tuples: NULL < numbers
by value < text < blob (https://sqlite.org/datatype3.html#sort_order), and
tuples that SQLite calls equal have one key: 1 and 1.0, 0.0 and -0.0 (rule
17).  The key of a tuple's prefix is a prefix of its key, as in FoundationDB's
tuple layer, whose escaping of zero bytes this is.

One value is a type code and then

* NULL: nothing;
* number: the nearest double, its bits arranged to sort, 8 bytes; from 2**53
  on, where not every integer is a double, two more bytes: value - double;
* text (UTF-8) and blob: the bytes with 00 as 00 FF, then 00; or, where an
  index value is cut (`encode_index`), 00 FE and a hash instead of 00.
"""

from collections.abc import Iterable
import hashlib
import math
import struct

SQLValue = None | int | float | str | bytes

NULL = 0x01
NUMBER = 0x02
TEXT = 0x03
BLOB = 0x04
#: follows all type codes: the end of the range of one prefix
_END = b'\x05'
#: a key too long to be stored exactly
_HASHED = b'\x06'

#: bytes of the longest exact key; Cassandra's own limit is 64 KiB
MAX_KEY = 32 * 1024
#: bytes of the longest text or blob that an index holds exactly
MAX_INDEX_VALUE = 1024
#: bytes that are left of a longer one
KEPT_INDEX_VALUE = 960

_EXACT = 2 ** 53
_MIN_INTEGER = -2 ** 63
_MAX_INTEGER = 2 ** 63 - 1
_double = struct.Struct('>d')
_pack_double = _double.pack
_unpack_bits = struct.Struct('>Q').unpack
_pack_number = struct.Struct('>BQ').pack
_pack_big_number = struct.Struct('>BQH').pack
_NULL = bytes((NULL,))


def _number(value: int | float) -> bytes:
    """Return the key of one number."""
    if isinstance(value, int):
        if not _MIN_INTEGER <= value <= _MAX_INTEGER:
            raise OverflowError(
                f'integer {value} does not fit into 64 bits')
    elif value != value:
        return _NULL  # SQLite stores NaN as NULL
    # + 0.0: -0.0 becomes 0.0
    double = float(value) + 0.0
    bits = _unpack_bits(_pack_double(double))[0]
    # IEEE 754: positive doubles sort as integers, negative ones backwards
    bits = bits ^ 0xFFFFFFFFFFFFFFFF if bits >> 63 else bits | 1 << 63
    if -_EXACT < double < _EXACT:
        return _pack_number(NUMBER, bits)
    rest = value - int(double) if isinstance(value, int) else 0
    return _pack_big_number(NUMBER, bits, rest + 0x8000)


def _escape(raw: bytes) -> bytes:
    return raw.replace(b'\0', b'\0\xff') if 0 in raw else raw


def _parts(value: str | bytes) -> tuple[bytes, bytes]:
    """Return the type code and the raw bytes of a text or blob."""
    if isinstance(value, str):
        return b'\x03', value.encode('utf-8')
    if isinstance(value, bytes | bytearray | memoryview):
        return b'\x04', bytes(value)
    raise TypeError(f'not an SQL value: {type(value).__name__}')


def _encode(values: Iterable[SQLValue]) -> bytes:
    parts = []
    for value in values:
        if value is None:
            parts.append(_NULL)
        elif isinstance(value, int | float):
            parts.append(_number(value))
        else:
            code, raw = _parts(value)
            parts.append(code + _escape(raw) + b'\0')
    return b''.join(parts)


def encode(values: Iterable[SQLValue]) -> bytes:
    """Return the key of a tuple of values.

    Keys longer than MAX_KEY become a hash: still one key for equal tuples,
    but their order and their prefixes are lost.

    :raises OverflowError: an integer beyond 64 bits.
    :raises TypeError: a value that is not of SQLite's five classes.
    """
    key = _encode(values)
    if len(key) > MAX_KEY:
        return _HASHED + hashlib.sha256(key).digest()
    return key


def encode_index(values: Iterable[SQLValue]) -> bytes:
    """Return the key of a tuple of values for an index entry.

    As `encode`, but of texts and blobs longer than MAX_INDEX_VALUE bytes
    only the beginning and a hash are kept (rule 34): equal values have one
    key, prefixes stay prefixes; for ranges see `index_range`.

    :raises OverflowError, TypeError: as `encode`.
    """
    parts = []
    for value in values:
        if value is None:
            parts.append(_NULL)
        elif isinstance(value, int | float):
            parts.append(_number(value))
        else:
            code, raw = _parts(value)
            if len(raw) > MAX_INDEX_VALUE:
                digest = hashlib.sha256(raw).digest()[:16]
                parts.append(code + _escape(raw[:KEPT_INDEX_VALUE]) +
                             b'\0\xfe' + digest)
            else:
                parts.append(code + _escape(raw) + b'\0')
    return b''.join(parts)


def decode(key: bytes) -> tuple[SQLValue, ...]:
    """Return the values of a key that `encode` made, for people: integers
    that a double holds come back as integers, whatever they were.

    :raises ValueError: it is a hash, or no such key.
    """
    values: list[SQLValue] = []
    at = 0
    while at < len(key):
        code = key[at]
        at += 1
        if code == NULL:
            values.append(None)
        elif code == NUMBER and len(key) >= at + 8:
            double = _unpack_double(key[at:at + 8])
            at += 8
            if -_EXACT < double < _EXACT:
                values.append(int(double) if double.is_integer() else double)
            else:
                rest = int.from_bytes(key[at:at + 2], 'big') - 0x8000
                at += 2
                whole = int(double) + rest if math.isfinite(double) else None
                values.append(whole if whole is not None and
                              _MIN_INTEGER <= whole <= _MAX_INTEGER
                              else double)
        elif code in (TEXT, BLOB):
            end = at
            while key[end:end + 1] != b'\0' or key[end + 1:end + 2] == b'\xff':
                end += 2 if key[end:end + 1] == b'\0' else 1
                if end >= len(key):
                    raise ValueError(f'cut off: {key.hex()}')
            raw = key[at:end].replace(b'\0\xff', b'\0')
            values.append(raw.decode('utf-8') if code == TEXT else raw)
            at = end + 1
        else:
            raise ValueError(f'no key: {key.hex()}')
    return tuple(values)


def _unpack_double(raw: bytes) -> float:
    """Undo what `_number` does to a double's bits."""
    bits = _unpack_bits(raw)[0]
    bits = bits ^ 1 << 63 if bits >> 63 else bits ^ 0xFFFFFFFFFFFFFFFF
    return _double.unpack(bits.to_bytes(8, 'big'))[0]


def prefix_range(prefix: bytes) -> tuple[bytes, bytes]:
    """Return (lower, upper) of the keys of all tuples that start so.

    :param prefix: what `encode` or `encode_index` gave for the first values.
    :returns: ``lower <= key < upper`` holds for exactly those keys.
    """
    return prefix, prefix + _END


def index_range(prefix: bytes,
                lower: tuple[SQLValue, bool] | None = None,
                upper: tuple[SQLValue, bool] | None = None,
                ) -> tuple[bytes, bytes]:
    """Return the slice of an index where one more value is within bounds.

    :param prefix: `encode_index` of the values before that one.
    :param lower: (value, inclusive), or None for no bound.
    :param upper: the same for the other end.
    :returns: (lower, upper) for an IndexRead: a superset, since long values
        are cut. With any bound NULLs are left out, as SQL's comparisons do.
    """
    start, end = prefix_range(prefix)
    if lower is not None or upper is not None:
        start = prefix + bytes((NUMBER,))
    if lower is not None:
        key, cut = _bound(prefix, lower[0])
        # key + 05 is above all entries with that value, whatever follows
        start = key if lower[1] or cut else key + _END
    if upper is not None:
        key, cut = _bound(prefix, upper[0])
        if cut:
            end = _successor(key)
        else:
            end = key + _END if upper[1] else key
    return start, max(start, end)


def _bound(prefix: bytes, value: SQLValue) -> tuple[bytes, bool]:
    """Return a bound's key, and whether it is only the beginning of it.

    A bound longer than what is kept of cut values can't be compared with
    them beyond that.
    """
    if isinstance(value, str | bytes | bytearray | memoryview):
        code, raw = _parts(value)
        if len(raw) > KEPT_INDEX_VALUE:
            return prefix + code + _escape(raw[:KEPT_INDEX_VALUE]), True
    return prefix + _encode((value,)), False


def _successor(key: bytes) -> bytes:
    """Return the first key above all that start with ``key``."""
    key = key.rstrip(b'\xff')
    return key[:-1] + bytes((key[-1] + 1,))


_UPPER = b'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
_NOCASE = {upper: upper + 32 for upper in _UPPER}


def fold(value: SQLValue, collation: str) -> SQLValue:
    """Return a value that stands for all that a collation calls equal.

    :param collation: BINARY, NOCASE (folds ASCII letters) or RTRIM (ignores
        spaces at the end), as SQLite defines them; only text is affected.
    :raises ValueError: another collation.
    """
    name = collation.upper()
    if name == 'BINARY':
        return value
    if name == 'NOCASE':
        return value.translate(_NOCASE) if isinstance(value, str) else value
    if name == 'RTRIM':
        return value.rstrip(' ') if isinstance(value, str) else value
    raise ValueError(f'unknown collation {collation!r}: SQLite has BINARY, '
                     'NOCASE and RTRIM')
