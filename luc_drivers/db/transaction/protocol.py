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

"""The commit protocol.  Everything that decides a transaction is here.

One group: one conditional batch.  Several groups: Percolator's two phases
with a primary group, whose batch holds the transaction's marker: it is the
commit point.  What a transaction writes, `changes` says; what the single
writes look like, `writes`; what a met lock means, `resolve`; what became of a
batch without an answer, `settle`.  Numbers in
comments are those of the rules in the design's database-rules.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import itertools
import logging

from luc_drivers.db import errors
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog import catalog
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.rows import RowChange
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction import background as background_module
from luc_drivers.db.transaction import changes as changes_module
from luc_drivers.db.transaction import large
from luc_drivers.db.transaction import references
from luc_drivers.db.transaction import settle
from luc_drivers.db.transaction import sizes
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.applier import Applier
from luc_drivers.db.transaction.bounds import Bounds
from luc_drivers.db.transaction.changes import Plan
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.clock import micros
from luc_drivers.db.transaction.hooks import step
from luc_drivers.db.transaction.reader import Reader
from luc_drivers.db.transaction.resolve import Place
from luc_drivers.db.transaction.writes import Intent

LOG = logging.getLogger(__name__)

#: seconds after which a commit looks at the catalog again before it is sent:
#: half of what rule 26 gives it, the other half is for the store
LOOK_AGAIN = catalog.COMMIT_BOUND / 2
#: old index entries whose removal a process that ends waits for
_MANY_ENTRIES = 1000


@dataclasses.dataclass(slots=True)
class _Run:
    """One call of commit, over all its attempts.

    :ivar priority: id of the first attempt: what wound-wait goes by (29).
    :ivar deadline: for waiting on others' locks; monotonic.
    :ivar holds: tells whether the schema is still the newest.
    :ivar looked: when that was last known; monotonic.
    :ivar later: parents to be looked at after the entries are written.
    :ivar children: what must not be there before a parent goes.
    :ivar busy: others' locked rows that are to be waited for.
    """

    plan: Plan
    deadline: float
    holds: Callable[[], bool]
    looked: float
    priority: bytes = b''
    later: list[tuple[Place, Intent]] = dataclasses.field(
        default_factory=list)
    children: list[references.ChildCheck] = dataclasses.field(
        default_factory=list)
    attempts: int = 0
    busy: list[Place] = dataclasses.field(default_factory=list)

    @property
    def intents(self) -> Iterable[Intent]:
        return self.plan.intents.values()


class Committer:
    """Commits transactions.  Thread-safe; keeps no state between calls."""

    def __init__(self, store: Store, clock: Clock, reader: Reader,
                 background: background_module.Background,
                 bounds: Bounds | None = None) -> None:
        self.store = store
        self.clock = clock
        self.reader = reader
        self.resolver = reader.resolver
        self.background = background
        self.bounds = bounds or reader.bounds
        self.references = references.References(reader, clock)
        self.settler = settle.Settler(
            store, clock, self.resolver, self.bounds)
        self.applier = Applier(
            store, clock, self.resolver, background, self.bounds)

    def commit(self, schema: Schema, changes: Sequence[RowChange],
               seen_versions: Iterable[bytes] = (), *,
               parents: Iterable[StoredRow] = (),
               check_references: bool = True,
               holds: Callable[[], bool] = lambda: True) -> bytes | None:
        """Commit row changes, all or none.

        :param seen_versions: versions of all rows that the transaction has
            read: its id will be later than they are (rule 11).
        :param parents: rows at hand that may be parents of changed rows; a
            parent in its child's own group then costs no read.
        :param check_references: False with foreign_keys=off.
        :param holds: tells whether ``schema`` is still the newest, at most
            REFRESH seconds ago, as it was just now; asked again if the
            commit takes long.
        :returns: the transaction's id; None if there was nothing to do.
        :raises Refused: nothing was committed, because others were faster,
            or the schema has changed: the transaction should be run again on
            fresh rows.
        :raises OutcomeUnknown: it may have been committed or not.
        :raises StoreUnavailable: nothing was committed.
        :raises DataError: it is too large (see `sizes`).
        """
        if not changes:
            return None
        seen = list(seen_versions)
        step('commit:begin')
        run = self._begin(schema, changes, parents, check_references, holds)
        while True:
            txid = self.clock.new_id(
                itertools.chain(seen, run.plan.versions()))
            run.priority = run.priority or txid
            run.attempts += 1
            committed = self._attempt(run, txid)
            if committed or self._refused(run, txid):
                step('commit:decided')
                for table, values, where in run.plan.inserted:
                    self.reader.committed(table, values, where)
                return txid
            self._pause(run)

    # --- before

    def _begin(self, schema: Schema, changes: Sequence[RowChange],
               parents: Iterable[StoredRow], check_references: bool,
               holds: Callable[[], bool]) -> _Run:
        now = self.clock.monotonic()
        site = self.store.settings.site
        plan = changes_module.plan(changes, self.clock, site)
        sizes.check(plan.intents.values())
        run = _Run(plan, now + self.bounds.lock_wait, holds, now)
        if check_references:
            checks = references.parent_checks(schema, changes, site)
            run.later = self.references.join(schema, plan, checks, parents)
            run.children = references.child_checks(schema, changes)
            for check in run.children:
                plan.intents[check.place].first = True
        if plan.owners:
            rows = self.resolver.views(plan.owners)
            changes_module.found_owners(plan, rows)
            step('commit:owners-read')
        return run

    def _look_again(self, run: _Run) -> None:
        """See that no index is missed which others have filled since the
        commit began (rule 26).

        :raises Refused: the schema has changed.
        """
        now = self.clock.monotonic()
        if now - run.looked < LOOK_AGAIN:
            return
        if not run.holds():
            raise errors.Refused('the schema has changed')
        run.looked = now

    def _pause(self, run: _Run) -> None:
        if self.clock.monotonic() >= run.deadline:
            raise errors.Refused(
                f'not committed after {run.attempts} attempts within '
                f'lock_wait = {self.bounds.lock_wait:g} s')
        pause = self.bounds.wound_after * min(run.attempts, 8) / 4
        self.clock.sleep(pause * self.clock.jitter())

    def _enter(self, entries: Sequence[IndexEntry], txid: bytes) -> None:
        """Write index entries: before the commit, at the id's time."""
        if entries:
            step('index:send')
            self.store.put_index(entries, micros(txid))
            step('index:written')

    # --- one attempt

    def _attempt(self, run: _Run, txid: bytes) -> bool:
        """Try to commit with a new id; tell whether it is committed.

        Index entries go out with the locks, if there are any, but before
        parents are looked at (rule 25): else who deletes one might see
        neither entry nor lock.
        """
        groups = writes.by_group(run.intents)
        entries = list(run.plan.index.added)
        several = len(groups) > 1 or bool(run.children)
        if several:
            primary = self._primary(groups)
            entries.append(writes.listing(primary, txid))
        if several and not run.later and not any(
                i.check for i in run.intents):
            committed = self._several(run, txid, primary, groups, entries)
        else:
            self._enter(entries, txid)
            self.references.confirm(run.later, run.priority, run.deadline)
            if several:
                committed = self._several(run, txid, primary, groups)
            else:
                (group, intents), = groups.items()
                self._look_again(run)
                committed = self._one(group, intents, txid)
        if committed:
            self._removals(run, txid)
        return committed

    def _removals(self, run: _Run, txid: bytes) -> None:
        """Have the old entries removed, some seconds after the commit."""
        removed = list(run.plan.index.removed)
        if removed:
            def remove() -> None:
                self.store.remove_index(removed, micros(txid))
                step('index:removed')

            # readers would clean them, one by one
            self.background.submit(remove, self.bounds.removal_delay,
                                   needed=len(removed) > _MANY_ENTRIES)

    def _send(self, batch: Batch) -> Outcome:
        """Send a batch that decides the transaction."""
        return self.store.write([batch])[0]

    # --- one group

    def _one(self, group: Group, intents: Sequence[Intent], txid: bytes
             ) -> bool:
        batch = writes.batch(group, *(
            writes.change(i, txid, self.bounds.tombstone_ttl)
            for i in intents))
        step('one:send')
        outcome = self._send(batch)
        step('one:answered')
        if outcome is Outcome.UNKNOWN:
            return self.settler.one(intents, txid)
        return outcome is Outcome.APPLIED

    # --- several groups

    @staticmethod
    def _primary(groups: dict[Group, list[Intent]]) -> Group:
        """Choose the group that decides: of the widest locality (so that a
        site that is cut off can't leave global rows locked), then the one
        with most rows.
        """
        return min(groups, key=lambda g: (
            g.locality != address.GLOBAL, -len(groups[g]), g.key))

    def _several(self, run: _Run, txid: bytes, primary: Group,
                 groups: dict[Group, list[Intent]],
                 entries: Sequence[IndexEntry] = ()) -> bool:
        """Try to commit several groups.

        :param entries: index entries that are still to be written.
        """
        begin = self.clock.monotonic()
        prepared = self._prepare(txid, primary, groups, entries)
        if prepared is None:
            return False
        try:
            ready = self._childless(run)
            self._look_again(run)
        except BaseException:
            self._release(prepared, txid)
            raise
        if not ready or self.clock.monotonic() - begin > self.bounds.send:
            # too late: our 'aborted' markers would not outlive us (5)
            self._release(prepared, txid)
            return False
        secondaries = {g: [i for i in members if not i.check]
                       for g, members in groups.items() if g != primary}
        batch = writes.batch(
            primary,
            *(self._final(i, txid) for i in groups[primary]),
            writes.commit_marker(txid, (
                (g, (i.key for i in members))
                for g, members in secondaries.items())))
        step('several:send')
        try:
            outcome = self._send(batch)
        except errors.StoreUnavailable:
            self._release(prepared, txid)
            raise
        step('several:answered')
        committed = self.settler.several(
            outcome, primary, txid, run.intents)
        if committed:
            self.applier.submit(primary, txid, secondaries)
        else:
            self._release(prepared, txid)
        return committed

    def _final(self, intent: Intent, txid: bytes) -> writes.RowWrite:
        """Return the primary group's write of an intent."""
        if not intent.first:
            return writes.change(intent, txid, self.bounds.tombstone_ttl)
        return writes.apply(
            intent.key, txid, intent.document, intent.moved_to,
            intent.history, self.bounds.tombstone_ttl)

    def _prepare(self, txid: bytes, primary: Group,
                 groups: dict[Group, list[Intent]],
                 entries: Sequence[IndexEntry]
                 ) -> dict[Group, list[Intent]] | None:
        """Lock the rows of all secondary groups, in parallel, and write
        index entries with it: they need only be there before the commit.

        :returns: what is locked; None: something was refused, and what had
            been locked is released (rule 29).
        """
        targets = {}
        for group, members in groups.items():
            if group != primary:
                targets[group] = members
            elif any(i.first for i in members):
                targets[group] = [i for i in members if i.first]
        batches = [writes.batch(group, *(
            writes.change(i, txid, 0) if i.check
            else writes.lock(i, txid, primary, len(groups)) for i in members))
            for group, members in targets.items()]
        asked = {g: [i for i in members if not i.check]
                 for g, members in targets.items()}
        step('prepare:send')
        if entries:
            step('index:send')
        try:
            outcomes = large.prepare(self.store, batches, entries, txid)
        except errors.StoreUnavailable:
            # not now: this caller has waited for the store long enough
            self.background.submit(lambda: self._release(asked, txid))
            raise
        if entries:
            step('index:written')
        step('prepare:answered')
        held = {g: members
                for (g, members), outcome in zip(asked.items(), outcomes)
                if outcome is not Outcome.REFUSED}
        good = all(o is not Outcome.REFUSED for o in outcomes)
        doubtful = [g for g, o in zip(targets, outcomes)
                    if o is Outcome.UNKNOWN]
        try:
            if good and doubtful:
                good = self._locked(held, doubtful, txid)
        except errors.StoreUnavailable:
            self._release(held, txid)
            raise
        if not good:
            self._release(held, txid)
            return None
        return held

    def _locked(self, held: dict[Group, list[Intent]],
                groups: Iterable[Group], txid: bytes) -> bool:
        """Tell whether all rows of these groups are locked by us."""
        rows = self.resolver.rows(
            [(g, i.key) for g in groups for i in held[g]], serial=True)
        step('prepare:read')
        return all(row is not None and row.lock is not None and
                   row.lock.txid == txid for row in rows.values())

    def _release(self, held: dict[Group, list[Intent]], txid: bytes) -> None:
        """Take our locks off; what fails here, readers will do."""
        if not held:
            return
        try:
            self.store.write([
                writes.batch(group, *(
                    writes.back(i.key, txid, i.expected) for i in members))
                for group, members in held.items() if members])
        except errors.StoreUnavailable as error:
            LOG.debug('Locks of %s are left for others to fence: %s',
                      txid.hex(), error)
        step('prepare:released')

    def _childless(self, run: _Run) -> bool:
        """Look for children of the locked parents that are to go (25)."""
        if not run.children:
            return True
        found = self.references.children(run.plan, run.children)
        run.busy = found.busy
        return found.children is references.Children.NONE

    # --- after a refusal

    def _refused(self, run: _Run, txid: bytes) -> bool:
        """See why an attempt failed, having waited until no row is locked.

        Returns so that it can be tried again with a new id: a lock is gone,
        or a deleted row's tombstone is now expected.

        :returns: True: it was committed after all (a batch that another
            coordinator finished is refused when it looks itself).
        :raises Refused: a row has changed.
        """
        places = list(run.plan.intents)
        busy, run.busy = run.busy, []
        rows = self.resolver.unlocked(
            dict.fromkeys([*places, *busy]), run.priority, run.deadline)
        step('commit:refused-read')
        for place in places:
            row = rows[place]
            if row is not None and txid in row.history:
                self._removals(run, txid)
                return True
        for place in places:
            changes_module.rebase(run.plan.intents[place], rows[place])
        return False
