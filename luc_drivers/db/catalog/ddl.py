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

"""Applies one DDL statement to the reflecting twin; says what it touched."""

import dataclasses

from luc_drivers.db import errors
from luc_drivers.db.catalog import alter
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.reflect import Twin
from luc_drivers.db.catalog.sqltext import Kind
from luc_drivers.db.catalog.sqltext import Statement


@dataclasses.dataclass(frozen=True)
class Effect:
    """What a DDL statement did to the twin.

    :ivar steps: plain SQLite statements that do the same: for the log.
    :ivar created: name of a new table.
    :ivar dropped: name of a table that is gone.
    :ivar changed: {name before: name after} of a table that it is about.
    :ivar views: it made or dropped a view, and no table is concerned.
    :ivar renamed_column: (old, new) name.
    """

    statement: Statement
    steps: tuple[str, ...] = ()
    created: str | None = None
    dropped: str | None = None
    changed: tuple[str, str] | None = None
    renamed_column: tuple[str, str] | None = None
    views: bool = False


def apply(twin: Twin, statement: Statement) -> Effect | None:
    """Run a statement on the twin.

    :returns: None if it has no effect (IF EXISTS, IF NOT EXISTS).
    :raises OperationalError: as SQLite words it.
    """
    kind, sql = statement.kind, statement.sql
    if kind is Kind.NOTHING:
        return None
    if statement.temporary or kind is Kind.CREATE_TABLE_AS:
        # a session's business
        raise errors.NotSupportedError(
            'not supported by sqlite+luc databases without a connection: '
            + sql)
    if kind is Kind.CREATE_TABLE:
        if statement.lenient and twin.exists('table', statement.table):
            return None
        twin.run(sql)
        return Effect(statement, (sql,), created=statement.table)
    if kind is Kind.DROP_TABLE:
        name = twin.owner('table', statement.table)
        if name is None and statement.lenient:
            return None
        twin.run(sql)
        return Effect(statement, (sql,), dropped=name)
    if kind is Kind.CREATE_VIEW:
        if statement.lenient and (twin.exists('view', statement.table)
                                  or twin.exists('table', statement.table)):
            return None
        twin.run(sql)
        return Effect(statement, (sql,), views=True)
    if kind is Kind.DROP_VIEW:
        if statement.lenient and not (
                twin.exists('view', statement.table)
                or twin.exists('table', statement.table)):
            return None
        twin.run(sql)
        return Effect(statement, (sql,), views=True)
    if kind is Kind.CREATE_INDEX:
        if statement.lenient and twin.exists('index', statement.name):
            return None
        twin.run(sql)
        name = twin.owner('table', statement.table) or statement.table
        return Effect(statement, (sql,), changed=(name, name))
    if kind is Kind.DROP_INDEX:
        name = twin.owner('index', statement.name)
        if name is None and statement.lenient:
            return None
        twin.run(sql)
        assert name is not None
        return Effect(statement, (sql,), changed=(name, name))
    if kind is Kind.REINDEX:
        name = twin.owner('table', statement.table)
        if name is None:
            # of one index, or of a collation
            twin.run(sql)
            return None
        return Effect(statement, (), changed=(name, name))
    return _alter(twin, statement)


def _alter(twin: Twin, statement: Statement) -> Effect:
    name = twin.owner('table', statement.table)
    if name is None:
        raise errors.OperationalError('no such table: ' + statement.table)
    kind, sql = statement.kind, statement.sql
    if kind is Kind.RENAME_TABLE:
        twin.run(sql)
        return Effect(statement, (sql,), changed=(name, statement.name))
    if kind is Kind.RENAME_COLUMN:
        twin.run(sql)
        return Effect(statement, (sql,), changed=(name, name),
                      renamed_column=(statement.name, statement.new_name))
    if kind in (Kind.ADD_COLUMN, Kind.DROP_COLUMN):
        twin.run(sql)
        return Effect(statement, (sql,), changed=(name, name))
    old = twin.sql_of('table', name)
    assert old is not None
    if kind is Kind.ADD_CONSTRAINT:
        if not statement.rest:
            raise errors.OperationalError('incomplete input')
        new: str | None = alter.add_constraint(
            old, statement.name, sql[statement.rest[0].start:
                                     statement.rest[-1].end])
    elif kind is Kind.DROP_CONSTRAINT:
        new = alter.drop_constraint(old, statement.name, name)
        if new is None and twin.owner('index', statement.name) == name:
            # MySQL's unique keys are both; migrations mix the two
            drop = 'DROP INDEX ' + sqltext.quote(statement.name)
            twin.run(drop)
            return Effect(statement, (drop,), changed=(name, name))
        if new is None:
            raise errors.OperationalError(
                'no such constraint: %s (table %s)' % (statement.name, name))
    else:
        new = alter.alter_column(old, statement.name, list(statement.rest))
    indexes = [text for _, text in twin.indexes_of(name)]
    assert new is not None
    steps = ('DROP TABLE ' + sqltext.quote(name), new, *indexes)
    for step in steps:
        twin.run(step)
    return Effect(statement, steps, changed=(name, name))
