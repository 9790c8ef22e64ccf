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

"""Frames of the native protocol, version 4: bytes to send, answers read.

No I/O.  Of the specification (native_protocol_v4.spec in Cassandra's tree)
just what requests of prepared statements need; types, errors and the parsing
of rows are the driver's.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import io
import struct
from typing import Any

UNSET: Any = object()

VERSION = 4
HEADER = struct.Struct('>BBhBi')
#: opcodes
ERROR, STARTUP, READY, AUTHENTICATE = 0x00, 0x01, 0x02, 0x03
OPTIONS, SUPPORTED, QUERY, RESULT = 0x05, 0x06, 0x07, 0x08
PREPARE, EXECUTE, BATCH = 0x09, 0x0A, 0x0D
AUTH_CHALLENGE, AUTH_RESPONSE, AUTH_SUCCESS = 0x0E, 0x0F, 0x10

#: code of the error of a statement that the node has not prepared
UNPREPARED = 0x2500

_ROWS, _PREPARED = 2, 4
_VALUES, _SKIP_METADATA, _SERIAL, _TIMESTAMP = 0x01, 0x02, 0x10, 0x20
_UNLOGGED = 1
# of a frame; of a result's metadata
_TRACED, _PAYLOAD, _WARNED = 0x02, 0x04, 0x08
_GLOBAL_TABLE, _MORE_PAGES, _NO_METADATA = 0x01, 0x02, 0x04

_int = struct.Struct('>i')
_short = struct.Struct('>H')
_long = struct.Struct('>q')
_head = struct.Struct('>HB')
_NULL, _UNSET = _int.pack(-1), _int.pack(-2)

Encoder = Callable[[Any], bytes]


class ProtocolError(Exception):
    """An answer makes no sense: the connection is of no use any more."""


@dataclasses.dataclass(slots=True)
class Statement:
    """A prepared statement.

    :ivar encoders: one for each parameter.
    :ivar parse: reads its rows; None: the answer describes them itself.
    :ivar routing: parameters that make the partition key; None: not all of
        it is bound, or the statement reads several partitions.
    """

    cql: str
    id: bytes
    encoders: tuple[Encoder, ...]
    parse: 'RowParser | None'
    routing: tuple[int, ...] | None
    keyspace: str | None
    head: bytes = b''

    def __post_init__(self) -> None:
        self.head = _short.pack(len(self.id)) + self.id

    def bind(self, params: Sequence[Any]) -> list[Any]:
        """Return the parameters as bytes, None or UNSET.

        :raises ValueError: there are too few or too many.
        """
        if len(params) != len(self.encoders):
            raise ValueError(f'{len(params)} parameters for '
                             f'{len(self.encoders)} of {self.cql}')
        return [v if v is None or v is UNSET else encode(v)
                for encode, v in zip(self.encoders, params)]

    def routing_key(self, values: Sequence[Any]) -> bytes | None:
        """Return the partition key of bound values."""
        if self.routing is None:
            return None
        parts = [values[n] for n in self.routing]
        if len(parts) == 1:
            return parts[0]
        return b''.join(
            _short.pack(len(p)) + p + b'\0' for p in parts)


def _text(value: Any) -> bytes:
    return value.encode()


def _blob(value: Any) -> bytes:
    return value if type(value) is bytes else bytes(memoryview(value))


def encoder(kind: Any) -> Encoder:
    """Return the encoder of one of the driver's types."""
    simple = {'varchar': _text, 'text': _text, 'ascii': _text,
              'blob': _blob, 'int': _int.pack, 'bigint': _long.pack}
    found = simple.get(kind.typename)
    if found is not None:
        return found
    return lambda value: kind.to_binary(value, VERSION)


# --- requests

def frame(stream: int, opcode: int, body: bytes) -> bytes:
    """Return a request's frame."""
    return HEADER.pack(VERSION, 0, stream, opcode, len(body)) + body


def _values(values: Sequence[Any], parts: list[bytes]) -> None:
    append = parts.append
    append(_short.pack(len(values)))
    for value in values:
        if value is None:
            append(_NULL)
        elif value is UNSET:
            append(_UNSET)
        else:
            append(_int.pack(len(value)))
            append(value)


def _options(parts: list[bytes], serial: int | None, timestamp: int) -> None:
    if serial is not None:
        parts.append(_short.pack(serial))
    parts.append(_long.pack(timestamp))


def execute(statement: Statement, values: Sequence[Any], consistency: int,
            serial: int | None, timestamp: int) -> bytes:
    """Return the body of EXECUTE."""
    flags = _VALUES | _TIMESTAMP
    if statement.parse is not None:
        flags |= _SKIP_METADATA
    if serial is not None:
        flags |= _SERIAL
    parts = [statement.head, _head.pack(consistency, flags)]
    _values(values, parts)
    _options(parts, serial, timestamp)
    return b''.join(parts)


def batch(statements: Sequence[tuple[Statement, Sequence[Any]]],
          consistency: int, serial: int | None, timestamp: int) -> bytes:
    """Return the body of an unlogged BATCH."""
    parts = [struct.pack('>BH', _UNLOGGED, len(statements))]
    for statement, values in statements:
        parts.append(b'\1')
        parts.append(statement.head)
        _values(values, parts)
    flags = _TIMESTAMP | (_SERIAL if serial is not None else 0)
    parts.append(_head.pack(consistency, flags))
    _options(parts, serial, timestamp)
    return b''.join(parts)


def query(cql: str, consistency: int, serial: int | None,
          timestamp: int) -> bytes:
    """Return the body of QUERY, without parameters."""
    text = cql.encode()
    flags = _TIMESTAMP | (_SERIAL if serial is not None else 0)
    parts = [_int.pack(len(text)), text, _head.pack(consistency, flags)]
    _options(parts, serial, timestamp)
    return b''.join(parts)


