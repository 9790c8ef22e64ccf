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

"""Compare-and-set UPDATEs: their row counts are exact, and final.

Two transactions that compare and set one row can't both win.  A relational
database lets the second wait at its UPDATE and then tells it that no row
matched; services count on that (placement's generations, nova's expected
task states), for what comes out at COMMIT only is a DBDeadlock.
"""

from collections.abc import Iterable
import functools
from typing import TYPE_CHECKING

from luc_drivers.db import errors
from luc_drivers.db.catalog import address
from luc_drivers.db.planner.plan import Access
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Parameters
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.planner.plan import Plan
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.transaction import shared_turns
from luc_drivers.db.transaction import turns
from luc_drivers.db.transaction import wave
from luc_drivers.db.transaction.written import Step
from luc_drivers.db.workspace.functions import Draws
from luc_drivers.db.workspace.workspace import Outcome
from luc_drivers.db.workspace.workspace import Touch

if TYPE_CHECKING:
    from luc_drivers.db.transaction.statements import Transaction


class _Held:
    """Takes the turns of the rows that an UPDATE is about to change."""

    def __init__(self, run: 'Transaction', plan: Plan) -> None:
        self.run = run
        self.sql = plan.sql
        self.name = (plan.target or '').lower()
        self.turns = run.database.shared_turns
        self.deadline = self.turns.deadline()
        self.rows: list[StoredRow] = []
        self.matched = False

    def confirm(self, steps: list[Step]) -> bool:
        """Tell whether the rows are the latest, and kept from others."""
        run = self.run
        run.written.compares(s.touch for s in steps)
        rows = [
            run.loaded.stored(s.touch) for s in steps
            if s.before is not None and s.touch[0] == self.name]
        self.matched = bool(rows)
        self.rows = [
            row for row in rows if row is not None and
            (row.address.group, row.address.key) not in run.held]
        if not 0 < len(self.rows) <= shared_turns.MOST:
            return True
        beside = None
        if run.ahead is not None:
            beside = run.ahead.beside(self.sql)
        if not self.turns.take(run.holder, self.rows, beside):
            return False
        run.held.update((r.address.group, r.address.key) for r in self.rows)
        return True

    def pass_by(self, steps: list[Step]) -> bool:
        """Go on without turns."""
        self.run.written.compares(s.touch for s in steps)
        self.matched = any(s.before is not None for s in steps)
        return True

    def wait(self) -> bool:
        """Wait for the turns of the rows that `confirm` could not have.

        :returns: False: time is up.
        """
        if self.run.database.clock.monotonic() > self.deadline:
            return False
        return self.turns.wait(self.run.holder, self.rows, self.deadline)


def run(transaction: 'Transaction', plan: Plan, parameters: Parameters,
        draws: Draws, restart: bool = True) -> Outcome:
    """Run a compare-and-set on the latest committed rows.

    As at a relational database's row lock: the UPDATE of a row that others
    have changed since this transaction read it finds that it does not match
    any more, and says 0 rows; that of a row which it does change is not
    overtaken by another compare-and-set before the transaction ends.

    :raises Refused: it still matches rows that others have changed since
        they were read: to write them now would lose what others wrote
        (first committer wins).
    """
    name = (plan.target or '').lower()
    # in its turn, a row that is first read now is the latest
    keyed = _in_turn(transaction, plan.waves[:1], name, parameters)
    stale = keyed if transaction.loaded.rows(name) else []
    known = _known(transaction, plan, parameters, name)
    transaction.fetch_waves(plan, parameters)
    stale += _in_turn(transaction, plan.waves[1:], name, parameters)
    changed: set[Touch] = set()
    if transaction.alone or not (keyed or stale):
        if stale:
            changed |= transaction.refresh(stale)
        outcome = _last(transaction, plan, parameters, draws, restart)
        if known and not outcome.changes:
            # what did not match may be outdated
            newer = transaction.refresh(
                known, _found(transaction, known, name))
            changed |= newer
            if newer:
                outcome = _last(transaction, plan, parameters, draws, restart)
        _follows(transaction, name)
    else:
        outcome = _held(transaction, plan, parameters, draws, restart,
                        keyed + [a for a in stale if a not in keyed],
                        bool(stale), changed)
    if any(touch in transaction.written for touch in changed):
        raise errors.Refused(
            f'a row of {plan.target} was changed by others before this '
            'transaction set it')
    if changed and not outcome.changes:
        transaction.renew()
    return outcome


