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

"""What a matchmaker back end stores, and the interface to it.

A matchmaker keeps four things of a site: who listens where (endpoints and
subscriptions), which servers have ever been seen (known), messages for
servers that are away (mailboxes), and notifications (a log).  Back ends
offer small storage primitives only; the protocols made of them are in
``luc_drivers.messaging.registrar``, ``mailbox`` and ``notifications``.

Every method blocks and is safe to call from any thread and from a process
forked after the matchmaker was made.  Never call one from a transport's
I/O thread.  ``site=None`` means the caller's own site.
"""

import abc
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import typing as ty

#: States of an instance.
DRAINING = 'draining'
LIVE = 'live'
STOPPED = 'stopped'

#: Kinds of subscription.
RPC = 'rpc'
NOTIFICATION = 'notification'

#: Who may write an endpoint: a control host or any host (rule D2).
CONTROL = 'control'
AGENT = 'agent'

#: Length of a notification bucket in seconds (rule D5).
BUCKET = 60


class MatchmakerError(Exception):
    """Something is wrong with the matchmaker; the text says what to do."""


class MatchmakerUnavailable(MatchmakerError):
    """The store can't be reached now; the call may be repeated."""


class MatchmakerRefused(MatchmakerError):
    """The store refuses: no permission, missing keyspace, bad setting."""


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """One process that can be talked to: the row with a TTL (rule D3)."""

    instance: str
    """Unique id of this process's node; a new one after each fork."""
    host: str
    """Name of the host (its key pair is registered under this name)."""
    pid: int
    site: str
    addresses: tuple[str, ...]
    """ZeroMQ addresses, IP literals only: ``tcp://192.0.2.1:20000``."""
    state: str = DRAINING
    curve_key: str = ''
    """Public CURVE key of the instance, Z85; empty without security."""
    boot: str = ''
    """Boot id of the host as ``registrar.boot_id()`` gives it."""
    versions: tuple[int, int] = (1, 1)
    """Lowest and highest protocol version that it speaks."""
    plane: str = AGENT
    program: str = ''
    """Name of the program, for people who read the registry."""
    started: float = 0.0
    """When it started, seconds since the epoch, by its own clock."""
    signature: str = ''
    """By the host's key over ``signed_bytes()`` (rule D2); hex."""

    def signed_bytes(self) -> bytes:
        """Return what the signature covers: all that can redirect traffic.

        The state is left out, so that a change of it needs no new signature.
        """
        return json.dumps(
            ['luc-endpoint-1', self.instance, self.host, self.site,
             list(self.addresses), self.curve_key, self.boot,
             list(self.versions), self.plane],
            separators=(',', ':')).encode()

    def replace(self, **changes: ty.Any) -> 'Endpoint':
        """Return a copy with changed fields."""
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True, slots=True)
class Subscription:
    """One listener: rows that are written once, valid with their instance."""

    namespace: str
    """The transport URL's virtual host."""
    exchange: str
    topic: str
    server: str
    """The target's server; empty for notification listeners."""
    instance: str
    listener: str
    """Unique within the instance (rule C12)."""
    kind: str = RPC
    pool: str = ''
    """Notification listeners: name of the pool; empty is the default one."""


class Route(ty.NamedTuple):
    """A listener and the instance that has it."""

    subscription: Subscription
    endpoint: Endpoint


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """Address of a mailbox; an empty server is the topic's own mailbox."""

    namespace: str
    exchange: str
    topic: str
    server: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message in a mailbox.

    Rows are sorted by id; an id must be the same in each attempt to store a
    message, and ids of one calling thread must grow (``mailbox.new_id``).
    """

    id: str
    body: bytes
    suspect: str = ''
    """Instance that may have got it already; only that one may tell."""
    stored: float = 0.0
    """When, seconds since the epoch, by the store; 0 before it is stored."""


@dataclasses.dataclass(frozen=True, slots=True)
class Log:
    """Address of a notification log; the topic includes the priority."""

    namespace: str
    exchange: str
    topic: str


@dataclasses.dataclass(frozen=True, slots=True)
class LogEntry:
    """A notification in the log."""

    id: str
    body: bytes
    count: int = 0
    """How often it was requeued."""
    pool: str | None = None
    """The only pool that shall get it (after a requeue); None is every."""
    position: int = 0
    """Microseconds since the epoch by the store's clock; set by it."""


