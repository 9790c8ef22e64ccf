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

"""Show what is being done and how long it took."""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
import contextlib
import sys
import threading
import time
from typing import TextIO


class Progress:
    """Lines of progress, each with the seconds since the beginning.

    :param stream: where they go; standard output by default.
    :ivar steps: (name, seconds) of all steps that are done.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self.steps: list[tuple[str, float]] = []

    def elapsed(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """Print one line with the time."""
        with self._lock:
            print(f'[{self.elapsed():6.1f}s] {text}', file=self._stream,
                  flush=True)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say that a step begins and, unless it was short, how long it took.

        An exception goes through and is not reported here.
        """
        self.say(f'{name} …')
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        self.steps.append((name, seconds))
        if seconds >= 0.5:
            self.say(f'{name}: {seconds:.1f} s')


def run_all(chains: list[Callable[[], None]]) -> None:
    """Run functions side by side; raise the first failure when all ended."""
    with futures.ThreadPoolExecutor(max(1, len(chains))) as pool:
        running = [pool.submit(chain) for chain in chains]
    for future in running:
        future.result()
