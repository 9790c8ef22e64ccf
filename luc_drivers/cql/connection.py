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

"""One connection to a node: requests go out together, answers come back.

The thread that asks sends and receives by itself.  (The driver hands each
request to the thread of its event loop and each answer back, which costs
several times what Cassandra needs for it.)  Only one thread has a connection
at a time; see `nodes`.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import select
import socket
import time
from typing import Any

from luc_drivers import native
from luc_drivers.cql import frames

#: requests in flight on one connection, and their bytes
WINDOW, WINDOW_BYTES = 128, 1 << 20
_CHUNK = 1 << 17
#: seconds to write, however late it is: an idle connection takes it at once
_LEAST = 0.05


class Lost(Exception):
    """The connection broke, or the answers did not come in time.

    :ivar timeout: they did not come in time.
    """

    def __init__(self, message: str, timeout: bool = False) -> None:
        super().__init__(message)
        self.timeout = timeout


class AuthenticationError(Exception):
    """The node refuses the credentials, or wants some."""


@dataclasses.dataclass(slots=True)
class Job:
    """A request on its way.

    :ivar statements: prepared ones that it uses.
    :ivar cql: of a PREPARE.
    :ivar answer: rows, the statement prepared, or the driver's error
        message; None: not answered.
    :ivar sent: some of it may have reached the node.
    """

    number: int
    opcode: int
    body: bytes
    statements: Sequence[frames.Statement]
    parse: frames.RowParser | None = None
    cql: str | None = None
    answer: Any = None
    sent: bool = False


class Connection:
    """A connection to one node.  Not thread-safe.

    :param address: of the node.
    :param context: for TLS; None = without.
    :param authenticator: makes the driver's authenticator for an address;
        None = no credentials.
    :param timeout: seconds for connecting.
    :raises Lost: it can't be made.
    :raises AuthenticationError: see there.
    :ivar used: when it was given back last; monotonic.
    :ivar due: answers that have not come yet.
    """

    def __init__(self, address: tuple[str, int], context: Any,
                 authenticator: Callable[[str], Any] | None,
                 timeout: float) -> None:
        self.address = address
        self.sent = 0
        self.received = 0
        self.used = time.monotonic()
        self._deadline = self.used + timeout
        self._buffer = b''
        self.due = 0
        self._forgotten: list[Job] = []
        try:
            self._socket: Any = socket.create_connection(address, timeout)
        except OSError as exc:
            raise Lost(f'{address[0]}:{address[1]}: {exc}') from exc
        try:
            self._socket.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if context is not None:
                self._socket = context.wrap_socket(
                    self._socket, server_hostname=address[0])
            self._start(authenticator)
        except OSError as exc:
            self.close()
            raise Lost(f'{address[0]}:{address[1]}: {exc}') from exc
        except BaseException:
            self.close()
            raise

    def _start(self, authenticator: Callable[[str], Any] | None) -> None:
        opcode, body, flags = self._ask(frames.STARTUP, frames.startup())
        found = None
        while opcode != frames.READY and opcode != frames.AUTH_SUCCESS:
            if opcode == frames.AUTHENTICATE and authenticator is not None:
                found = authenticator(self.address[0])
                token = found.initial_response()
            elif opcode == frames.AUTH_CHALLENGE and found is not None:
                token = found.evaluate_challenge(frames.token(body))
            elif opcode == frames.AUTHENTICATE:
                raise AuthenticationError(
                    f'{self.address[0]} wants a user and a password')
            elif opcode == frames.ERROR:
                raise AuthenticationError(
                    f'{self.address[0]}: '
                    f'{frames.error(body, flags).message}')
            else:
                raise Lost(f'{self.address[0]}: opcode {opcode}')
            opcode, body, flags = self._ask(
                frames.AUTH_RESPONSE, frames.auth_response(token or b''))

    # --- bytes

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Lost(f'no answer from {self.address[0]} in time',
                       timeout=True)
        return left

    def _write(self, data: bytes) -> None:
        try:
            self._socket.settimeout(
                max(_LEAST, self._deadline - time.monotonic()))
            self._socket.sendall(data)
        except TimeoutError as exc:
            raise Lost(f'{self.address[0]} takes no request in time',
                       timeout=True) from exc
        except OSError as exc:
            raise Lost(f'{self.address[0]}: {exc}') from exc
        self.sent += len(data)

    def _read(self) -> bytes:
        try:
            self._socket.settimeout(self._left())
            data = self._socket.recv(_CHUNK)
        except TimeoutError as exc:
            raise Lost(f'no answer from {self.address[0]} in time',
                       timeout=True) from exc
        except OSError as exc:
            raise Lost(f'{self.address[0]}: {exc}') from exc
        if not data:
            raise Lost(f'{self.address[0]} closed the connection')
        self.received += len(data)
        return data

    def _frame(self) -> tuple[int, int, bytes, int]:
        """Return (stream, opcode, body, flags) of the next answer.

        When it does not come in time, what came of it is kept.
        """
        size = frames.HEADER.size
        self._fill(size)
        version, flags, stream, opcode, length = (
            frames.HEADER.unpack_from(self._buffer))
        if version != 0x80 | frames.VERSION:
            raise Lost(f'{self.address[0]} answers in version '
                       f'{version & 0x7F} of the protocol')
        end = size + length
        self._fill(end)
        data, self._buffer = self._buffer, self._buffer[end:]
        return stream, opcode, data[size:end], flags

    def _fill(self, size: int) -> None:
        """Have so many bytes in the buffer."""
        have = len(self._buffer)
        if have >= size:
            return
        pieces = [self._buffer]
        try:
            while have < size:
                piece = self._read()
                pieces.append(piece)
                have += len(piece)
        finally:
            self._buffer = b''.join(pieces)

    def _ask(self, opcode: int, body: bytes) -> tuple[int, bytes, int]:
        self._write(frames.frame(0, opcode, body))
        _, opcode, body, flags = self._frame()
        return opcode, body, flags

    # --- requests

    def send(self, jobs: Sequence[Job], deadline: float) -> None:
        """Send requests.

        :param deadline: by the monotonic clock, also for the answers.
        :raises Lost: some of them may have been sent.
        """
        self._deadline = deadline
        self.due = len(jobs)
        for job in jobs:
            job.sent = True
        self._write(b''.join([
            frames.frame(stream, job.opcode, job.body)
            for stream, job in enumerate(jobs)]))

    def receive(self, jobs: Sequence[Job],
                deadline: float | None = None) -> None:
        """Take the answers of what was sent.

        :param deadline: an earlier one than was given to `send`; once it has
            passed, call this or `receive_one` again.
        :raises Lost: those without an answer have an unknown outcome.
        """
        last = self._deadline
        if deadline is not None:
            self._deadline = min(deadline, last)
        try:
            while self.due:
                self.receive_one(jobs)
        finally:
            self._deadline = last

    def receive_one(self, jobs: Sequence[Job]) -> None:
        """Take the answer that comes next.

        :raises Lost: it does not.
        """
        stream, opcode, body, flags = self._frame()
        self.due -= 1
        job = jobs[stream]
        if self._answered(job, opcode, body, flags) is not None:
            self._forgotten.append(job)
        if not self.due:
            # not before: it asks, and takes the next answer for its own
            while self._forgotten:
                self._again(self._forgotten.pop())

    @property
    def readable(self) -> bool:
        """Whether the next answer is here, or more of it inside TLS."""
        size = frames.HEADER.size
        have = len(self._buffer)
        if have >= size:
            *_, length = frames.HEADER.unpack_from(self._buffer)
            if have >= size + length:
                return True
        pending = getattr(self._socket, 'pending', None)
        return bool(pending and pending())

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def _answered(self, job: Job, opcode: int, body: bytes,
                  flags: int) -> Any:
        """Note an answer; return it if the node forgot the statement."""
        if opcode == frames.RESULT:
            job.answer = (
                frames.rows(body, flags, job.parse) if job.cql is None
                else [frames.prepared(body, flags, job.cql)])
            return None
        if opcode != frames.ERROR:
            raise Lost(f'{self.address[0]}: opcode {opcode}')
        answer = frames.error(body, flags)
        if answer.code == frames.UNPREPARED:
            return answer
        self._failed(job, answer)
        return None

    @staticmethod
    def _failed(job: Job, answer: Any) -> None:
        # another node may have answered already
        if type(job.answer) is not list:
            job.answer = answer

    def _again(self, job: Job) -> None:
        """Prepare what a restarted node has forgotten; it executed nothing.
        """
        for statement in dict.fromkeys(s.cql for s in job.statements):
            opcode, body, flags = self._ask(
                frames.PREPARE, frames.prepare(statement))
            if opcode == frames.ERROR:
                self._failed(job, frames.error(body, flags))
                return
        opcode, body, flags = self._ask(job.opcode, job.body)
        forgotten = self._answered(job, opcode, body, flags)
        if forgotten is not None:
            self._failed(job, forgotten)

    def works(self, timeout: float) -> bool:
        """Tell whether the node still answers on it."""
        self._deadline = time.monotonic() + timeout
        try:
            return self._ask(frames.OPTIONS, b'')[0] == frames.SUPPORTED
        except Lost:
            return False

    @property
    def broken(self) -> bool:
        """Whether the other side has closed it."""
        poll = native.original('select').poll()
        poll.register(self._socket.fileno(),
                      select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close it; never raises."""
        try:
            self._socket.close()
        except OSError:
            pass  # it is gone, which was wanted
