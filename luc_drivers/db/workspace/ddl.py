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

"""The tables of a workspace: a declared table without what must not be there.

Rows are loaded without their parents and in any order, and ids come from the
store's sequences.  So foreign keys, WITHOUT ROWID and AUTOINCREMENT go; types,
defaults, collations, NOT NULL, CHECK, unique keys and indexes stay, so that
SQLite evaluates as it would on the declared table.
"""

from collections.abc import Sequence

from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.catalog.sqltext import Token

#: words that may start a table constraint
_CONSTRAINTS = frozenset(('PRIMARY', 'UNIQUE', 'CHECK', 'FOREIGN'))
_ROWID_NAMES = ('rowid', '_rowid_', 'oid')


def rowid_name(table: Table) -> str:
    """Return a name of the rowid that no column of the table hides.

    :raises ValueError: columns take all three names.
    """
    for name in _ROWID_NAMES:
        if not table.has_column(name):
            return name
    raise ValueError(f'table {table.name} hides its rowid')


def strip(sql: str) -> str:
    """Return a CREATE TABLE statement as a workspace needs it.

    :param sql: the statement as SQLite keeps it.
    """
    found = sqltext.tokens(sql)
    start = next(n for n, t in enumerate(found) if t.text == '(')
    end = _closing(found, start)
    parts = []
    for part in sqltext.split_list(found[start + 1:end]):
        kept = _definition(part)
        if kept:
            parts.append(_text(sql, kept))
    head = sql[:found[start].start].rstrip()
    options = [o for o in sqltext.split_list(found[end + 1:])
               if [t.upper for t in o[:1]] == ['STRICT']]
    tail = ' STRICT' if options else ''
    return f'{head} ({", ".join(parts)}){tail}'


def _closing(found: Sequence[Token], start: int) -> int:
    """Return the place of the bracket that closes the one at ``start``."""
    depth = 0
    for number in range(start, len(found)):
        if found[number].text == '(':
            depth += 1
        elif found[number].text == ')':
            depth -= 1
            if not depth:
                return number
    raise ValueError('unbalanced brackets')


def _text(sql: str, kept: Sequence[Token]) -> str:
    return ' '.join(sql[t.start:t.end] for t in kept)


def _definition(part: list[Token]) -> list[Token]:
    """Return what stays of a column's or constraint's definition."""
    body = part[2:] if part and part[0].upper == 'CONSTRAINT' else part
    if body and body[0].upper in _CONSTRAINTS:
        return [] if body[0].upper == 'FOREIGN' else part
    kept: list[Token] = []
    at = 0
    while at < len(part):
        token = part[at]
        if token.text == '(':
            close = _closing(part, at)
            kept += part[at:close + 1]
            at = close + 1
        elif token.upper == 'REFERENCES' and kept:
            if len(kept) > 2 and kept[-2].upper == 'CONSTRAINT':
                del kept[-2:]
            at = _after_reference(part, at)
        elif token.upper == 'AUTOINCREMENT':
            at += 1
        else:
            kept.append(token)
            at += 1
    return kept


def _after_reference(part: list[Token], at: int) -> int:
    """Return the place after a REFERENCES clause."""
    at += 2
    if at < len(part) and part[at].text == '(':
        at = _closing(part, at) + 1
    while at < len(part):
        word = part[at].upper
        following = part[at + 1].upper if at + 1 < len(part) else ''
        if word == 'ON' and following in ('DELETE', 'UPDATE'):
            action = part[at + 2].upper
            at += 4 if action in ('SET', 'NO') else 3
        elif word == 'MATCH':
            at += 2
        elif word == 'NOT' and following == 'DEFERRABLE':
            at += 1
        elif word == 'DEFERRABLE':
            at += 1
            if at < len(part) and part[at].upper == 'INITIALLY':
                at += 2
        else:
            break
    return at


def statements(schema: Schema, table: Table) -> tuple[str, ...]:
    """Return the DDL that makes a table and its indexes in a workspace."""
    name = table.name.lower()
    return (strip(table.sql), *(
        sql for kind, _, of, sql in schema.statements
        if kind == 'index' and sql and of.lower() == name))
