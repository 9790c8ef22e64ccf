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

"""What SQLite says of a schema: the reflecting twin.

The twin is an in-memory SQLite database with the verbatim DDL and no rows.
SQLite parses every DDL statement on it; PRAGMAs tell what came of it, to us
and, verbatim, to whoever reflects the schema through SQL.
"""

import dataclasses
import re
from typing import Any

import apsw

from luc_drivers.db import errors
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Affinity
from luc_drivers.db.catalog.schema import ForeignKey
from luc_drivers.db.catalog.schema import View

#: PRAGMAs about the schema: the twin's answer is the right one
READ_PRAGMAS = frozenset((
    'table_info', 'table_xinfo', 'table_list', 'index_list', 'index_info',
    'index_xinfo', 'foreign_key_list', 'database_list', 'collation_list',
    'function_list', 'pragma_list', 'module_list', 'compile_options',
    'encoding', 'schema_version', 'page_size', 'integrity_check',
    'quick_check', 'foreign_key_check'))

_PRAGMA = re.compile(
    r'\s*PRAGMA\s+(?:(?:main|temp|"main"|"temp")\s*\.\s*)?(\w+)', re.I)
_COMMENTS = re.compile(r'(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)+', re.S)

Description = tuple[tuple[str, str | None], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ReflectedColumn:
    """A column, as PRAGMA table_xinfo has it."""

    name: str
    declared_type: str
    affinity: Affinity
    collation: str
    not_null: bool
    default: str | None
    generated: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ReflectedKey:
    """An index or unique key.

    :ivar columns: None if it has expressions, other collations than its
        columns, or a WHERE clause: SQLite can use such a one, we can't.
    :ivar origin: 'c' (CREATE INDEX), 'u' (UNIQUE) or 'pk'.
    """

    name: str
    columns: tuple[str, ...] | None
    unique: bool
    origin: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reflected:
    """A table, as SQLite sees it."""

    name: str
    sql: str
    columns: tuple[ReflectedColumn, ...]
    primary_key: tuple[str, ...]
    rowid_column: str | None
    keys: tuple[ReflectedKey, ...]
    foreign_keys: tuple[ForeignKey, ...]


def affinity(declared: str) -> Affinity:
    """Return the affinity of a declared type, by SQLite's five rules
    (https://sqlite.org/datatype3.html#determination_of_column_affinity).
    """
    upper = declared.upper()
    if 'INT' in upper:
        return Affinity.INTEGER
    if 'CHAR' in upper or 'CLOB' in upper or 'TEXT' in upper:
        return Affinity.TEXT
    if not upper or 'BLOB' in upper:
        return Affinity.BLOB
    if 'REAL' in upper or 'FLOA' in upper or 'DOUB' in upper:
        return Affinity.REAL
    return Affinity.NUMERIC


def translate(error: apsw.Error) -> errors.Error:
    """Return the PEP 249 error of an apsw error, worded as sqlite3's."""
    text = str(error)
    if isinstance(error, apsw.ConstraintError):
        return errors.IntegrityError(text)
    if isinstance(error, apsw.BindingsError):
        return errors.ProgrammingError(text)
    return errors.OperationalError(text)


def view(name: str, sql: str) -> View:
    """Return what a CREATE VIEW text defines."""
    found = sqltext.tokens(sql)
    at = next(n for n, t in enumerate(found) if t.upper == 'VIEW') + 1
    while found[at].upper in ('IF', 'NOT', 'EXISTS'):
        at += 1
    at += 3 if found[at + 1].text == '.' else 1
    first = next(n for n in range(at, len(found)) if found[n].upper == 'AS')
    columns = sql[found[at].start:found[first - 1].end] if first > at else ''
    body = [t for t in found[first + 1:] if t.text != ';']
    return View(
        name, columns, sql[body[0].start:body[-1].end],
        frozenset(t.name.lower() for t in body
                  if t.kind in ('word', 'quoted')), sql)


class Twin:
    """The reflecting twin. Not thread-safe: the catalog locks it."""

    def __init__(self) -> None:
        self._db = apsw.Connection(':memory:')
        # as the sqlite3 module of Debian and of CPython is built
        self._db.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 1)
        self._db.config(apsw.SQLITE_DBCONFIG_DQS_DML, 1)

    def run(self, sql: str) -> None:
        """Run DDL.

        :raises Error: as SQLite says.
        """
        try:
            self._db.execute(sql).fetchall()
        except apsw.Error as error:
            raise translate(error) from error

    def begin(self) -> None:
        self._db.execute('BEGIN')

    def commit(self) -> None:
        self._db.execute('COMMIT')

    def rollback(self) -> None:
        self._db.execute('ROLLBACK')

    def query(self, sql: str, parameters: Any = ()) -> tuple[
            Description, list[tuple[Any, ...]]]:
        """Run a statement that reads the schema.

        :returns: ((column name, declared type), …), rows.
        """
        described: list[Description] = []

        def trace(cursor: Any, text: str, bindings: Any) -> bool:
            described.append(cursor.get_description())
            return True

        cursor = self._db.cursor()
        cursor.exec_trace = trace
        try:
            rows = cursor.execute(sql, parameters).fetchall()
        except apsw.Error as error:
            raise translate(error) from error
        return (described[0] if described else ()), rows

    def exists(self, kind: str, name: str) -> bool:
        """Tell whether there is a 'table', 'index' or 'view' so named."""
        return self.owner(kind, name) is not None

    def owner(self, kind: str, name: str) -> str | None:
        """Return the table's name of a 'table' or 'index'."""
        return self._db.execute(
            'SELECT tbl_name FROM sqlite_master WHERE type = ? AND'
            ' name = ? COLLATE NOCASE', (kind, name)).get

    def sql_of(self, kind: str, name: str) -> str | None:
        """Return the verbatim text of a 'table' or 'index'."""
        return self._db.execute(
            'SELECT sql FROM sqlite_master WHERE type = ? AND'
            ' name = ? COLLATE NOCASE', (kind, name)).get

    def indexes_of(self, table: str) -> list[tuple[str, str]]:
        """Return (name, sql) of a table's CREATE INDEX statements."""
        rows: list[Any] = self._db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND"
            ' sql IS NOT NULL AND tbl_name = ? COLLATE NOCASE'
            ' ORDER BY rowid', (table,)).fetchall()
        return rows

    def statements_of(self, table: str) -> tuple[
            tuple[str, str, str, str], ...]:
        """Return (type, name, table, sql) of a table and its indexes."""
        rows: list[Any] = self._db.execute(
            'SELECT type, name, tbl_name, sql FROM sqlite_master WHERE'
            " sql IS NOT NULL AND type != 'view' AND"
            ' tbl_name = ? COLLATE NOCASE'
            " ORDER BY type = 'index', rowid", (table,)).fetchall()
        return tuple(rows)

    def views(self) -> dict[str, View]:
        """Return the views by lower-case name, oldest first."""
        return {name.lower(): view(name, sql) for name, sql in
                self._db.execute('SELECT name, sql FROM sqlite_master'
                                 " WHERE type = 'view' ORDER BY rowid")}

    def default_value(self, column: ReflectedColumn) -> Any:
        """Return what a column's default is worth, its affinity applied."""
        if column.default is None:
            return None
        scratch = apsw.Connection(':memory:')
        scratch.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 1)
        try:
            scratch.execute('CREATE TABLE t (x, c %s DEFAULT (%s))' % (
                column.declared_type, column.default))
            scratch.execute('INSERT INTO t (x) VALUES (1)')
            return scratch.execute('SELECT c FROM t').get
        except apsw.Error as error:
            raise translate(error) from error
        finally:
            scratch.close()

    def table(self, name: str) -> Reflected | None:
        """Reflect one table; None if there is none."""
        row = self._db.execute(
            'SELECT name, sql FROM sqlite_master WHERE type = ? AND'
            ' name = ? COLLATE NOCASE', ('table', name)).fetchone()
        if row is None:
            return None
        name, sql = row
        quoted = sqltext.quote(name)
        collated = 'COLLATE' in sql.upper()
        columns, primary = [], []
        for _, column, declared, not_null, default, pk, hidden in (
                self._db.execute('PRAGMA table_xinfo(%s)' % quoted)):
            collation = 'BINARY'
            if collated:
                collation = (self._db.column_metadata(
                    None, name, column)[1] or 'BINARY').upper()
            columns.append(ReflectedColumn(
                name=column, declared_type=declared,
                affinity=affinity(declared), collation=collation,
                not_null=bool(not_null), default=default,
                generated=hidden in (2, 3)))
            if pk:
                primary.append((pk, column, declared))
        primary.sort()
        keys = self._keys(quoted, {c.name: c.collation for c in columns})
        rowid_column = None
        if (len(primary) == 1 and primary[0][2].upper() == 'INTEGER'
                and not any(key.origin == 'pk' for key in keys)):
            rowid_column = primary[0][1]
        return Reflected(
            name=name, sql=sql, columns=tuple(columns),
            primary_key=tuple(p[1] for p in primary),
            rowid_column=rowid_column, keys=keys,
            foreign_keys=self._foreign_keys(quoted))

    def _keys(self, quoted: str,
              collations: dict[str, str]) -> tuple[ReflectedKey, ...]:
        keys = []
        listed: list[Any] = self._db.execute(
            'PRAGMA index_list(%s)' % quoted).fetchall()
        for _, name, unique, origin, partial in listed:
            columns: list[str] | None = [] if not partial else None
            for _, cid, column, _, collation, is_key in self._db.execute(
                    'PRAGMA index_xinfo(%s)' % sqltext.quote(name)):
                if not is_key or columns is None:
                    continue
                if cid < 0 or collations[column] != collation.upper():
                    columns = None
                else:
                    columns.append(column)
            keys.append(ReflectedKey(
                name, None if columns is None else tuple(columns),
                bool(unique), origin))
        keys.reverse()  # oldest first
        return tuple(keys)

    def _foreign_keys(self, quoted: str) -> tuple[ForeignKey, ...]:
        found: dict[int, list[tuple[Any, ...]]] = {}
        for row in self._db.execute('PRAGMA foreign_key_list(%s)' % quoted):
            found.setdefault(row[0], []).append(row)
        foreign_keys = []
        for number in sorted(found, reverse=True):
            rows = sorted(found[number], key=lambda r: r[1])
            foreign_keys.append(ForeignKey(
                columns=tuple(r[3] for r in rows), parent=rows[0][2],
                parent_columns=tuple(r[4] for r in rows if r[4] is not None),
                on_update=rows[0][5], on_delete=rows[0][6]))
        return tuple(foreign_keys)


def answer(twin: Twin, sql: str, parameters: Any = ()) -> tuple[
        Description, list[tuple[Any, ...]]]:
    """Answer a PRAGMA or a query of sqlite_master from the twin.

    PRAGMAs that set something (synchronous, journal_mode, …), ANALYZE and
    VACUUM mean nothing here: they are accepted and return no rows.

    :raises NotSupportedError: ATTACH or DETACH.
    """
    text = _COMMENTS.sub(' ', sql).strip()
    match = _PRAGMA.match(text)
    if match:
        if match.group(1).lower() not in READ_PRAGMAS:
            return (), []
    else:
        word = text.split(None, 1)[0].upper() if text else ''
        if word in ('ANALYZE', 'VACUUM'):
            return (), []
        if word in ('ATTACH', 'DETACH'):
            raise errors.NotSupportedError(
                word + ' is not supported by sqlite+luc databases')
    return twin.query(sql, parameters)
