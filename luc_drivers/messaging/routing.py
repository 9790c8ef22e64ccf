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

"""Target and registry in, listeners to send to out.

Look-ups are cached: a call to a known peer touches no store. An answer that
is older than ``[bus]lookup_cache`` is still used while a new one is fetched;
for a first one, or one in place of an empty one, the caller waits, but no
longer than its own time-out. While the store is down, what was known stays
valid (rule D4).

The own site's listeners come first. Other sites are asked, all at once, only
for what nobody serves here; of a topic's listeners elsewhere those of the
nearest site are taken: the first one in ``[bus]nearest_sites``.
"""

from collections.abc import Callable
import logging
import threading
import time
from typing import Any
from typing import NamedTuple

from luc_drivers.messaging import wire
from luc_drivers.messaging import workers
from luc_drivers.messaging.matchmaker import base

LOG = logging.getLogger(__name__)

#: seconds for which a peer that could not be reached is tried last
_SUSPECT = 5.0
_MAX_ENTRIES = 20000
_MAX_DEAD = 10000
#: seconds for which an instance that was found dead is left alone
_DEAD_FOR = 3.0
#: other sites that are asked at a time
_SCOUTS = 16


class Key(NamedTuple):
    """What is looked up."""

    namespace: str
    exchange: str
    topic: str
    #: None for all listeners of the topic
    server: str | None


class Candidate(NamedTuple):
    """One listener that a message may be sent to."""

    endpoint: base.Endpoint
    listener: int
    target: bytes

    @property
    def instance(self) -> str:
        """The process that has the listener."""
        return self.endpoint.instance


def only_plain(endpoint: base.Endpoint) -> None:
    """Refuse an endpoint that a process without keys can't talk to.

    :raises MatchmakerError: it uses CURVE.
    """
    if endpoint.curve_key:
        raise base.MatchmakerError(
            'its process %s uses CURVE, and this one does not: set '
            '[bus]security here' % endpoint.addresses[0])


class Query(NamedTuple):
    """What is asked for, and where."""

    key: Key
    #: None: in the own site, and elsewhere if nobody is there
    site: str | None = None
    #: no more than so many, for whom one or two are enough
    limit: int | None = None


class _Entry:
    __slots__ = ('live', 'present', 'fetched', 'used', 'known')

    def __init__(self) -> None:
        self.live: list[Candidate] = []
        #: the draining ones as well
        self.present: list[Candidate] = []
        self.fetched = 0.0
        self.used = 0.0
        #: did the store ever answer?
        self.known = False


