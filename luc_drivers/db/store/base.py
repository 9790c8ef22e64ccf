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

"""The storage interface: what both stores do, and nothing of SQL.

A *row* lives in a *group* (one Cassandra partition, the unit of atomicity)
of a *locality* (a keyspace).  Everything that a store keeps is opaque to it:
documents, keys and index values are bytes whose order is their memcmp order.

Rules that a store keeps (numbers are those of database-rules.md):

* every write of rows is conditional (CAS), but for `Store.fill`; plain writes
  touch only index entries, leases and nothing else;
* a CAS is never retried inside a store; if its outcome is not known the
  result says so (rule 4);
* index entries are written and removed with the caller's explicit timestamp
  (rule 9), none of them for another's sake: some may be there when others
  could not be written;
* groups are read without paging (rule 34).
"""

import abc
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import enum
import threading
from typing import NamedTuple

from luc_drivers.db import errors

#: ``RowKey.table`` of transaction markers: greater than any table's number,
#: so that reading a group's rows never steps over them (rule 33).
MARKER_TABLE = 0x7FFFFFFF


class Group(NamedTuple):
    """A group's name: one partition of ``rows``."""

    locality: str
    key: bytes


class RowKey(NamedTuple):
    """A row inside its group; ``table`` is a table's or unique key's number.

    """

    table: int
    pk: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Lock:
    """A prepared, undecided (or not yet applied) change of a row.

    :ivar txid: id of the transaction that prepared it (16 bytes).
    :ivar primary: the group that holds or will hold its marker.
    :ivar document: the document after commit; None = the row is deleted.
    :ivar moved_to: where a deleted row went (rule 13), opaque.
    :ivar groups: how many groups the transaction writes to: whoever meets
        the lock knows how long it may take.
    """

    txid: bytes
    primary: Group
    document: bytes | None
    moved_to: bytes | None = None
    groups: int = 1


class Row(NamedTuple):
    """What the store holds under one key.

    :ivar version: id of the transaction that last committed it; None only
        for a prepared insert, which nobody committed yet.
    :ivar document: None for a tombstone (or a prepared insert).
    :ivar history: ids of recent writers, oldest first, ``version`` last
        (rule 3).
    """

    key: RowKey
    version: bytes | None
    document: bytes | None
    history: tuple[bytes, ...] = ()
    lock: Lock | None = None
    moved_to: bytes | None = None


class Expect(enum.Enum):
    """The condition of a row write."""

    # members are their own: Enum's hash is slow, and asked for often
    __hash__ = object.__hash__

    #: nothing there (neither a version nor a lock)
    ABSENT = 'absent'
    #: ``ver = version AND lock = null``
    VERSION = 'version'
    #: locked by ``txid``
    LOCKED = 'locked'


@dataclasses.dataclass(frozen=True, slots=True)
class RowWrite:
    """One conditional write; all writes of a batch apply or none.

    With ``prepare`` only the lock is set and version, document and history
    stay as they are.  Otherwise the row's whole state becomes ``version``,
    ``document``, ``history``, ``moved_to``, unlocked.  With ``unlock`` only
    the lock goes (roll-back).  With ``erase`` the row goes altogether: only
    for rolled-back inserts that no one committed, and applied markers.

    :ivar expected: the version for VERSION, the txid for LOCKED.
    :ivar ttl: seconds after which the written state vanishes; None = never.
    """

    key: RowKey
    expect: Expect
    expected: bytes | None = None
    version: bytes | None = None
    document: bytes | None = None
    history: tuple[bytes, ...] = ()
    moved_to: bytes | None = None
    prepare: Lock | None = None
    unlock: bool = False
    erase: bool = False
    ttl: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Conditional writes of one group; no row twice (rule 32)."""

    group: Group
    writes: tuple[RowWrite, ...]


class Outcome(enum.Enum):
    """What became of a conditional batch."""

    APPLIED = 'applied'
    REFUSED = 'refused'
    #: sent, and nobody can tell (rules 3, 4)
    UNKNOWN = 'unknown'


class GroupRead(NamedTuple):
    """A read of one group's rows.

    :ivar tables: which tables (or unique keys); empty = all but markers.
    :ivar pks: with exactly one table: only these rows; None = all.
    """

    group: Group
    tables: tuple[int, ...] = ()
    pks: tuple[bytes, ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class IndexEntry:
    """One entry: the row ``ref`` has the value (``first``, ``rest``)."""

    locality: str
    table: int
    index: int
    first: bytes
    bucket: int
    rest: bytes
    ref: bytes

    def __hash__(self) -> int:
        # that of all fields tells no more apart, and costs more
        return hash((self.index, self.first, self.ref))


@dataclasses.dataclass(frozen=True, slots=True)
class IndexRead:
    """A slice of one index partition (all buckets below ``buckets``).

    :ivar lower: ``rest >= lower``; None = from the start.
    :ivar upper: ``rest < upper``; None = to the end.
    :ivar limit: only so many entries, those nearest to the start; None =
        all.
    :ivar descending: the slice starts at its greatest entry; only with a
        limit.
    """

    locality: str
    table: int
    index: int
    first: bytes
    buckets: int = 1
    lower: bytes | None = None
    upper: bytes | None = None
    limit: int | None = None
    descending: bool = False

    def cut(self, found: Iterable[tuple[bytes, bytes]]
            ) -> list[tuple[bytes, bytes]]:
        """Return the entries of all buckets in order, no more than asked."""
        return sorted(found, reverse=self.descending)[:self.limit]


@dataclasses.dataclass(frozen=True, slots=True)
class IndexPartition:
    """One partition of index entries."""

    table: int
    index: int
    first: bytes
    bucket: int


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How large a part of the database is.

    :ivar place: the keyspace's table, or the file.
    :ivar size: bytes on disk; of this database and those that share the
        place with it.
    """

    place: str
    size: int


