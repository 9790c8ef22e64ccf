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

"""How a pool's listener reads one stripe of a notification log (rule D5).

Only bookkeeping: which entries were read, handed out, acknowledged, and
what is committed.  ``notifications`` drives it.
"""

from collections.abc import Iterable
import json
import typing as ty

from luc_drivers.messaging.matchmaker import base

#: Entries acknowledged beyond one that isn't: more stop the reading.
MAX_AHEAD = 5000


class Committed(ty.NamedTuple):
    """What a lease's state says."""

    low: int
    """All up to this position are done, save for late writes."""
    seen: tuple[tuple[int, str], ...]
    """Position and key of those done later than ``low`` - late window."""
    mark: str
    """Mark of the newest head, if all of it was done; else empty."""

    def dump(self) -> str:
        """Return it as text for the store."""
        return json.dumps({'low': self.low, 'seen': self.seen,
                           'mark': self.mark}, separators=(',', ':'))


def parse(state: str, start: int) -> Committed:
    """Return a committed state.

    :param start: where the pool starts, for a stripe never committed.
    """
    if not state:
        return Committed(start - 1, (), '')
    value = json.loads(state)
    return Committed(value['low'],
                     tuple((at, key) for at, key in value['seen']),
                     value['mark'])


def key_of(entry: base.LogEntry) -> str:
    """Return what tells an entry from others and from its requeued copies.

    It is stored with the leases: older and newer versions must agree.
    """
    return '%s:%d' % (entry.id[:16], entry.count)


class Stripe:
    """One stripe that is held, and what was read of it."""

    def __init__(self, lease: base.StripeLease, start: int,
                 window: int) -> None:
        """:param start: where the pool starts; nothing earlier is read.
        :param window: microseconds by which a write may come late.
        """
        self.number = lease.stripe
        self.owner = lease.owner
        self.start = start
        self.window = window
        done = parse(lease.state, start)
        self._known: dict[str, int] = {key: at for at, key in done.seen}
        self._done: dict[str, int] = dict(self._known)
        self._open: dict[str, int] = {}
        self.top = max([done.low, *self._known.values()])
        """Highest position read."""
        # Everything between ``low`` and ``top`` may be undone still.
        self._from = done.low
        self.buckets: set[int] = set()
        """Buckets that have entries still to be read."""
        self.listed = False
        """Whether ``buckets`` has those of before the lease."""
        self.lost = False
        """Whether the lease is gone: others may have the entries now."""
        self.backlog = False
        """Whether reading stopped before the end."""
        self.until = 0.0
        self.committed = 0.0
        self.mark = ''
        """Mark of the newest head when it was last read to the end."""
        self.read_at = float('-inf')
        """When that was."""
        self.changed = False
        """Whether there is anything to commit."""

    @property
    def since(self) -> int:
        """Lowest position to read: late writes included."""
        return max(self.start, min(self._from, self.top) - self.window)

    @property
    def front(self) -> int:
        """Position up to which everything was read."""
        return self._from

    @property
    def unfinished(self) -> int:
        """Number of entries that were read and not acknowledged."""
        return len(self._open)

    @property
    def crowded(self) -> bool:
        """Whether reading must wait for acknowledgements."""
        return bool(self._open) and len(self._done) > MAX_AHEAD

    def admit(self, entries: Iterable[base.LogEntry],
              pool: str) -> list[base.LogEntry]:
        """Take what was read; return those that are new for this pool."""
        new = []
        for entry in entries:
            key = key_of(entry)
            self.top = max(self.top, entry.position)
            if key in self._known:
                continue
            self._known[key] = entry.position
            self.changed = True
            if entry.pool in (None, pool):
                self._open[key] = entry.position
                new.append(entry)
            else:
                self._done[key] = entry.position
        return new

    def has_read(self, position: int) -> None:
        """Say that everything up to a position has been read."""
        self._from = max(self._from, position)

    def finish(self, entry: base.LogEntry) -> None:
        """An entry was acknowledged (or requeued, or couldn't be read)."""
        key = key_of(entry)
        at = self._open.pop(key, None)
        if at is not None:
            self._done[key] = at
            self.changed = True

    def commit(self, mark: str) -> Committed:
        """Return what to commit now, and forget what is no longer needed.

        :param mark: of the newest head if all of it was read.
        """
        low = min([self.top, self._from,
                   *(at - 1 for at in self._open.values())])
        horizon = low - self.window
        for table in (self._known, self._done):
            for key in [k for k, at in table.items()
                        if at < horizon and k not in self._open]:
                del table[key]
        self.changed = False
        return Committed(
            low, tuple(sorted((at, key) for key, at in self._done.items())),
            '' if self._open else mark)
