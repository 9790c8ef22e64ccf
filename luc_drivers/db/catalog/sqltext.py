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

"""Tokens of SQL text as SQLite splits it; what kind of DDL a statement is.

Not a parser: SQLite itself parses every statement.  This only finds the
names that a DDL statement is about, so that the catalog compares just those
tables before and after.
"""

from collections.abc import Sequence
import dataclasses
import enum
import functools
import re

from luc_drivers.db import errors

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<string>[xX]?'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    |(?P<number>0[xX][0-9a-fA-F]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<word>[^\W\d][\w$]*)
    |(?P<mark>\|\||->>|->|<<|>>|<=|>=|<>|==|!=|.)""",
    re.VERBOSE | re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """A token: its kind, text, and place in the SQL text.

    :ivar kind: 'string', 'quoted', 'number', 'word' or 'mark'.
    """

    kind: str
    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        """The text in upper case, '' where it can't be a keyword."""
        return self.text.upper() if self.kind in ('word', 'mark') else ''

    @property
    def name(self) -> str:
        """The identifier that the token stands for."""
        text = self.text
        if self.kind == 'quoted':
            quote = ']' if text[0] == '[' else text[0]
            return text[1:-1].replace(quote * 2, quote)
        if self.kind == 'string':
            return text[1:-1].replace("''", "'")
        return text


def tokens(sql: str) -> list[Token]:
    """Split SQL text; blanks and comments are left out."""
    found = []
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or ''
        if kind != 'space':
            found.append(Token(kind, match.group(), *match.span()))
    return found


def quote(name: str) -> str:
    """Return an identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


class Kind(enum.Enum):
    """Kinds of DDL that the catalog tells apart."""

    CREATE_TABLE = 'create table'
    CREATE_TABLE_AS = 'create table as'
    DROP_TABLE = 'drop table'
    CREATE_INDEX = 'create index'
    DROP_INDEX = 'drop index'
    RENAME_TABLE = 'rename table'
    RENAME_COLUMN = 'rename column'
    ADD_COLUMN = 'add column'
    DROP_COLUMN = 'drop column'
    ADD_CONSTRAINT = 'add constraint'
    DROP_CONSTRAINT = 'drop constraint'
    ALTER_COLUMN = 'alter column'
    CREATE_VIEW = 'create view'
    DROP_VIEW = 'drop view'
    REINDEX = 'reindex'
    #: accepted and without effect: ANALYZE, VACUUM, REINDEX of everything,
    #: and what makes text UTF-8
    NOTHING = 'nothing'


@dataclasses.dataclass(frozen=True, slots=True)
class Statement:
    """A DDL statement.

    :ivar table: the table or view that it is about; '' for DROP INDEX.
    :ivar name: of the index or constraint; the column concerned; for
        RENAME TABLE the new name.
    :ivar new_name: new name of the column.
    :ivar rest: tokens after the names, for ALTERs: the definition.
    :ivar lenient: IF EXISTS or IF NOT EXISTS.
    :ivar temporary: it says TEMP, or names something in ``temp``.
    :ivar query: the SELECT of CREATE TABLE ... AS.
    """

    kind: Kind
    sql: str
    table: str = ''
    name: str = ''
    new_name: str = ''
    lenient: bool = False
    unique: bool = False
    rest: tuple[Token, ...] = ()
    temporary: bool = False
    query: str = ''


class _Cursor:
    """Walks over tokens."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.tokens = tokens(sql)
        while self.tokens and self.tokens[-1].text == ';':
            self.tokens.pop()
        self.at = 0
        self.temporary = False

    def accept(self, *words: str) -> bool:
        """Step over these words if they come next."""
        there = [t.upper for t in self.tokens[self.at:self.at + len(words)]]
        if there != list(words):
            return False
        self.at += len(words)
        return True

    def name(self) -> str:
        """Step over a name, perhaps qualified by ``main`` or ``temp``;
        return it.
        """
        first = self._one_name()
        if not self.accept('.'):
            return first
        if first.lower() not in ('main', 'temp'):
            raise errors.OperationalError('unknown database ' + first)
        self.temporary = self.temporary or first.lower() == 'temp'
        return self._one_name()

    def _one_name(self) -> str:
        if self.at >= len(self.tokens) or self.tokens[
                self.at].kind not in ('word', 'quoted', 'string'):
            self.fail()
        self.at += 1
        return self.tokens[self.at - 1].name

    def rest(self) -> tuple[Token, ...]:
        return tuple(self.tokens[self.at:])

    def fail(self) -> None:
        if self.at < len(self.tokens):
            raise errors.OperationalError(
                'near "%s": syntax error' % self.tokens[self.at].text)
        raise errors.OperationalError('incomplete input')


@functools.lru_cache(maxsize=1024)
def parse(sql: str) -> Statement:
    """Tell what a DDL statement does.

    :raises OperationalError: no DDL, or malformed.
    :raises NotSupportedError: DDL that this database layer refuses.
    """
    cursor = _Cursor(sql)
    found = None
    if cursor.accept('CREATE'):
        found = _create(cursor)
    elif cursor.accept('DROP'):
        found = _drop(cursor)
    elif cursor.accept('ALTER', 'TABLE'):
        found = _alter(cursor)
    if found is not None:
        return dataclasses.replace(found, temporary=cursor.temporary)
    for word in ('ANALYZE', 'VACUUM'):
        if cursor.accept(word):
            return Statement(Kind.NOTHING, sql)
    if cursor.accept('REINDEX'):
        if not cursor.rest():
            return Statement(Kind.NOTHING, sql)
        return Statement(Kind.REINDEX, sql, table=cursor.name())
    cursor.fail()
    raise AssertionError