class Counters(threading.local):
    """What the current thread (or greenlet) has cost so far."""

    rounds = 0
    requests = 0


class Store(abc.ABC):
    """One database in one kind of store.

    An instance is cheap, thread-safe, and survives fork (it connects per
    pid on first use).  Methods that take several requests run them in
    parallel: one *round*.  ``rounds`` and ``requests`` count them for all
    threads, ``here.rounds`` and ``here.requests`` for the current one.

    :raises luc_drivers.db.errors.StoreUnavailable: from any method, with a
        message that names contact points (or file) and settings. From
        ``write``: none of the batches was sent.
    """

    #: may native threads call it where eventlet patched the program?
    native_background = True
    #: does a round cost more than reading what may not be needed?
    reads_ahead = False
    #: is `fill` much quicker than `write`?
    fills = False

    def __init__(self, database: str, settings: 'StoreSettings') -> None:
        self.database = database
        self.settings = settings
        self.rounds = 0
        self.requests = 0
        self.here = Counters()

    def count(self, requests: int, rounds: int = 1) -> None:
        """Count one call's requests; for the stores themselves."""
        self.rounds += rounds
        self.requests += requests
        here = self.here
        here.rounds += rounds
        here.requests += requests

    # --- life

    @abc.abstractmethod
    def prepare(self, localities: Sequence[str]) -> None:
        """Create what the database needs, if it is not there."""

    @abc.abstractmethod
    def drop(self) -> None:
        """Remove everything the database holds (a fresh name space's end)."""

    # --- rows

    @abc.abstractmethod
    def read(self, reads: Sequence[GroupRead],
             serial: bool = False) -> list[list[Row]]:
        """Read groups; rows in key order.

        :param serial: linearizable read: also finishes or refuses CASes in
            progress. For decisions; plain reads are for SQL rows.
        """

    def read_both(self, reads: Sequence[GroupRead],
                  index_reads: Sequence[IndexRead]) -> tuple[
                      list[list[Row]], list[list[tuple[bytes, bytes]]]]:
        """Read groups and index slices that don't depend on one another.

        :returns: what `read` and `read_index` do; in one round if the store
            can.
        """
        return (self.read(reads) if reads else [],
                self.read_index(index_reads) if index_reads else [])

    @abc.abstractmethod
    def write(self, batches: Sequence[Batch]) -> list[Outcome]:
        """Run conditional batches, one per group, in parallel."""

    def write_both(self, batches: Sequence[Batch],
                   entries: Sequence[IndexEntry], timestamp: int
                   ) -> list[Outcome]:
        """Write index entries and run batches that don't wait for them.

        In one round if the store can: what `put_index` and `write` do.

        :raises StoreUnavailable: not all entries may be there, and some of
            the batches may have applied.
        """
        if entries:
            self.put_index(entries, timestamp)
        return self.write(batches)

    def write_and_read(self, batches: Sequence[Batch],
                       reads: Sequence[GroupRead],
                       index_reads: Sequence[IndexRead]) -> tuple[
                           list[Outcome],
                           tuple[list[list[Row]],
                                 list[list[tuple[bytes, bytes]]]] | None]:
        """Run batches, and read groups and index slices beside them.

        :returns: what `write` does, and what `read_both` does: as it was
            before the batches, or after; None if it could not be read. In
            one round if the store can.
        :raises StoreUnavailable: as from `write`.
        """
        outcomes = self.write(batches)
        try:
            return outcomes, self.read_both(reads, index_reads)
        except errors.StoreUnavailable:
            return outcomes, None

    def fill(self, batches: Sequence[Batch], entries: Sequence[IndexEntry],
             timestamp: int) -> None:
        """Write rows that are not there, and their index entries, into
        tables that nobody else uses.

        A store need not look at the batches' conditions. It must be told
        again what may not have been written; and what is written here must
        be older, by the clocks of all its nodes, than what follows.

        :param timestamp: of all that is written.
        :raises IntegrityError: some of the rows are there, if the store
            looks.
        """
        self.put_index(entries, timestamp)
        for batch, outcome in zip(batches, self.write(batches)):
            if outcome is not Outcome.APPLIED:
                raise errors.IntegrityError(
                    f'rows of group {batch.group.key.hex()} are there '
                    'already')

    # --- index entries

    @abc.abstractmethod
    def read_index(self, reads: Sequence[IndexRead]) -> list[
            list[tuple[bytes, bytes]]]:
        """Return for each read its (rest, ref) pairs, in order of rest, or
        the other way round if it is descending."""

    @abc.abstractmethod
    def put_index(self, entries: Iterable[IndexEntry],
                  timestamp: int) -> None:
        """Write entries at ``timestamp`` (microseconds since the epoch)."""

    @abc.abstractmethod
    def remove_index(self, entries: Iterable[IndexEntry],
                     timestamp: int) -> None:
        """Remove entries not newer than ``timestamp``; they stay removed for
        any later write with a timestamp not greater (a Cassandra tombstone).
        """

    # --- catalog's log

    @abc.abstractmethod
    def catalog_read(self, after: int = 0) -> list[tuple[int, bytes]]:
        """Return the log's entries with a version > ``after``, in order,
        linearizably."""

    @abc.abstractmethod
    def catalog_append(self, version: int, entry: bytes) -> bool:
        """Append ``entry`` as ``version``; False if that one is taken.

        An unknown outcome is settled inside (by reading it serially; entries
        are made unique by their writer, so reading tells).
        """

    # --- leases: which processes use this database now

    @property
    def connected(self) -> bool:
        """Whether a request need not connect first."""
        return True

    @abc.abstractmethod
    def lease(self, holder: str, seconds: int) -> None:
        """Say that ``holder`` uses the catalog for so many seconds more;
        0 = it has stopped."""

    @abc.abstractmethod
    def leases(self) -> set[str]:
        """Return the holders with a live lease."""

    # --- sequences

    @abc.abstractmethod
    def claim(self, sequence: str, count: int) -> int:
        """Claim ``count`` numbers; return the first (numbers start at 1).

        An unknown outcome loses the block and claims another: gaps are fine,
        duplicates never.
        """

    @abc.abstractmethod
    def advance(self, sequence: str, floor: int) -> None:
        """Make all numbers claimed from now on greater than ``floor``."""

    # --- the whole, for those who look after it: slow

    @classmethod
    @abc.abstractmethod
    def databases(cls, settings: 'StoreSettings') -> list[str]:
        """Return the names of all databases in the store."""

    @abc.abstractmethod
    def group_keys(self, locality: str) -> Iterator[bytes]:
        """Yield the keys of all groups, in no order; what is written
        meanwhile may be missing."""

    @abc.abstractmethod
    def index_partitions(self, locality: str) -> Iterator[IndexPartition]:
        """Yield all partitions of index entries, in no order; what is
        written meanwhile may be missing, and some may be empty."""

    @abc.abstractmethod
    def sizes(self, localities: Sequence[str]) -> list[Size]:
        """Return how much the database takes, at the node that answers."""


@dataclasses.dataclass(frozen=True)
class StoreSettings:
    """What the URL and the host's file say; see luc_drivers.config.

    :ivar url: the connection URL without its password, for messages.
    :ivar fresh: a private, empty name space that goes with the process.
    """

    kind: str = 'cassandra'
    site: str = 'site1'
    url: str = ''
    contact_points: tuple[str, ...] = ('127.0.0.1',)
    port: int = 9042
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    tls: bool = False
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None
    connect_timeout: float = 10.0
    request_timeout: float = 10.0
    speculative_delay: float = 1.0
    replication: tuple[tuple[str, int], ...] = ()
    keyspace_template: str = '{database}_{locality}'
    path: str = ''
    fresh: bool = False
    #: seconds after which what a fresh name space wrote vanishes
    fresh_ttl: int = 3600
