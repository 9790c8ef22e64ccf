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

"""SQL scripts: splitting one, and writing a database as one."""

from collections.abc import Iterator
import functools
from typing import Any
from typing import TYPE_CHECKING

from luc_drivers.db.catalog import sqltext

if TYPE_CHECKING:
    from luc_drivers.db.dbapi import Connection


@functools.lru_cache(maxsize=16)
def split(sql: str) -> tuple[str, ...]:
    """Return the statements of a script, without their semicolons.

    The tables of this layer have no triggers, whose bodies hold semicolons.
    """
    found = []
    start = None
    end = 0
    for token in sqltext.tokens(sql):
        if token.text == ';' and token.kind == 'mark':
            if start is not None:
                found.append(sql[start:end])
            start = None
            continue
        if start is None:
            start = token.start
        end = token.end
    if start is not None:
        found.append(sql[start:end])
    return tuple(found)


def literal(value: Any) -> str:
    """Return a value as SQL text."""
    if value is None:
        return 'NULL'
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bytes):
        return "X'" + value.hex() + "'"
    if isinstance(value, float):
        if value in (float('inf'), float('-inf')):
            return '9e999' if value > 0 else '-9e999'
        return repr(value)
    return str(value)


def dump(connection: 'Connection') -> Iterator[str]:
    """Yield the statements that make a database anew, as sqlite3's
    ``iterdump``.
    """
    cursor = connection.cursor()
    cursor.row_factory = None
    if cursor.execute('PRAGMA foreign_keys').fetchone()[0]:
        # children come before their parents
        yield 'PRAGMA foreign_keys=OFF;'
    yield 'BEGIN TRANSACTION;'
    objects = cursor.execute(
        'SELECT name, type, sql FROM sqlite_master '
        "WHERE sql NOT NULL AND type = 'table' ORDER BY name").fetchall()
    for name, _, sql in objects:
        if name.startswith('sqlite_'):
            continue
        yield f'{sql};'
        quoted = sqltext.quote(name)
        columns = [row[1] for row in cursor.execute(
            f'PRAGMA table_info({quoted})').fetchall()]
        listed = ', '.join(map(sqltext.quote, columns))
        for row in cursor.execute(
                f'SELECT {listed} FROM {quoted}').fetchall():
            values = ','.join(map(literal, row))
            yield f'INSERT INTO {quoted} VALUES({values});'
    for _, _, sql in cursor.execute(
            'SELECT name, type, sql FROM sqlite_master WHERE sql NOT NULL '
            "AND type IN ('index', 'trigger', 'view')").fetchall():
        yield f'{sql};'
    yield 'COMMIT;'
