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

"""Watches what the protocol does to the store, and says when it is wrong.

The ghost sees each conditional batch at the moment it is applied, and so
knows what is decided, in which order, long before any process does.
"""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from luc_drivers.db import document
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog import schema as schema_module
from luc_drivers.db.rows import Address
from luc_drivers.db.rows import RowChange
from luc_drivers.db.store import base
from luc_drivers.db.store import codec
from luc_drivers.db.store.base import Expect
from luc_drivers.db.transaction import indexes
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.resolve import Place
from tests.unit.db import memory_store

Logical = tuple[int, int]


class Violation(AssertionError):
    """The protocol broke a promise."""


class Watch:
    """A scan in progress: what it must not miss.

    :ivar column: of the cells, by number: the one whose values are looked
        for.
    :ivar must: creation numbers of the rows that matched all the time.
    """

    def __init__(self, column: int, values: set, must: set[int]) -> None:
        self.column = column
        self.values = values
        self.must = must


class Ghost:
    """Everything that is decided, in order, and the checks.

    :ivar decided: per place the (txid, document) in order of decision.
    """

    def __init__(self, store: memory_store.MemoryStore,
                 schema: schema_module.Schema) -> None:
        self.store = store
        self.schema = schema
        self.tables = {t.number: t for t in schema.tables.values()}
        self.decided: dict[Place, list[tuple[bytes, bytes | None]]] = {}
        self.pending: dict[bytes, dict[Place, bytes | None]] = {}
        self.bases: dict[bytes, dict[Place, bytes | None]] = {}
        self.prepared_on: dict[tuple[bytes, Place], bytes | None] = {}
        self.done: set[bytes] = set()
        self.several: set[bytes] = set()
        self.acknowledged: set[bytes] = set()
        self.attempts: dict[Logical, list[bytes]] = {}
        self.outcomes: dict[Logical, str] = {}
        self.watches: list[Watch] = []
        store.watch = self.observe

    # --- what transactions say

    def attempt(self, logical: Logical, txid: bytes,
                changes: Sequence[RowChange]) -> None:
        """A transaction is about to be sent under a new id."""
        self.attempts[logical].append(txid)
        bases: dict[Place, bytes | None] = {}
        for change in changes:
            if change.new is not None:
                where = address.address(
                    change.table, change.new,
                    change.old.created if change.old else change.created,
                    change.old.address.group.locality if change.old
                    else address.locality(change.table, 'site1'))
                bases.setdefault((where.group, where.key), None)
        for change in changes:
            if change.old is not None:
                old = change.old.address
                bases[old.group, old.key] = change.old.version
        self.bases[txid] = bases

    # --- what the store sees

    def observe(self, batch: base.Batch,
                before: dict[base.RowKey, base.Row | None]) -> None:
        decided: bytes | None = None
        listed = None
        direct: dict[bytes, dict[Place, bytes | None]] = {}
        for write in batch.writes:
            place = (batch.group, write.key)
            row = before[write.key]
            if write.key.table == base.MARKER_TABLE:
                if len(write.key.pk) > codec.ID_LENGTH:
                    continue  # a turn decides nothing
                if write.expect is Expect.ABSENT:
                    marker = writes.read_marker(base.Row(
                        write.key, write.version, write.document))
                    if marker.state is writes.State.COMMITTED:
                        decided, listed = write.version, marker.secondaries
                continue
            if write.prepare is not None:
                txid = write.prepare.txid
                self.pending.setdefault(txid, {})[place] = (
                    write.prepare.document)
                self.prepared_on[txid, place] = row.version if row else None
            elif write.unlock or write.erase:
                if write.expect is Expect.LOCKED and (
                        write.expected in self.done):
                    raise Violation('rolled back what is committed')
            elif write.expect is Expect.LOCKED:
                self._applied(write, place, row, batch)
                if write.expected not in self.done:
                    direct.setdefault(write.expected, {})[place] = (
                        write.document)
            elif write.version == write.expected:
                if row is None or write.document != row.document:
                    raise Violation('a mere condition changed its row')
            else:
                direct.setdefault(write.version, {})[place] = write.document
                self._based(place, write.version, row)
        for txid, places in direct.items():
            if decided is not None and txid != decided:
                raise Violation('two transactions in one batch')
            self._decide(txid, places, listed)

    def _applied(self, write: base.RowWrite, place: Place,
                 row: base.Row | None, batch: base.Batch) -> None:
        txid = write.expected
        assert txid is not None and row is not None
        marked = any(w.key.table == base.MARKER_TABLE for w in batch.writes)
        if txid not in self.done and not marked:
            raise Violation('rolled forward what is not decided')
        if row.version != self.prepared_on[txid, place]:
            raise Violation('lost update: written while it was locked')

    def _based(self, place: Place, txid: bytes, row: base.Row | None
               ) -> None:
        if row is not None and row.lock is not None:
            raise Violation('lost update: written over a lock')

    def _decide(self, txid: bytes, places: dict[Place, bytes | None],
                listed: Iterable | None) -> None:
        if txid in self.done:
            raise Violation('decided twice')
        self.done.add(txid)
        everything = dict(places)
        if listed is not None:
            self.several.add(txid)
            for group, keys in listed:
                for key in keys:
                    row = self.store.row(group, key)
                    if row is None or row.lock is None or (
                            row.lock.txid != txid):
                        raise Violation('committed without its locks')
                    everything[group, key] = row.lock.document
        for place, version in self.bases.get(txid, {}).items():
            if place not in everything:
                raise Violation(f'decided without {place}')
            self._check_base(place, version)
        for place, doc in everything.items():
            self.decided.setdefault(place, []).append((txid, doc))
        self._check_constraints()
        for watch in self.watches:
            watch.must &= {c for v, c in self.live('cells').values()
                           if v[watch.column] in watch.values}

    def _check_base(self, place: Place, version: bytes | None) -> None:
        """What a transaction has read is still so when it is decided; rows
        that were only written anew in between are the same.
        """
        line = self.decided.get(place, [])
        if version is None:
            if line and line[-1][1] is not None:
                raise Violation(f'inserted over a row: {place}')
            return
        at = [n for n, (txid, _) in enumerate(line) if txid == version]
        if not at or any(doc != line[at[0]][1] for _, doc in line[at[0]:]):
            raise Violation(f'lost update of {place}')

    # --- constraints

    def live(self, name: str) -> dict[Place, tuple[dict[int, Any], int]]:
        """Return (values, creation number) of a table's decided rows."""
        number = self.schema.tables[name].number
        return {place: document.decode(line[-1][1])
                for place, line in self.decided.items()
                if place[1].table == number and line[-1][1] is not None}

    def _check_constraints(self) -> None:
        for table in self.schema.tables.values():
            rows = [v for v, _ in self.live(table.name).values()]
            for index in table.unique_keys:
                keys = [k for k in (
                    address.pick(table, index.unique_columns, v)
                    for v in rows) if None not in k]
                if len(keys) != len(set(keys)):
                    raise Violation(f'{index.name} is not unique')
            for key in table.foreign_keys:
                parent = self.schema.tables[key.parent]
                there = {address.pick(parent, key.parent_columns, v)
                         for v, _ in self.live(parent.name).values()}
                for values in rows:
                    child = address.pick(table, key.columns, values)
                    if None not in child and child not in there:
                        raise Violation(
                            f'orphan in {table.name}: {child}')

    # --- readers

    def begin_read(self, place: Place) -> int:
        """Return how many decisions of a place a reader must know of."""
        line = self.decided.get(place, [])
        return max([n + 1 for n, (txid, _) in enumerate(line)
                    if txid in self.acknowledged] or [0])

    def end_read(self, place: Place, least: int, row: Any) -> None:
        """Check what a reader got: no dirty read, nothing stale."""
        line = self.decided.get(place, [])
        if row is None:
            good = least == 0 or any(d is None for _, d in line[least - 1:])
        else:
            at = [n for n, (txid, _) in enumerate(line)
                  if txid == row.version]
            if not at:
                raise Violation(f'dirty read of {place}')
            good = at[0] + 1 >= least
        if not good:
            raise Violation('stale read after the acknowledgement')

    def begin_scan(self, values: Iterable[str], column: int) -> Watch:
        wanted = set(values)
        watch = Watch(column, wanted, {
            c for v, c in self.live('cells').values() if v[column] in wanted})
        self.watches.append(watch)
        return watch

    def end_scan(self, watch: Watch, found: Iterable[int] | None) -> None:
        """Check that a scan missed no row that matched all the time, and
        saw none at two places.

        :param found: creation numbers; None: it was given up.
        """
        self.watches.remove(watch)
        numbers = list(found or ())
        if found is not None and watch.must - set(numbers):
            raise Violation('a scan missed a row')
        if len(numbers) > len(set(numbers)):
            raise Violation('a scan saw a row twice')

    # --- the end

    def check_end(self) -> None:
        """Check the store when all is quiet and all locks are resolved."""
        for group, rows in self.store.groups.items():
            for key in rows:
                row = self.store.row(group, key)
                if row is not None and row.lock is not None:
                    raise Violation('stuck lock')
        for place, line in self.decided.items():
            row = self.store.row(*place)
            if (row.document if row else None) != line[-1][1]:
                raise Violation('not atomic: a decided change is not applied')
            if row is not None and line[-1][1] is not None and (
                    row.version != line[-1][0]):
                raise Violation('the version is not that of the last writer')
        for logical, txids in self.attempts.items():
            self._check_outcome(logical, [t for t in txids if t in self.done])
        for table in self.schema.tables.values():
            for place, (values, _) in self.live(table.name).items():
                self._check_index(table, place, values)

    def _check_outcome(self, logical: Logical, done: list[bytes]) -> None:
        outcome = self.outcomes[logical]
        if len(done) > 1:
            raise Violation('applied twice')
        if outcome == 'ok' and not done:
            raise Violation('acknowledged, but lost')
        if outcome == 'failed' and done:
            raise Violation('reported as failed, but applied')

    def _check_index(self, table: schema_module.Table, place: Place,
                     values: dict[int, Any]) -> None:
        for e in indexes.entries(table, values, Address(*place)):
            there = self.store.index.get(
                (e.locality, e.table, e.index, e.first, e.bucket), {}).get(
                    (e.rest, e.ref), (0, False))[1]
            if not there:
                raise Violation('the index misses a row for ever')