def prepare(cql: str) -> bytes:
    """Return the body of PREPARE."""
    text = cql.encode()
    return _int.pack(len(text)) + text


def startup() -> bytes:
    """Return the body of STARTUP."""
    words = (b'CQL_VERSION', b'3.4.5')
    return _short.pack(1) + b''.join(
        _short.pack(len(w)) + w for w in words)


def auth_response(token: bytes) -> bytes:
    """Return the body of AUTH_RESPONSE."""
    return _int.pack(len(token)) + token


# --- answers

class RowParser:
    """Reads rows of known columns: tuples of Python's values.

    By the driver's C code where it was built with it.

    :param columns: (name, type of the driver's) pairs.
    """

    def __init__(self, columns: Sequence[tuple[str, Any]]) -> None:
        self._kinds = [kind for _, kind in columns]
        self._compiled: Any = None
        try:
            from cassandra import bytesio
            from cassandra import deserializers
            from cassandra import obj_parser
            from cassandra import parsing
        except ImportError:  # a driver without its C extensions
            return
        self._reader = bytesio.BytesIOReader
        self._compiled = obj_parser.ListParser()
        self._description = parsing.ParseDesc(
            [name for name, _ in columns], self._kinds, None,
            [None] * len(columns),
            deserializers.make_deserializers(self._kinds), VERSION)

    def __call__(self, body: bytes, at: int) -> list[tuple]:
        """Return the rows that begin with their count at ``at``."""
        if self._compiled is not None:
            return self._compiled.parse_rows(
                self._reader(body[at:]), self._description)
        count, = _int.unpack_from(body, at)
        at += 4
        rows = []
        for _ in range(count):
            row: list[Any] = []
            for kind in self._kinds:
                size, = _int.unpack_from(body, at)
                at += 4
                if size < 0:
                    row.append(None)
                else:
                    row.append(kind.from_binary(body[at:at + size], VERSION))
                    at += size
            rows.append(tuple(row))
        return rows


def _string(body: bytes, at: int) -> tuple[str, int]:
    size, = _short.unpack_from(body, at)
    at += 2
    return body[at:at + size].decode(), at + size


def _skip(body: bytes, flags: int) -> int:
    """Return where an answer begins, after what was not asked for."""
    at = 16 if flags & _TRACED else 0
    if flags & _WARNED:
        count, = _short.unpack_from(body, at)
        at += 2
        for _ in range(count):
            _, at = _string(body, at)
    if flags & _PAYLOAD:
        raise ProtocolError('a custom payload was not asked for')
    return at


def rows(body: bytes, flags: int, parse: RowParser | None) -> list[tuple]:
    """Return the rows of a RESULT, none if it holds none.

    :param parse: of the statement; None: as the answer says.
    """
    at = _skip(body, flags) if flags else 0
    kind, = _int.unpack_from(body, at)
    at += 4
    if kind != _ROWS:
        return []
    flags, count = struct.unpack_from('>ii', body, at)
    at += 8
    if flags & _MORE_PAGES:
        raise ProtocolError('a page was not asked for')
    if not flags & _NO_METADATA:
        columns, at = _columns(body, at, flags, count)
        parse = RowParser(columns)
    if parse is None:
        raise ProtocolError('rows without a description')
    return parse(body, at)


def prepared(body: bytes, flags: int, cql: str) -> Statement:
    """Return the statement that a RESULT says is prepared.

    :raises ProtocolError: it says something else.
    """
    at = _skip(body, flags) if flags else 0
    kind, = _int.unpack_from(body, at)
    if kind != _PREPARED:
        raise ProtocolError(f'a result of kind {kind} for a PREPARE')
    size, = _short.unpack_from(body, at + 4)
    at += 6
    found, at = body[at:at + size], at + size
    flags, count, keys = struct.unpack_from('>iii', body, at)
    at += 12
    routing = struct.unpack_from(f'>{keys}H', body, at)
    at += 2 * keys
    keyspace = _string(body, at)[0] if count else None
    parameters, at = _columns(body, at, flags, count)
    flags, count = struct.unpack_from('>ii', body, at)
    parse = None
    if count and not flags & _NO_METADATA:
        parse = RowParser(_columns(body, at + 8, flags, count)[0])
    return Statement(cql, found, tuple(encoder(t) for _, t in parameters),
                     parse, routing or None, keyspace)


def _columns(body: bytes, at: int, flags: int, count: int
             ) -> tuple[list[tuple[str, Any]], int]:
    """Read a result's description; return it and where it ends."""
    from cassandra import protocol
    if flags & _GLOBAL_TABLE:
        _, at = _string(body, at)
        _, at = _string(body, at)
    columns = []
    stream = io.BytesIO(body)
    for _ in range(count):
        if not flags & _GLOBAL_TABLE:
            _, at = _string(body, at)
            _, at = _string(body, at)
        name, at = _string(body, at)
        stream.seek(at)
        columns.append((name, protocol.ResultMessage.read_type(stream, {})))
        at = stream.tell()
    return columns, at


def error(body: bytes, flags: int) -> Any:
    """Return the driver's error message of an ERROR."""
    from cassandra import protocol
    stream = io.BytesIO(body)
    stream.seek(_skip(body, flags))
    return protocol.ErrorMessage.recv_body(stream, VERSION)


def token(body: bytes) -> bytes:
    """Return the token of AUTH_CHALLENGE or AUTH_SUCCESS."""
    size, = _int.unpack_from(body)
    return body[4:4 + size] if size > 0 else b''
