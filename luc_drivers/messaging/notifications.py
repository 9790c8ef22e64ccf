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

"""Notifications: a log in the store, read by pools (rule D5).

A topic and priority has a log of its own, cut into stripes and buckets of a
minute.  A sender appends to the stripes in turn.  The listeners of a pool
share out its stripes: each holds a lease on those that have something for
it, reads on from what was committed, hands out each sender's in the order
sent, and commits what was acknowledged.
Each pool gets each notification once; those that a listener had and did not
acknowledge before it died go to another, and so may those that it did not
commit (the last half second's).
"""

from collections.abc import Sequence
import dataclasses
import logging
import random
import threading
import time
import typing as ty

from luc_drivers.messaging import ordering
from luc_drivers.messaging import reader
from luc_drivers.messaging import stripes
from luc_drivers.messaging.mailbox import check_size
from luc_drivers.messaging.mailbox import Cipher
from luc_drivers.messaging.matchmaker import base

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a notification goes; a repeated ``send`` uses it again."""

    log: base.Log
    stripe: int
    entry: str
    """Id of the entry."""


class Sender:
    """Appends notifications."""

    def __init__(self, matchmaker: base.Matchmaker, settings: ty.Any,
                 cipher: Cipher | None = None) -> None:
        self.matchmaker = matchmaker
        self.settings = settings
        self.cipher = cipher
        self._numbers: dict[base.Log, ordering.Numbers] = {}
        self._members: dict[base.Log, tuple[list[base.Route], float]] = {}

    def place(self, namespace: str, exchange: str, topic: str) -> Place:
        """Return the place of the next notification.

        :param topic: with its priority: ``notifications.info``.
        """
        log = base.Log(namespace, exchange, topic)
        numbers = self._numbers.get(log)
        if numbers is None:
            numbers = self._numbers.setdefault(log, ordering.Numbers())
        entry, stripe = numbers.next(self.settings.notification_stripes)
        return Place(log, stripe, entry)

    def send(self, place: Place, body: bytes) -> None:
        """Store a notification; it is stored when this returns.

        :raises MatchmakerUnavailable: it may or may not be stored.
        :raises MatchmakerRefused: it is too large to be stored.
        """
        append(self.matchmaker, self.settings, self.cipher, place.log,
               place.stripe, base.LogEntry(place.entry, body))

    def pokes(self, place: Place) -> list[base.Route]:
        """Return the listener of each pool that reads a place.

        They look by themselves every ``[bus]notification_poll``; to tell
        them at once is a courtesy.
        """
        log = place.log
        routes, when = self._members.get(log, ([], float('-inf')))
        now = time.monotonic()
        if now - when > self.settings.lookup_cache:
            routes = self.matchmaker.lookup(
                log.namespace, log.exchange, log.topic,
                kind=base.NOTIFICATION)
            self._members[log] = routes, now
        pools: dict[str, list[base.Route]] = {}
        for route in routes:
            pools.setdefault(route.subscription.pool, []).append(route)
        return [members[place.stripe % len(members)]
                for members in pools.values()]


def append(matchmaker: base.Matchmaker, settings: ty.Any,
           cipher: Cipher | None, log: base.Log, stripe: int,
           entry: base.LogEntry) -> None:
    """Append an entry whose body is plain."""
    check_size(settings, entry.body)
    if cipher is not None:
        entry = dataclasses.replace(
            entry, body=cipher.seal(entry.body, about(log, entry.id)))
    started = time.monotonic()
    matchmaker.log_append(log, stripe, entry, settings.notification_ttl)
    # Readers may be past the position of a write that took so long. The
    # second one is not late; who saw the first knows the id.
    if time.monotonic() - started > settings.notification_late_window / 2:
        matchmaker.log_append(log, stripe, entry, settings.notification_ttl)


def about(log: base.Log, entry_id: str) -> bytes:
    """Return what a stored body is bound to, so none can be moved."""
    return '\0'.join(('notification', log.namespace, log.exchange,
                      log.topic, entry_id)).encode()


class Delivery:
    """A notification that was handed out."""

    __slots__ = ('body', 'log', 'entry', '_listener', '_reader', '_stripe')

    def __init__(self, listener: 'Listener', log_reader: reader.LogReader,
                 entry: base.LogEntry, stripe: stripes.Stripe) -> None:
        self.body = entry.body
        self.log = log_reader.log
        self.entry = entry
        self._listener = listener
        self._reader = log_reader
        self._stripe = stripe

    @property
    def lost(self) -> bool:
        """Whether another listener may get it, too."""
        return self._stripe.lost

    def ack(self) -> None:
        """It was dealt with; this pool won't get it again."""
        self._reader.finish(self._stripe, self.entry)

    def requeue(self) -> None:
        """Let the pool have it again.

        :raises MatchmakerUnavailable: it could not be stored again; it is
            not acknowledged either, so it comes back when the lease ends.
        """
        self._listener.requeue(self)
        self.ack()


