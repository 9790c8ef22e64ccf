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
MariaDB they go in by executemany; over ours each entity group goes in by one
commit, past statements and planner (an executemany of thousands of instances
would be one transaction over thousands of groups).
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import sqlalchemy as sa

from luc_drivers.db import engine as databases
from luc_drivers.db.catalog import address
from luc_drivers.db.rows import RowChange

Rows = Mapping[sa.Table, Sequence[dict[str, Any]]]

_THREADS = 8


def fill(engine: sa.Engine, chunk: Rows) -> None:
    """Insert rows; those of one entity group must be in one chunk."""
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
    site = database.settings.site
    groups: dict[Any, list[RowChange]] = {}
    for table, rows in chunk.items():
        stored = schema.tables[table.name.lower()]
        locality = address.locality(stored, site)
        highest = 0
        for values in _bound(engine, table, stored, rows):
            created = database.new_rowid()
            where = address.address(stored, values, created, locality)
            change = RowChange(stored, None, values, created=created)
            groups.setdefault(where.group, []).append(change)
            if stored.rowid_column:
                highest = max(highest, values[
                    stored.column(stored.rowid_column).number])
        if highest:
            database.sequences.passed(stored.number, highest)

    def commit(changes: list[RowChange]) -> None:
        database.committer.commit(schema, changes, check_references=False)

    threads = _THREADS if database.settings.kind == 'cassandra' else 1
    with futures.ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(commit, g) for g in groups.values()]:
            done.result()


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
