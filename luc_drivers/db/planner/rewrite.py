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

"""Rewrites of writing statements, on their tokens.

* INSERT: ids come from ``luc_next('table')`` (SQLite's own would be computed
  from the rows that happen to be loaded: rule 24), and rowids of tables
  without an INTEGER PRIMARY KEY from ``luc_rowid()``;
* DELETE without WHERE gets one: SQLite empties such a table without telling
  the update hook;
* REPLACE is recognised: it deletes rows without telling it either.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import re

from luc_drivers.db.catalog import schema as schemas
from luc_drivers.db.planner import parse
from luc_drivers.db.planner import text as texts

_ROWIDS = ('rowid', '_rowid_', 'oid')
_TABLE_CONFLICT = re.compile(
    r'\bON\s+CONFLICT\s+(REPLACE|IGNORE|FAIL|ROLLBACK)\b', re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """What the tokens of an INSERT, UPDATE or DELETE say.

    :ivar text: the normal text to be run.
    :ivar changed: it differs from the statement's own.
    :ivar target: name of the written table.
    :ivar queries: there may be SELECTs inside.
    """

    text: str
    changed: bool
    target: str | None
    replaces: bool
    conflict: bool
    returning: bool
    queries: bool


def rowid_name(table: schemas.Table) -> str | None:
    """Return a name for the rowid that no column takes; None if all are."""
    for name in _ROWIDS:
        if not table.has_column(name):
            return name
    return None


def examine(text: str, found: Sequence[texts.Token],
            schema: schemas.Schema) -> Write | None:
    """Return what a writing statement does, rewritten where it must be.

    :param text: in normal form; ``found`` are its tokens.
    :returns: None for what isn't understood (SQLite will word the error).
    """
    at = parse.main_word(list(found))
    if at < 0:
        return None
    verb = found[at].text
    words = [t.text if t.kind == 'word' else '' for t in found]
    action = None
    at += 1
    if words[at:at + 1] == ['OR'] and at + 1 < len(found):
        action = words[at + 1]
        at += 2
    if verb == 'REPLACE':
        action = 'REPLACE'
    if words[at:at + 1] in (['INTO'], ['FROM']):
        at += 1
    if at >= len(found):
        return None
    if at + 2 < len(found) and found[at + 1].text == '.':
        at += 2
    target = texts.name_of(text, found[at])
    table = schema.table(target)
    upsert = any(
        words[i] == 'ON' and words[i + 1] == 'CONFLICT' and t.depth == 0
        for i, t in enumerate(found[:-1]))
    clause = _TABLE_CONFLICT.search(table.sql) if table else None
    returning = any(w == 'RETURNING' and t.depth == 0
                    for w, t in zip(words, found))
    changed = text
    if table is not None and verb in ('INSERT', 'REPLACE'):
        made = _Insert(text, found, at, table).rewritten()
        if made is None:
            return None
        changed = made
    elif verb == 'DELETE' and not returning and 'WHERE' not in (
            w for w, t in zip(words, found) if t.depth == 0):
        changed = text + ' WHERE 1'
    return Write(
        text=changed, changed=changed != text,
        target=table.name if table else None,
        replaces=action == 'REPLACE' or bool(
            clause and clause.group(1).upper() == 'REPLACE'
            and verb != 'DELETE'),
        conflict=verb != 'DELETE' and bool(action or upsert or clause),
        returning=returning,
        queries='SELECT' in words or 'WITH' in words or 'IN' in words)


class _Insert:
    """One INSERT being rewritten.

    :param at: position of the target's name among the tokens.
    """

    def __init__(self, text: str, found: Sequence[texts.Token], at: int,
                 table: schemas.Table) -> None:
        self.text = text
        self.found = found
        self.table = table
        self.at = at + 1
        self.edits: list[tuple[int, str]] = []
        if table.rowid_column is not None:
            self.name: str | None = table.rowid_column
            self.draw = f'luc_next({texts.quote_text(table.name)})'
        else:
            self.name = rowid_name(table)
            self.draw = 'luc_rowid()'

    def rewritten(self) -> str | None:
        """Return the new text; None if it isn't understood."""
        if self.name is None:
            return self.text
        if self._word() == 'AS':
            self.at += 2
        columns, opened = self._columns()
        word = self._word()
        if word == 'DEFAULT':
            return self._defaults()
        if word not in ('VALUES', 'SELECT', 'WITH') and self._text() != '(':
            return None
        names = [c.lower() for c in columns]
        aliases = {self.name.lower()}
        if self.table.rowid_column is not None:
            aliases |= {n for n in _ROWIDS if not self.table.has_column(n)}
        given = next((i for i, n in enumerate(names) if n in aliases), None)
        start = self.at
        end = self._body_end(start)
        if given is None:
            if opened is None:
                listed = ', '.join(
                    texts.quote(c) for c in (self.name, *columns))
                self.edits.append(
                    (self.found[start].start, f'({listed}) '))
            else:
                self.edits.append((opened, texts.quote(self.name) + ', '))
        tuples = list(self._tuples(start, end)) if word == 'VALUES' else []
        if tuples:
            for elements in tuples:
                self._value(elements, given)
        else:
            self._query(start, end, len(columns), given)
        return self._edited()

    def _word(self) -> str:
        token = self._token()
        return token.text if token and token.kind == 'word' else ''

    def _text(self) -> str:
        token = self._token()
        return token.text if token else ''

    def _token(self) -> texts.Token | None:
        return self.found[self.at] if self.at < len(self.found) else None

    def _columns(self) -> tuple[list[str], int | None]:
        """Return the named columns, and where their list opens (None: all
        of the table, in its order)."""
        every = [c.name for c in self.table.columns if not c.generated]
        token = self._token()
        if token is None or token.text != '(' or token.kind != 'other':
            return every, None
        if self.at + 1 < len(self.found) and self.found[
                self.at + 1].text in ('SELECT', 'WITH', 'VALUES'):
            return every, None
        named = []
        self.at += 1
        while self.at < len(self.found) and self._text() != ')':
            if self._text() != ',':
                named.append(texts.name_of(self.text, self.found[self.at]))
            self.at += 1
        self.at += 1
        return named, token.end

    def _defaults(self) -> str:
        begin = self.found[self.at].start
        end = self.found[min(self.at + 1, len(self.found) - 1)].end
        assert self.name is not None
        return (f'{self.text[:begin]}({texts.quote(self.name)}) '
                f'VALUES ({self.draw}){self.text[end:]}')

    def _body_end(self, start: int) -> int:
        """Return the position after the last token of VALUES or SELECT."""
        for position in range(start, len(self.found)):
            token = self.found[position]
            if token.depth or token.kind != 'word':
                continue
            if token.text == 'RETURNING':
                return position
            if token.text == 'ON' and position + 1 < len(
                    self.found) and self.found[
                        position + 1].text == 'CONFLICT':
                return position
        return len(self.found)

    def _tuples(self, start: int, end: int) -> Iterator[
            list[tuple[int, int]]]:
        """Yield (start, end) of the elements of each tuple of VALUES;
        nothing if the body is more than that."""
        body = self.found[start + 1:end]
        if any(t.depth == 0 and t.text not in ('(', ')', ',')
               for t in body):
            return
        elements: list[tuple[int, int]] = []
        begin = 0
        for token in body:
            if token.kind != 'other' or token.depth > 1:
                continue
            if token.depth == 0 and token.text == '(':
                elements = []
                begin = token.end
            elif token.depth == 0 and token.text == ')':
                elements.append((begin, token.start))
                yield elements
            elif token.depth == 1 and token.text == ',':
                elements.append((begin, token.start))
                begin = token.end

    def _value(self, elements: list[tuple[int, int]],
               given: int | None) -> None:
        if given is None:
            self.edits.append((elements[0][0], f'{self.draw}, '))
        elif given < len(elements):
            begin, end = elements[given]
            self.edits.append((begin, 'coalesce('))
            self.edits.append((end, f', {self.draw})'))

    def _query(self, start: int, end: int, columns: int,
               given: int | None) -> None:
        """Let the rows of a SELECT pass through one that adds ids."""
        names = [f'c{i}' for i in range(columns)]
        wanted = list(names)
        if given is None:
            wanted.insert(0, self.draw)
        else:
            wanted[given] = f'coalesce(c{given}, {self.draw})'
        self.edits.append((
            self.found[start].start,
            f'WITH luc_source({", ".join(names)}) AS ('))
        # WHERE keeps a following ON CONFLICT from being read as a join's
        self.edits.append((
            self.found[end - 1].end,
            f') SELECT {", ".join(wanted)} FROM luc_source WHERE 1'))

    def _edited(self) -> str:
        pieces = []
        at = 0
        for position, added in sorted(self.edits, key=lambda e: e[0]):
            pieces.append(self.text[at:position])
            pieces.append(added)
            at = position
        pieces.append(self.text[at:])
        return ''.join(pieces)
