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

"""Databases on their way: as SQL text, or from one server into another.

The text is SQLite's: ``sqlite3 FILE < dump.sql`` reads it, and what ``.dump``
of the sqlite3 program writes can be loaded.  Between our databases and those
of other servers (MariaDB, PostgreSQL) rows are copied by SQLAlchemy, which
knows how each keeps times and booleans; the schema is made by the service's
own command (``nova-manage db sync`` …) before.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import itertools
import re
from typing import Any
from typing import TextIO

import apsw
import sqlalchemy as sa
from sqlalchemy import exc as sa_exc

from luc_drivers.db import dbapi
from luc_drivers.db import errors
from luc_drivers.db import script
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.engine import Database
from luc_drivers.db.tools import naming
from luc_drivers.db.tools import rows
from luc_drivers.db.transaction import fill

#: rows that are written in one transaction
BATCH = 500
#: holds the version of a schema; both sides have their own
VERSION_TABLES = frozenset(('alembic_version', 'migrate_version'))

#: (table or statement kind, rows or statements so far)
#: what .dump writes of the ids of AUTOINCREMENT tables
_SEQUENCE = re.compile(
    r"""(?:DELETE\s+FROM|INSERT\s+INTO)\s+["'`[]?sqlite_sequence["'`\]]?"""
    r"""(?:\s*VALUES\s*\('(.*)',\s*(\d+)\))?\s*;?\s*$""", re.I | re.S)

Report = Callable[[str, int], None]


def _quiet(what: str, count: int) -> None:
    del what, count


def dump(name: str, data_only: bool = False,
         report: Report = _quiet) -> Iterator[str]:
    """Yield the statements that make one of our databases anew.

    :param data_only: no CREATE statements.
    :raises OperationalError: as naming.connect().
    """
    connection = naming.connect(name)
    database = connection.database
    schema = database.catalog.current()
    localities = naming.localities(database)
    yield 'PRAGMA foreign_keys=OFF;'
    yield 'BEGIN TRANSACTION;'
    later = []
    for kind, _, _, sql in schema.statements:
        if data_only or not sql:
            continue
        if kind == 'table':
            yield f'{sql};'
        else:
            # indexes after the rows: cheaper for who reads this
            later.append(f'{sql};')
    for table in sorted(schema.tables.values(), key=lambda t: t.name):
        start = 'INSERT INTO %s (%s) VALUES(' % (
            sqltext.quote(table.name),
            ', '.join(sqltext.quote(c.name) for c in rows.columns(table)))
        count = 0
        for count, values in enumerate(
                rows.rows(database, table, localities), 1):
            yield start + ','.join(map(script.literal, values)) + ');'
            if count % BATCH == 0:
                report(table.name, count)
        report(table.name, count)
    yield from later
    yield 'COMMIT;'


def statements(text: TextIO) -> Iterator[str]:
    """Yield the statements of a file, without reading it whole.

    :raises DataError: it ends within a statement.
    """
    pending = ''
    for line in text:
        pending += line
        if line.rstrip().endswith(';') and apsw.complete(pending):
            yield from script.split(pending)
            pending = ''
    if script.split(pending):
        raise errors.DataError(
            'the file ends within a statement: ' + pending.strip()[:80])


def load(name: str, text: TextIO, report: Report = _quiet) -> int:
    """Run the statements of a file on one of our databases.

    Foreign keys are not checked meanwhile: a dump has children before their
    parents.  Rows are written BATCH by BATCH: a load that breaks off leaves
    the ones before.

    :returns: the number of rows that INSERTs wrote.
    :raises OperationalError, IntegrityError, …: a statement fails; the
        message tells which.
    """
    connection = naming.connect(name)
    connection.execute('PRAGMA foreign_keys = OFF')
    database = connection.database
    if database.catalog.current().tables:
        return _load(connection, text, report)[0]
    # nobody else uses what is made here
    with fill.filling(database):
        done, words = _load(connection, text, report)
    if words <= {'CREATE', 'INSERT'}:
        _compare(database, done)
    return done


