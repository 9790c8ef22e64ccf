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

"""The CQL that the Cassandra store sends."""

import itertools

from luc_drivers.db.store import base
from luc_drivers.db.store.base import Expect

_COLUMNS = 'tbl, pk, ver, doc, hist, moved, lock_tx, lock'
_SET = {'state': 'ver = ?, doc = ?, hist = ?, moved = ?',
        'prepare': 'lock_tx = ?, lock = ?',
        'unlock': 'lock_tx = null, lock = null'}
_IF = {Expect.ABSENT: 'ver = null AND lock_tx = null',
       Expect.VERSION: 'ver = ? AND lock_tx = null',
       Expect.LOCKED: 'lock_tx = ?'}


class Statements:
    """The CQL texts of one keyspace."""

    def __init__(self, keyspace: str) -> None:
        rows, idx = f'{keyspace}.rows', f'{keyspace}.idx'
        one = f'SELECT {_COLUMNS} FROM {rows} WHERE db = ? AND grp = ? AND '
        many = (f'SELECT grp, {_COLUMNS} FROM {rows} '
                'WHERE db = ? AND grp IN ? AND ')
        below = f'tbl < {base.MARKER_TABLE}'
        #: by (several groups, tables are named, primary keys are named)
        self.read = {
            (several, named, pks): start + (
                'tbl IN ? AND pk IN ?' if pks else
                'tbl IN ?' if named else below)
            for several, start in ((False, one), (True, many))
            for named, pks in ((False, False), (True, False), (True, True))}
        here = 'WHERE db = ? AND grp = ? AND tbl = ? AND pk = ?'
        self.write = {}
        for expect, kind in itertools.product(Expect, _SET):
            change = _SET[kind]
            if expect is Expect.LOCKED and kind == 'state':
                change += ', ' + _SET['unlock']
            self.write[expect, kind] = (
                f'UPDATE {rows} USING TTL ? SET {change} {here} '
                f'IF {_IF[expect]}')
        for expect in Expect:
            self.write[expect, 'erase'] = (
                f'DELETE FROM {rows} {here} IF {_IF[expect]}')
        self.fill = (f'UPDATE {rows} USING TIMESTAMP ? '
                     f'SET ver = ?, doc = ?, hist = ? {here}')
        slices = (f'SELECT first, rest, ref FROM {idx} WHERE db = ? '
                  'AND tbl = ? AND idx = ? AND first IN ? AND bucket IN ?')
        self.read_index = {
            (False, False): slices,
            (True, False): slices + ' AND rest >= ?',
            (False, True): slices + ' AND rest < ?',
            (True, True): slices + ' AND rest >= ? AND rest < ?'}
        #: one partition's first entries, from one end; both bounds given
        self.read_some = {
            descending: (
                f'SELECT first, rest, ref FROM {idx} WHERE db = ? '
                'AND tbl = ? AND idx = ? AND first = ? AND bucket = ? '
                'AND rest >= ? AND rest < ? ORDER BY rest '
                f'{"DESC" if descending else "ASC"} LIMIT ?')
            for descending in (False, True)}
        self.put_index = (
            f'INSERT INTO {idx} (db, tbl, idx, first, bucket, rest, ref) '
            'VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?')
        self.remove_index = (
            f'DELETE FROM {idx} USING TIMESTAMP ? WHERE db = ? AND tbl = ? '
            'AND idx = ? AND first = ? AND bucket = ? AND rest = ? '
            'AND ref = ?')
        self.catalog_read = (
            f'SELECT version, entry FROM {keyspace}.catalog '
            'WHERE db = ? AND version > ?')
        self.catalog_append = (
            f'INSERT INTO {keyspace}.catalog (db, version, entry) '
            'VALUES (?, ?, ?) IF NOT EXISTS')
        self.lease = (f'INSERT INTO {keyspace}.leases (db, holder) '
                      'VALUES (?, ?) USING TTL ?')
        self.release = (f'DELETE FROM {keyspace}.leases '
                        'WHERE db = ? AND holder = ?')
        self.leases = f'SELECT holder FROM {keyspace}.leases WHERE db = ?'
        self.sequence = (f'SELECT next FROM {keyspace}.sequences '
                         'WHERE db = ? AND name = ?')
        step = (f'UPDATE {keyspace}.sequences SET next = ? '
                'WHERE db = ? AND name = ? IF next = ')
        self.first_step = step + 'null'
        self.step = step + '?'
