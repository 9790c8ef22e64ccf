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

"""Native primitives and ways to wait, with or without eventlet.

The I/O thread is a native thread even where eventlet has patched threading,
and must never touch a green lock (rule B12). Whoever waits for it does so on
a *slot*: ``put`` may be called from any native thread and never blocks,
``get`` blocks only its caller.

eventlet is never imported here; it is used if the program has it loaded and
its threads are patched.
"""

import collections
import os
import queue
import sys
import threading
from typing import Any


def green() -> bool:
    """Are threads of this process greenlets?"""
    patcher = sys.modules.get('eventlet.patcher')
    return bool(patcher and patcher.is_monkey_patched('thread'))


def original(name: str) -> Any:
    """The module ``name`` as it was before any monkey-patching."""
    patcher = sys.modules.get('eventlet.patcher')
    if patcher is not None:
        return patcher.original(name)
    return __import__(name)


class WakeFd:
    """A file descriptor that another thread can make readable."""

    def __init__(self) -> None:
        if hasattr(os, 'eventfd'):
            self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._write_fd = self.fd
        else:
            self.fd, self._write_fd = os.pipe()
            os.set_blocking(self.fd, False)
            os.set_blocking(self._write_fd, False)
        self._token = (1).to_bytes(8, sys.byteorder)

    def wake(self) -> None:
        """Make it readable."""
        try:
            os.write(self._write_fd, self._token)
        except BlockingIOError:
            pass  # it is readable already

    def clear(self) -> None:
        """Make it unreadable."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            pass  # it was unreadable already

    def close(self) -> None:
        """Close the descriptor(s)."""
        os.close(self.fd)
        if self._write_fd != self.fd:
            os.close(self._write_fd)


class NativeSlot:
    """A queue between native threads."""

    __slots__ = ('_queue', 'put')

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self.put = self._queue.put

    def get(self, timeout: float | None = None) -> Any:
        """The next item, or None after ``timeout`` seconds."""
        try:
            if timeout is None:
                return self._queue.get()
            if timeout <= 0:
                return self._queue.get_nowait()
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def __len__(self) -> int:
        return self._queue.qsize()


class _Pump:
    """A greenlet of one hub that hands items of other threads to waiters."""

    def __init__(self, hub: Any) -> None:
        import eventlet
        self.pid = os.getpid()
        self._items: collections.deque = collections.deque()
        self._pending = False
        self._wake = WakeFd()
        eventlet.spawn(self._run)

    def put(self, target: collections.deque, waiter: 'GreenSlot') -> None:
        self._items.append(waiter)
        if not self._pending:
            self._pending = True
            self._wake.wake()

    def _run(self) -> None:
        from eventlet import hubs
        while True:
            hubs.trampoline(self._wake.fd, read=True)
            if os.getpid() != self.pid:
                # A forked child with the parent's hub: the wake-up was the
                # parent's, and its own pump is another one.
                self._wake.wake()
                return
            self._wake.clear()
            self._pending = False
            while self._items:
                self._items.popleft()._notify()


def _pump() -> _Pump:
    from eventlet import hubs
    hub = hubs.get_hub()
    pump = getattr(hub, '_luc_pump', None)
    if pump is None or pump.pid != os.getpid():
        pump = hub._luc_pump = _Pump(hub)
    return pump


class GreenSlot:
    """A queue from native threads to a greenlet.

    Made by, or in the hub of, the greenlet that will wait.
    """

    __slots__ = ('_items', '_pump', '_event')

    def __init__(self) -> None:
        self._items: collections.deque = collections.deque()
        self._pump = _pump()
        self._event: Any = None

    def put(self, item: Any) -> None:
        """Append an item; wakes the waiter through its hub."""
        self._items.append(item)
        self._pump.put(self._items, self)

    def _notify(self) -> None:
        event = self._event
        if event is not None and not event.ready():
            event.send(None)

    def get(self, timeout: float | None = None) -> Any:
        """The next item, or None after ``timeout`` seconds."""
        if self._items:
            return self._items.popleft()
        if timeout is not None and timeout <= 0:
            return None
        from eventlet import event
        from eventlet import timeout as green_timeout
        self._event = event.Event()
        try:
            if self._items:
                return self._items.popleft()
            with green_timeout.Timeout(timeout, False):
                self._event.wait()
        finally:
            self._event = None
        return self._items.popleft() if self._items else None

    def __len__(self) -> int:
        return len(self._items)


class Credit:
    """A counting semaphore; with native threads a slot of tokens, as
    threading.Semaphore costs more than all else of taking a request.
    """

    __slots__ = ('_slot', '_semaphore')

    def __init__(self, count: int) -> None:
        self._semaphore = threading.Semaphore(count) if green() else None
        self._slot = NativeSlot()
        for _ in range(count if self._semaphore is None else 0):
            self._slot.put(True)

    @property
    def free(self) -> int:
        """How many can be taken now (with native threads)."""
        return len(self._slot)

    def acquire(self, timeout: float | None = None) -> bool:
        """Take one; False if there was none within ``timeout`` seconds."""
        if self._semaphore is not None:
            return self._semaphore.acquire(timeout=timeout)
        return self._slot.get(timeout) is not None

    def release(self) -> None:
        """Give one back."""
        if self._semaphore is not None:
            self._semaphore.release()
        else:
            self._slot.put(True)


def slot() -> NativeSlot | GreenSlot:
    """A slot for the calling thread or greenlet to wait on."""
    return GreenSlot() if green() else NativeSlot()
