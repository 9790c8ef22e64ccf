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

"""Mends what a check found, by the rules of the commit protocol.

Every write of a row has a condition, every index entry its row's timestamp:
a repair may run beside transactions.  What only an operator can decide
(which of two rows with one key is right?) is left alone.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from luc_drivers.db import document
from luc_drivers.db.rows import Address
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.tools import check
from luc_drivers.db.tools import walk
from luc_drivers.db.tools.check import Finding
from luc_drivers.db.tools.check import Kind
from luc_drivers.db.transaction import sweeper
from luc_drivers.db.transaction import writes
from luc_drivers.db.transaction.changes import rebase
from luc_drivers.db.transaction.clock import micros

if TYPE_CHECKING:
    from luc_drivers.db.engine import Database

#: what an operator has to decide
ADVICE = {
    Kind.DUPLICATE: 'delete or change one of the rows (luc db sql --write)',
    Kind.ORPHAN: 'delete the row, or make its parent (luc db sql --write)',
    Kind.MISPLACED: 'dump the database and load it anew',
    Kind.DAMAGED: 'restore the row from a backup',
}


def repair(database: 'Database', finding: Finding) -> tuple[bool, str]:
    """Mend one finding.

    :returns: whether it is mended, and what was done or is to be done.
    :raises StoreUnavailable: from the store.
    """
    advice = ADVICE.get(finding.kind)
    if advice:
        return False, advice
    return _REPAIRS[finding.kind](database, finding)


def _changed() -> tuple[bool, str]:
    return False, 'the row was changed meanwhile: check again'


def _missing_entry(database: 'Database', finding: Finding
                   ) -> tuple[bool, str]:
    entry = finding.entry
    assert entry is not None and finding.version is not None
    database.store.put_index([entry], micros(finding.version))
    if check.is_there(database.store, entry):
        return True, 'entry written'
    # a removal later than the row hides it: the row gets a later version
    place = finding.place
    row = database.reader.resolver.views([place])[place]
    if row is None or row.version != finding.version:
        return _changed()
    txid = database.clock.new_id([row.version])
    database.store.put_index([entry], micros(txid))
    intent = writes.Intent(*place, Expect.VERSION, row.version, row.history,
                           document=row.document)
    if not _write(database, intent, txid):
        return _changed()
    return True, 'entry and row written'


def _stale_entry(database: 'Database', finding: Finding
                 ) -> tuple[bool, str]:
    assert finding.entry is not None
    if finding.version is not None:
        # at this time the row lacked the value (rule 9)
        database.store.remove_index([finding.entry], micros(finding.version))
        return True, 'entry removed'
    done = _bury(database, finding)
    if done is None:
        return _changed()
    database.store.remove_index([finding.entry], micros(done))
    return True, 'entry removed'


def _bury(database: 'Database', finding: Finding) -> bytes | None:
    """Give an absent row a tombstone; return its version.

    Who was about to insert the row is refused, and begins again later.
    """
    txid = database.clock.new_id()
    tomb = writes.Intent(*finding.place, Expect.ABSENT)
    return txid if _write(database, tomb, txid) else None


def _write(database: 'Database', intent: writes.Intent,
           txid: bytes) -> bool:
    write = writes.change(intent, txid, database.limits.tombstone_ttl)
    outcome, = database.store.write([writes.batch(intent.group, write)])
    return outcome is Outcome.APPLIED


def _lacking_uniques(database: 'Database', finding: Finding
                  ) -> list[tuple[writes.Intent, bytes]]:
    """Return the intents of the unique rows that the owner lacks."""
    resolver = database.reader.resolver
    owner = resolver.views([finding.place])[finding.place]
    if owner is None or owner.document is None or owner.version is None:
        return []
    values, _ = document.decode(owner.document)
    table = database.catalog.current().table(finding.table)
    if table is None:
        return []
    found = []
    for place, ref, needed in walk.wanted_uniques(
            table, values, Address(*finding.place)):
        row = resolver.views([place])[place]
        if needed and (row is None or row.document is None):
            intent = writes.Intent(
                *place, Expect.ABSENT, document=ref, fresh=True,
                label=finding.table)
            rebase(intent, row)
            found.append((intent, owner.version))
    return found


def _missing_unique(database: 'Database', finding: Finding
                    ) -> tuple[bool, str]:
    for intent, version in _lacking_uniques(database, finding):
        txid = database.clock.new_id([version, intent.expected])
        if not _write(database, intent, txid):
            return _changed()
    return True, 'unique row written'


def _stale_unique(database: 'Database', finding: Finding
                  ) -> tuple[bool, str]:
    place = finding.place
    row = database.reader.resolver.views([place])[place]
    if row is None or row.version != finding.version:
        return _changed()
    intent = writes.Intent(*place, Expect.VERSION, row.version, row.history)
    if not _write(database, intent, database.clock.new_id([row.version])):
        return _changed()
    return True, 'unique row removed'


def _old_lock(database: 'Database', finding: Finding) -> tuple[bool, str]:
    deadline = database.clock.monotonic() + 3 * database.limits.lock_age
    database.reader.resolver.unlocked(
        [finding.place], database.clock.new_id(), deadline)
    return True, 'transaction finished or undone'


def _old_marker(database: 'Database', finding: Finding
                ) -> tuple[bool, str]:
    group, key = finding.place
    cleaner = sweeper.Sweeper(database.store, database.clock,
                              database.reader.resolver, database.limits)
    if not cleaner.end(group, key.pk):
        return False, 'its rows can not be reached now: try again'
    return True, 'rows applied, marker removed'


def _leftover(database: 'Database', finding: Finding) -> tuple[bool, str]:
    if finding.entry is not None:
        # nobody writes entries of this index any more
        database.store.remove_index([finding.entry], database.clock.now())
        return True, 'entry removed'
    assert finding.version is not None
    intent = writes.Intent(*finding.place, Expect.VERSION, finding.version)
    txid = database.clock.new_id([finding.version])
    if not _write(database, intent, txid):
        return _changed()
    return True, 'row removed'


_REPAIRS: dict[Kind, Callable[['Database', Finding], tuple[bool, str]]] = {
    Kind.MISSING_ENTRY: _missing_entry,
    Kind.STALE_ENTRY: _stale_entry,
    Kind.MISSING_UNIQUE: _missing_unique,
    Kind.STALE_UNIQUE: _stale_unique,
    Kind.OLD_LOCK: _old_lock,
    Kind.OLD_MARKER: _old_marker,
    Kind.LEFTOVER: _leftover,
}
