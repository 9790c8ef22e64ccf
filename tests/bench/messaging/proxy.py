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


"""A TCP proxy that delays, counts and can be frozen: a WAN on loopback."""

import collections
import contextlib
import select
import socket
import threading
import time


class _Way:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.queue: collections.deque[tuple[float, bytes | None]] = (
            collections.deque())
        self.eof = False


class Proxy:
    """Forwards connections; each byte arrives ``delay`` seconds later.

    A new connection costs its handshake as well.
    """

    def __init__(self, target: tuple[str, int], delay: float = 0.0,
                 listen: tuple[str, int] = ('127.0.0.1', 0)) -> None:
        """Listen; ``target`` is connected to for each connection."""
        self.target = target
        self.delay = delay
        self.bytes = 0
        """Bytes forwarded so far, both ways."""
        self.connections = 0
        self.frozen = False
        """Nothing passes while this is set; nobody is told (no reset)."""
        self._listener = socket.create_server(listen, backlog=1024)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._ways: dict[socket.socket, _Way] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Break all connections."""
        self._closing = True
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            now = time.monotonic()
            due = 0.1
            for way in list(self._ways.values()):
                due = min(due, self._pass_on(way, now))
            if self.frozen:
                time.sleep(0.01)
                continue
            readers = [self._listener, *(
                way.source for way in self._ways.values() if not way.eof)]
            ready, _, _ = select.select(readers, [], [], due)
            for sock in ready:
                if sock is self._listener:
                    self._accept()
                else:
                    self._read(self._ways[sock])
        self._listener.close()
        for way in self._ways.values():
            way.source.close()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self.target)
        except OSError:
            near.close()
            return
        self.connections += 1
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The three steps of TCP's handshake: what the near side sends at
        # once arrives with the third, the far side begins after it.
        for source, sink, steps in ((near, far, 3), (far, near, 4)):
            way = self._ways[source] = _Way(source, sink)
            way.queue.append((time.monotonic() + steps * self.delay, b''))

    def _read(self, way: _Way) -> None:
        data: bytes | None
        try:
            data = way.source.recv(262144) or None
        except OSError:
            data = None
        way.eof = data is None
        due = time.monotonic() + self.delay
        if way.queue:
            due = max(due, way.queue[-1][0])
        way.queue.append((due, data))

    def _pass_on(self, way: _Way, now: float) -> float:
        """Send what is due; returns the seconds until the next."""
        while way.queue and not self.frozen:
            due, data = way.queue[0]
            if due > now:
                return due - now
            way.queue.popleft()
            if data is None:
                self._break(way)
                break
            self.bytes += len(data)
            with contextlib.suppress(OSError):
                way.sink.sendall(data)
        return 0.1

    def _break(self, way: _Way) -> None:
        for sock in (way.source, way.sink):
            self._ways.pop(sock, None)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