def _last(transaction: 'Transaction', plan: Plan, parameters: Parameters,
          draws: Draws, restart: bool) -> Outcome:
    """Run the UPDATE; the commit decides who was first."""
    outcome = transaction.write_rows(
        plan, [parameters], draws, restart,
        _Held(transaction, plan).pass_by)
    assert outcome is not None
    return outcome


def _known(transaction: 'Transaction', plan: Plan, parameters: Parameters,
           name: str) -> list[BoundAccess]:
    """Return how to read the rows of an UPDATE that looks them up by a
    unique key and finds them read already.

    Those that were read with the turn of an earlier compare-and-set are put
    into the workspace first.
    """
    if transaction.alone or len(plan.waves) != 1:
        return []
    bound = [access.bind(parameters, transaction.workspace.query)
             for access in plan.waves[0]]
    if not all(one.path is Path.INDEX and one.unique and
               one.table.name.lower() == name for one in bound):
        return []
    ahead = transaction.ahead
    if ahead is not None:
        for one in bound:
            transaction.loaded.load(one.table, [
                row for place, found in ahead.since_turn(one.table.number)
                if (row := wave.stored(one.table, place, found)) is not None])
    if any(transaction.fetched.left(one) is not None for one in bound):
        return []
    return bound


def _found(transaction: 'Transaction', known: Iterable[BoundAccess],
           name: str) -> list[StoredRow]:
    """Return the loaded rows that look-ups by unique keys find."""
    rows = transaction.loaded.rows(name).values()
    return [row for one in known for row in rows if address.pick(
        one.table, one.key_columns, row.values) in map(
            functools.partial(address.fold, one.table, one.key_columns),
            one.keys)]


def _follows(transaction: 'Transaction', name: str) -> None:
    """Note which rows were needed: for what is read with the turn before."""
    rows = transaction.loaded.rows(name).values()
    if transaction.ahead is not None and len(rows) <= shared_turns.MOST:
        transaction.ahead.used(
            [(row.address.group, row.address.key) for row in rows], ())


def _held(transaction: 'Transaction', plan: Plan, parameters: Parameters,
          draws: Draws, restart: bool, keyed: list[BoundAccess], stale: bool,
          changed: set[Touch]) -> Outcome:
    """Run the UPDATE; it changes only rows whose turns are taken.

    :param keyed: how to read its rows anew.
    :param stale: some of them were read some time ago.
    :param changed: gets the rows that others have changed since.
    """
    held = _Held(transaction, plan)
    confirm = held.confirm
    while True:
        outcome = transaction.write_rows(
            plan, [parameters], draws, restart, confirm)
        if outcome is None:
            if not held.wait():
                # too long: the commit decides who was first
                confirm = held.pass_by
        elif held.matched or not stale:
            return outcome
        # what was refused, or did not match, may be outdated
        stale = False
        newer = transaction.refresh(
            keyed, held.rows if outcome is None else ())
        changed |= newer
        if outcome is not None and not newer:
            return outcome


def _in_turn(transaction: 'Transaction', waves: Iterable[Iterable[Access]],
             name: str, parameters: Parameters) -> list[BoundAccess]:
    """Wait for the turn at a table's rows that are read by key.

    :returns: how to read them.
    """
    bound = [access.bind(parameters, transaction.workspace.query)
             for wave in waves for access in wave
             if access.table.name.lower() == name]
    found = [b for b in bound if b.path is Path.ROW and b.keys]
    for access in found:
        for key in sorted(access.keys, key=repr):
            transaction.take_turn((access.table.number, key), turns.WAIT)
    return found
