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

"""The in-memory SQLite database in which statements are evaluated.

Empty at rest: a transaction begins in SQLite, loads rows, runs statements,
and at its end ROLLBACK empties the workspace again.  Tables are made when a
statement first names them, and stay.  Knows nothing of the store.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import operator
from typing import Any

import apsw

from luc_drivers.db import errors
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.planner.plan import Parameters
from luc_drivers.db.planner.plan import SQLValue
from luc_drivers.db.workspace import ddl
from luc_drivers.db.workspace import functions
from luc_drivers.db.workspace import translate

Rows = list[tuple[SQLValue, ...]]
#: a touched row: (lower-case table name, rowid)
Touch = tuple[str, int]

#: prepared statements that SQLite keeps per workspace
_STATEMENTS = 400


@dataclasses.dataclass(slots=True)
class Outcome:
    """What a statement gave.

    :ivar columns: names of the result's columns; None if it returns none.
    :ivar changes: rows changed by an INSERT, UPDATE or DELETE, else -1.
    :ivar last_id: rowid of the last row that it inserted; None if none.
    :ivar counted: somebody has looked at ``changes``.
    """

    columns: tuple[str, ...] | None
    rows: Rows
    changes: int = -1
    last_id: int | None = None
    counted: bool = dataclasses.field(default=False, compare=False)

    def count(self) -> int:
        """Return ``changes``, and note that they were seen."""
        self.counted = True
        return self.changes


@dataclasses.dataclass(slots=True)
class Layout:
    """A workspace table: how to load and read its rows.

    :ivar numbers: of the columns that are loaded, in order.
    :ivar pick: a row's values of them; raises KeyError if it lacks some.
    """

    table: Table
    texts: tuple[str, ...]
    numbers: tuple[int, ...]
    initial: tuple[Any, ...]
    pick: Callable[[Mapping[int, SQLValue]], tuple[SQLValue, ...]]
    load: str
    read: str
    present: str
    rowid_number: int | None
    rowid: str


class Workspace:
    """One in-memory database; used by one transaction at a time.

    :ivar functions: its SQL functions.
    """

    def __init__(self) -> None:
        self.db = apsw.Connection(
            ':memory:', statementcachesize=_STATEMENTS)
        for option in (apsw.SQLITE_DBCONFIG_DQS_DML,
                       apsw.SQLITE_DBCONFIG_DQS_DDL):
            # as the sqlite3 module: "word" may be a string
            self.db.config(option, 1)
        self.functions = functions.Functions(self.db)
        self.functions.use({('regexp', 2): functions.regexp})
        self._layouts: dict[str, Layout] = {}
        self._schema: Schema | None = None
        # tables made inside the transaction: ROLLBACK takes them
        # (or brings back what was dropped: None)
        self._passing: dict[str, tuple[Schema, Table] | None] = {}
        self._columns: tuple[str, ...] | None = None
        self._ran = 0
        self._touches: list[Touch] = []

    # --- tables

    def use(self, schema: Schema) -> None:
        """Forget the tables that a schema does not have, outside of a
        transaction: SQLite shall say that there are none such.
        """
        if schema is not self._schema:
            for name in self._layouts.keys() - schema.tables.keys():
                self._drop(name)
            self._schema = schema

    def ensure(self, schema: Schema, names: Iterable[str]) -> None:
        """Make the tables that a statement names, where they are missing
        or were made from another definition.

        Names that the schema does not have are left to SQLite's error.
        """
        for name in names:
            name = name.lower()
            table = schema.tables.get(name)
            if table is None:
                if name in self._layouts:
                    self._drop(name)
                continue
            layout = self._layouts.get(name)
            if layout is None or layout.table is not table:
                self._make(schema, table, layout)

    def _make(self, schema: Schema, table: Table,
              layout: Layout | None) -> None:
        name = table.name.lower()
        texts = ddl.statements(schema, table)
        if layout is not None and layout.texts == texts:
            self._layouts[name] = _layout(table, texts)
            return
        self._drop(name)
        for text in texts:
            self._create(text)
        self._layouts[name] = _layout(table, texts)
        if self.db.in_transaction:
            self._passing[name] = (schema, table)

    def _create(self, text: str) -> None:
        try:
            self.db.execute(text)
        except apsw.Error as exc:
            if 'index' in str(exc) and 'already exists' in str(exc):
                # index names are the schema's: it moved between tables
                again = sqltext.parse(text)
                self.db.execute(
                    'DROP INDEX IF EXISTS ' + sqltext.quote(again.name))
                self.db.execute(text)
                return
            raise errors.InternalError(f'workspace: {text}: {exc}') from exc

    def _drop(self, name: str) -> None:
        self.db.execute('DROP TABLE IF EXISTS main.' + sqltext.quote(name))
        self._layouts.pop(name, None)
        if self.db.in_transaction:
            self._passing[name] = None

    def layout(self, name: str) -> Layout:
        """Return a made table's layout."""
        return self._layouts[name.lower()]

    # --- life of a transaction

    def begin(self) -> None:
        """Begin a transaction."""
        self.db.execute('BEGIN')

    def reset(self, keep_temporary: bool = False) -> None:
        """Empty the workspace.

        :param keep_temporary: keep what the transaction did to temporary
            tables and views.
        """
        if self.db.in_transaction:
            if keep_temporary:
                for name in self._layouts:
                    self.db.execute(
                        'DELETE FROM main.' + sqltext.quote(name))
                self._passing.clear()
                self.db.execute('COMMIT')
            else:
                self.db.execute('ROLLBACK')
        if self._passing:
            self._remake()
        self._touches.clear()
        self.functions.drawn.clear()

    def _remake(self) -> None:
        for name, made in list(self._passing.items()):
            del self._passing[name]
            if made is None:
                self._drop(name)
            else:
                self._make(*made, None)

    def savepoint(self, name: str) -> None:
        """Set a savepoint."""
        self.db.execute('SAVEPOINT ' + sqltext.quote(name))

    def release(self, name: str) -> None:
        """Release a savepoint."""
        self.db.execute('RELEASE ' + sqltext.quote(name))

    def rollback_to(self, name: str) -> None:
        """Roll back to a savepoint; loaded rows go, too (rule 1)."""
        self.db.execute('ROLLBACK TO ' + sqltext.quote(name))
        for table, made in list(self._passing.items()):
            there = self.db.table_exists('main', table)
            if made is None and there:
                self._drop(table)
            elif made is not None and not there:
                self._make(*made, None)

    # --- rows

    def load(self, name: str,
             rows: Iterable[tuple[int, Mapping[int, SQLValue]]]) -> None:
        """Put committed rows of one table in.

        :param rows: (rowid, {column number: value}) pairs.
        :raises IntegrityError: one of them contradicts what is there.
        """
        layout = self._layouts[name.lower()]
        pick = layout.pick
        own = layout.rowid_number is None
        bindings = []
        for rowid, row in rows:
            try:
                values = pick(row)
            except KeyError:
                # written before a column was added
                values = tuple(map(row.get, layout.numbers, layout.initial))
            bindings.append((*values, rowid) if own else values)
        try:
            if len(bindings) == 1:
                self.db.execute(layout.load, bindings[0])
            else:
                self.db.executemany(layout.load, bindings)
        except apsw.Error as exc:
            raise translate.translate(exc) from exc

    def forget(self, name: str, rowid: int) -> None:
        """Take a loaded row out."""
        layout = self._layouts[name.lower()]
        self.db.execute(
            f'DELETE FROM {sqltext.quote(name)} WHERE {layout.rowid} = ?',
            (rowid,))

    def rowid(self, name: str, created: int,
              values: Mapping[int, Any]) -> int:
        """Return the rowid that a row should have.

        :param created: its creation number.
        """
        number = self._layouts[name.lower()].rowid_number
        return created if number is None else values[number]

    def read(self, name: str, rowid: int) -> tuple[SQLValue, ...] | None:
        """Return a row's values, in the order of ``layout().numbers``."""
        return self.db.execute(
            self._layouts[name].read, (rowid,)).fetchone()

    def is_free(self, name: str, rowid: int) -> bool:
        """Tell whether no row has that rowid."""
        return self.db.execute(
            self._layouts[name].present, (rowid,)).fetchone() is None

    def rowids(self, name: str) -> list[int]:
        """Return the rowids of all rows of a table."""
        layout = self._layouts[name]
        return [row[0] for row in self.db.execute(
            f'SELECT {layout.rowid} FROM {sqltext.quote(name)}')]

    # --- temporary tables and views

    def define(self, sql: str, parameters: Parameters = ()) -> None:
        """Run DDL of temporary objects."""
        self._run(sql, parameters)

    def temporary(self) -> tuple[tuple[str, str, str, str], ...]:
        """Return (type, name, table, DDL) of all temporary objects, oldest
        first.
        """
        found: list[Any] = self.db.execute(
            'SELECT type, name, tbl_name, sql FROM sqlite_temp_master'
            ' WHERE sql IS NOT NULL ORDER BY rowid').fetchall()
        return tuple(
            (kind, name, table, sql if kind == 'index' else
             'CREATE TEMP' + sql[len('CREATE'):])
            for kind, name, table, sql in found)

    # --- statements

    def query(self, sql: str, parameters: Parameters = ()) -> Rows:
        """Run a SELECT of our own."""
        return self.db.execute(sql, parameters).fetchall()

    def select(self, sql: str, parameters: Parameters) -> Outcome:
        """Run a statement that changes nothing."""
        columns, rows = self._run(sql, parameters)
        return Outcome(columns, rows)

    def change(self, sql: str, parameters: Parameters) -> Outcome:
        """Run a statement that writes; ``take_touches`` tells what it
        touched, rows of the same content included (rule 22).
        """
        db = self.db
        db.set_last_insert_rowid(0)
        touches = self._touches

        def touch(op: int, base: str, table: str, rowid: int) -> None:
            # temporary tables are the connection's own: never committed
            if base == 'main':
                touches.append((table, rowid))

        db.set_update_hook(touch)
        try:
            columns, rows = self._run(sql, parameters)
        finally:
            db.set_update_hook(None)
        return Outcome(columns, rows, db.changes(),
                       db.last_insert_rowid() or None)

    def take_touches(self) -> list[Touch]:
        """Return what was touched since the last call, each row once."""
        found = list(dict.fromkeys(
            (table.lower(), rowid) for table, rowid in self._touches))
        self._touches.clear()
        return found

    def _trace(self, cursor: apsw.Cursor, sql: str, bindings: Any) -> bool:
        # apsw forgets the description when the statement is done, and a
        # statement without rows is done at once
        self._ran += 1
        found = cursor.get_description()
        self._columns = tuple(c[0] for c in found) if found else None
        return True

    def _run(self, sql: str, parameters: Parameters
             ) -> tuple[tuple[str, ...] | None, Rows]:
        self._columns, self._ran = None, 0
        cursor = self.db.cursor()
        cursor.exec_trace = self._trace
        try:
            rows = cursor.execute(sql, parameters).fetchall()
        except apsw.Error as exc:
            raise translate.translate(exc) from exc
        except (KeyError, TypeError) as exc:
            raise translate.binding_error(exc) from exc
        if self._ran > 1:
            raise errors.ProgrammingError(
                'You can only execute one statement at a time.')
        return self._columns, rows

    def close(self) -> None:
        """Free its memory."""
        self.db.close()


def _layout(table: Table, texts: tuple[str, ...]) -> Layout:
    stored = [c for c in table.columns if not c.generated]
    names = [sqltext.quote(c.name) for c in stored]
    number = (table.column(table.rowid_column).number
              if table.rowid_column else None)
    name = sqltext.quote(table.name)
    if table.rowid_column:
        rowid = sqltext.quote(table.rowid_column)
        into = names
    else:
        rowid = ddl.rowid_name(table)
        into = [*names, rowid]
    marks = ', '.join('?' * len(into))
    numbers = tuple(c.number for c in stored)
    return Layout(
        table=table, texts=texts, numbers=numbers,
        # of a single one an itemgetter returns no tuple
        pick=(operator.itemgetter(*numbers) if len(numbers) > 1
              else lambda row: tuple(row[n] for n in numbers)),
        initial=tuple(c.initial for c in stored),
        load=f'INSERT INTO {name} ({", ".join(into)}) VALUES ({marks})',
        read=f'SELECT {", ".join(names)} FROM {name} WHERE {rowid} = ?',
        present=f'SELECT 1 FROM {name} WHERE {rowid} = ?',
        rowid_number=number, rowid=rowid)
