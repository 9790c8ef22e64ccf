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

"""Fills a new index, and empties a dropped table, under live traffic.

Rule 26, after F1 (Rae et al., "Online, Asynchronous Schema Change in F1",
VLDB 2013): an index is first *write-only*.  When every process that may
write knows it, the rows that were there before get their entries; then it is
public.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import itertools
import logging
import time
from typing import Any
from typing import Protocol

from luc_drivers.db import errors
from luc_drivers.db import keys
from luc_drivers.db.catalog import address
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Guard
from luc_drivers.db.catalog.schema import Index
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.rows import RowChange
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction.clock import micros

LOG = logging.getLogger(__name__)

#: seconds between looks at who still has a lease
POLL = 1.0
#: rows whose entries are written, or which are deleted, at once
CHUNK = 100


class Rows(Protocol):
    """Reads committed rows: transaction.reader.Reader."""

    def rows(self, schema: Schema, accesses: Sequence[BoundAccess],
             localities: Sequence[str]) -> list[list[StoredRow]]:
        """Fetch rows."""


class Commits(Protocol):
    """Commits changes: transaction.protocol.Committer."""

    def commit(self, schema: Schema, changes: list[RowChange],
               *args: Any, **kwargs: Any) -> bytes | None:
        """Commit changes of rows."""


class Services(Protocol):
    """What the catalog needs of a session to change tables with rows."""

    reader: Rows
    committer: Commits

    def untouched(self, table: int) -> bool:
        """Tell, without looking, that a table (its number) has no rows."""

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[
            tuple[Any, ...]]:
        """Run a SELECT on committed rows, in a transaction of its own."""


def localities(store: Store, table: Table) -> list[str]:
    """Return the localities in which a table may have rows."""
    if table.locality == address.GLOBAL:
        return [address.GLOBAL]
    sites = dict.fromkeys(
        [store.settings.site, *(s for s, _ in store.settings.replication)])
    return [address.locality(table, site) for site in sites]


def may_have_rows(store: Store, table: Table) -> bool:
    """Tell, by one cheap read, whether a table may have rows."""
    where = localities(store, table)
    if not table.grouping.columns:
        groups = store.read([
            GroupRead(Group(place, address.group_key(table, ())),
                      (table.number,)) for place in where])
        return any(groups)
    scan = table.scan_index
    if scan is None:
        return True
    return any(store.read_index([
        IndexRead(place, table.number, scan.number, b'', scan.buckets)
        for place in where]))


def has_rows(store: Store, services: Services | None,
             table: Table) -> bool:
    """Tell whether a table has committed rows."""
    if services is not None and services.untouched(table.number):
        return False
    if not may_have_rows(store, table):
        return False
    if services is None:
        return True
    return bool(services.query(
        'SELECT 1 FROM %s LIMIT 1' % sqltext.quote(table.name)))


def await_writers(store: Store, holder: str, seconds: float,
                  what: str,
                  sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until no process can write by an older catalog any more.

    :param holder: this process's lease, which does not count.
    :param seconds: after which every process knows the newest entry of the
        log or has stopped writing. Who has no lease any more has stopped
        before: leases outlast what is allowed without reading the log.
    """
    others = store.leases() - {holder}
    if not others:
        return
    LOG.info('%s: waiting up to %d s until the %d other processes that use '
             'database %s know it', what, seconds, len(others),
             store.database)
    waited = 0.0
    while others and waited < seconds:
        sleep(POLL)
        waited += POLL
        # those that came since have read the log after our entry
        others &= store.leases()


def rows_of(store: Store, services: Services, schema: Schema,
            table: Table) -> list[StoredRow]:
    """Return all committed rows of a table."""
    return services.reader.rows(
        schema, [BoundAccess(table, Path.SCAN, [])],
        localities(store, table))[0]


def fill(store: Store, services: Services, schema: Schema, before: Table,
         table: Table, indexes: Sequence[Index]) -> None:
    """Give the rows that a table has their entries in new indexes.

    :param before: the table without these indexes.
    :raises IntegrityError: two rows share the key of a new unique index.
    """
    guarded = any(i.guard in (Guard.GROUP, Guard.OWN) for i in indexes)
    rows = rows_of(store, services, schema, before)
    for index in indexes:
        if index.guard is not None:
            _check_unique(table, index, rows)
    for chunk in _chunks(rows):
        for row in chunk:
            # an entry as old as the row: whoever changes the row later
            # removes or replaces it with a later timestamp (rule 9)
            entries = [
                address.index_entry(table, index, row.values, row.address)
                for index in indexes if index.entries]
            if entries:
                store.put_index(entries, micros(row.version))
        if guarded:
            for row in chunk:
                _guard_row(services, schema, table, row)


def unique_error(table: Table, columns: Sequence[str]
                 ) -> errors.IntegrityError:
    """Return the error of rows that share a unique key."""
    return errors.IntegrityError('UNIQUE constraint failed: ' + ', '.join(
        '%s.%s' % (table.name, c) for c in columns))


def _check_unique(table: Table, index: Index,
                  rows: Iterable[StoredRow]) -> None:
    """Look for a duplicate among rows as the store has them.

    (A workspace obeys the new key already, and can't load duplicates.)
    """
    seen: set[bytes] = set()
    for row in rows:
        key = address.pick(table, index.unique_columns, row.values)
        if None in key:
            continue
        encoded = keys.encode(key)
        if encoded in seen:
            raise unique_error(table, index.unique_columns)
        seen.add(encoded)


def _guard_row(services: Services, schema: Schema, table: Table,
               row: StoredRow) -> None:
    """Make the unique rows of a row that was there before the key was."""
    try:
        services.committer.commit(
            schema, [RowChange(table, row, dict(row.values))])
    except errors.Refused:
        # somebody else wrote the row meanwhile, and knows the key: the
        # duplicate, if it is one, is refused there or found here
        LOG.debug('A row of %s changed while its key was filled', table.name)


def purge(store: Store, services: Services, schema: Schema,
          table: Table) -> None:
    """Delete the rows and entries of a table that the catalog has dropped.

    The table's number is never used again: what a late writer may leave
    behind is never seen.

    :param schema: one in which the table still is.
    """
    for chunk in _chunks(rows_of(store, services, schema, table)):
        for row in chunk:
            try:
                services.committer.commit(
                    schema, [RowChange(table, row, None)],
                    check_references=False)
            except errors.Refused:
                LOG.debug('A row of dropped table %s is being written; it '
                          'stays as garbage', table.name)


def _chunks(rows: list[StoredRow]) -> Iterable[list[StoredRow]]:
    left = iter(rows)
    while chunk := list(itertools.islice(left, CHUNK)):
        yield chunk