def _refuse(what: str) -> errors.NotSupportedError:
    return errors.NotSupportedError(
        '%s is not supported by sqlite+luc databases' % what)


def _create(cursor: _Cursor) -> Statement:
    cursor.temporary = cursor.accept('TEMP') or cursor.accept('TEMPORARY')
    if cursor.accept('TABLE'):
        lenient = cursor.accept('IF', 'NOT', 'EXISTS')
        table = cursor.name()
        if cursor.accept('AS'):
            query = cursor.rest()
            if not query:
                cursor.fail()
            return Statement(
                Kind.CREATE_TABLE_AS, cursor.sql, table=table,
                lenient=lenient,
                query=cursor.sql[query[0].start:query[-1].end])
        return Statement(
            Kind.CREATE_TABLE, cursor.sql, table=table, lenient=lenient)
    unique = cursor.accept('UNIQUE')
    if cursor.accept('INDEX'):
        lenient = cursor.accept('IF', 'NOT', 'EXISTS')
        name = cursor.name()
        if not cursor.accept('ON'):
            cursor.fail()
        table = cursor.name()
        return Statement(
            Kind.CREATE_INDEX, cursor.sql, table=table, name=name,
            lenient=lenient, unique=unique, rest=cursor.rest())
    if cursor.accept('VIEW'):
        lenient = cursor.accept('IF', 'NOT', 'EXISTS')
        return Statement(Kind.CREATE_VIEW, cursor.sql, table=cursor.name(),
                         lenient=lenient, rest=cursor.rest())
    for words in (('TRIGGER',), ('VIRTUAL', 'TABLE')):
        if cursor.accept(*words):
            raise _refuse('CREATE ' + ' '.join(words))
    cursor.fail()
    raise AssertionError


def _drop(cursor: _Cursor) -> Statement:
    if cursor.accept('TABLE'):
        lenient = cursor.accept('IF', 'EXISTS')
        return Statement(Kind.DROP_TABLE, cursor.sql, table=cursor.name(),
                         lenient=lenient)
    if cursor.accept('INDEX'):
        lenient = cursor.accept('IF', 'EXISTS')
        return Statement(Kind.DROP_INDEX, cursor.sql, name=cursor.name(),
                         lenient=lenient)
    if cursor.accept('VIEW'):
        lenient = cursor.accept('IF', 'EXISTS')
        return Statement(Kind.DROP_VIEW, cursor.sql, table=cursor.name(),
                         lenient=lenient)
    if cursor.accept('TRIGGER'):
        lenient = cursor.accept('IF', 'EXISTS')
        name = cursor.name()
        if lenient:
            return Statement(Kind.NOTHING, cursor.sql)
        raise errors.OperationalError('no such trigger: ' + name)
    cursor.fail()
    raise AssertionError


def _alter(cursor: _Cursor) -> Statement:
    sql, table = cursor.sql, cursor.name()
    if cursor.accept('RENAME', 'TO'):
        return Statement(Kind.RENAME_TABLE, sql, table, cursor.name())
    if cursor.accept('RENAME'):
        cursor.accept('COLUMN')
        column = cursor.name()
        if not cursor.accept('TO'):
            cursor.fail()
        return Statement(
            Kind.RENAME_COLUMN, sql, table, column, cursor.name())
    if cursor.accept('ADD'):
        for word in ('CONSTRAINT', 'UNIQUE', 'FOREIGN', 'CHECK', 'PRIMARY'):
            start = cursor.at
            if cursor.accept(word):
                name = cursor.name() if word == 'CONSTRAINT' else ''
                if word != 'CONSTRAINT':
                    cursor.at = start
                return Statement(Kind.ADD_CONSTRAINT, sql, table, name,
                                 rest=cursor.rest())
        cursor.accept('COLUMN')
        return Statement(Kind.ADD_COLUMN, sql, table, cursor.name(),
                         rest=cursor.rest())
    if cursor.accept('DROP'):
        if cursor.accept('CONSTRAINT'):
            return Statement(Kind.DROP_CONSTRAINT, sql, table, cursor.name())
        if cursor.accept('PRIMARY', 'KEY'):
            return Statement(Kind.DROP_CONSTRAINT, sql, table, '')
        cursor.accept('COLUMN')
        return Statement(Kind.DROP_COLUMN, sql, table, cursor.name())
    if cursor.accept('CONVERT', 'TO', 'CHARACTER', 'SET') or cursor.accept(
            'CHARACTER', 'SET'):
        return _character_set(cursor)
    if cursor.accept('ALTER'):
        cursor.accept('COLUMN')
        return Statement(Kind.ALTER_COLUMN, sql, table, cursor.name(),
                         rest=cursor.rest())
    cursor.fail()
    raise AssertionError


def _character_set(cursor: _Cursor) -> Statement:
    """MySQL's way to make a table's text UTF-8 and compare it byte by byte,
    as SQLite always does (neutron's migrations ask for it)."""
    names = [t.name.lower() for t in cursor.rest()]
    if names and names[0].startswith('utf8') and (
            len(names) == 1 or (names[1] == 'collate'
                                and names[-1].endswith('_bin'))):
        return Statement(Kind.NOTHING, cursor.sql)
    raise _refuse('ALTER TABLE ... CHARACTER SET ' + ' '.join(names))


def split_list(items: Sequence[Token]) -> list[list[Token]]:
    """Split tokens at top-level commas."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in items:
        if token.text == '(':
            depth += 1
        elif token.text == ')':
            depth -= 1
        if token.text == ',' and not depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts
