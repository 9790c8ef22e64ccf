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

"""Keeps one instance's rows in the registry (rules C1, C9, C10, D3).

No thread of its own: its owner calls ``refresh`` every
``[bus]refresh_interval`` from a thread that may block.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import threading
import time
import typing as ty

from luc_drivers.messaging.matchmaker import base

#: Seconds that a ``stopped`` record is kept: long enough for everyone who
#: has calls under way to the instance to see it.
STOPPED_TTL = 300.0


@functools.cache
def boot_id() -> str:
    """Return the id of this boot of the host: its time and a uuid."""
    with open('/proc/sys/kernel/random/boot_id') as f:
        uuid = f.read().strip()
    with open('/proc/stat') as f:
        started = next(line.split()[1] for line in f
                       if line.startswith('btime '))
    return '%010d-%s' % (int(started), uuid)


def newer_boot(now: str, then: str) -> bool:
    """Return whether ``now`` is a later boot of a host than ``then``.

    The uuid tells boots apart, the time only orders them: it may move by a
    second when the clock is set.
    """
    if not now or not then:
        return False
    return now[10:] != then[10:] and now[:10] > then[:10]


def proven_gone(matchmaker: base.Matchmaker,
                endpoint: base.Endpoint) -> bool:
    """Return whether the registry proves that an instance is gone (C1c).

    Its own ``stopped`` record or a newer boot of its host proves it; a row
    that expired, or a new instance of the same server, proves nothing.
    """
    site = endpoint.site
    row = matchmaker.endpoint(endpoint.instance, site)
    if row is not None and row.state == base.STOPPED:
        return True
    return newer_boot(matchmaker.boot(endpoint.host, site), endpoint.boot)


class Registrar:
    """The rows of one instance in its own site's registry."""

    def __init__(self, matchmaker: base.Matchmaker, settings: ty.Any,
                 sign: Callable[[base.Endpoint], base.Endpoint]
                 | None = None) -> None:
        """:param sign: returns an endpoint with its signature (rule D2)."""
        self.matchmaker = matchmaker
        self.settings = settings
        self.endpoint: base.Endpoint | None = None
        self._sign = sign or (lambda endpoint: endpoint)
        self._subscriptions: dict[base.Subscription, None] = {}
        self._rewritten = 0.0
        self._turn = 0
        self._lock = threading.RLock()

    def start(self, endpoint: base.Endpoint) -> base.Endpoint:
        """Register an instance as draining: it listens, mail goes first.

        :returns: the endpoint as registered (signed, of this plane).
        """
        with self._lock:
            self.endpoint = self._sign(endpoint.replace(
                state=base.DRAINING, boot=endpoint.boot or boot_id(),
                plane=self.settings.plane,
                started=endpoint.started or time.time()))
            self._rewritten = time.monotonic()
            self._write()
            return self.endpoint

    def _write(self) -> bool:
        assert self.endpoint is not None
        return self.matchmaker.register(self.endpoint,
                                        self.settings.registration_ttl)

    def set_state(self, state: str) -> None:
        """Register the instance in another state."""
        with self._lock:
            if self.endpoint is None:
                raise base.MatchmakerError('the instance is not registered')
            if state != self.endpoint.state:
                self.endpoint = self.endpoint.replace(state=state)
                self._write()

    def subscribe(self, subscriptions: Sequence[base.Subscription]) -> None:
        """Add listeners. They're written again if the store loses them."""
        with self._lock:
            self._subscriptions.update(dict.fromkeys(subscriptions))
            self._write_subscriptions(subscriptions)

    def _write_subscriptions(
            self, subscriptions: Sequence[base.Subscription]) -> None:
        self.matchmaker.subscribe(subscriptions,
                                  self.settings.subscription_ttl,
                                  self.settings.mailbox_ttl)

    def unsubscribe(self, subscriptions: Sequence[base.Subscription]) -> None:
        """Remove listeners; their servers stay known (rule C9)."""
        with self._lock:
            for sub in subscriptions:
                self._subscriptions.pop(sub, None)
            self.matchmaker.unsubscribe(subscriptions)

    def refresh(self) -> bool:
        """Prolong the registration; mend it if the store lost any of it.

        :returns: whether subscriptions were written again.
        """
        with self._lock:
            if self.endpoint is None:
                return False
            there = self._write()
            subscriptions = list(self._subscriptions)
            if not subscriptions:
                return False
            # A wiped registry lacks our row. One that lost subscriptions
            # alone is found by looking at one of them in each turn.
            self._turn = (self._turn + 1) % len(subscriptions)
            # They and the known rows must outlive this many seconds.
            shortest = min(self.settings.subscription_ttl,
                           self.settings.mailbox_ttl)
            due = time.monotonic() - self._rewritten > shortest / 3
            if (there and not due and self.matchmaker.subscribed(
                    subscriptions[self._turn])):
                return False
            self._write_subscriptions(subscriptions)
            self._rewritten = time.monotonic()
            return True

    def stop(self) -> None:
        """Say that the instance is gone for good, and drop its listeners."""
        with self._lock:
            if self.endpoint is None:
                return
            stopped = self.endpoint.replace(state=base.STOPPED)
            self.endpoint = None
            subscriptions = list(self._subscriptions)
            self._subscriptions.clear()
            self.matchmaker.register(stopped, STOPPED_TTL)
            self.matchmaker.unsubscribe(subscriptions)
