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


"""ALTER COLUMN that changes values: the rows are copied into a new table.

A column that turns from a number into text, or the other way, has other keys
in its indexes, and its values are converted (by SQLite, as an INSERT does).
The steps are those of alembic's batch mode, and so are its bounds: nobody may
write the table meanwhile, and the copy is one transaction.
"""

from typing import TYPE_CHECKING

from luc_drivers.db import errors
from luc_drivers.db.catalog import alter
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.profiles.base import BATCH_PREFIX

if TYPE_CHECKING:
    from luc_drivers.db.transaction.session import Session


def alter_column(session: 'Session', statement: sqltext.Statement,
                 why: errors.NeedsCopy) -> None:
    """Run ALTER TABLE ... ALTER COLUMN ... TYPE on a table with rows.

    :param why: what forbids to do it in place; raised where a copy can't be
        made either: a view names the table.
    :raises Error: the rows do not fit; the table is as it was.
    """
    catalog = session.database.catalog
    services = session.database.services
    schema = catalog.current()
    table = schema.tables[statement.table.lower()]
    if any(table.name.lower() in view.names
           for view in schema.views.values()):
        raise why
    # profiles know alembic's name: the copy is stored as the table is
    made = BATCH_PREFIX + table.name
    catalog.apply_ddl(_created(table, statement, made), services)
    columns = ', '.join(sqltext.quote(c.name) for c in table.columns
                        if not c.generated)
    try:
        session.execute(
            f'INSERT INTO {sqltext.quote(made)} ({columns}) SELECT {columns} '
            f'FROM {sqltext.quote(table.name)}')
    except errors.Error:
        catalog.apply_ddl(f'DROP TABLE {sqltext.quote(made)}', services)
        raise
    for sql in (f'DROP TABLE {sqltext.quote(table.name)}',
                f'ALTER TABLE {sqltext.quote(made)} RENAME TO '
                f'{sqltext.quote(table.name)}', *_indexes(schema, table)):
        catalog.apply_ddl(sql, services)


def _created(table: Table, statement: sqltext.Statement, made: str) -> str:
    """Return the CREATE TABLE text of the copy."""
    new = alter.alter_column(
        table.sql, statement.name, list(statement.rest))
    found = sqltext.tokens(new)
    name = next(found[n + 1] for n, token in enumerate(found)
                if token.upper == 'TABLE')
    return new[:name.start] + sqltext.quote(made) + new[name.end:]


def _indexes(schema: Schema, table: Table) -> list[str]:
    return [sql for kind, _, of, sql in schema.statements
            if kind == 'index' and sql and of.lower() == table.name.lower()]
