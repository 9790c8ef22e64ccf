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


"""Who runs the I/O loop: its own thread, and others in its place.

One native thread per node, under eventlet as well, runs the loop; so that a
call costs few thread switches, other threads do a turn of it in two cases:
who gives a command (``push``) while the loop rests, and who waits for an
answer (``wait``). Whoever holds ``_turning`` *is* the I/O thread.
"""

import collections
import time
import traceback
from typing import Any

from luc_drivers.messaging import incoming
from luc_drivers.messaging import outgoing
from luc_drivers.messaging import peers
from luc_drivers.messaging import sockets
from luc_drivers.messaging import waiting

#: seconds between looks at connections while anything is outstanding
TICK = 0.2
_EVENTS_AT_ONCE = 64
#: requests under way beyond which the I/O thread works alone: it then sends
#: and takes many records with each frame
_CROWD = 3
#: turns in a row that may fail before the thread gives up
_MAX_FAULTS = 100
#: seconds that the I/O thread leaves the leading one to wake up
_STAND_BACK = 0.0001

_monotonic = time.monotonic
_NEVER = float('inf')


class SharedLoop(peers.PeerTable):
    """The loop without its sockets, which ``IoLoop`` adds."""

    def __init__(self, settings: Any, instance: bytes, boot: str,
                 security: Any, agent: Any) -> None:
        """Nothing is opened before ``start``; see PeerTable."""
        super().__init__(settings, instance, boot, security, agent)
        self._blocked: dict[incoming.InPeer, None] = {}
        self._commands: collections.deque = collections.deque()
        self._turning = waiting.original('threading').Lock()
        self._leading = waiting.original('threading').Lock()
        #: the slot whose waiter polls
        self._leader: Any = None
        #: file descriptors that epoll reported and nobody has looked at
        self._reported: collections.deque[int] = collections.deque()
        #: when the I/O thread looks next by itself
        self._rests_until = 0.0
        #: is the wake-up call under way?
        self._roused = False
        self._running = False
        #: what is waited for: a peer, the ROUTER or the ZAP handler
        self._by_fd: dict[int, Any] = {}
        #: those of which there may be something to receive
        self._ready: dict[Any, None] = {}
        self._context: Any = None
        self._thread: Any = None
        self._next_tick = 0.0

    # -- any thread -------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._setup()
        self._running = True
        threading = waiting.original('threading')
        self._thread = threading.Thread(target=self._run, daemon=True,
                                        name='luc-bus-io')
        self._thread.start()

    def push(self, function: Any, *arguments: Any) -> None:
        """Have ``function`` called in the I/O loop, here if it rests."""
        commands = self._commands
        commands.append((function, arguments))
        turning = self._turning
        # Whoever turns now looks at the commands again after its turn.
        if self.outstanding + self.running > _CROWD:
            if not turning.locked():
                self._rouse()
            return
        while commands and turning.acquire(False):
            try:
                work = self._work
                if (work() and work() and work() or
                        self._due < self._rests_until):
                    self._rouse()
            except Exception as e:
                self._failed(e)
            finally:
                turning.release()

    def _rouse(self) -> None:
        """End the wait of whoever polls."""
        if not self._roused:
            self._roused = True
            self._wake.wake()

    def wait(self, slot: Any, timeout: float | None) -> Any:
        """The next item of a slot, or None after ``timeout`` seconds.

        One thread at a time that waits so is the I/O thread in the meantime:
        what it waits for comes without a thread switch.
        """
        if (not self._may_lead or self.outstanding + self.running > _CROWD or
                len(slot) or not self._running or
                not self._leading.acquire(False)):
            return slot.get(timeout)
        try:
            self._leader = slot
            self._lead(slot, timeout)
        finally:
            self._leader = None
            self._leading.release()
            # What epoll reported to this thread is not told to another.
            if (self._commands or self._reported or self._ready or
                    self.dirty or self._due < self._rests_until):
                self._rouse()
        return slot.get(0)

    def _lead(self, slot: Any, timeout: float | None) -> None:
        end = _NEVER if timeout is None else _monotonic() + timeout
        turning = self._turning
        while not len(slot) and self._running:
            # Only a signal handler that interrupted its own thread's turn
            # can wait here for long.
            if turning.acquire(timeout=TICK):
                until = 0.0
                try:
                    until = min(self._turn(True), end)
                except Exception as e:
                    self._failed(e)
                finally:
                    turning.release()
                if len(slot):
                    return
                now = _monotonic()
                if not self._commands:
                    self._poll(max(0.0, until - now))
            if _monotonic() >= end:
                return

    @property
    def alive(self) -> bool:
        """Does the thread run?"""
        return self._running
    # -- the loop ---------------------------------------------------------

    def _run(self) -> None:
        turning = self._turning
        try:
            faults = 0
            while self._running:
                until = 0.0
                with turning:
                    try:
                        until = self._turn()
                        faults = 0
                    except Exception as e:
                        faults += 1
                        if faults == _MAX_FAULTS:
                            raise
                        self._failed(e)
                    self._rests_until = until
                if self._commands:
                    continue
                if self._leader_told():
                    self._sleep(_STAND_BACK)
                self._poll(max(0.0, until - _monotonic()))
        except BaseException as e:  # told to the agent, which logs it
            self._running = False
            self.tell(peers.LOG_LINE, 50, 'The transport\'s I/O thread died; '
                      'this process can neither call nor serve: %s',
                      (''.join(traceback.format_exception(e)),))
        finally:
            # For ever: nobody may turn any more.
            turning.acquire()
            self._teardown()

    def _leader_told(self) -> bool:
        """Has the leading thread not yet seen that its item is there?"""
        leader = self._leader
        return leader is not None and len(leader) > 0

    def _setup(self) -> None:
        self._wake = waiting.WakeFd()
        self._leader_wake = waiting.WakeFd()
        self._may_lead = not waiting.green()
        self._select = waiting.original('select')
        self._sleep = waiting.original('time').sleep
        self._context = sockets.context()
        self._epoll = self._select.epoll()
        for wake in (self._wake, self._leader_wake):
            self._epoll.register(wake.fd, self._select.EPOLLIN)
        self._next_tick = _monotonic() + TICK

    def _teardown(self) -> None:
        self._close_all()
        self._context.term()
        self._leader_wake.wake()
        if self._leading.acquire(timeout=TICK):
            self._epoll.close()
        while self._commands:
            # Nobody shall wait for an answer that can't come.
            function, arguments = self._commands.popleft()
            for argument in arguments:
                if isinstance(argument, outgoing.Pending):
                    argument.tell(outgoing.UNSENT)

    def _poll(self, timeout: float) -> None:
        for fd, _flags in self._epoll.poll(timeout, _EVENTS_AT_ONCE):
            self._reported.append(fd)

    def _turn(self, leads: bool = False) -> float:
        """Do what there is to do and what is due.

        :param leads: is the thread the leading one?
        :returns: time.monotonic() from when on there is more to do.
        """
        if self._work(leads):
            return 0.0
        now = _monotonic()
        if now >= self._due:
            self._send_delayed(now)
        if now >= self._next_tick:
            self._tick(now)
        if self.dirty or self._ready:
            return 0.0
        return min(self._next_tick, self._due)

    def _work(self, leads: bool = False) -> bool:
        """Do what there is to do; is there more by now?"""
        reported = self._reported
        while reported:
            self._on_reported(reported.popleft())
        commands = self._commands
        while commands:
            function, arguments = commands.popleft()
            try:
                function(*arguments)
            except Exception as e:
                self._failed(e)
        if self.dirty:
            self._flush()
        if self._ready:
            self._receive()
        if not leads:
            leader = self._leader
            if leader is not None and len(leader):
                self._leader_wake.wake()
        return bool(commands or self._ready or self.dirty)

    def _on_reported(self, fd: int) -> None:
        owner = self._by_fd.get(fd)
        if owner is not None:
            self._ready[owner] = None
        elif fd == self._wake.fd:
            # In this order: who finds it roused has given its command, which
            # is looked at after this.
            self._wake.clear()
            self._roused = False
        elif fd == self._leader_wake.fd:
            leader = self._leader
            if leader is None or not len(leader):
                self._leader_wake.clear()
            # Else it has not woken yet: it still has to see this.

    def _send_delayed(self, now: float) -> None:
        for peer in self._blocked:
            self.dirty[peer] = None
        self._blocked.clear()
        self._due = _NEVER
        for channel, due in list(self._delayed.items()):
            if due > now:
                self._due = min(self._due, due)
                continue
            del self._delayed[channel]
            if channel.has_work():
                self.dirty[channel] = None

    def hurry(self, now: float) -> None:
        """There is work: look at connections soon."""
        if self._next_tick - now > TICK:
            self._next_tick = now + TICK
            self._due = min(self._due, self._next_tick)

    def _failed(self, error: Exception) -> None:
        """A fault of ours: one message must not end the thread."""
        self.count('faults')
        self.log(40, 'fault' + repr(error), 'Fault in the transport: %s',
                 ''.join(traceback.format_exception(error)))

    # -- what the sockets' part does --------------------------------------

    def _flush(self) -> None:
        """Send what there is, of all channels that are ``dirty``."""
        raise NotImplementedError

    def _receive(self) -> None:
        """Take what there is, of all that are ``_ready``."""
        raise NotImplementedError

    def _tick(self, now: float) -> None:
        """Look at all connections; sets when to look again."""
        raise NotImplementedError

    def _close_all(self) -> None:
        """Close all sockets."""
        raise NotImplementedError
