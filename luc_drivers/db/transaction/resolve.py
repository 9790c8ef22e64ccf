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

"""Rows as committed: what to make of the locks that a read meets.

Percolator's rule (Peng and Dabek, OSDI 2010), with a marker row in the
transaction's primary group in place of a primary lock: a marker 'committed'
→ the prepared state counts; 'aborted' → it goes; none → the transaction is
running, or its coordinator died.  A reader then takes the old value, once it
has seen the lock still there (rule 16); whoever has watched the lock for too
long, by its own clock (rule 28), fences the transaction: it inserts the
'aborted' marker, which the commit's own marker can't join.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from luc_drivers.db import errors
from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import Lock
from luc_drivers.db.store.base import MARKER_TABLE
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import Row
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction import large
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.bounds import Bounds
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.hooks import step

Place = tuple[Group, RowKey]
Transaction = tuple[Group, bytes]

#: how many sightings of locks are kept; losing them only costs patience
_SIGHTINGS = 20000


def place_reads(places: Iterable[Place]) -> list[GroupRead]:
    """Return the reads that fetch these rows, one per group and table."""
    found: dict[tuple[Group, int], list[bytes]] = {}
    for group, key in places:
        found.setdefault((group, key.table), []).append(key.pk)
    return [GroupRead(group, (table,), tuple(sorted(set(pks))))
            for (group, table), pks in found.items()]


def write_all(store: Store, batches: Iterable[Batch]) -> list[Outcome]:
    """Run batches, those of one group one after the other."""
    todo = list(enumerate(batches))
    outcomes = [Outcome.UNKNOWN] * len(todo)
    while todo:
        now: dict[Group, tuple[int, Batch]] = {}
        later = []
        for n, one in todo:
            if one.group in now:
                later.append((n, one))
            else:
                now[one.group] = (n, one)
        answers = store.write([one for _, one in now.values()])
        for (n, _), answer in zip(now.values(), answers):
            outcomes[n] = answer
        todo = later
    return outcomes


class Resolver:
    """Reads rows and resolves their locks.

    Thread-safe.  It remembers when it first saw each lock, by the monotonic
    clock of this process.
    """

    def __init__(self, store: Store, clock: Clock, bounds: Bounds) -> None:
        self.store = store
        self.clock = clock
        self.bounds = bounds
        self._sightings: dict[bytes, float] = {}

    # --- reading

    def read(self, reads: Sequence[GroupRead], serial: bool = False
             ) -> list[list[Row]]:
        """Read groups; return their committed rows, tombstones included.

        Never waits for a lock.
        """
        return self.committed(reads, self.store.read(reads, serial=serial))

    def read_both(self, reads: Sequence[GroupRead],
                  index_reads: Sequence[IndexRead]) -> tuple[
                      list[list[Row]], list[list[tuple[bytes, bytes]]]]:
        """Read groups, as `read`, and index slices, at once."""
        found, slices = self.store.read_both(reads, index_reads)
        return self.committed(reads, found), slices

    def committed(self, reads: Sequence[GroupRead],
                  found: list[list[Row]]) -> list[list[Row]]:
        """Return what reads gave as committed."""
        locked = {(r.group, row.key): row for r, rows in zip(reads, found)
                  for row in rows if row.lock is not None}
        if not locked:
            return found
        views = self.resolve(locked)
        answers = []
        for one, rows in zip(reads, found):
            answer = []
            for row in rows:
                if row.lock is not None:
                    view = views[one.group, row.key]
                    if view is None:
                        continue
                    row = view
                answer.append(row)
            answers.append(answer)
        return answers

    def unlocked(self, places: Iterable[Place], priority: bytes,
                 deadline: float, serial: bool = True
                 ) -> dict[Place, Row | None]:
        """Return rows as committed, having waited until they are unlocked.

        A writer's view: it applies what is committed and rolls back what is
        aborted; for the rest it waits, and fences transactions younger than
        ``priority``, or abandoned ones.

        :param priority: id of the writer's first attempt.
        :param deadline: by the clock's monotonic().
        :returns: None where there is no row.
        :raises Refused: a lock is still there at the deadline.
        """
        wanted = list(dict.fromkeys(places))
        rows = self.rows(wanted, serial)
        locked = {p: r for p, r in rows.items() if r and r.lock is not None}
        if locked:
            rows.update(self.resolve(locked, priority, deadline))
        return rows

    def rows(self, places: Iterable[Place], serial: bool = False
              ) -> dict[Place, Row | None]:
        """Read single rows as they are, locks and all."""
        rows: dict[Place, Row | None] = dict.fromkeys(places)
        reads = place_reads(rows)
        for one, answer in zip(reads, self.store.read(reads, serial=serial)):
            for row in answer:
                rows[one.group, row.key] = row
        return rows

    def views(self, places: Iterable[Place]) -> dict[Place, Row | None]:
        """Return single rows as committed, without waiting."""
        rows = self.rows(places)
        locked = {p: r for p, r in rows.items() if r and r.lock is not None}
        if locked:
            rows.update(self.resolve(locked))
        return rows

    # --- resolving

    def resolve(self, locked: Mapping[Place, Row],
                priority: bytes | None = None,
                deadline: float | None = None) -> dict[Place, Row | None]:
        """Return the committed state of locked rows.

        :param priority: given by a writer, who waits; see `unlocked`.
        :raises OperationalError: a reader couldn't make sense of a row
            within ``bounds.read``.
        """
        writer = priority is not None
        if deadline is None:
            deadline = self.clock.monotonic() + self.bounds.read
        views: dict[Place, Row | None] = {}
        todo = dict(locked)
        pause = self.bounds.wound_after / 4
        while todo:
            states = self.states(self._transactions(todo.values()),
                                 tolerant=not writer)
            step('resolve:markers-read')
            young = self._act(todo, states, views, priority)
            for place in views:
                todo.pop(place, None)
            if not todo:
                break
            again = self.rows(todo, serial=writer)
            step('resolve:rows-read')
            waiting = False
            for place, row in again.items():
                before = todo.pop(place)
                if row is None or row.lock is None:
                    views[place] = row
                    continue
                same = before.lock is not None and (
                    row.lock.txid == before.lock.txid)
                if same and place in young:
                    if not writer:
                        views[place] = writes.old_view(row)
                        continue
                    waiting = True
                todo[place] = row
            if not todo:
                break
            if self.clock.monotonic() >= deadline:
                raise self._too_long(todo, writer)
            if waiting:
                self.clock.sleep(pause * (0.5 + self.clock.jitter()))
                pause = min(pause * 1.5, 0.1)
        return views

    @staticmethod
    def _transactions(rows: Iterable[Row]) -> set[Transaction]:
        return {(row.lock.primary, row.lock.txid)
                for row in rows if row.lock is not None}

    def _too_long(self, todo: Mapping[Place, Row],
                  writer: bool) -> Exception:
        group, key = next(iter(todo))
        where = f'table {key.table}, group {group.key!r} in {group.locality}'
        if writer:
            return errors.Refused(
                f'a row ({where}) is still locked by another transaction '
                f'after lock_wait = {self.bounds.lock_wait:g} s')
        return errors.OperationalError(
            f'the state of a row ({where}) could not be settled within '
            f'read_timeout = {self.bounds.read:g} s')

    def _act(self, todo: Mapping[Place, Row],
             states: Mapping[Transaction, writes.State | None],
             views: dict[Place, Row | None],
             priority: bytes | None) -> set[Place]:
        """Do what the markers say; return the rows of running transactions.

        A reader's rows whose transaction is committed get their view without
        a write: their coordinator is just applying them.
        """
        young = set()
        batches: dict[tuple[Group, bytes], list] = {}
        fences: set[Transaction] = set()
        for place, row in todo.items():
            assert row.lock is not None
            name = (row.lock.primary, row.lock.txid)
            old = self._old(row.lock, priority)
            if name not in states:
                # its marker can't be reached: never fence it (rule 30)
                young.add(place)
                continue
            state = states[name]
            if state is writes.State.COMMITTED:
                if priority is None and not old:
                    views[place] = writes.committed_view(row)
                else:
                    batches.setdefault((place[0], name[1]), []).append(
                        writes.forward(row, self.bounds.tombstone_ttl))
            elif state is writes.State.ABORTED:
                batches.setdefault((place[0], name[1]), []).append(
                    writes.back(row.key, name[1], row.version))
            elif old:
                fences.add(name)
            else:
                young.add(place)
        for name in fences:
            self.fence([name])
            step('resolve:fenced')
        if batches:
            write_all(self.store, [
                Batch(group, tuple(w)) for (group, _), w in batches.items()])
            step('resolve:rolled')
        return young

    def _old(self, lock: Lock, priority: bytes | None) -> bool:
        """Tell whether a lock has been watched for long enough."""
        txid = lock.txid
        now = self.clock.monotonic()
        if len(self._sightings) > _SIGHTINGS:
            self._sightings.clear()
        age = now - self._sightings.setdefault(txid, now)
        if priority is not None and priority < txid:
            return age >= self.bounds.wound_after
        return age >= self.bounds.lock_age and not large.is_alive(
            self.store, lock)

    # --- markers

    def states(self, names: Iterable[Transaction], tolerant: bool = False
               ) -> dict[Transaction, writes.State | None]:
        """Read what transactions' markers say; None = there is no marker.

        :param tolerant: leave out transactions whose marker's locality can't
            be reached: their locks then read as the old value (rule 30).
        """
        markers = self.markers(names, tolerant)
        return {name: marker.state if marker is not None else None
                for name, marker in markers.items()}

    def markers(self, names: Iterable[Transaction], tolerant: bool = False
                ) -> dict[Transaction, writes.Marker | None]:
        """Read markers, linearizably; see `states`."""
        found: dict[Transaction, writes.Marker | None] = dict.fromkeys(names)
        by_locality: dict[str, dict[Group, list[bytes]]] = {}
        for group, txid in found:
            by_locality.setdefault(group.locality, {}).setdefault(
                group, []).append(txid)
        for groups in by_locality.values():
            reads = [GroupRead(group, (MARKER_TABLE,), tuple(sorted(ids)))
                     for group, ids in groups.items()]
            try:
                answers = self.store.read(reads, serial=True)
            except errors.StoreUnavailable:
                if not tolerant:
                    raise
                for group, ids in groups.items():
                    for txid in ids:
                        del found[group, txid]
                continue
            for one, rows in zip(reads, answers):
                for row in rows:
                    if row.document is not None:
                        found[one.group, row.key.pk] = writes.read_marker(row)
        return found

    def fence(self, names: Iterable[Transaction]) -> list[Outcome]:
        """Insert 'aborted' markers; what holds then, `states` tells."""
        return write_all(self.store, [
            Batch(group, (writes.abort_marker(
                txid, self.bounds.aborted_ttl),))
            for group, txid in names])
