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

"""Fills tables with many rows, quickly, over any store.

Rows come as dicts by column name, as the services' models have them.  Over
MariaDB they go in by executemany.  Over ours they go in as commits leave
them, past statements, planner and, since nobody else is there yet, past the
commit protocol's conditions.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from luc_drivers.db import engine as databases
from luc_drivers.db.rows import RowChange
from luc_drivers.db.transaction import fill as filling

Rows = Mapping[sa.Table, Sequence[dict[str, Any]]]


def fill(engine: sa.Engine, chunk: Rows) -> None:
    """Insert rows that nobody else inserts."""
    if engine.dialect.driver == 'luc':
        _fill_ours(engine, chunk)
        return
    with engine.begin() as connection:
        for table, rows in chunk.items():
            if rows:
                connection.execute(table.insert(), list(rows))


def _database(engine: sa.Engine) -> databases.Database:
    raw = engine.raw_connection()
    try:
        return raw.dbapi_connection._here().database
    finally:
        raw.close()


def _fill_ours(engine: sa.Engine, chunk: Rows) -> None:
    database = _database(engine)
    schema = database.catalog.current(write=True)
    new: list[RowChange] = []
    for table, rows in chunk.items():
        stored = schema.tables[table.name.lower()]
        highest = 0
        for values in _bound(engine, table, stored, rows):
            new.append(RowChange(stored, None, values,
                                 created=database.new_rowid()))
            if stored.rowid_column:
                highest = max(highest, values[
                    stored.column(stored.rowid_column).number])
        if highest:
            database.sequences.passed(stored.number, highest)
    filling.write(database.committer, new)


def _bound(engine: sa.Engine, table: sa.Table, stored: Any,
           rows: Sequence[dict[str, Any]]) -> Iterator[dict[int, Any]]:
    """Yield rows as {column number: SQLite's value}."""
    columns = []
    for column in table.columns:
        kind = column.type.dialect_impl(engine.dialect)
        default = column.default
        columns.append((
            column.key, stored.column(column.name).number,
            kind.bind_processor(engine.dialect),
            default.arg if default is not None and default.is_scalar
            else None))
    for row in rows:
        values = {}
        for key, number, process, default in columns:
            value = row.get(key, default)
            if process is not None:
                value = process(value)
            if isinstance(value, bool):
                value = int(value)
            values[number] = value
        yield values


def template(engine: sa.Engine, table: sa.Table, column: str, value: Any
             ) -> list[dict[str, Any]]:
    """Return the rows of a table that have a value, as dicts."""
    with engine.connect() as connection:
        found = connection.execute(
            sa.select(table).where(table.c[column] == value))
        return [dict(row) for row in found.mappings()]
