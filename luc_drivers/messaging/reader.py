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

"""Reads one notification log for one listener of a pool (rule D5).

An idle log costs one read a poll: of its heads. Leases are taken only on
stripes that have news, and given back when they have been quiet.
"""

from collections.abc import Generator
import logging
import random
import threading
import time
import typing as ty
import uuid
import weakref

from luc_drivers.messaging import ordering
from luc_drivers.messaging import stripes
from luc_drivers.messaging.matchmaker import base

LOG = logging.getLogger(__name__)

#: Seconds between commits of what was acknowledged.
COMMIT_INTERVAL = 0.5
#: Seconds between complete looks at heads and committed states, which find
#: what a listener left that died.
RESCAN_INTERVAL = 30.0
#: Seconds between measurements of the store's clock.
CLOCK_INTERVAL = 60.0
#: Entries of a stripe that are read at once.
PAGE = 200

_SECOND = 1_000_000

# Listeners of this process: they know of each other at once (rule C13).
_local: 'weakref.WeakSet[ty.Any]' = weakref.WeakSet()


def joined(listener: ty.Any) -> None:
    """Tell the process's other listeners of a new one."""
    _tell(listener)
    _local.add(listener)


def left(listener: ty.Any) -> None:
    """Tell the process's other listeners that one is gone."""
    _local.discard(listener)
    _tell(listener)


def _tell(listener: ty.Any) -> None:
    for other in list(_local):
        if other is not listener:
            other.members_changed()


def _bucket(position: int) -> int:
    return max(0, position) // _SECOND // base.BUCKET


class StoreClock:
    """The store's clock, measured now and then; readers share one."""

    def __init__(self, matchmaker: base.Matchmaker) -> None:
        self.matchmaker = matchmaker
        self._offset = 0.0
        self._measured = float('-inf')

    def now(self) -> int:
        """Return microseconds since the epoch."""
        now = time.monotonic()
        if now - self._measured > CLOCK_INTERVAL:
            self._offset = self.matchmaker.now() / _SECOND - now
            self._measured = now
        return int((now + self._offset) * _SECOND)


