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

"""Ask a CQL port whether it answers, with nothing but a socket.

The driver takes a second to import and a second to find that a server is
still starting, so this speaks the few frames of the native protocol
(version 4) that are needed.  Source: Cassandra's native_protocol_v4.spec.
"""

import socket
import struct

_REQUEST, _RESPONSE = 0x04, 0x84
_STARTUP, _OPTIONS, _QUERY, _AUTH_RESPONSE = 0x01, 0x05, 0x07, 0x0f
_ERROR, _READY, _AUTHENTICATE, _SUPPORTED, _RESULT, _AUTH_SUCCESS = (
    0x00, 0x02, 0x03, 0x06, 0x08, 0x10)
_CONSISTENCY_ONE = 0x0001
_SKIP_METADATA = 0x02
# Nothing that is asked here has an answer as long as this.
_MAX_BODY = 1 << 20


class NotReady(Exception):
    """The port does not answer, or not as Cassandra does."""


class Refused(Exception):
    """Cassandra answered and refused: a wrong role or password."""


def ask(host: str, port: int, username: str | None = None,
        password: str | None = None, timeout: float = 2.0) -> None:
    """Return if a Cassandra answers at ``host:port`` and lets us in.

    :param username: role to log in with; None: only ask for its options.
    :param timeout: seconds for each step.
    :raises NotReady: nothing answers, or something that is not Cassandra.
    :raises Refused: it wants other credentials; the text is Cassandra's.
    """
    try:
        with socket.create_connection((host, port), timeout) as sock:
            if username is None:
                _expect(_exchange(sock, _OPTIONS, b''), _SUPPORTED)
            else:
                _log_in(sock, username, password or '')
    except OSError as exc:
        raise NotReady(f'{host}:{port}: {exc.strerror or exc}') from None


def count(host: str, port: int, table: str, username: str | None = None,
          password: str | None = None, timeout: float = 5.0) -> int:
    """Return the number of rows of a small table, as one node sees it.

    :param table: ``keyspace.table``.
    :raises NotReady: see :func:`ask`; or the table is not there.
    :raises Refused: see :func:`ask`.
    """
    query = f'SELECT * FROM {table}'.encode()
    body = (struct.pack('>i', len(query)) + query
            + struct.pack('>HB', _CONSISTENCY_ONE, _SKIP_METADATA))
    try:
        with socket.create_connection((host, port), timeout) as sock:
            _log_in(sock, username or '', password or '')
            answer = _exchange(sock, _QUERY, body)
    except OSError as exc:
        raise NotReady(f'{host}:{port}: {exc.strerror or exc}') from None
    _expect(answer, _RESULT)
    # Without metadata: kind, flags, number of columns, number of rows.
    return struct.unpack_from('>4i', answer[1])[3]


def _log_in(sock: socket.socket, username: str, password: str) -> None:
    opcode, body = _exchange(sock, _STARTUP,
                             _string_map({'CQL_VERSION': '3.0.0'}))
    if opcode == _READY:
        return
    _expect((opcode, body), _AUTHENTICATE)
    token = f'\0{username}\0{password}'.encode()
    opcode, body = _exchange(sock, _AUTH_RESPONSE,
                             struct.pack('>i', len(token)) + token)
    if opcode == _ERROR:
        code, length = struct.unpack_from('>iH', body)
        text = body[6:6 + length].decode(errors='replace')
        if code == 0x0100:
            raise Refused(text)
        raise NotReady(text)
    _expect((opcode, body), _AUTH_SUCCESS)


def _string_map(values: dict[str, str]) -> bytes:
    parts = [struct.pack('>H', len(values))]
    for pair in values.items():
        for text in pair:
            parts.append(struct.pack('>H', len(text)) + text.encode())
    return b''.join(parts)


def _exchange(sock: socket.socket, opcode: int, body: bytes
              ) -> tuple[int, bytes]:
    sock.sendall(struct.pack('>BBhBi', _REQUEST, 0, 0, opcode, len(body))
                 + body)
    version, _, _, answer, length = struct.unpack('>BBhBi', _receive(sock, 9))
    if version & 0x80 == 0 or not 0 <= length <= _MAX_BODY:
        raise NotReady('something answers that is not Cassandra')
    return answer, _receive(sock, length)


def _receive(sock: socket.socket, length: int) -> bytes:
    data = b''
    while len(data) < length:
        part = sock.recv(length - len(data))
        if not part:
            raise NotReady('the connection was closed')
        data += part
    return data


def _expect(answer: tuple[int, bytes], opcode: int) -> None:
    if answer[0] != opcode:
        raise NotReady(f'unexpected answer {answer[0]:#x} to a CQL request')