class Routing:
    """The cache of one node."""

    def __init__(self, matchmaker: base.Matchmaker, settings: Any,
                 helpers: workers.Workers, check: Any = None,
                 connected: Callable[[str], bool] = lambda instance: False
                 ) -> None:
        """A cache.

        :param helpers: threads that ask the store.
        :param check: raises MatchmakerError for endpoints that can't be
            trusted.
        :param connected: is there a living connection to an instance?
        """
        self._connected = connected
        self.matchmaker = matchmaker
        self.settings = settings
        self._lookup_cache = settings.lookup_cache
        self._workers = helpers
        self._scouts = workers.Workers(_SCOUTS, 'luc-bus-sites')
        self._flights: dict[Query, workers.Job] = {}
        self._check = check
        self._mistrusted: dict[str, None] = {}
        self._entries: dict[Query, _Entry] = {}
        self._sites: tuple[list[str], float] = ([], float('-inf'))
        #: the other site where a key was found last
        self._homes: dict[Key, str] = {}
        # instance: when it was found dead
        self._dead: dict[str, float] = {}
        self._left: dict[tuple[str, int], None] = {}
        self._suspects: dict[str, float] = {}
        self._lock = threading.Lock()
        self._failing = False

    # -- asking -----------------------------------------------------------

    def live(self, key: Key, renew: float | None = None,
             wait: float | None = None) -> list[Candidate]:
        """The listeners that take messages now, in a stable order.

        :param renew: with an empty answer, one older than this is fetched
            again; None is ``[bus]negative_cache``.
        :param wait: seconds to wait for the store at most; after that, the
            answer is what is known.
        """
        entry = self._entry(Query(key), renew, wait)
        return self._usable(entry.live) if entry else []

    def in_site(self, key: Key, site: str, wait: float | None = None,
                limit: int | None = None) -> list[Candidate] | None:
        """Listeners in one site, with those that still empty mailboxes.

        :param wait: seconds to wait for the store at most.
        :param limit: give so many of them, no matter which.
        :returns: None if the site's registry was never heard of them.
        """
        entry = self._entry(Query(key, site, limit), None, wait)
        if entry is None or not entry.known:
            return None
        return self._usable(entry.present)

    def cached(self, key: Key, site: str, limit: int | None = None
               ) -> list[Candidate] | None:
        """The same, as far as it is known; None if the store must be asked.

        Never blocks.
        """
        entry = self._entries.get(Query(key, site, limit))
        if entry is None or not entry.known:
            return None
        now = time.monotonic()
        entry.used = now
        found = self._usable(entry.present)
        if found:
            if now - entry.fetched > self.settings.lookup_cache:
                self._fetch(Query(key, site, limit))
        elif now - entry.fetched > self.settings.negative_cache:
            return None
        return found

    def ask(self, function: Callable, *arguments: Any) -> None:
        """Have something done that may wait for other sites' stores."""
        self._scouts.submit(function, *arguments)

    def sites(self) -> list[str]:
        """All sites, the own one first, then as ``nearest_sites`` says.

        Blocks for the store the first time only.
        """
        found, when = self._sites
        if time.monotonic() - when > self.settings.lookup_cache:
            if found:
                # One thread asks, the others go on with what is known.
                self._sites = found, time.monotonic()
                self._workers.submit(self._look_for_sites)
            else:
                self._look_for_sites()
                found = self._sites[0]
        return found

    def _look_for_sites(self) -> None:
        own = self.settings.site
        try:
            names = self.matchmaker.sites()
        except base.MatchmakerError as e:
            self._complain(e)
            self._sites = self._sites[0] or [own], time.monotonic()
            return
        nearest = {site: i for i, site in
                   enumerate(self.settings.nearest_sites)}
        self._sites = [own, *sorted(
            set(names) - {own},
            key=lambda site: (nearest.get(site, len(nearest)), site))
        ], time.monotonic()

    def _usable(self, candidates: list[Candidate]) -> list[Candidate]:
        if not self._dead and not self._left:
            return candidates
        return [c for c in candidates
                if not self._is_dead(c.endpoint.instance) and
                (c.endpoint.instance, c.listener) not in self._left]

    def _is_dead(self, instance: str) -> bool:
        since = self._dead.get(instance)
        return since is not None and (
            time.monotonic() - since < _DEAD_FOR)

    def _entry(self, query: Query, renew: float | None,
               wait: float | None) -> _Entry | None:
        now = time.monotonic()
        entry = self._entries.get(query)
        if entry is not None:
            entry.used = now
            age = now - entry.fetched
            if self._usable(entry.live):
                if age > self._lookup_cache:
                    self._fetch(query)
                return entry
            if renew is None:
                renew = self.settings.negative_cache
            if age <= renew:
                return entry
        self._fetch(query).wait(wait)
        return self._entries.get(query)

    def _fetch(self, query: Query) -> workers.Job:
        """Have it looked up; callers that ask for the same share one job."""
        job = self._flights.get(query)
        if job is None:
            with self._lock:
                job = self._flights.get(query)
                if job is None:
                    helpers = (self._workers
                               if query.site in (None, self.settings.site)
                               else self._scouts)
                    job = helpers.submit(self._fly, query)
                    self._flights[query] = job
        return job

    def _fly(self, query: Query) -> None:
        try:
            self.refresh(query)
        finally:
            with self._lock:
                self._flights.pop(query, None)

    # -- fetching ---------------------------------------------------------

    def refresh(self, query: Query) -> None:
        """Read the registry (may block); keeps what is known if it fails."""
        entry = self._entries.get(query)
        if entry is None:
            entry = _Entry()
        try:
            routes = (self._lookup(query.key) if query.site is None else
                      self._lookup_site(query.key, query.site, query.limit))
        except base.MatchmakerError as e:
            if query.site in (None, self.settings.site):
                self._complain(e)
            else:
                LOG.info('Site %s can\'t be asked for listeners of %s: %s',
                         query.site, query.key.topic, e)
        else:
            if self._failing and query.site in (None, self.settings.site):
                self._failing = False
                LOG.info('The matchmaker answers again')
            entry.known = True
            # A connection beats the registry: a row may have expired with
            # its process alive, or the registry was wiped (rule D4).
            named = {c.instance for c, _live in routes}
            kept = [(c, True) for c in entry.live
                    if c.instance not in named and
                    (c.instance, c.listener) not in self._left and
                    self._connected(c.instance)]
            entry.present = [c for c, _live in routes + kept]
            entry.live = [c for c, live in routes + kept if live]
        entry.fetched = time.monotonic()
        if len(self._entries) > _MAX_ENTRIES:
            self._forget_unused()
        self._entries[query] = entry

    def _complain(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            LOG.warning('The matchmaker can\'t be asked for listeners; '
                        'known ones stay in use: %s', error)

    def _lookup(self, key: Key) -> list[tuple[Candidate, bool]]:
        """In the own site; elsewhere if nobody is there.

        Of a topic, one site's listeners: the nearest one's.
        """
        found = self._lookup_site(key, self.settings.site)
        if any(live for _candidate, live in found):
            return found
        others = self.sites()[1:]
        home = self._homes.pop(key, None)
        if home in others:
            # It is hardly ever elsewhere next time; else each server talked
            # to would cost a question to all sites, every few seconds. Of a
            # topic, a nearer site may have listeners by now.
            first = ([home] if key.server is not None
                     else others[:others.index(home) + 1])
            there = self._lookup_others(key, first)
            if any(live for _candidate, live in there):
                return found + there
            others = [site for site in others if site not in first]
            found += there
        return found + self._lookup_others(key, others)

    def _lookup_others(self, key: Key, sites: list[str]
                       ) -> list[tuple[Candidate, bool]]:
        """Ask these sites at once; notes where the key is at home."""
        found = []
        jobs = [(site, self._scouts.submit(self._lookup_site, key, site))
                for site in sites]
        for site, job in jobs:
            job.wait(None)
            try:
                there = job.result()
            except base.MatchmakerUnavailable as e:
                # One unreachable site costs only what is addressed to it.
                LOG.info('Site %s can\'t be asked for listeners of %s: %s',
                         site, key.topic, e)
                continue
            found += there
            if any(live for _candidate, live in there):
                if len(self._homes) > _MAX_ENTRIES:
                    self._homes.clear()
                self._homes.setdefault(key, site)
                if key.server is None:
                    break
        return found

    def _lookup_site(self, key: Key, site: str, limit: int | None = None
                     ) -> list[tuple[Candidate, bool]]:
        routes = self.matchmaker.lookup(
            key.namespace, key.exchange, key.topic, key.server, base.RPC,
            None if site == self.settings.site else site, limit)
        found = []
        for sub, endpoint in routes:
            if self._check is not None and not self._trust(endpoint):
                continue
            found.append((
                Candidate(endpoint, int(sub.listener),
                          wire.address(key.namespace, key.exchange,
                                       key.topic, sub.server)),
                endpoint.state == base.LIVE))
        return found

    def _trust(self, endpoint: base.Endpoint) -> bool:
        try:
            self._check(endpoint)
        except base.MatchmakerError as e:
            if endpoint.instance not in self._mistrusted:
                if len(self._mistrusted) > 1000:
                    self._mistrusted.clear()
                self._mistrusted[endpoint.instance] = None
                LOG.warning('Ignored a registration of host %s: %s',
                            endpoint.host, e)
            return False
        return True

    def _forget_unused(self) -> None:
        old = sorted(self._entries, key=lambda q: self._entries[q].used)
        for query in old[:_MAX_ENTRIES // 10]:
            self._entries.pop(query, None)

    # -- being told -------------------------------------------------------

    def invalidate(self, namespace: str, exchange: str, topic: str) -> None:
        """Listeners of a topic came or went: ask again next time."""
        for query in list(self._entries):
            if query.key[:3] == (namespace, exchange, topic):
                self._entries.pop(query, None)

    def instance_dead(self, instance: str) -> None:
        """Send nothing to this instance for a while.

        Not for ever: a firewall or a proxy may have refused in its name, and
        the registry's TTL removes what is really dead.
        """
        self._dead[instance] = time.monotonic()
        if len(self._dead) > _MAX_DEAD:
            del self._dead[next(iter(self._dead))]

    def listener_left(self, instance: str, listener: int) -> None:
        """Never send to this listener again."""
        self._left[instance, listener] = None
        if len(self._left) > _MAX_DEAD:
            del self._left[next(iter(self._left))]

    def suspect(self, instance: str) -> None:
        """It could not be reached just now."""
        if len(self._suspects) > 1000:
            self._suspects.clear()
        self._suspects[instance] = time.monotonic() + _SUSPECT

    def trusted(self, candidates: list[Candidate]) -> list[Candidate]:
        """Those that are not under suspicion; all if none is."""
        if not self._suspects:
            return candidates
        now = time.monotonic()
        good = [c for c in candidates
                if self._suspects.get(c.endpoint.instance, 0.0) < now]
        return good or candidates
