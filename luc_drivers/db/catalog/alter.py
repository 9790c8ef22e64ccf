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

"""Rewrites CREATE TABLE texts for the ALTERs that SQLite does not know.

SQLite keeps a table's definition as its CREATE TABLE text.  Constraints are
added and dropped, types, defaults and nullability changed, by editing that
text; the twin's (empty) table is then made anew from it.
"""

from collections.abc import Sequence
import dataclasses

from luc_drivers.db import errors
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.sqltext import Token

_TABLE_CONSTRAINTS = frozenset((
    'CONSTRAINT', 'PRIMARY', 'UNIQUE', 'CHECK', 'FOREIGN'))


@dataclasses.dataclass
class Clause:
    """A column's constraint: its kind, tokens, name if it has one."""

    kind: str
    tokens: list[Token]
    name: str = ''


@dataclasses.dataclass
class TableText:
    """A CREATE TABLE text in parts.

    :ivar items: column definitions and table constraints, as tokens.
    """

    sql: str
    head: str
    items: list[list[Token]]
    tail: str

    def text(self, items: list[str]) -> str:
        """Return the statement with these items."""
        return '%s(\n\t%s\n)%s' % (self.head, ',\n\t'.join(items), self.tail)

    def slice(self, part: list[Token]) -> str:
        """Return the text of consecutive tokens, comments left out."""
        words, end = [], None
        for token in part:
            if end is not None and token.start > end:
                words.append(' ')
            words.append(token.text)
            end = token.end
        return ''.join(words)

    def texts(self) -> list[str]:
        return [self.slice(item) for item in self.items]


def split(sql: str) -> TableText:
    """Split a CREATE TABLE text."""
    found = sqltext.tokens(sql)
    start = next(n for n, t in enumerate(found) if t.text == '(')
    depth = 0
    for end in range(start, len(found)):
        depth += {'(': 1, ')': -1}.get(found[end].text, 0)
        if not depth:
            break
    return TableText(
        sql, sql[:found[start].start],
        sqltext.split_list(found[start + 1:end]), sql[found[end].end:])


def is_constraint(item: list[Token]) -> bool:
    """Tell a table constraint from a column definition."""
    return item[0].upper in _TABLE_CONSTRAINTS


def clauses(item: list[Token]) -> tuple[list[Token], list[Clause]]:
    """Split a column definition: (name and type, constraints)."""
    head = [item[0]]
    found: list[Clause] = []
    name: list[Token] = []
    at = 1

    def word(ahead: int = 0) -> str:
        return item[at + ahead].upper if at + ahead < len(item) else ''

    while at < len(item):
        kind = ''
        if word() == 'CONSTRAINT':
            name = item[at:at + 2]
            at += 2
        first, size = word(), 1
        if first in ('PRIMARY', 'UNIQUE', 'CHECK', 'COLLATE', 'REFERENCES',
                     'GENERATED', 'AS'):
            kind = first
        elif first == 'NOT' and word(1) == 'NULL':
            kind, size = 'NOT NULL', 2
        elif first == 'NULL' and not (
                found and item[at - 1].upper == 'SET'):
            kind = 'NULL'
        elif first == 'DEFAULT' and item[at - 1].upper != 'SET':
            kind, size = 'DEFAULT', 2
            if word(1) in ('+', '-'):
                size = 3
        if not kind:
            (found[-1].tokens if found else head).append(item[at])
            at += 1
            continue
        found.append(Clause(kind, name + item[at:at + size],
                            name[1].name if name else ''))
        name = []
        opened = found[-1].tokens[-1].text == '('
        at += size
        if opened or (kind in ('CHECK', 'AS') and word() == '('):
            # an expression in parentheses belongs to it, whatever is in it
            depth = int(opened)
            while at < len(item):
                depth += {'(': 1, ')': -1}.get(item[at].text, 0)
                found[-1].tokens.append(item[at])
                at += 1
                if not depth:
                    break
    return head, found


def _column_at(text: TableText, column: str) -> int:
    for at, item in enumerate(text.items):
        if not is_constraint(item) and (
                item[0].name.lower() == column.lower()):
            return at
    raise errors.OperationalError('no such column: "%s"' % column)


