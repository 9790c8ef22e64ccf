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

"""The wire format: frames and records, encoded and decoded here only.

One ZeroMQ message part is one *frame*::

    magic 'LZ' | version u8 | flags u8 | stamp u64 | src 16 | dst 16 |
    floor u64
    record, record, ...

``stamp`` is the sender's monotonic clock in microseconds, ``src`` and ``dst``
are instance ids (one per process life; ``dst`` guards against a port that
another process took over), ``floor`` says that every request of ``src`` with
a lower sequence number is settled, so that the receiver may forget it.

A *record* is ``type u8 | length u32 | body``; all numbers are big-endian.
Unknown record types are skipped (a newer peer may send them), a foreign
version of the frame is refused. Nothing is ever unpickled.
"""

import struct
from typing import NamedTuple

from oslo_serialization import jsonutils

MAGIC = b'LZ'
VERSION = 1
#: versions of the frame that this code can read, as told in HELLO
VERSIONS = (1, 1)

INSTANCE_SIZE = 16
NO_INSTANCE = bytes(INSTANCE_SIZE)

#: payload bytes of a record that still travels whole; more goes in chunks
CHUNK = 128 * 1024
#: what a frame may have beyond that: headers and small records
FRAME_SLACK = 4096
MAX_FRAME = CHUNK + FRAME_SLACK

_FRAME = struct.Struct('!2sBBQ16s16sQ')
_RECORD = struct.Struct('!BI')
_REQUEST = struct.Struct('!QQQIBH')
_REPLY = struct.Struct('!QB')
_NACK = struct.Struct('!QB')
_CHUNK = struct.Struct('!BQQQ')
_CREDIT = struct.Struct('!BQQ')
_U64 = struct.Struct('!Q')
_2U64 = struct.Struct('!QQ')

FRAME_HEADER = _FRAME.size
ORIGIN_SIZE = INSTANCE_SIZE + _U64.size
RECORD_HEADER = _RECORD.size

# Record types.
HELLO = 1
WELCOME = 2
PING = 3
PONG = 4
REQUEST = 5
ACK = 6
NACK = 7
REPLY = 8
REPLY_ACK = 9
BEAT = 10
CHUNK_DATA = 11
CREDIT = 12
WRONG_INSTANCE = 13
GOAWAY = 14
LISTENERS = 15
POKE = 16

# Flags of a request.
F_CAST = 1
F_FANOUT = 2
#: the receiver passes the message on to the other listeners of its site,
#: and replies when they have it
F_RELAY = 4
#: it was meant for any server of the topic
F_TOPIC = 8

# Flags of a reply.
R_FAILURE = 1

# Codes of a NACK. All but LOST say: it did not run and never will.
BUSY = 1
STOPPING = 2
NO_LISTENER = 3
TOO_LARGE = 4
LOST = 5
EXPIRED = 6
REFUSED = 7
NACK_TEXT = {
    BUSY: 'its queue is full',
    STOPPING: 'it is stopping',
    NO_LISTENER: 'it has no such listener',
    TOO_LARGE: 'the message is larger than its max_message_size',
    LOST: 'it ran the request, but the result is lost',
    EXPIRED: 'the request came after its time-out',
    REFUSED: 'it does not accept requests from this peer',
}


class WireError(Exception):
    """A frame that can't be used; the text says why, for one log line."""


class Frame(NamedTuple):
    """A frame's header."""

    stamp: int
    src: bytes
    dst: bytes
    floor: int


class Request(NamedTuple):
    """A decoded REQUEST record."""

    seq: int
    #: id of the listener that is meant, unique in the receiving process
    listener: int
    #: microseconds on the *sender's* monotonic clock, 0 for none
    deadline: int
    #: the caller's call monitor time-out in ms, 0 for none
    monitor: int
    flags: int
    #: address(), for checks and messages
    target: bytes
    body: bytes


def address(namespace: str, exchange: str, topic: str,
            server: str | None) -> bytes:
    """The name of a target as it travels: four NUL-separated strings."""
    return '\0'.join((namespace, exchange, topic, server or '')).encode()


def split_address(raw: bytes) -> tuple[str, str, str, str | None]:
    """The inverse of :func:`address`; raises WireError."""
    try:
        namespace, exchange, topic, server = raw.decode().split('\0')
    except ValueError as e:
        raise WireError('malformed target address') from e
    return namespace, exchange, topic, server or None


def frame(stamp: int, src: bytes, dst: bytes, floor: int,
          records: list[bytes]) -> bytes:
    """A frame of already encoded records."""
    return (_FRAME.pack(MAGIC, VERSION, 0, stamp, src, dst, floor) +
            b''.join(records))


def parse(data: bytes) -> tuple[Frame, list[tuple[int, bytes]]]:
    """A frame's header and its records as (type, body); raises WireError."""
    size = len(data)
    if size < FRAME_HEADER:
        raise WireError('truncated frame of %d bytes' % size)
    magic, version, _flags, stamp, src, dst, floor = _FRAME.unpack_from(data)
    if magic != MAGIC:
        raise WireError('not one of our frames (it begins with %r)' %
                        data[:4])
    if version != VERSION:
        raise WireError('frame of version %d; this process reads %d to %d' %
                        (version, *VERSIONS))
    records = []
    at = FRAME_HEADER
    while at < size:
        if size - at < RECORD_HEADER:
            raise WireError('truncated record header')
        kind, length = _RECORD.unpack_from(data, at)
        at += RECORD_HEADER
        if length > size - at:
            raise WireError('truncated record of type %d: %d bytes said, %d '
                            'there' % (kind, length, size - at))
        records.append((kind, data[at:at + length]))
        at += length
    return Frame(stamp, src, dst, floor), records