class LogReader:
    """What one listener has to do with one log."""

    def __init__(self, matchmaker: base.Matchmaker, settings: ty.Any,
                 log: base.Log, pool: str, member: tuple[str, str],
                 clock: StoreClock, lock: threading.Lock) -> None:
        """:param member: instance and listener id of this listener.
        :param lock: guards the stripes: acknowledgements come from others.
        """
        self.matchmaker = matchmaker
        self.settings = settings
        self.log = log
        self.pool = pool
        self.member = member
        self.prepared = False
        self._clock = clock
        self._lock = lock
        self._window = int(settings.notification_late_window * _SECOND)
        self._start = 0
        self._held: dict[int, stripes.Stripe] = {}
        # Stripe -> mark of its newest head, and when that changed.
        self._marks: dict[int, str] = {}
        self._news: dict[int, float] = {}
        # Stripes with news that are not held yet, and when to try again.
        self._wanted: dict[int, float] = {}
        self._members: list[tuple[str, str]] = [member]
        self._members_at = float('-inf')
        self._rescan_at = float('-inf')
        self._loss_reported = float('-inf')
        # Until when the pool's members matter: there was something to read.
        self._active_until = float('-inf')
        self._pending = ordering.Pending()
        self._looks = 0
        # Stripes of ours that another holds -> since when we want them.
        self._refused: dict[int, float] = {}

    @property
    def backlog(self) -> bool:
        """Whether there is more to hand out or to read at once."""
        if self._pending and not self._waits_for_stripe(time.monotonic()):
            return True
        return any(s.backlog and not s.crowded
                   and self._pending.count(s) < PAGE
                   for s in self._held.values())

    def prepare(self) -> None:
        """Make the pool durable; it starts now, the default one ever."""
        if not self.prepared:
            start = self.matchmaker.now() if self.pool else 0
            self._start = self.matchmaker.pool_add(self.log, self.pool,
                                                   start)
            self.prepared = True

    def members_changed(self) -> None:
        """Look again who is in the pool, and what that leaves to us."""
        self._members_at = float('-inf')

    def finish(self, stripe: stripes.Stripe, entry: base.LogEntry) -> None:
        """Note that an entry is done with. Any thread may call this."""
        with self._lock:
            stripe.finish(entry)

    def scan(self, room: int) -> list[tuple[base.LogEntry, stripes.Stripe]]:
        """Look for news, read them, and commit.

        :param room: return no more than this many.
        :returns: those of each sender in the order sent.
        """
        now = time.monotonic()
        self._commit(now)
        if self._pending:
            self._pending.drop(lambda f: f.stripe.lost)
        out = self._take(now, room)
        if len(out) < room:
            self._look(now)
            out += self._take(now, room - len(out))
        if not out and self._pending and room > 0:
            # What it found needs another one (see ``ordering``).
            self._look(time.monotonic())
            out = self._take(now, room)
        return [(found.entry, found.stripe) for found in out]

    def _take(self, now: float, room: int) -> list[ordering.Found]:
        """Return what can be handed out now."""
        if not self._pending or room <= 0 or self._waits_for_stripe(now):
            return []
        # One that is crowded waits for something that may take for ever.
        limit = min((s.front for s in self._held.values() if s.backlog
                     and self._ours(s.number) and not s.crowded),
                    default=float('inf'))
        return self._pending.take(room, self._looks - 1, limit)

    def _waits_for_stripe(self, now: float) -> bool:
        """Whether something older may be in a stripe that we shall get.

        Whoever holds it notices that it is ours and gives it back; it is
        not waited for longer than that takes.
        """
        most = (self.settings.lookup_cache
                + 2 * self.settings.notification_poll)
        return any(now - since < most for since in self._refused.values())

    def _look(self, now: float) -> None:
        """Read all that is new in our stripes."""
        if (self._held or self._wanted or now < self._active_until
                or self._members_at == float('-inf')):
            self._refresh_members(now)
        if now >= self._rescan_at:
            self._look_everywhere(now)
        else:
            self._note(now, self.matchmaker.log_heads(
                self.log, _bucket(self._clock.now() - self._window) - 1))
        self._claim(now)
        self._list_buckets()
        self._read(now)
        # Else members changed meanwhile: some of our stripes are unread.
        if self._rescan_at > now:
            self._looks += 1

    def _refresh_members(self, now: float, fresh: bool = False) -> None:
        age = now - self._members_at
        if age <= (0 if fresh else self.settings.lookup_cache):
            return
        routes = self.matchmaker.lookup(
            self.log.namespace, self.log.exchange, self.log.topic,
            kind=base.NOTIFICATION)
        members = {(r.subscription.instance, r.subscription.listener)
                   for r in routes if r.subscription.pool == self.pool}
        members.add(self.member)
        self._members_at = now
        if sorted(members) != self._members:
            self._members = sorted(members)
            self._rescan_at = float('-inf')

    def _ours(self, stripe: int) -> bool:
        index = stripe % len(self._members)
        return self._members[index] == self.member

    def _look_everywhere(self, now: float) -> None:
        """Compare all heads with what the pool has committed."""
        leases = self.matchmaker.leases(self.log, self.pool)
        done = {number: stripes.parse(lease.state, self._start)
                for number, lease in leases.items()}
        count = self.settings.notification_stripes
        lows = [done[n].low if n in done else self._start
                for n in range(count) if self._ours(n)]
        oldest = self._clock.now() - int(
            self.settings.notification_ttl * _SECOND)
        since = max(oldest, min(lows, default=oldest) - self._window)
        for head in self._newest(self.matchmaker.log_heads(
                self.log, _bucket(since) - 1)):
            number = head.stripe
            changed = self._marks.get(number) != head.mark
            self._marks[number] = head.mark
            if number in self._held:
                if changed:
                    self._news[number] = now
                    self._held[number].buckets.add(head.bucket)
                    self._held[number].backlog = True
            elif self._ours(number) and (
                    number not in done or done[number].mark != head.mark):
                self._wanted.setdefault(number, now)
        self._rescan_at = now + RESCAN_INTERVAL

    @staticmethod
    def _newest(heads: list[base.LogHead]) -> list[base.LogHead]:
        return list({h.stripe: h for h in sorted(
            heads, key=lambda h: h.bucket)}.values())

    def _note(self, now: float, heads: list[base.LogHead]) -> None:
        """Note which stripes have news."""
        for head in self._newest(heads):
            if self._marks.get(head.stripe) != head.mark:
                self._marks[head.stripe] = head.mark
                self._news[head.stripe] = now
                # Long enough to notice that whoever reads it has died.
                self._active_until = (
                    now + self.settings.registration_ttl + RESCAN_INTERVAL)
                if head.stripe in self._held:
                    self._held[head.stripe].backlog = True
                elif self._ours(head.stripe):
                    self._wanted.setdefault(head.stripe, now)
        for head in heads:
            if head.stripe in self._held:
                self._held[head.stripe].buckets.add(head.bucket)

    def _claim(self, now: float) -> None:
        """Take leases on our stripes that have news."""
        if any(at <= now for at in self._wanted.values()):
            self._refresh_members(now, fresh=True)
        # (Those that are others' are found again when that changes.)
        self._wanted = {number: at for number, at in self._wanted.items()
                        if self._ours(number)}
        self._refused = {number: since for number, since
                         in self._refused.items() if number in self._wanted}
        due = {number: '%s/%s/%s' % (*self.member, uuid.uuid4().hex)
               for number, at in sorted(self._wanted.items()) if at <= now}
        if not due:
            return
        # Held by one that will see that it isn't its any more.
        poll = self.settings.notification_poll
        self._wanted.update({
            number: now + random.uniform(0.2, 1.0) * poll for number in due})
        started = time.monotonic()
        for lease in self.matchmaker.lease_claims(
                self.log, self.pool, due, self.settings.notification_lease):
            number = lease.stripe
            stripe = stripes.Stripe(lease, self._start, self._window)
            stripe.until = started + self.settings.notification_lease
            stripe.committed = started
            self._held[number] = stripe
            self._news[number] = now
            del self._wanted[number]
            self._refused.pop(number, None)
        for number in due:
            if number not in self._held:
                self._refused.setdefault(number, now)

    def _list_buckets(self) -> None:
        """Learn where stripes that were just taken have entries."""
        taken = {number: stripe for number, stripe in self._held.items()
                 if not stripe.listed}
        if not taken:
            return
        # What its last holder left may be in any bucket.
        heads = self.matchmaker.log_heads(
            self.log, _bucket(min(s.since for s in taken.values())) - 1)
        for number, stripe in taken.items():
            stripe.buckets = {h.bucket for h in heads if h.stripe == number}
            stripe.listed = True
        for head in self._newest(heads):
            if head.stripe in taken:
                self._marks[head.stripe] = head.mark

    def _hot(self, stripe: stripes.Stripe) -> bool:
        """Whether it was not read since late writes must have come."""
        return stripe.read_at <= (
            self._news.get(stripe.number, float('-inf'))
            + self.settings.notification_late_window)

    def _read(self, now: float) -> None:
        """Read on in all stripes that may have something, side by side."""
        readings = {}
        for stripe in self._held.values():
            if not (stripe.backlog or self._hot(stripe)):
                continue
            if not self._ours(stripe.number):
                stripe.backlog = False
            elif self._pending.count(stripe) >= PAGE:
                stripe.backlog = True
            elif not stripe.crowded:
                readings[stripe.number] = self._reading(stripe, now)
        wanted = {number: next(reading, None)
                  for number, reading in readings.items()}
        while places := {number: place for number, place in wanted.items()
                         if place is not None}:
            pages = self.matchmaker.log_reads(
                self.log, [(number, *place)
                           for number, place in places.items()], PAGE)
            for number, page in zip(places, pages):
                try:
                    wanted[number] = readings[number].send(page)
                except StopIteration:
                    wanted[number] = None

    def _reading(self, stripe: stripes.Stripe, now: float
                 ) -> Generator[tuple[int, int], list[base.LogEntry], None]:
        """Ask for pages of a stripe: bucket and lowest position.

        It ends when something was found: the others come next time.
        """
        since = stripe.since
        # It stays set when there is more, or the store fails.
        stripe.backlog = True
        for bucket in sorted(stripe.buckets):
            # One more than the positions ask for: a sender may have taken
            # the bucket by a clock that was late.
            while bucket >= _bucket(since) - 1:
                page = yield bucket, since
                with self._lock:
                    new = stripe.admit(page, self.pool)
                    if page:
                        stripe.has_read(page[-1].position)
                self._pending.add([ordering.Found(e, stripe, self._looks)
                                   for e in new])
                if len(page) < PAGE:
                    break
                if self._pending.count(stripe) >= PAGE:
                    return
                since = max(since + 1, page[-1].position)
        with self._lock:
            stripe.has_read(stripe.top)
            stripe.backlog = False
            stripe.mark = self._marks.get(stripe.number, '')
            stripe.read_at = now
            oldest = _bucket(stripe.since) - 1
            stripe.buckets = {b for b in stripe.buckets if b >= oldest}

    def _commit(self, now: float) -> None:
        """Commit and prolong leases; give back those not needed."""
        lease = self.settings.notification_lease
        for number, stripe in list(self._held.items()):
            quiet = not (stripe.unfinished or stripe.backlog)
            give_back = quiet and not (self._ours(number)
                                       and self._hot(stripe))
            age = now - stripe.committed
            if (give_back or age > lease / 3
                    or (stripe.changed and age > COMMIT_INTERVAL)):
                self._commit_one(number, stripe, 0.0 if give_back else lease)

    def _commit_one(self, number: int, stripe: stripes.Stripe,
                    ttl: float) -> None:
        # Whoever has it next must look for late writes, too.
        mark = '' if stripe.backlog or self._hot(stripe) else stripe.mark
        with self._lock:
            state = stripe.commit(mark)
        started = time.monotonic()
        try:
            kept = self.matchmaker.lease_commit(
                self.log, self.pool, number, stripe.owner, ttl, state.dump())
        except base.MatchmakerUnavailable:
            stripe.changed = True
            if started > stripe.until:
                self._lose(number, stripe)
            raise
        if not kept:
            self._report_loss(stripe)
            self._lose(number, stripe)
        elif ttl:
            stripe.until = started + ttl
            stripe.committed = started
        else:
            del self._held[number]

    def _report_loss(self, stripe: stripes.Stripe) -> None:
        now = time.monotonic()
        if now - self._loss_reported > RESCAN_INTERVAL:
            self._loss_reported = now
            LOG.warning('The lease on part %d of the log of %s ran '
                        'out before it was renewed (every %g s would do); '
                        'some may come twice', stripe.number, self.log.topic,
                        self.settings.notification_lease / 3)

    def _lose(self, number: int, stripe: stripes.Stripe) -> None:
        stripe.lost = True
        del self._held[number]
        self._wanted[number] = time.monotonic()

    def release(self) -> None:
        """Commit everything and give all leases back."""
        for number, stripe in list(self._held.items()):
            self._commit_one(number, stripe, 0.0)
