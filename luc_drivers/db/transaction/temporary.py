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


"""Temporary tables and views: a connection's own, kept in its workspace.

SQLite's ``temp`` schema holds them, so statements may join them with tables
of the database.  A connection that has made one keeps its workspace for
itself.  They are as transactional as other tables, but never reach the store.
"""

import dataclasses
from typing import TYPE_CHECKING

from luc_drivers.db import errors
from luc_drivers.db.catalog import reflect
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.planner.plan import Parameters
from luc_drivers.db.planner.plan import Plan
from luc_drivers.db.workspace.functions import Draws
from luc_drivers.db.workspace.workspace import Workspace

if TYPE_CHECKING:
    from luc_drivers.db.transaction.statements import Transaction

_MAKING = (sqltext.Kind.CREATE_TABLE, sqltext.Kind.CREATE_TABLE_AS,
           sqltext.Kind.CREATE_VIEW)


class Temporary:
    """The temporary objects of one connection.

    :ivar workspace: where they are; None as long as there were none.
    """

    def __init__(self) -> None:
        self.workspace: Workspace | None = None
        # (type, name, table, DDL); None: to be looked up
        self._objects: tuple[tuple[str, str, str, str], ...] | None = ()
        self._over: tuple[Schema, Schema] | None = None

    def adopt(self, run: 'Transaction') -> None:
        """Keep a transaction's workspace for this connection."""
        if self.workspace is None:
            self.workspace = run.workspace
            run.pooled = False

    def changed(self) -> None:
        """Forget which objects there are: a statement or ROLLBACK may have
        changed that.
        """
        if self.workspace is not None:
            self._objects = None
            self._over = None

    def drop(self) -> None:
        """Free the workspace."""
        if self.workspace is not None:
            self.workspace.close()
        self.workspace, self._objects = None, ()

    def _all(self) -> tuple[tuple[str, str, str, str], ...]:
        if self._objects is None:
            assert self.workspace is not None
            self._objects = self.workspace.temporary()
        return self._objects

    def texts(self) -> tuple[str, ...]:
        """Return the DDL that makes the objects."""
        return tuple(text for _, _, _, text in self._all())

    def concerns(self, statement: sqltext.Statement) -> bool:
        """Tell whether DDL is about a temporary object."""
        if statement.temporary:
            return True
        if statement.kind in _MAKING:
            return False
        name = (statement.name if statement.kind is sqltext.Kind.DROP_INDEX
                else statement.table).lower()
        return any(found.lower() == name for _, found, _, _ in self._all())

    def check(self, statement: sqltext.Statement, schema: Schema) -> None:
        """Refuse a temporary object that would hide one of the database.

        :raises NotSupportedError: it would; ``main.NAME`` could not be read
            then.
        """
        name = statement.table.lower()
        if statement.kind not in _MAKING or name not in (
                schema.tables.keys() | schema.views.keys()):
            return
        if any(found.lower() == name for _, found, _, _ in self._all()):
            return
        raise errors.NotSupportedError(
            'a temporary table or view %s would hide the '
            'database\'s own: give it another name' % statement.table)

    def over(self, schema: Schema) -> Schema:
        """Return a schema with the temporary views, and without what
        temporary objects hide.

        Temporary tables are unknown to it: nothing is fetched for them.
        """
        made = self._all()
        if not made:
            return schema
        if self._over is None or self._over[0] is not schema:
            hidden = {name.lower() for kind, name, _, _ in made
                      if kind != 'index'}
            views = {n: v for n, v in schema.views.items()
                     if n not in hidden}
            views.update(
                (name.lower(), reflect.view(name, sql))
                for kind, name, _, sql in made if kind == 'view')
            self._over = schema, dataclasses.replace(
                schema, views=views,
                tables={n: t for n, t in schema.tables.items()
                        if n not in hidden})
        return self._over[1]


def text(statement: sqltext.Statement, query: Plan | None) -> str:
    """Return the DDL of a temporary object to run.

    :param query: plan of the SELECT of CREATE TABLE ... AS.
    """
    if query is None:
        return statement.sql
    exists = 'IF NOT EXISTS ' if statement.lenient else ''
    return (f'CREATE TEMP TABLE {exists}{sqltext.quote(statement.table)} '
            f'AS {query.sql}')


def made_as(run: 'Transaction', statement: sqltext.Statement, query: Plan,
            parameters: Parameters) -> str:
    """Return the CREATE TABLE text, with its columns, that SQLite gives to a
    table made AS a query.

    :param run: a transaction to try it in; to be thrown away.
    """
    run.loaded.ensure(query.tables)
    run.workspace.functions.draws = Draws()
    run.workspace.define(text(statement, query), parameters)
    made = run.workspace.temporary()[-1][3]
    return made.replace('CREATE TEMP', 'CREATE', 1)
