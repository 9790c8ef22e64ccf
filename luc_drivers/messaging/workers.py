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

"""A few threads for what may block on the store.

A caller waits for an answer only as long as its own time-out says, whatever
the store does. Native threads or greenlets, as the program's are.
"""

from collections.abc import Callable
import queue
import threading
from typing import Any


class Job:
    """Something that is done in another thread."""

    __slots__ = ('_function', '_arguments', '_done', '_result', '_error')

    def __init__(self, function: Callable, arguments: tuple) -> None:
        self._function = function
        self._arguments = arguments
        self._done = threading.Event()
        self._result: Any = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Do it (in the other thread)."""
        try:
            self._result = self._function(*self._arguments)
        except Exception as e:  # raised again in the thread that waits
            self._error = e
        self._done.set()

    def wait(self, seconds: float | None) -> bool:
        """Is it done within so many seconds?"""
        return self._done.wait(seconds)

    def result(self) -> Any:
        """What it returned, or raise what it raised (once it is done)."""
        if self._error is not None:
            raise self._error
        return self._result


class Workers:
    """Daemon threads, started when there is something to do."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._queue: queue.Queue[Job] = queue.Queue()
        self._threads = 0
        self._idle = 0
        self._lock = threading.Lock()

    def submit(self, function: Callable, *arguments: Any) -> Job:
        """Have something done."""
        job = Job(function, arguments)
        self._queue.put(job)
        with self._lock:
            if self._queue.qsize() > self._idle and (
                    self._threads < self._limit):
                self._threads += 1
                threading.Thread(target=self._run, daemon=True,
                                 name=self._name).start()
        return job

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            job = self._queue.get()
            with self._lock:
                self._idle -= 1
            job.run()
