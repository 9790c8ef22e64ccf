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

"""The matchmaker of one process: for tests, and for a program alone.

All transports of the process see one store (``reset()`` forgets it). A
forked child starts with an empty one.  Also the clearest statement of what
each primitive of ``base`` does.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import os
import threading
import time
import typing as ty

from luc_drivers.messaging.matchmaker import base

#: Messages of a mailbox that are remembered after they were taken.
REMEMBERED = 10000


@dataclasses.dataclass
class _Mailbox:
    messages: dict[str, tuple[float, base.StoredMessage]] = (
        dataclasses.field(default_factory=dict))
    # In the order in which they were taken; the oldest are forgotten.
    taken: dict[str, None] = dataclasses.field(default_factory=dict)
    owner: str = ''
    until: float = 0.0

    def remove(self, ids: Iterable[str]) -> None:
        """Forget messages, but not that they were here."""
        for key in ids:
            self.messages.pop(key, None)
            self.taken[key] = None
        while len(self.taken) > REMEMBERED:
            del self.taken[next(iter(self.taken))]


@dataclasses.dataclass
class _Lease:
    owner: str = ''
    until: float = 0.0
    state: str = ''


class _Site:
    """Everything that one site stores."""

    def __init__(self) -> None:
        self.endpoints: dict[str, tuple[float, base.Endpoint]] = {}
        self.boots: dict[str, str] = {}
        self.subscriptions: dict[base.Subscription, float] = {}
        self.known: dict[tuple[str, str, str], dict[str, float]] = {}
        self.mailboxes: dict[base.Box, _Mailbox] = {}
        self.log: dict[tuple[base.Log, int, int],
                       list[tuple[float, base.LogEntry]]] = {}
        self.heads: dict[tuple[base.Log, int, int],
                         tuple[float, int, int]] = {}
        self.pools: dict[base.Log, dict[str, int]] = {}
        self.leases: dict[tuple[base.Log, str, int], _Lease] = {}


class _Store:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sites: dict[str, _Site] = {}
        self.last_position = 0

    def site(self, name: str) -> _Site:
        return self.sites.setdefault(name, _Site())


_store = _Store()


def reset() -> None:
    """Forget everything that this process stored."""
    global _store
    _store = _Store()


# A child gets an empty store: what it wrote would be seen by nobody else,
# and the lock may be held by a thread that it doesn't have.
os.register_at_fork(after_in_child=reset)


class MemoryMatchmaker(base.Matchmaker):
    """Keeps everything in this process's memory."""

    clock: ty.Callable[[], float] = staticmethod(time.monotonic)

    def _site(self, name: str | None = None) -> _Site:
        return _store.site(name or self.site)

    def sites(self) -> list[str]:
        with _store.lock:
            others = sorted(set(_store.sites) - {self.site})
        return [self.site, *others]

    def now(self) -> int:
        return time.time_ns() // 1000

    # -- registry ---------------------------------------------------------

    def register(self, endpoint: base.Endpoint, ttl: float) -> bool:
        now = self.clock()
        with _store.lock:
            site = self._site()
            row = site.endpoints.get(endpoint.instance)
            for instance in [i for i, (until, _) in site.endpoints.items()
                             if until <= now]:
                del site.endpoints[instance]
            site.endpoints[endpoint.instance] = (now + ttl, endpoint)
            if endpoint.boot:
                site.boots[endpoint.host] = endpoint.boot
            return row is not None and row[0] > now

    def unregister(self, endpoint: base.Endpoint) -> None:
        with _store.lock:
            self._site().endpoints.pop(endpoint.instance, None)

    def endpoint(self, instance: str,
                 site: str | None = None) -> base.Endpoint | None:
        with _store.lock:
            return self._endpoint(self._site(site), instance)

    def _endpoint(self, site: _Site, instance: str) -> base.Endpoint | None:
        row = site.endpoints.get(instance)
        return row[1] if row and row[0] > self.clock() else None

    def endpoints(self, site: str | None = None) -> list[base.Endpoint]:
        now = self.clock()
        with _store.lock:
            return sorted((e for until, e
                           in self._site(site).endpoints.values()
                           if until > now), key=lambda e: e.instance)

    def boot(self, host: str, site: str | None = None) -> str:
        with _store.lock:
            return self._site(site).boots.get(host, '')

    def subscribe(self, subscriptions: Sequence[base.Subscription],
                  ttl: float, known_ttl: float) -> None:
        now = self.clock()
        with _store.lock:
            site = self._site()
            for sub in subscriptions:
                site.subscriptions[sub] = now + ttl
                if sub.kind == base.RPC:
                    servers = site.known.setdefault(
                        (sub.namespace, sub.exchange, sub.topic), {})
                    servers[sub.server] = now + known_ttl

    def unsubscribe(self,
                    subscriptions: Sequence[base.Subscription]) -> None:
        with _store.lock:
            for sub in subscriptions:
                self._site().subscriptions.pop(sub, None)

    def subscribed(self, subscription: base.Subscription) -> bool:
        with _store.lock:
            until = self._site().subscriptions.get(subscription, 0.0)
            return until > self.clock()

    def lookup(self, namespace: str, exchange: str, topic: str,
               server: str | None = None, kind: str = base.RPC,
               site: str | None = None,
               limit: int | None = None) -> list[base.Route]:
        now = self.clock()
        address = (namespace, exchange, topic, kind)
        with _store.lock:
            place = self._site(site)
            pairs = [(sub, self._endpoint(place, sub.instance))
                     for sub, until in place.subscriptions.items()
                     if until > now and address == (
                         sub.namespace, sub.exchange, sub.topic, sub.kind)
                     and server in (None, sub.server)]
        return self.routes(topic, pairs)[:limit]

    def subscriptions(self,
                      site: str | None = None) -> list[base.Subscription]:
        now = self.clock()
        with _store.lock:
            return sorted((sub for sub, until
                           in self._site(site).subscriptions.items()
                           if until > now), key=dataclasses.astuple)

    def known(self, namespace: str, exchange: str, topic: str,
              site: str | None = None) -> frozenset[str]:
        now = self.clock()
        with _store.lock:
            servers = self._site(site).known.get(
                (namespace, exchange, topic), {})
            return frozenset(s for s, until in servers.items() if until > now)

    # -- mailboxes --------------------------------------------------------

    def mailbox_put(self, box: base.Box, message: base.StoredMessage,
                    ttl: float, site: str | None = None) -> None:
        now = self.clock()
        with _store.lock:
            mailbox = self._site(site).mailboxes.setdefault(box, _Mailbox())
            # A late retry must not bring back what was taken already.
            if (message.id not in mailbox.taken
                    and message.id not in mailbox.messages):
                mailbox.messages[message.id] = (
                    now + ttl,
                    dataclasses.replace(message, stored=time.time()))

    def mailbox_claim(self, box: base.Box, owner: str, ttl: float) -> bool:
        now = self.clock()
        with _store.lock:
            mailbox = self._site().mailboxes.setdefault(box, _Mailbox())
            if mailbox.owner and mailbox.until > now:
                return False
            mailbox.owner, mailbox.until = owner, now + ttl
            return True

    def mailbox_release(self, box: base.Box, owner: str) -> None:
        with _store.lock:
            mailbox = self._site().mailboxes.setdefault(box, _Mailbox())
            if mailbox.owner == owner:
                mailbox.owner = ''

    def mailbox_fetch(self, box: base.Box, limit: int, after: str = '',
                      site: str | None = None) -> list[base.StoredMessage]:
        with _store.lock:
            return self._waiting(box, site, after)[:limit]

    def _waiting(self, box: base.Box, site: str | None,
                 after: str = '') -> list[base.StoredMessage]:
        now = self.clock()
        mailbox = self._site(site).mailboxes.get(box, _Mailbox())
        return [message for key, (until, message)
                in sorted(mailbox.messages.items())
                if until > now and key > after]

    def mailbox_take(self, box: base.Box, owner: str,
                     ids: Sequence[str]) -> bool:
        now = self.clock()
        with _store.lock:
            mailbox = self._site().mailboxes.setdefault(box, _Mailbox())
            if mailbox.owner != owner or mailbox.until <= now:
                return False
            mailbox.remove(ids)
            return True

    def mailbox_depth(self, box: base.Box, limit: int = 10000,
                      site: str | None = None) -> int:
        with _store.lock:
            return min(limit, len(self._waiting(box, site)))

    def mailbox_purge(self, box: base.Box, ids: Iterable[str] | None = None,
                      site: str | None = None) -> int:
        with _store.lock:
            mailbox = self._site(site).mailboxes.get(box, _Mailbox())
            gone = [key for key in (list(mailbox.messages)
                                    if ids is None else ids)
                    if key in mailbox.messages]
            mailbox.remove(gone)
            return len(gone)

    def mailboxes(self, site: str | None = None) -> list[base.Box]:
        with _store.lock:
            return sorted((box for box in self._site(site).mailboxes
                           if self._waiting(box, site)),
                          key=dataclasses.astuple)

    # -- notifications ----------------------------------------------------

    def log_append(self, log: base.Log, stripe: int, entry: base.LogEntry,
                   ttl: float) -> None:
        until = self.clock() + ttl
        with _store.lock:
            position = max(self.now(), _store.last_position + 1)
            _store.last_position = position
            bucket = position // 1_000_000 // base.BUCKET
            site = self._site()
            key = (log, bucket, stripe)
            self._expire_log(site)
            site.log.setdefault(key, []).append(
                (until, dataclasses.replace(entry, position=position)))
            site.heads[key] = (until, position, position)

    def _expire_log(self, site: _Site) -> None:
        now = self.clock()
        for key in [k for k, head in site.heads.items() if head[0] <= now]:
            del site.heads[key]
            site.log.pop(key, None)

    def log_heads(self, log: base.Log, since: int) -> list[base.LogHead]:
        now = self.clock()
        with _store.lock:
            return sorted(
                (base.LogHead(bucket, stripe, str(mark), position)
                 for (of, bucket, stripe), (until, mark, position)
                 in self._site().heads.items()
                 if of == log and bucket >= since and until > now),
                key=lambda head: (head.bucket, head.stripe))

    def log_read(self, log: base.Log, stripe: int, bucket: int, since: int,
                 limit: int) -> list[base.LogEntry]:
        now = self.clock()
        with _store.lock:
            rows = self._site().log.get((log, bucket, stripe), [])
            return [entry for until, entry in rows
                    if until > now and entry.position >= since][:limit]

    def pool_add(self, log: base.Log, pool: str, start: int) -> int:
        with _store.lock:
            pools = self._site().pools.setdefault(log, {})
            return pools.setdefault(pool, start)

    def pools(self, log: base.Log) -> dict[str, int]:
        with _store.lock:
            return dict(self._site().pools.get(log, {}))

    def logs(self) -> list[base.Log]:
        with _store.lock:
            site = self._site()
            return sorted({key[0] for key in site.heads} | set(site.pools),
                          key=dataclasses.astuple)

    def leases(self, log: base.Log,
               pool: str) -> dict[int, base.StripeLease]:
        now = self.clock()
        with _store.lock:
            return {stripe: base.StripeLease(
                        stripe, lease.owner if lease.until > now else '',
                        lease.state)
                    for (of, name, stripe), lease
                    in self._site().leases.items()
                    if of == log and name == pool}

    def lease_claim(self, log: base.Log, pool: str, stripe: int, owner: str,
                    ttl: float) -> base.StripeLease | None:
        now = self.clock()
        with _store.lock:
            lease = self._site().leases.setdefault((log, pool, stripe),
                                                   _Lease())
            if lease.owner and lease.until > now:
                return None
            lease.owner, lease.until = owner, now + ttl
            return base.StripeLease(stripe, owner, lease.state)

    def lease_commit(self, log: base.Log, pool: str, stripe: int, owner: str,
                     ttl: float, state: str) -> bool:
        now = self.clock()
        with _store.lock:
            lease = self._site().leases.setdefault((log, pool, stripe),
                                                   _Lease())
            if lease.owner != owner or lease.until <= now:
                return False
            lease.state, lease.until = state, now + ttl
            if ttl <= 0:
                lease.owner = ''
            return True
