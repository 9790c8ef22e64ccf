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

"""Rows of the embedded store: their SQL, reading and binding them."""

from collections.abc import Sequence
import time
from typing import Any

import apsw

from luc_drivers.db.store import base
from luc_drivers.db.store import codec

_READ = ('SELECT tbl, pk, ver, doc, hist, moved, expires, lock_tx, lock '
         'FROM rows WHERE loc = ?1 AND grp = ?2 AND tbl ')
_READ_ALL = f'{_READ} < {base.MARKER_TABLE} ORDER BY tbl, pk'
_READ_TABLE = _READ + '= ?3 ORDER BY pk'
_READ_ROW = _READ + '= ?3 AND pk = ?4'
#: rows that one statement reads; fewer than _FEW are read one by one
_FEW, _SOME, _MANY = 3, 16, 128
# by the number of rows: texts that SQLite's cache of statements knows
_READ_SINGLES = {size: (
    'SELECT w.column1, tbl, pk, ver, doc, hist, moved, expires, lock_tx, lock'
    ' FROM (VALUES ' + ', '.join(['(?, ?, ?, ?, ?)'] * size) + ') AS w'
    ' CROSS JOIN rows ON loc = w.column2 AND grp = w.column3'
    ' AND tbl = w.column4 AND pk = w.column5')
    for size in (_SOME, _MANY)}

# ?1 to ?4 address the row, ?5 is what is expected (a version or txid) and ?6
# the time now; ?7… are the new values.
_HERE = ' WHERE loc = ?1 AND grp = ?2 AND tbl = ?3 AND pk = ?4'
_IF_VERSION = (_HERE + ' AND ver = ?5 AND lock_tx IS NULL'
               ' AND (expires IS NULL OR expires > ?6)')
_IF_LOCKED = _HERE + ' AND lock_tx = ?5'
_IF_ABSENT = (' WHERE lock_tx IS NULL AND ?5 IS NULL'
              ' AND (ver IS NULL OR expires <= ?6)')
_STATE = 'ver = ?7, doc = ?8, hist = ?9, moved = ?10, expires = ?11'
_UNLOCK = 'lock_tx = NULL, lock = NULL'
_LOCK = 'lock_tx = ?7, lock = ?8'
WRITE = {
    (base.Expect.ABSENT, 'state'):
        'INSERT INTO rows (loc, grp, tbl, pk, ver, doc, hist, moved, expires)'
        ' VALUES (?1, ?2, ?3, ?4, ?7, ?8, ?9, ?10, ?11)'
        f' ON CONFLICT DO UPDATE SET {_STATE}{_IF_ABSENT}',
    (base.Expect.ABSENT, 'prepare'):
        'INSERT INTO rows (loc, grp, tbl, pk, lock_tx, lock)'
        ' VALUES (?1, ?2, ?3, ?4, ?7, ?8) ON CONFLICT DO UPDATE SET'
        f' ver = NULL, doc = NULL, hist = NULL, moved = NULL, expires = NULL,'
        f' {_LOCK}{_IF_ABSENT}',
    (base.Expect.VERSION, 'state'):
        f'UPDATE rows SET {_STATE}{_IF_VERSION}',
    (base.Expect.VERSION, 'prepare'):
        f'UPDATE rows SET {_LOCK}{_IF_VERSION}',
    (base.Expect.VERSION, 'erase'): f'DELETE FROM rows{_IF_VERSION}',
    (base.Expect.LOCKED, 'state'):
        f'UPDATE rows SET {_STATE}, {_UNLOCK}{_IF_LOCKED} AND ?6',
    (base.Expect.LOCKED, 'unlock'):
        f'UPDATE rows SET {_UNLOCK}{_IF_LOCKED} AND ?6',
    (base.Expect.LOCKED, 'erase'): f'DELETE FROM rows{_IF_LOCKED} AND ?6',
}
DROP_EMPTY = (f'DELETE FROM rows{_HERE} AND lock_tx IS NULL'
               ' AND (ver IS NULL OR expires <= ?5)')


def new_values(write: base.RowWrite, kind: str,
                now: float) -> tuple[Any, ...]:
    """Return the values for ?7 and following of a write's statement."""
    if write.prepare is not None:
        return write.prepare.txid, codec.pack_lock(write.prepare)
    if kind == 'state':
        return (write.version, write.document, codec.pack_ids(write.history),
                write.moved_to if write.document is None else None,
                None if write.ttl is None else now + write.ttl)
    return ()


def read(sqlite: apsw.Connection, reads: Sequence[base.GroupRead]
         ) -> list[list[base.Row]]:
    """Read groups, as `base.Store.read`."""
    if len(reads) > _FEW and all(
            r.pks is not None and len(r.pks) == 1 for r in reads):
        return _read_singles(sqlite, reads)
    return [_read(sqlite, one) for one in reads]


def _read(sqlite: apsw.Connection, read: base.GroupRead) -> list[base.Row]:
    group = (read.group.locality, read.group.key)
    found: list[Any]
    if read.pks is not None:
        table, = read.tables
        found = []
        for pk in sorted(set(read.pks)):
            found += sqlite.execute(_READ_ROW, (*group, table, pk)).fetchall()
    elif read.tables:
        found = []
        for table in sorted(set(read.tables)):
            found += sqlite.execute(_READ_TABLE, (*group, table)).fetchall()
    else:
        found = sqlite.execute(_READ_ALL, group).fetchall()
    return _rows(found)


def _read_singles(sqlite: apsw.Connection, reads: Sequence[base.GroupRead]
                  ) -> list[list[base.Row]]:
    """Read many single rows of as many groups, by few statements."""
    results: list[list[base.Row]] = [[] for _ in reads]
    at = 0
    while at < len(reads):
        size = _MANY if len(reads) - at > _SOME else _SOME
        parameters: list[Any] = []
        for number, one in enumerate(reads[at:at + size], at):
            assert one.pks is not None
            parameters += (number, one.group.locality, one.group.key,
                           one.tables[0], one.pks[0])
        # NULLs are equal to nothing
        parameters += [None] * (5 * size - len(parameters))
        found: Any = sqlite.execute(
            _READ_SINGLES[size], parameters).fetchall()
        for number, *row in found:
            results[number] = _rows([row])
        at += size
    return results


def _rows(found: list[Any]) -> list[base.Row]:
    rows = []
    row: Any
    for row in found:
        tbl, pk, ver, doc, hist, moved, expires, lock_tx, lock = row
        if expires is not None and expires <= time.time():
            ver = doc = hist = moved = None
            if lock_tx is None:
                continue
        rows.append(base.Row(
            base.RowKey(tbl, pk), ver, doc, codec.unpack_ids(hist),
            None if lock_tx is None else codec.unpack_lock(lock_tx, lock),
            moved))
    return rows