def _load(connection: dbapi.Connection, text: TextIO, report: Report
          ) -> tuple[int, set[str]]:
    """Return how many rows INSERTs wrote, and what statements began with."""
    done = pending = 0
    words = set()
    for number, statement in enumerate(statements(text), 1):
        word = statement.split(None, 1)[0].upper()
        if word in ('BEGIN', 'COMMIT', 'END', 'PRAGMA'):
            continue
        sequence = _SEQUENCE.match(statement)
        if sequence is not None:
            _pass(connection.database, *sequence.groups())
            continue
        words.add(word)
        try:
            if word == 'INSERT':
                if not pending:
                    connection.execute('BEGIN')
                changed = connection.execute(statement).rowcount
                done += changed
                pending += changed
                if pending >= BATCH:
                    connection.commit()
                    pending = 0
                    report('rows', done)
                continue
            if pending:
                connection.commit()
                pending = 0
            connection.execute(statement)
        except errors.Error as exc:
            raise type(exc)(
                f'statement {number}: {exc}: {statement[:120]}') from exc
    if pending:
        connection.commit()
    report('rows', done)
    return done, words


def _pass(database: Database, name: str | None, last: str | None) -> None:
    """Have ids of an AUTOINCREMENT table begin after its last one, which
    SQLite keeps in a table of its own."""
    if name is not None and last is not None:
        table = database.catalog.current().table(name.replace("''", "'"))
        if table is not None:
            database.sequences.passed(table.number, int(last))


def _compare(database: Database, written: int) -> None:
    """See that all rows of a file are in a database that it has made.

    :raises IntegrityError: two of them had one key.
    """
    schema = database.catalog.current()
    there = sum(_rows(database, table) for table in schema.tables.values())
    if there != written:
        raise errors.IntegrityError(
            f'{written} rows were written, {there} are there: some have the '
            'key of another one')


def _rows(database: Database, table: Table) -> int:
    """Return how many rows a table has."""
    return sum(1 for _ in rows.rows(database, table,
                                    naming.localities(database)))


@dataclasses.dataclass(frozen=True)
class Copied:
    """One table of a copy: how many rows it has at both ends."""

    table: str
    source: int
    target: int


def copy(source: str, target: str, report: Report = _quiet
         ) -> Iterator[Copied]:
    """Copy all rows of a database into another one, of any kinds.

    :param target: its schema is that of the source, its tables are empty.
    :raises OperationalError: the schemas differ, or a table has rows; told
        before anything is written.
    """
    one, two = naming.sqlalchemy(source), naming.sqlalchemy(target)
    here, there = sa.MetaData(), sa.MetaData()
    try:
        here.reflect(one)
        there.reflect(two)
    except sa_exc.DBAPIError as exc:
        raise errors.OperationalError(str(exc.orig)) from exc
    with one.connect() as reading, two.connect() as writing:
        ours, theirs = _ours(reading), _ours(writing)
        tables = _tables(here, there)
        _compare_versions(reading, writing, here, there)
        for _, into in tables:
            if _count(writing, into):
                raise errors.OperationalError(
                    f'table {into.name} of {target} has rows: copy into a '
                    'database that has just been made')
        writing.commit()
        _no_foreign_keys(writing)
        with contextlib.ExitStack() as stack:
            if theirs is not None:
                stack.enter_context(fill.filling(theirs))
            for table, into in tables:
                _copy_table(reading, ours, writing, table, into, report)
        for table, into in tables:
            # was it written to meanwhile?
            yield Copied(table.name, _count(reading, table),
                         _count(writing, into))


def _ours(connection: sa.Connection) -> Database | None:
    """Return the database behind a connection, if it is ours."""
    if connection.dialect.driver != 'luc':
        return None
    raw: Any = connection.connection.dbapi_connection
    return raw.database


