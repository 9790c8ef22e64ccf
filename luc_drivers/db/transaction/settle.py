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

"""What became of a commit whose batch got no answer.

It is settled by a conditional write of our own, never by a read alone: what
was sent may still be carried out (rules 3 and 4 of the design's
database-rules).
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import logging

from luc_drivers.db import errors
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import Row
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.bounds import Bounds
from luc_drivers.db.transaction.clock import Clock
from luc_drivers.db.transaction.clock import micros
from luc_drivers.db.transaction.hooks import step
from luc_drivers.db.transaction.resolve import Resolver
from luc_drivers.db.transaction.writes import Intent
from luc_drivers.db.transaction.writes import State

LOG = logging.getLogger(__name__)


class Settler:
    """Finds out whether a commit took.  Thread-safe."""

    def __init__(self, store: Store, clock: Clock, resolver: Resolver,
                 bounds: Bounds) -> None:
        self.store = store
        self.clock = clock
        self.resolver = resolver
        self.bounds = bounds

    def one(self, intents: Sequence[Intent], txid: bytes) -> bool:
        """Find out what became of a one-group batch (rules 3 and 4).

        A row of the batch tells: our id is in its history → committed; it
        was written by another → never; it is as before → we write it anew
        without a change, after which our batch can't apply any more.

        :param intents: if it was not carried out, they are based on what is
            there now.
        :raises OutcomeUnknown: it could not be found out in time.
        """
        intent = next(i for i in intents if not i.check)
        place = (intent.group, intent.key)
        deadline = self.clock.monotonic() + self.bounds.settle
        for _ in self._tries(deadline):
            try:
                row = self.resolver.rows([place], serial=True)[place]
                step('one:settle-read')
                verdict = self._verdict(intent, row, txid)
                if verdict is not None:
                    return verdict
                if row is not None and row.lock is not None:
                    self.resolver.resolve({place: row}, txid, deadline)
                elif self._fence_one(intent, row, txid):
                    return False
            except errors.StoreUnavailable as error:
                LOG.debug('Settling a commit: %s', error)
            except errors.Refused as error:
                # the lock was not gone by the deadline
                LOG.debug('Settling a commit: %s', error)
        raise self._late(intents)

    def _verdict(self, intent: Intent, row: Row | None, txid: bytes
                 ) -> bool | None:
        """Tell whether a row shows its batch committed; None = not yet."""
        base = None if intent.expect is Expect.ABSENT else intent.expected
        if base is not None and row is not None and (
                row.lock is not None and row.lock.txid == base):
            # we read it as committed, but it isn't applied yet
            return None
        if row is None or row.version is None:
            # if we had written it, it were there
            return None if base is None else False
        if txid in row.history:
            return True
        if row.version == base:
            return None
        if not row.history or micros(row.history[0]) > micros(txid):
            raise self._unknown(
                [intent], 'the row was written so often since then that its '
                'history does not reach back')
        return False

    def _fence_one(self, intent: Intent, row: Row | None, txid: bytes
                   ) -> bool:
        """Write a row anew, unchanged, so that its old version is gone.

        If that worked, the intent is based on the new version.
        """
        seen = [txid]
        if row is None or row.version is None:
            same = Intent(intent.group, intent.key, Expect.ABSENT)
        else:
            seen.append(row.version)
            same = Intent(intent.group, intent.key, Expect.VERSION,
                          row.version, row.history, row.document,
                          row.moved_to)
        version = self.clock.new_id(seen)
        write = writes.change(same, version, self.bounds.tombstone_ttl)
        outcome = self.store.write([writes.batch(intent.group, write)])[0]
        step('one:settle-fenced')
        if outcome is not Outcome.APPLIED:
            return False
        intent.expect, intent.expected = Expect.VERSION, version
        intent.history = write.history
        return True

    def several(self, outcome: Outcome, primary: Group, txid: bytes,
                intents: Iterable[Intent]) -> bool:
        """Find out whether the marker is there (rules 4 and 7).

        A refusal is looked at, too: the batch may have been carried out
        through somebody else's ballot before ours came back.

        :param outcome: of the primary group's batch.
        :raises OutcomeUnknown: it could not be found out in time.
        """
        if outcome is Outcome.APPLIED:
            return True
        name = (primary, txid)
        refused = outcome is Outcome.REFUSED
        for _ in self._tries(self.clock.monotonic() + self.bounds.settle):
            try:
                if not refused:
                    refused = self.resolver.fence([name])[0] is (
                        Outcome.APPLIED)
                    step('several:settle-fenced')
                state = self.resolver.states([name])[name]
                step('several:settle-read')
                if state is not None or refused:
                    return state is State.COMMITTED
            except errors.StoreUnavailable as error:
                LOG.debug('Settling a commit: %s', error)
        raise self._late(intents)

    def _tries(self, deadline: float) -> Iterator[None]:
        """Yield until a time, by the clock's monotonic(), with pauses."""
        pause = self.bounds.wound_after
        while self.clock.monotonic() < deadline:
            yield
            self.clock.sleep(pause * self.clock.jitter())
            pause = min(pause * 1.5, 1.0)

    def _late(self, intents: Iterable[Intent]) -> errors.OutcomeUnknown:
        return self._unknown(intents, 'it could not be found out within '
                             f'settle_timeout = {self.bounds.settle:g} s')

    def _unknown(self, intents: Iterable[Intent], why: str
                 ) -> errors.OutcomeUnknown:
        tables = sorted({i.label for i in intents if i.label})
        return errors.OutcomeUnknown(
            f'a commit that changes {", ".join(tables) or "rows"} was sent '
            f'to {self.store.settings.url or "the store"}, and whether it '
            f'took is not known: {why}')
