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

"""What all protocol tests share: processes, and looks into the store."""

import contextlib
import itertools
import os
from typing import Any

from luc_drivers.db.catalog import address
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import MARKER_TABLE
from luc_drivers.db.transaction import hooks
from luc_drivers.db.transaction import writes
from luc_drivers.testing import faulty_store
from tests.unit.db.transaction_fixtures import ManualClock
from tests.unit.db.transaction_fixtures import PassingClock
from tests.unit.db.transaction_fixtures import Process

_numbers = itertools.count(1)


def number() -> int:
    """Return a number that no test has drawn yet."""
    return next(_numbers)


class Crash(BaseException):
    """The process stops here."""


@contextlib.contextmanager
def crash_at(name: str) -> Any:
    """Stop whoever comes to this step; release of locks included."""
    def hook(step: str) -> None:
        if step == name:
            raise Crash

    with hooks.hooked(hook):
        try:
            yield
        except Crash:
            return
    raise AssertionError(f'nobody came to {name}')


@contextlib.contextmanager
def at_step(name: str, action: Any) -> Any:
    """Do something, once, when somebody comes to a step."""
    done: list[bool] = []

    def hook(step: str) -> None:
        if step == name and not done:
            done.append(True)
            action()

    with hooks.hooked(hook):
        yield
    if not done:
        raise AssertionError(f'nobody came to {name}')


class Contract:
    """Tests share a store: every key is drawn anew.

    ``self.store`` must be prepared; ``self.inner`` is it or what it wraps.
    """

    store: Any
    assertEqual: Any
    assertIsNone: Any
    assertIsNotNone: Any
    assertTrue: Any
    assertFalse: Any
    assertIn: Any
    assertNotIn: Any
    assertLess: Any
    assertGreater: Any
    assertRaises: Any
    assertLogs: Any
    assertRaisesRegex: Any

    def process(self, offset: float = 0.0, **more: Any) -> Process:
        """Return another process; all share one run of time."""
        clock = PassingClock(offset, self.time)
        return Process(self.faulty, clock, **more)

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.time = ManualClock()
        self.faulty = faulty_store.FaultyStore(self.store)
        self.p = self.process()
        self.q = self.process()

    def key(self, prefix: str = 'k') -> str:
        return f'{prefix}{os.getpid()}-{next(_numbers)}'

    # what lies in the store

    def raw(self, name: str, *key: Any) -> Any:
        table = self.p.table(name)
        if table.grouping.columns == table.key:
            key = (*key, *key)
        n = len(table.grouping.columns)
        group = Group(address.locality(table, 'site1'),
                      address.group_key(table, key[:n]))
        rows = self.store.read([GroupRead(
            group, (table.number,), (address.row_key(table, key[n:]),))])[0]
        return rows[0] if rows else None

    def markers(self, name: str, *key: Any) -> list[writes.Marker]:
        table = self.p.table(name)
        group = Group(address.locality(table, 'site1'),
                      address.group_key(table, key))
        rows = self.store.read([GroupRead(group, (MARKER_TABLE,))])[0]
        return [writes.read_marker(row) for row in rows]

    def entries(self, name: str, index: str, *key: Any) -> list[bytes]:
        """Return the refs in an index's slice, stale ones too."""
        table = self.p.table(name)
        access = self.p.access(name, Path.INDEX, key, index=index)
        want = self.p.reader._want(
            access, [address.locality(table, 'site1')])
        return [ref for found in self.store.read_index(want.reads)
                for _, ref in found]

    def item(self, v: Any = 'a', w: Any = 'w') -> str:
        k = self.key()
        self.p.commit(self.p.insert('items', k, v, w))
        return k

    def get(self, name: str, *key: Any) -> tuple | None:
        return self.q.values(self.q.get(name, *key))
