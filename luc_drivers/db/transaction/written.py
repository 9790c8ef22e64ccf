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

"""Rows that a transaction has written or locked, and their values now.

SQLite's update hook tells which rows a statement touched; what it is silent
about (REPLACE, a DELETE of all rows, an UPDATE of the rowid) is found by
looking which rows are gone.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import itertools
from typing import Any

from luc_drivers.db import errors
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import Kind
from luc_drivers.db.planner.plan import Plan
from luc_drivers.db.rows import RowChange
from luc_drivers.db.transaction.loaded import Loaded
from luc_drivers.db.workspace.workspace import Touch


@dataclasses.dataclass(slots=True)
class Step:
    """A row that a statement wrote, before and after it.

    :ivar before: {column number: value}; None if there was no such row.
    :ivar moved: an UPDATE gave the row another rowid: its values there.
    """

    table: Table
    touch: Touch
    before: dict[int, Any] | None
    after: dict[int, Any] | None
    moved: dict[int, Any] | None = None


class Written:
    """Rows written, in the order of their first writes."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.schema = loaded.schema
        self.workspace = loaded.workspace
        self._images: dict[Touch, dict[int, Any] | None] = {}
        # every write, in order; a row may be written several times
        self._writes: list[Touch] = []
        self._compared: set[Touch] = set()

    def __len__(self) -> int:
        return len(self._images)

    def __contains__(self, touch: object) -> bool:
        return touch in self._images

    def first(self, count: int) -> Iterator[Touch]:
        """Yield the rows that were written first."""
        return itertools.islice(self._images, count)

    @property
    def writes(self) -> int:
        """How often a row was written, for `cut`."""
        return len(self._writes)

    def cut(self, count: int, writes: int) -> None:
        """Forget all but the rows that were written first, after what
        followed them was undone.

        :param writes: how many there had been then.
        """
        while len(self._images) > count:
            self._images.popitem()
        for touch in dict.fromkeys(self._writes[writes:]):
            if touch in self._images:
                self._images[touch] = self._read(touch)
        del self._writes[writes:]

    def lock(self, touch: Touch) -> None:
        """Note a row that the commit writes as it is (rule 21)."""
        if touch not in self._images:
            self._images[touch] = self._read(touch)
            self._writes.append(touch)

    def compares(self, touches: Iterable[Touch]) -> None:
        """Note rows that the caller writes because they are as it says."""
        self._compared.update(touches)

    def _read(self, touch: Touch) -> dict[int, Any] | None:
        name, rowid = touch
        values = self.workspace.read(name, rowid)
        if values is None:
            return None
        return dict(zip(self.workspace.layout(name).numbers, values))

    def _before(self, touch: Touch) -> dict[int, Any] | None:
        """Return a row as it was before the statement now recorded."""
        if touch in self._images:
            return self._images[touch]
        row = self.loaded.stored(touch)
        return None if row is None else row.values

    def record(self, touches: Iterable[Touch]) -> list[Step]:
        """Return, and note, what has become of rows that were touched."""
        steps = []
        for touch in touches:
            before, after = self._before(touch), self._read(touch)
            if before is None and after is None:
                continue
            self._images[touch] = after
            self._writes.append(touch)
            steps.append(Step(
                self.schema.tables[touch[0]], touch, before, after))
        return steps

    def steps(self, plan: Plan) -> list[Step]:
        """Return, and note, what a statement that has just run has written.
        """
        touches = self.workspace.take_touches()
        target = (plan.target or '').lower()
        if target not in self.schema.tables:
            # a temporary table
            return self.record(touches)
        silent = plan.replaces or (plan.kind is Kind.DELETE and not touches)
        if plan.kind is Kind.UPDATE and self.schema.tables[
                target].rowid_column:
            # an UPDATE of the rowid tells the new one only
            silent = silent or any(
                self._before(t) is None for t in touches)
        if silent and target:
            touches += self._vanished(target, touches)
        steps = self.record(touches)
        if plan.replaces and plan.kind is Kind.INSERT:
            # the row in place was deleted, with what follows from that
            return [part for s in steps for part in (
                (dataclasses.replace(s, after=None),
                 dataclasses.replace(s, before=None))
                if s.before is not None and s.after is not None else (s,))]
        if silent and plan.kind is Kind.UPDATE:
            gone = [s for s in steps if s.after is None]
            came = [s for s in steps if s.before is None]
            if len(gone) == len(came):
                # SQLite moves them in this order
                for old, new in zip(gone, came):
                    old.moved = new.after
        return steps

    def _vanished(self, name: str, touches: Iterable[Touch]) -> list[Touch]:
        """Return rows that are gone without having been reported."""
        there = {(name, rowid) for rowid in self.workspace.rowids(name)}
        reported = set(touches)
        known = {(name, rowid): None for rowid in self.loaded.rows(name)}
        known.update({t: None for t in self._images if t[0] == name})
        return [t for t in known if t not in there and t not in reported and
                self._before(t) is not None]

    def changes(self) -> list[RowChange]:
        """Return the rows to be written.

        :raises Refused: others have changed one since it was first read
            (first committer wins).
        """
        drawn = self.workspace.functions.drawn
        found = []
        for touch, image in self._images.items():
            name, rowid = touch
            old = self.loaded.stored(touch)
            if old is None and image is None:
                continue
            table = self.schema.tables[name]
            if old is not None and touch not in self._compared and (
                    self.loaded.is_outdated(old)):
                raise errors.Refused(
                    f'a row of {table.name} was changed by others after '
                    'this transaction had read it')
            new = image
            if image is not None and old is not None:
                # also columns that only a newer catalog knows
                new = {**old.values, **image}
            own = table.rowid_column is not None
            found.append(RowChange(
                table, old, new,
                generated=own and touch in drawn,
                created=rowid if not own and old is None and
                ('', rowid) in drawn else None))
        return found
