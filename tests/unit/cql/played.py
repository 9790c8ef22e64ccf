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

"""A CQL node that a test plays."""

from collections.abc import Callable
import socket
import threading
from typing import Any
import unittest

from luc_drivers.cql import frames

#: to a STARTUP
READY = (frames.READY, b'')


class Node:
    """Answers each request by a function.

    :param answer: (opcode, body) → (opcode, body), None = no answer, or
        'close'; of several connections called by several threads.
    :ivar seen: all requests, as (opcode, body).
    """

    def __init__(self, test: unittest.TestCase,
                 answer: Callable[[int, bytes], Any]) -> None:
        self.answer = answer
        self.seen: list[tuple[int, bytes]] = []
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.address = self._listener.getsockname()
        test.addCleanup(self._listener.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, peer.makefile('rb') as stream:
            while True:
                head = stream.read(frames.HEADER.size)
                if len(head) < frames.HEADER.size:
                    return
                _, _, number, opcode, size = frames.HEADER.unpack(head)
                body = stream.read(size)
                self.seen.append((opcode, body))
                answer = self.answer(opcode, body)
                if answer == 'close':
                    return
                if answer is None:
                    continue
                try:
                    peer.sendall(frames.HEADER.pack(
                        0x80 | frames.VERSION, 0, number, answer[0],
                        len(answer[1])) + answer[1])
                except OSError:
                    return  # the client gave it up