class Listener:
    """One listener of a pool, on one or several logs."""

    def __init__(self, matchmaker: base.Matchmaker, settings: ty.Any,
                 namespace: str, logs: Sequence[tuple[str, str]], pool: str,
                 instance: str, listener: str,
                 cipher: Cipher | None = None) -> None:
        """Make the pool durable; from now on it gets what is sent.

        Subscriptions with the same instance and listener must be in the
        registry, else other listeners of the pool don't leave it its share.

        :param logs: exchange and topic (with priority) of each log.
        :param pool: name; empty is the default pool, which also gets what
            was sent before it was made.
        """
        self.matchmaker = matchmaker
        self.settings = settings
        self.cipher = cipher
        self.pool = pool
        self.member = (instance, listener)
        self._wake = threading.Event()
        self._ready: list[Delivery] = []
        self._lock = threading.Lock()
        self._stopped = False
        self._failing = False
        self._next_tick = 0.0
        # Logs to look at: those of pokes, and those whose turn it is.
        self._poked: dict[reader.LogReader, None] = {}
        self._due: dict[reader.LogReader, None] = {}
        self._poke_first = False
        clock = reader.StoreClock(matchmaker)
        self._readers = [
            reader.LogReader(matchmaker, settings,
                             base.Log(namespace, exchange, topic), pool,
                             self.member, clock, self._lock)
            for exchange, topic in logs]
        self._prepare()
        reader.joined(self)

    def _prepare(self) -> None:
        try:
            for log_reader in self._readers:
                log_reader.prepare()
        except base.MatchmakerUnavailable as e:
            self._report(e)

    def _report(self, error: base.MatchmakerUnavailable) -> None:
        """Log an outage once, not at each poll."""
        if not self._failing:
            self._failing = True
            LOG.warning('Can\'t read notifications, trying again every '
                        '%g s: %s', self.settings.notification_poll, error)

    def poke(self, exchange: str = '', topic: str = '') -> None:
        """Make ``poll`` look for new notifications now.

        Under eventlet only from a green thread.

        :param exchange: with ``topic``, names the log that has some; else
            all are looked at.
        """
        with self._lock:
            self._poked.update(dict.fromkeys(
                r for r in self._readers if not topic or
                (r.log.exchange, r.log.topic) == (exchange, topic)))
        self._wake.set()

    def members_changed(self) -> None:
        """Say that listeners of the pool came or went."""
        for log_reader in self._readers:
            log_reader.members_changed()
        self.poke()

    def poll(self, timeout: float | None = None,
             limit: int = 1) -> list[Delivery]:
        """Return notifications, waiting for the first one.

        It must be called again and again, also with ``limit=0`` while
        nothing more can be taken: it prolongs the leases.

        :param timeout: seconds to wait at most; None waits until stopped.
        :param limit: most that are returned.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._stopped:
            self._wake.clear()
            now = time.monotonic()
            if now >= self._next_tick:
                self._next_tick = now + self.settings.notification_poll
                self._due.update(dict.fromkeys(self._readers))
            if limit and not self._ready and not self._failing:
                self._due.update(dict.fromkeys(
                    r for r in self._readers if r.backlog))
            self._look(limit)
            # What a lost lease gave is read again, by whoever has it now.
            self._ready = [d for d in self._ready if not d.lost]
            if self._ready and limit:
                out, self._ready = self._ready[:limit], self._ready[limit:]
                return out
            now = time.monotonic()
            wait = self._next_tick - now
            if deadline is not None:
                if now >= deadline:
                    break
                wait = min(wait, deadline - now)
            more = limit and not self._failing and any(
                r.backlog for r in self._readers)
            if wait > 0 and not self._due and not more:
                self._wake.wait(wait)
        return []

    def _look(self, limit: int) -> None:
        """Read what is new and commit what is done, log by log.

        It ends with the first one that has something: the others wait for
        the next call, lest a listener of many logs hands out nothing before
        it has asked the store about each.
        """
        looked = False
        try:
            while not self._stopped:
                log_reader = self._next()
                if log_reader is None:
                    break
                found = self._read(log_reader, limit)
                looked = True
                if found:
                    break
        except base.MatchmakerUnavailable as e:
            with self._lock:
                self._poked.clear()
            self._due.clear()
            self._report(e)
            return
        if looked and self._failing:
            self._failing = False
            LOG.info('Notifications can be read again')

    def _next(self) -> reader.LogReader | None:
        """The log to look at next: a poked one and one that is due, in turn.
        """
        self._poke_first = not self._poke_first
        with self._lock:
            queues = [q for q in (self._poked, self._due) if q]
            if not queues:
                return None
            queue = queues[0 if self._poke_first else -1]
            log_reader = next(iter(queue))
            self._poked.pop(log_reader, None)
            self._due.pop(log_reader, None)
        return log_reader

    def _read(self, log_reader: reader.LogReader, limit: int) -> bool:
        """Read what is new of one log; was there anything?"""
        if not log_reader.prepared:
            log_reader.prepare()
        room = max(limit, self.settings.mailbox_batch) - len(self._ready)
        found: list[Delivery] = []
        for entry, stripe in log_reader.scan(max(0, room)):
            delivery = self._open(log_reader, entry, stripe)
            if delivery is not None:
                found.append(delivery)
        self._ready += found
        return bool(found)

    def _open(self, log_reader: reader.LogReader, entry: base.LogEntry,
              stripe: stripes.Stripe) -> Delivery | None:
        log = log_reader.log
        if self.cipher is not None:
            try:
                entry = dataclasses.replace(entry, body=self.cipher.open(
                    entry.body, about(log, entry.id)))
            except ValueError as e:
                LOG.error('Dropped notification %s of %s: %s',
                          entry.id, log.topic, e)
                log_reader.finish(stripe, entry)
                return None
        return Delivery(self, log_reader, entry, stripe)

    def requeue(self, delivery: Delivery) -> None:
        """Store a notification again, for this pool (``Delivery`` uses it).
        """
        entry = delivery.entry
        append(self.matchmaker, self.settings, self.cipher, delivery.log,
               random.randrange(self.settings.notification_stripes),
               dataclasses.replace(entry, count=entry.count + 1,
                                   pool=self.pool))
        self.poke()

    def stop(self) -> None:
        """Hand out nothing more; what was handed out can still be acked."""
        self._stopped = True
        self._wake.set()

    def close(self) -> None:
        """Commit what was acknowledged and leave the rest to others."""
        self.stop()
        reader.left(self)
        self._ready = []
        for log_reader in self._readers:
            try:
                log_reader.release()
            except base.MatchmakerUnavailable as e:
                LOG.warning('Could not commit what was read of %s; the last '
                            'notifications may come twice: %s',
                            log_reader.log.topic, e)