def _tables(here: sa.MetaData, there: sa.MetaData
            ) -> list[tuple[sa.Table, sa.Table]]:
    """Return the pairs of tables, parents first."""
    by_name = {t.name.lower(): t for t in there.tables.values()}
    found, missing = [], []
    for table in here.sorted_tables:
        if table.name.lower() in VERSION_TABLES:
            continue
        into = by_name.get(table.name.lower())
        if into is None:
            missing.append(table.name)
        else:
            missing += [f'{table.name}.{c.name}' for c in table.columns
                        if c.name not in into.columns]
            found.append((table, into))
    if missing:
        raise errors.OperationalError(
            'the target lacks %s: make its schema first, by the command and '
            'the release of the service that made the source' % (
                ', '.join(missing)))
    return found


def _compare_versions(reading: sa.Connection, writing: sa.Connection,
                      here: sa.MetaData, there: sa.MetaData) -> None:
    for name in sorted(VERSION_TABLES & here.tables.keys()):
        if name not in there.tables:
            continue
        old, new = (sorted(map(tuple, connection.execute(
            sa.select(metadata.tables[name]))))
            for connection, metadata in ((reading, here), (writing, there)))
        if old != new:
            raise errors.OperationalError(
                f'{name}: the source has schema {old}, the target {new}: '
                'bring both to one release first')


def _count(connection: sa.Connection, table: sa.Table) -> int:
    ours = _ours(connection)
    if ours is not None:
        # a statement would have all of them in memory
        return _rows(ours, ours.catalog.current().tables[table.name.lower()])
    return connection.execute(
        sa.select(sa.func.count()).select_from(table)).scalar_one()


def _no_foreign_keys(connection: sa.Connection) -> None:
    """Let children come before parents: cycles have no right order."""
    if connection.dialect.name == 'sqlite':
        connection.exec_driver_sql('PRAGMA foreign_keys = OFF')
    elif connection.dialect.name in ('mysql', 'mariadb'):
        connection.exec_driver_sql('SET FOREIGN_KEY_CHECKS = 0')
    connection.commit()


def _copy_table(reading: sa.Connection, ours: Database | None,
                writing: sa.Connection, table: sa.Table, into: sa.Table,
                report: Report) -> None:
    """Copy the rows of a table.

    :param ours: the database that is read, if it is ours.
    """
    columns = [c for c in table.columns if c.computed is None]
    done = 0
    insert = into.insert()
    for chunk in _read(reading, ours, table, columns):
        writing.execute(insert, [
            {c.name: _plain(value) for c, value in zip(columns, row)}
            for row in chunk])
        writing.commit()
        done += len(chunk)
        report(table.name, done)
    # PostgreSQL and MariaDB: the reading transaction ends with its table
    reading.rollback()


def _read(reading: sa.Connection, ours: Database | None, table: sa.Table,
          columns: Sequence[sa.Column]) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield a table's rows, some at a time."""
    if ours is None:
        yield from reading.execution_options(stream_results=True).execute(
            sa.select(*columns)).partitions(BATCH)
        return
    stored = ours.catalog.current().tables[table.name.lower()]
    names = [c.name for c in rows.columns(stored)]
    wanted = [(names.index(c.name), _result(c, reading.dialect))
              for c in columns]
    found = rows.rows(ours, stored, naming.localities(ours))
    while chunk := list(itertools.islice(found, BATCH)):
        yield [[make(row[at]) for at, make in wanted] for row in chunk]


def _result(column: sa.Column, dialect: sa.Dialect) -> Callable[[Any], Any]:
    """Return what makes Python's value of a stored one."""
    kind: Any = column.type.dialect_impl(dialect)
    return kind.result_processor(dialect, None) or (lambda value: value)


def _plain(value: Any) -> Any:
    """Return what every driver takes."""
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, set | frozenset):
        # MariaDB's SET type
        return ','.join(sorted(value))
    return value