@dataclasses.dataclass(frozen=True, slots=True)
class LogHead:
    """Index of the log: a bucket and stripe that has entries."""

    bucket: int
    """``position // 1_000_000 // BUCKET``."""
    stripe: int
    mark: str
    """Changes with every append."""
    position: int
    """About the last append, microseconds; for a reader's late window."""


@dataclasses.dataclass(frozen=True, slots=True)
class StripeLease:
    """A pool's hold of one stripe, and how far it has read."""

    stripe: int
    owner: str
    """Token of the holder; empty when nobody holds it."""
    state: str
    """What the last holder committed; durable; empty at first."""


class Matchmaker(abc.ABC):
    """Storage of one site's registry, mailboxes and notifications.

    All methods raise MatchmakerUnavailable when the store can't be reached
    or doesn't answer in time, MatchmakerRefused when it says no.
    """

    def __init__(self, settings: ty.Any) -> None:
        """:param settings: what ``luc_drivers.messaging.opts.load`` gave."""
        self.settings = settings
        self.site: str = settings.site

    def prepare(self) -> None:  # noqa: B027 (optional to override)
        """Create what storage needs, if that is missing and allowed."""

    def close(self) -> None:  # noqa: B027
        """Release connections of this process."""

    def sites(self) -> list[str]:
        """Return the names of all sites, the own one first."""
        return [self.site]

    @abc.abstractmethod
    def now(self) -> int:
        """Return the store's clock: microseconds since the epoch."""

    def routes(self, topic: str, pairs: Iterable[
            tuple[Subscription, Endpoint | None]]) -> list[Route]:
        """Turn rows into what ``lookup`` returns; back ends use it."""
        control = topic in self.settings.control_topics
        return [Route(sub, endpoint) for sub, endpoint in sorted(
                    pairs, key=lambda pair: (pair[0].server,
                                             pair[0].instance,
                                             pair[0].listener))
                if endpoint is not None and endpoint.state != STOPPED
                and (endpoint.plane == CONTROL or not control)]

    # -- registry ---------------------------------------------------------

    @abc.abstractmethod
    def register(self, endpoint: Endpoint, ttl: float) -> bool:
        """Write (or refresh) an instance's row in the own site.

        :param ttl: seconds until it disappears unless written again.
        :returns: whether the row was there already: False for a refresh
            means that the registry was wiped or the row expired, and that
            subscriptions should be written again.
        """

    @abc.abstractmethod
    def unregister(self, endpoint: Endpoint) -> None:
        """Remove an instance's row. (To say ``stopped``, register that.)"""

    @abc.abstractmethod
    def endpoint(self, instance: str,
                 site: str | None = None) -> Endpoint | None:
        """Return an instance's row whatever its state; None if expired."""

    @abc.abstractmethod
    def endpoints(self, site: str | None = None) -> list[Endpoint]:
        """Return all rows of a site (for people and sweepers)."""

    @abc.abstractmethod
    def boot(self, host: str, site: str | None = None) -> str:
        """Return the boot id that a host registered last, or ''."""

    @abc.abstractmethod
    def subscribe(self, subscriptions: Sequence[Subscription], ttl: float,
                  known_ttl: float) -> None:
        """Write subscriptions and the known rows of their servers.

        :param ttl: seconds after which a row that nobody writes again goes
            (long: they're written once and then a few times a day).
        :param known_ttl: seconds that the server stays known (rule C9).
        """

    @abc.abstractmethod
    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Remove subscriptions; their servers stay known."""

    @abc.abstractmethod
    def subscribed(self, subscription: Subscription) -> bool:
        """Return whether the own site has this subscription row."""

    @abc.abstractmethod
    def lookup(self, namespace: str, exchange: str, topic: str,
               server: str | None = None, kind: str = RPC,
               site: str | None = None,
               limit: int | None = None) -> list[Route]:
        """Return the listeners of a topic, or of one server of it.

        :param limit: give so many of them, no matter which; what is read
            must not grow with the number of listeners.
        :returns: those whose instance is registered and not stopped,
            in a stable order (server, instance, listener). Draining ones
            are included: they listen, but mail goes first (rule C10).
            Instances in the agent table are left out for control topics.
        """

    @abc.abstractmethod
    def subscriptions(self, site: str | None = None) -> list[Subscription]:
        """Return all rows of a site (for people)."""

    @abc.abstractmethod
    def known(self, namespace: str, exchange: str, topic: str,
              site: str | None = None) -> frozenset[str]:
        """Return the servers of a topic that were ever seen (rule C9)."""

    # -- mailboxes --------------------------------------------------------

    @abc.abstractmethod
    def mailbox_put(self, box: Box, message: StoredMessage, ttl: float,
                    site: str | None = None) -> None:
        """Store a message; storing it again changes nothing."""

    @abc.abstractmethod
    def mailbox_claim(self, box: Box, owner: str, ttl: float) -> bool:
        """Take a mailbox for a while, if nobody has it.

        :param owner: a token that was never used before.
        """

    @abc.abstractmethod
    def mailbox_release(self, box: Box, owner: str) -> None:
        """Give a mailbox back; nothing happens if it isn't ours."""

    @abc.abstractmethod
    def mailbox_fetch(self, box: Box, limit: int,
                      after: str = '',
                      site: str | None = None) -> list[StoredMessage]:
        """Return messages in order of their ids, later than ``after``."""

    @abc.abstractmethod
    def mailbox_take(self, box: Box, owner: str, ids: Sequence[str]) -> bool:
        """Remove messages, if the owner still has the mailbox.

        :returns: True if they are removed and nobody else will get them;
            False if the claim was lost and nothing was removed.
        """

    @abc.abstractmethod
    def mailbox_depth(self, box: Box, limit: int = 10000,
                      site: str | None = None) -> int:
        """Return how many messages wait, counting up to ``limit``."""

    @abc.abstractmethod
    def mailbox_purge(self, box: Box, ids: Iterable[str] | None = None,
                      site: str | None = None) -> int:
        """Remove these messages, or all, without a claim (for people)."""

    @abc.abstractmethod
    def mailboxes(self, site: str | None = None) -> list[Box]:
        """Return the mailboxes that hold anything (for people)."""

    # -- notifications ----------------------------------------------------

    @abc.abstractmethod
    def log_append(self, log: Log, stripe: int, entry: LogEntry,
                   ttl: float) -> None:
        """Append an entry, at a position that the store's clock gives."""

    @abc.abstractmethod
    def log_heads(self, log: Log, since: int) -> list[LogHead]:
        """Return which buckets from number ``since`` on have entries.

        One read, whatever the number of stripes (rule D5).
        """

    @abc.abstractmethod
    def log_read(self, log: Log, stripe: int, bucket: int, since: int,
                 limit: int) -> list[LogEntry]:
        """Return entries of one bucket in order of position.

        :param since: lowest position, inclusive.
        """

    def log_reads(self, log: Log, places: Sequence[tuple[int, int, int]],
                  limit: int) -> list[list[LogEntry]]:
        """Read several places of a log; see ``log_read``.

        :param places: stripe, bucket and lowest position of each.
        """
        return [self.log_read(log, *place, limit) for place in places]

    @abc.abstractmethod
    def pool_add(self, log: Log, pool: str, start: int) -> int:
        """Make a pool durable (rule D5).

        :param start: position from which a new pool reads.
        :returns: the start of the pool: the existing one's if it exists.
        """

    @abc.abstractmethod
    def pools(self, log: Log) -> dict[str, int]:
        """Return the pools of a log and their starts."""

    @abc.abstractmethod
    def logs(self) -> list[Log]:
        """Return the logs of the own site (for people)."""

    @abc.abstractmethod
    def leases(self, log: Log, pool: str) -> dict[int, StripeLease]:
        """Return by stripe who holds it and the committed state."""

    @abc.abstractmethod
    def lease_claim(self, log: Log, pool: str, stripe: int, owner: str,
                    ttl: float) -> StripeLease | None:
        """Take a stripe if nobody holds it.

        :param owner: a token that was never used before; it is the epoch
            that fences (rule D5).
        :returns: the lease with the committed state, or None.
        """

    def lease_claims(self, log: Log, pool: str, owners: Mapping[int, str],
                     ttl: float) -> list[StripeLease]:
        """Take those of several stripes that nobody holds.

        :param owners: stripe -> token; see ``lease_claim``.
        :returns: the leases that were taken.
        """
        leases = [self.lease_claim(log, pool, stripe, owner, ttl)
                  for stripe, owner in owners.items()]
        return [lease for lease in leases if lease is not None]

    @abc.abstractmethod
    def lease_commit(self, log: Log, pool: str, stripe: int, owner: str,
                     ttl: float, state: str) -> bool:
        """Store the state and prolong, if the owner still holds it.

        :param ttl: seconds to hold it from now; 0 gives it back.
        """
