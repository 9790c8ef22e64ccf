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

"""Work that follows a commit: applying, cleaning, sweeping.

One daemon thread per process, started at the first task, never before (a
service may still fork).  After a fork the child has an empty queue of its
own: the parent's tasks are the parent's.  Under eventlet the thread is a
native one where the store allows that, else a green one.
"""

import atexit
from collections.abc import Callable
import heapq
import itertools
import logging
import os
import threading
import time
from typing import Any
import weakref

from luc_drivers.db import errors
from luc_drivers.native import original

LOG = logging.getLogger(__name__)

Task = Callable[[], Any]
Handler = Callable[[list], Any]


def _modules(native: bool) -> tuple[Any, Any]:
    """Return the threading and time modules to use."""
    if native:
        return original('threading'), original('time')
    return threading, time


class _State:
    """Queue and thread of one process."""

    def __init__(self, native: bool) -> None:
        self.pid = os.getpid()
        self.threading, self.time = _modules(native)
        self.condition = self.threading.Condition(self.threading.Lock())
        self.heap: list[tuple[float, int, bool, Task]] = []
        self.order = itertools.count()
        self.thread: Any = None
        self.running = False
        self.dropped = 0
        self.failing = False
        self.repeats: list[tuple[Task, float]] = []
        self.collected: dict[Handler, list] = {}


def _flush(reference: 'weakref.ref[Background]', pid: int) -> None:
    """Finish what is needed before the process ends."""
    background = reference()
    if background is not None and pid == os.getpid():
        if not background.flush(background.flush_timeout):
            LOG.warning('Background work was not finished in %g s: other '
                        'processes will', background.flush_timeout)


class Background:
    """Runs tasks later, in order of their time.

    :param limit: most tasks that wait; then needed ones are run by the
        caller (back-pressure) and others are dropped (what they would have
        cleaned, readers clean).
    :param native: use a native thread also under eventlet.
    :param flush: seconds that the process waits at its end for needed tasks.
    """

    def __init__(self, limit: int = 10000, native: bool = True,
                 flush: float = 5.0) -> None:
        self.limit = limit
        self.native = native
        self.flush_timeout = flush
        self._state: _State | None = None

    def _here(self) -> _State:
        state = self._state
        if state is None or state.pid != os.getpid():
            fresh = _State(self.native)
            if state is not None:
                for task, period in state.repeats:
                    self._push(fresh, period, False, task)
                fresh.repeats = list(state.repeats)
            self._state = state = fresh
        return state

    @staticmethod
    def _push(state: _State, delay: float, needed: bool, task: Task) -> None:
        due = state.time.monotonic() + delay
        heapq.heappush(
            state.heap, (due, next(state.order), needed, task))

    def submit(self, task: Task, delay: float = 0.0,
               needed: bool = False) -> None:
        """Run ``task()`` after ``delay`` seconds.

        :param needed: part of the protocol, not only cleaning: it is never
            dropped, and done at the process's end.
        """
        state = self._here()
        with state.condition:
            full = len(state.heap) >= self.limit
            if not full:
                self._push(state, delay, needed, task)
                if state.thread is None:
                    atexit.register(_flush, weakref.ref(self), state.pid)
                    state.thread = state.threading.Thread(
                        target=self._run, args=(state,), daemon=True,
                        name='luc-background')
                    state.thread.start()
                state.condition.notify_all()
        if not full:
            return
        if needed:
            self._do(task)
            return
        state.dropped += 1
        if state.dropped % 1000 == 1:
            LOG.warning('Background queue is full (%d tasks): %d cleaning '
                        'tasks dropped so far', self.limit, state.dropped)

    def collect(self, handler: Handler, item: Any) -> None:
        """Run ``handler(items)`` soon, once for all items there are by then.

        What many commits leave to do waits for the store together, not one
        after the other.  It is part of the protocol, as `submit`'s needed
        tasks.
        """
        state = self._here()
        with state.condition:
            items = state.collected.setdefault(handler, [])
            items.append(item)
            if len(items) > 1:
                return

        def hand_over() -> None:
            with state.condition:
                items = state.collected.pop(handler)
            handler(items)

        self.submit(hand_over, needed=True)

    def repeat(self, task: Task, period: float) -> None:
        """Run ``task()`` every ``period`` seconds, also after a fork.

        It starts with the first submitted task: an idle process has no
        thread.
        """
        state = self._here()

        def again() -> None:
            try:
                task()
            finally:
                here = self._here()
                with here.condition:
                    self._push(here, period, False, again)

        with state.condition:
            self._push(state, period, False, again)
            state.repeats.append((again, period))

    def flush(self, timeout: float) -> bool:
        """Wait until no needed task is left; tell whether that is so.

        Cleaning tasks that wait for their time are left alone.

        :param timeout: seconds, from when the last needed task is due.
        """
        state = self._state
        if state is None or state.pid != os.getpid():
            return True
        now = state.time.monotonic()
        with state.condition:
            end = timeout + max(
                [now, *(due for due, _, needed, _ in state.heap if needed)])
            while True:
                left = state.running or any(e[2] for e in state.heap)
                rest = end - state.time.monotonic()
                if not left or rest <= 0:
                    return not left
                state.condition.notify_all()
                state.condition.wait(min(rest, 0.1))

    def _run(self, state: _State) -> None:
        while True:
            with state.condition:
                state.running = False
                state.condition.notify_all()
                while True:
                    now = state.time.monotonic()
                    if state.heap and state.heap[0][0] <= now:
                        break
                    rest = state.heap[0][0] - now if state.heap else None
                    state.condition.wait(rest)
                _, _, needed, task = heapq.heappop(state.heap)
                state.running = needed
            self._do(task)

    def _do(self, task: Task) -> None:
        # what is left undone is found by readers or the sweeper
        state = self._here()
        try:
            task()
        except errors.OperationalError as exc:
            # an outage meets every task: one line tells all
            LOG.log(logging.DEBUG if state.failing else logging.WARNING,
                    'Cleaning after commits is left to others until the '
                    'store answers: %s', exc)
            state.failing = True
        except Exception:
            LOG.exception('A background task failed')
        else:
            state.failing = False