def add_constraint(sql: str, name: str, definition: str) -> str:
    """Return the text with a table constraint more."""
    if name:
        definition = 'CONSTRAINT %s %s' % (sqltext.quote(name), definition)
    text = split(sql)
    return text.text([*text.texts(), definition])


def auto_name(table: str, kind: str, columns: Sequence[str]) -> str:
    """Return the name that an unnamed constraint goes by.

    As PostgreSQL names them. Reflection shows these names for databases
    whose profile asks for it, and DROP CONSTRAINT knows them for all.

    :param kind: 'PRIMARY', 'UNIQUE' or 'FOREIGN'.
    """
    if kind == 'PRIMARY':
        return table + '_pkey'
    return '_'.join([table, *columns, 'key' if kind == 'UNIQUE' else 'fkey'])


def _item_name(item: list[Token], table: str) -> tuple[str, str]:
    """Return kind and name of a table constraint."""
    named = item[0].upper == 'CONSTRAINT'
    kind = item[2 if named else 0].upper
    if named:
        return kind, item[1].name
    if kind == 'CHECK':
        return kind, ''
    start = next(n for n, t in enumerate(item) if t.text == '(')
    end = next(n for n, t in enumerate(item) if t.text == ')')
    return kind, auto_name(table, kind, [
        part[0].name for part in sqltext.split_list(item[start + 1:end])])


def _clause_name(clause: Clause, column: str, table: str) -> str:
    """Return the name of a column's constraint; '' if it can have none."""
    kind = 'FOREIGN' if clause.kind == 'REFERENCES' else clause.kind
    if clause.name or kind not in ('PRIMARY', 'UNIQUE', 'FOREIGN'):
        return clause.name
    return auto_name(table, kind, [column])


def drop_constraint(sql: str, name: str, table: str) -> str | None:
    """Return the text without a constraint; None if it has none such.

    :param name: '' means the primary key.
    :param table: the table's name, for the names of unnamed constraints.
    """
    text = split(sql)
    for at, item in enumerate(text.items):
        if is_constraint(item):
            kind, own = _item_name(item, table)
            if own.lower() == name.lower() if name else kind == 'PRIMARY':
                texts = text.texts()
                del texts[at]
                return text.text(texts)
            continue
        head, found = clauses(item)
        for clause in found:
            own = _clause_name(clause, item[0].name, table)
            if (own.lower() == name.lower() if name
                    else clause.kind == 'PRIMARY'):
                found.remove(clause)
                texts = text.texts()
                texts[at] = _column(text, head, found)
                return text.text(texts)
    return None


def _column(text: TableText, head: list[Token], found: list[Clause],
            ) -> str:
    return ' '.join([text.slice(head),
                     *(text.slice(c.tokens) for c in found)])


def alter_column(sql: str, column: str, action: list[Token]) -> str:
    """Return the text with a column changed.

    :param action: SET NOT NULL, DROP NOT NULL, SET DEFAULT expression,
        DROP DEFAULT, or [SET DATA] TYPE type.
    :raises OperationalError: no such column, or another action.
    """
    text = split(sql)
    at = _column_at(text, column)
    head, found = clauses(text.items[at])
    words = [t.upper for t in action]
    added = ''
    if words in (['SET', 'NOT', 'NULL'], ['DROP', 'NOT', 'NULL']):
        found = [c for c in found if c.kind not in ('NOT NULL', 'NULL')]
        if words[0] == 'SET':
            added = ' NOT NULL'
    elif words[:2] in (['SET', 'DEFAULT'], ['DROP', 'DEFAULT']):
        found = [c for c in found if c.kind != 'DEFAULT']
        if words[0] == 'SET':
            value = text.slice(action[2:])
            if len(action) > 3 and action[2].text not in ('(', '+', '-'):
                value = '(%s)' % value
            added = ' DEFAULT ' + value
    elif words[:1] == ['TYPE'] or words[:3] == ['SET', 'DATA', 'TYPE']:
        head = [head[0], *action[words.index('TYPE') + 1:]]
        # the types' places in another text mean nothing here
        texts = text.texts()
        texts[at] = ' '.join([
            head[0].text, text.slice(head[1:]),
            *(text.slice(c.tokens) for c in found)])
        return text.text(texts)
    else:
        raise errors.OperationalError(
            'near "%s": syntax error' % (action[0].text if action else ''))
    texts = text.texts()
    texts[at] = _column(text, head, found) + added
    return text.text(texts)