def record(kind: int, body: bytes) -> bytes:
    """Any record."""
    return _RECORD.pack(kind, len(body)) + body


def request_head(seq: int, listener: int, deadline: int, monitor: int,
                 flags: int, target: bytes) -> bytes:
    """What precedes the message in a REQUEST's body."""
    return _REQUEST.pack(seq, listener, deadline, monitor, flags,
                         len(target)) + target


def parse_request(body: bytes) -> Request:
    """Decode a REQUEST record's body; raises WireError."""
    try:
        (seq, listener, deadline, monitor, flags,
         length) = _REQUEST.unpack_from(body)
    except struct.error as e:
        raise WireError('truncated request') from e
    start = _REQUEST.size + length
    if start > len(body):
        raise WireError('truncated request address')
    return Request(seq, listener, deadline, monitor, flags,
                   body[_REQUEST.size:start], body[start:])


def origin(instance: bytes, number: int) -> bytes:
    """What the body of a fanout begins with: the same in all its copies."""
    return instance + _U64.pack(number)


def reply_body(seq: int, flags: int, body: bytes) -> bytes:
    """A REPLY's body."""
    return _REPLY.pack(seq, flags) + body


def parse_reply(body: bytes) -> tuple[int, int, bytes]:
    """(seq, flags, message) of a REPLY; raises WireError."""
    try:
        seq, flags = _REPLY.unpack_from(body)
    except struct.error as e:
        raise WireError('truncated reply') from e
    return seq, flags, body[_REPLY.size:]


def seqs(kind: int, numbers: list[int]) -> bytes:
    """An ACK, REPLY_ACK or BEAT of several requests."""
    return record(kind, struct.pack('!%dQ' % len(numbers), *numbers))


def parse_seqs(body: bytes) -> tuple[int, ...]:
    """The inverse of :func:`seqs`; raises WireError."""
    if len(body) % 8:
        raise WireError('truncated list of sequence numbers')
    return struct.unpack('!%dQ' % (len(body) // 8), body)


def nack(seq: int, code: int, text: str = '') -> bytes:
    """A NACK record."""
    return record(NACK, _NACK.pack(seq, code) + text.encode()[:500])


def parse_nack(body: bytes) -> tuple[int, int, str]:
    """(seq, code, text); raises WireError."""
    try:
        seq, code = _NACK.unpack_from(body)
    except struct.error as e:
        raise WireError('truncated NACK') from e
    return seq, code, body[_NACK.size:].decode(errors='replace')


def chunk(kind: int, seq: int, total: int, offset: int,
          data: bytes) -> bytes:
    """A part of the body of a REQUEST or REPLY that is sent in pieces."""
    return record(CHUNK_DATA, _CHUNK.pack(kind, seq, total, offset) + data)


def parse_chunk(body: bytes) -> tuple[int, int, int, int, bytes]:
    """(kind, seq, total, offset, data); raises WireError."""
    try:
        kind, seq, total, offset = _CHUNK.unpack_from(body)
    except struct.error as e:
        raise WireError('truncated chunk') from e
    data = body[_CHUNK.size:]
    if kind not in (REQUEST, REPLY):
        raise WireError('chunk of a record of type %d' % kind)
    if not data or offset + len(data) > total:
        raise WireError('chunk outside of its message')
    return kind, seq, total, offset, data


def credit(kind: int, seq: int, have: int) -> bytes:
    """Tells how many bytes of a chunked message have come so far."""
    return record(CREDIT, _CREDIT.pack(kind, seq, have))


def parse_credit(body: bytes) -> tuple[int, int, int]:
    """(kind, seq, have); raises WireError."""
    try:
        return _CREDIT.unpack(body)
    except struct.error as e:
        raise WireError('malformed credit') from e


def ping(stamp: int) -> bytes:
    """A PING: asks for the peer's clock."""
    return record(PING, _U64.pack(stamp))


def parse_ping(body: bytes) -> int:
    """The stamp to send back; raises WireError."""
    try:
        return _U64.unpack(body)[0]
    except struct.error as e:
        raise WireError('malformed ping') from e


def pong(echo: int, stamp: int) -> bytes:
    """The answer to a PING."""
    return record(PONG, _2U64.pack(echo, stamp))


def parse_pong(body: bytes) -> tuple[int, int]:
    """(stamp of the ping, the peer's clock); raises WireError."""
    try:
        return _2U64.unpack(body)
    except struct.error as e:
        raise WireError('malformed pong') from e


def document(kind: int, content: dict) -> bytes:
    """A record whose body is a small JSON object (HELLO, GOAWAY ...)."""
    return record(kind, jsonutils.dump_as_bytes(content))


def parse_document(body: bytes) -> dict:
    """The inverse of :func:`document`; raises WireError."""
    if len(body) > FRAME_SLACK * 4:
        raise WireError('control record of %d bytes' % len(body))
    try:
        content = jsonutils.loads(body)
    except (ValueError, RecursionError) as e:
        raise WireError('malformed control record') from e
    if not isinstance(content, dict):
        raise WireError('malformed control record')
    return content


def parse_news(kind: int, body: bytes) -> list:
    """What a GOAWAY or LISTENERS says; raises WireError.

    :returns: numbers of listeners that are gone, or (namespace, exchange,
        topic) of topics that have new ones.
    """
    content = parse_document(body)
    found = content.get('listeners' if kind == GOAWAY else 'topics', [])
    if not isinstance(found, list):
        raise WireError('malformed control record')
    if kind == GOAWAY:
        if not all(isinstance(x, int) for x in found):
            raise WireError('malformed GOAWAY')
        return found
    if not all(isinstance(x, list) and len(x) >= 3 and
               all(isinstance(y, str) for y in x) for x in found):
        raise WireError('malformed LISTENERS')
    return [tuple(x[:3]) for x in found]
