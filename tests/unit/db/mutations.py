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

"""The protocol with one rule taken out at a time.

Each mutation breaks the code in one way that the design forbids; the model
must notice.  Numbers are those of the design's database-rules.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import copy
import dataclasses
from typing import Any
from unittest import mock

from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import MARKER_TABLE
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.transaction import applier
from luc_drivers.db.transaction import beside
from luc_drivers.db.transaction import changes
from luc_drivers.db.transaction import clock
from luc_drivers.db.transaction import indexes
from luc_drivers.db.transaction import protocol
from luc_drivers.db.transaction import reader
from luc_drivers.db.transaction import references
from luc_drivers.db.transaction import resolve
from luc_drivers.db.transaction import settle
from luc_drivers.db.transaction import wave
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.clock import micros
from tests.unit.db import protocol_model
from tests.unit.db import schedule
from tests.unit.db.protocol_model import World

Prepare = Callable[[World], None]


@dataclasses.dataclass
class Mutation:
    """One rule taken out.

    :ivar patch: enters what breaks the code.
    :ivar prepare: breaks a world before it runs.
    :ivar kind: of the transactions that show it.
    :ivar hints: processes remember where rows with unique keys were.
    :ivar browse: some read whole groups while rows move between them.
    :ivar turns: some take turns, as compare-and-sets do.
    :ivar start: the seed to begin at: a violation isn't far (found by
        search; the cheaper for it, not needed for it).
    """

    name: str
    patch: Callable[[], Any] = contextlib.nullcontext
    prepare: Prepare | None = None
    kind: str = 'cells'
    sweep: bool = False
    hints: bool = False
    browse: bool = False
    turns: bool = False
    start: int = 0


def _patched(target: Any, name: str, new: Any) -> Callable[[], Any]:
    return lambda: mock.patch.object(target, name, new)


# --- 2


def ignore_locks(world: World) -> None:
    world.store.ignore_locks = True


# --- 3, 4


def settle_one_by_version(self: Any, intents: Any, txid: bytes) -> bool:
    intent = next(i for i in intents if not i.check)
    place = (intent.group, intent.key)
    row = self.resolver.rows([place], serial=True)[place]
    return row is not None and row.version == txid


def settle_several_by_read(self: Any, outcome: Outcome, primary: Any,
                           txid: bytes, intents: Any) -> bool:
    if outcome is Outcome.APPLIED:
        return True
    state = self.resolver.states([(primary, txid)])[primary, txid]
    return state is writes.State.COMMITTED


def apply_once(self: Any, commits: Any) -> dict:
    self.store.write([
        writes.batch(group, *(
            writes.apply(i.key, commit.txid, i.document, i.moved_to,
                         i.history, self.bounds.tombstone_ttl)
            for i in members))
        for commit in commits
        for group, members in commit.secondaries.items()])
    return {}


_verdict = settle.Settler._verdict


def verdict_without_base(self: Any, intent: Any, row: Any, txid: bytes
                         ) -> bool | None:
    if row is not None and row.lock is not None and (
            row.version is None and intent.expected is not None):
        return False
    return _verdict(self, intent, row, txid)


# --- 5, 6, 7

_act = resolve.Resolver._act


def act_and_forget(self: Any, todo: Any, states: Any, views: Any,
                   priority: Any) -> Any:
    young = _act(self, todo, states, views, priority)
    for row in todo.values():
        name = (row.lock.primary, row.lock.txid)
        if states[name] is writes.State.ABORTED:
            self.store.write([Batch(
                name[0], (writes.erase_marker(name[1]),))])
    return young


def lose_markers(world: World) -> None:
    def step(world: World) -> None:
        if world.random.random() < .02:
            for rows in world.store.groups.values():
                for key in list(rows):
                    if key.table == MARKER_TABLE and (
                            key.pk in world.ghost.done):
                        del rows[key]

    world.each_step = step


def young_markers(world: World) -> None:
    """Sweepers remove markers of any age, many answers are lost."""
    world.bounds = copy.copy(world.bounds)
    object.__setattr__(world.bounds, 'marker_age', 0.0)
    lost_answers(world)


def lost_answers(world: World) -> None:
    world.faults.answer_lost = .15
    world.crashes = 0.0


def refused_without_history(self: Any, run: Any, txid: bytes) -> bool:
    """Don't look whether a refused commit took after all.

    The histories of the rows tell, as long as they reach back: a second
    line of defence, behind which rule 7 can't be seen.
    """
    busy, run.busy = run.busy, []
    places = list(run.plan.intents)
    rows = self.resolver.unlocked(
        dict.fromkeys([*places, *busy]), run.priority, run.deadline)
    for place in places:
        changes.rebase(run.plan.intents[place], rows[place])
    return False


# --- 9, 10, 11

_attempt = protocol_model.Committer._attempt


def attempt_and_clean(self: Any, run: Any, txid: bytes) -> bool:
    committed = _attempt(self, run, txid)
    if not committed:
        self.store.remove_index(list(run.plan.index.added), micros(txid))
    return committed


def clean_by_own_clock(self: Any, entry: Any, table: Any, where: Any,
                       row: Any) -> None:
    now = self.clock.now()
    if row is not None and row.version is not None and (
            now - micros(row.version) > 2e6):
        self.submit(lambda: self.store.remove_index([entry], now))


def forget_tombstones(world: World) -> None:
    def step(world: World) -> None:
        for rows in world.store.groups.values():
            for key, row in list(rows.items()):
                if row.version and row.document is None and not row.lock:
                    del rows[key]

    world.each_step = step


def equal_times(self: Any, seen: Any = ()) -> bytes:
    """Ids that may have the microseconds of what was read."""
    newest = max((v for v in seen if v), default=None)
    floor = micros(newest) if newest else 0
    value = max(self.now(), floor, self._last + 1)
    node = self.node()
    if newest and value.to_bytes(8, 'big') + node <= newest:
        value += 1
    self._last = value
    return value.to_bytes(8, 'big') + node


_new_id = clock.Clock.new_id


def plain_time(self: Any, seen: Any = ()) -> bytes:
    return _new_id(self)


def attempt_with_old_id(self: Any, run: Any, txid: bytes) -> bool:
    kept = self.__dict__.setdefault('kept', {})
    return _attempt(self, run, kept.setdefault(self.logical, txid))


_enter = protocol.Committer._enter


def enter_once(self: Any, entries: Any, txid: bytes) -> None:
    if self.__dict__.get('entered') != self.logical:
        self.entered = self.logical
        _enter(self, entries, txid)


def enter_nothing(self: Any, entries: Any, txid: bytes) -> None:
    self.__dict__['left_out'] = (list(entries), txid)


def removals_and_entries(self: Any, run: Any, txid: bytes) -> None:
    entries, txid = self.__dict__['left_out']
    self.background.submit(
        lambda: self.store.put_index(entries, micros(txid)))


@contextlib.contextmanager
def entries_after_commit() -> Iterator[None]:
    with mock.patch.object(protocol.Committer, '_enter', enter_nothing), \
            mock.patch.object(protocol.Committer, '_removals',
                              removals_and_entries):
        yield


# --- 12, 13, 16


def clean_young(self: Any, entry: Any, table: Any, where: Any, row: Any
                ) -> None:
    if row is not None and row.version is not None:
        self.submit(lambda: self._remove(entry, row.version))


def read_index_once(self: Any, reads: Any) -> Any:
    return self.store.read_index(reads)


def remove_at_once(self: Any, run: Any, txid: bytes) -> None:
    removed = list(run.plan.index.removed)
    if removed:
        self.background.submit(
            lambda: self.store.remove_index(removed, micros(txid)))


@contextlib.contextmanager
def no_moves() -> Iterator[None]:
    with mock.patch.object(reader.Reader, '_fetch_moved',
                           lambda *a: None), \
            mock.patch.object(writes, 'moves', lambda h: []):
        yield


def act_without_looking_again(self: Any, todo: Any, states: Any, views: Any,
                              priority: Any) -> Any:
    young = _act(self, todo, states, views, priority)
    if priority is None:
        for place in young:
            views[place] = writes.old_view(todo[place])
    return young


_want = reader.Reader._want


def believe_hints(self: Any, access: Any, localities: Any) -> Any:
    """Look for the row where it was, and nowhere else."""
    want = _want(self, access, localities)
    if want.guesses:
        want.places, want.reads = want.guesses, []
    return want


def only_indexes_lead(wants: Any) -> None:
    for want in wants:
        want.alone = not want.reads


def take_twins(found: Any) -> list:
    return []


# --- what is read beside a turn

_send = beside.Beside.send


def keep_all(self: Any, *args: Any) -> list[Outcome]:
    outcomes = _send(self, *args)
    self.answered = True
    return outcomes


# --- 25


def confirm_before_entries(self: Any, run: Any, txid: bytes) -> bool:
    """Send entries with the locks also if parents are looked at."""
    groups = writes.by_group(run.intents)
    if len(groups) == 1 and not run.children:
        return _attempt(self, run, txid)
    self.ghost.attempt(self.logical, txid, self.changes)
    primary = self._primary(groups)
    self.references.confirm(run.later, run.priority, run.deadline)
    committed = self._several(run, txid, primary, groups, [
        *run.plan.index.added, writes.listing(primary, txid)])
    if committed:
        self._removals(run, txid)
    return committed


_join = references.References.join


def join_without_conditions(self: Any, schema: Any, plan: Any, checks: Any,
                            known: Any) -> Any:
    later = _join(self, schema, plan, checks, known)
    for place, intent in list(plan.intents.items()):
        if intent.check:
            del plan.intents[place]
    return later


def no_uniques(*args: Any) -> dict:
    return {}


COMMITTER = protocol.Committer
MUTATIONS = [
    Mutation('2: conditions ignore locks', prepare=ignore_locks),
    Mutation('3: one group settled by its version', _patched(
        settle.Settler, 'one', settle_one_by_version)),
    Mutation('3: a base not applied yet taken for gone', _patched(
        settle.Settler, '_verdict', verdict_without_base), start=2790),
    Mutation('4: several groups settled by a read', _patched(
        settle.Settler, 'several', settle_several_by_read)),
    Mutation('4: an unknown apply taken for applied', _patched(
        applier.Applier, '_apply', apply_once)),
    Mutation('5: aborted markers removed', _patched(
        resolve.Resolver, '_act', act_and_forget), start=2075),
    Mutation('6: committed markers vanish', prepare=lose_markers),
    Mutation('7: young markers removed, and histories too short', _patched(
        COMMITTER, '_refused', refused_without_history),
        prepare=young_markers, sweep=True),
    Mutation('9: losers clean their own entries', _patched(
        protocol_model.Committer, '_attempt', attempt_and_clean)),
    Mutation('9: readers clean by their own clock', _patched(
        indexes.Cleaner, 'stale', clean_by_own_clock)),
    Mutation('10: deletes forget the version', prepare=forget_tombstones),
    Mutation('10: entries written at the first attempt only', _patched(
        COMMITTER, '_enter', enter_once)),
    Mutation('11: equal microseconds', _patched(
        schedule.ScheduledClock, 'new_id', equal_times)),
    Mutation('11: ids by plain clocks', _patched(
        schedule.ScheduledClock, 'new_id', plain_time)),
    Mutation('11: a replay keeps its id', _patched(
        protocol_model.Committer, '_attempt', attempt_with_old_id)),
    Mutation('12: young stale entries cleaned', _patched(
        indexes.Cleaner, 'stale', clean_young), start=1860),
    Mutation('12: slow scans not repeated', _patched(
        reader.Reader, '_read_index', read_index_once), start=3405),
    Mutation('13: moves not followed', no_moves),
    Mutation('13: hints believed without their index', _patched(
        reader.Reader, '_want', believe_hints), hints=True),
    Mutation('13: rows of whole groups not followed', _patched(
        wave, 'mark_alone', only_indexes_lead), browse=True),
    Mutation('13: a row at two places taken for two', _patched(
        reader, '_twins', take_twins), browse=True),
    Mutation('read beside a turn that was refused', _patched(
        beside.Beside, 'send', keep_all), turns=True, start=200000),
    Mutation('16: the old value without another look', _patched(
        resolve.Resolver, '_act', act_without_looking_again), start=3755),
    Mutation('entries written after the commit', entries_after_commit),
    Mutation('entries removed without delay', _patched(
        COMMITTER, '_removals', remove_at_once)),
    Mutation('unique rows left out', _patched(
        changes.uniques, 'owned', no_uniques)),
    Mutation('25: children do not look at their parents again', _patched(
        references.References, 'confirm', lambda *a: None),
        kind='references'),
    Mutation('25: parents looked at before the entries are there', _patched(
        protocol_model.Committer, '_attempt', confirm_before_entries),
        kind='references'),
    Mutation('25: children to come are not superseded', _patched(
        references.References, '_supersede',
        lambda *a: references.Found(references.Children.NONE)),
        kind='references', start=1510),
    Mutation('25: parents go without a look for children', _patched(
        references, 'child_checks', lambda *a: []), kind='references'),
    Mutation('25: no condition on the parent in the same group', _patched(
        references.References, 'join', join_without_conditions),
        kind='references'),
    Mutation('25: hidden children do not write their parents', _patched(
        references.References, '_hidden', staticmethod(lambda c: False)),
        kind='references', start=7118),
]
