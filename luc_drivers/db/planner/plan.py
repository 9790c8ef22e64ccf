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

"""What the planner says of a statement: plain data, bound per execution.

The one invariant: what the accesses fetch is, for every table reference of
the statement, a SUPERSET of the rows that can matter to it.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import enum
from typing import Any

from luc_drivers.db.catalog import schema

SQLValue = None | int | float | str | bytes
Parameters = Sequence[Any] | Mapping[str, Any]
#: runs a SELECT on the workspace and returns its rows
RunQuery = Callable[[str, Parameters], Sequence[tuple[SQLValue, ...]]]


class Kind(enum.Enum):
    """What sort of statement it is, by what the session must do."""

    # members are their own: Enum's hash is slow, and asked for often
    __hash__ = object.__hash__

    SELECT = 'select'
    INSERT = 'insert'
    UPDATE = 'update'
    DELETE = 'delete'
    DDL = 'ddl'
    #: PRAGMA, or a query of sqlite_master & co: answered by the reflecting
    #: twin of the schema
    SCHEMA = 'schema'
    BEGIN = 'begin'
    COMMIT = 'commit'
    ROLLBACK = 'rollback'
    SAVEPOINT = 'savepoint'
    ROLLBACK_TO = 'rollback to'
    RELEASE = 'release'


class Path(enum.Enum):
    """How an access finds its rows."""

    __hash__ = object.__hash__

    #: equality on all grouping columns: read the table's slice of the group
    GROUP = 'group'
    #: as GROUP, and the whole storage key is bound: read single rows
    ROW = 'row'
    #: equality on a prefix of an index's columns, and perhaps a range
    INDEX = 'index'
    #: the whole table
    SCAN = 'scan'


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range on the column after the prefix."""

    value: SQLValue
    inclusive: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """How much of an ordered slice is wanted, and where to begin.

    :ivar rows: so many that match, from the slice's beginning.
    :ivar descending: it begins at its end.
    :ivar ties: all rows that are equal to the last of them in ``columns``
        are wanted, too.
    :ivar columns: the order: columns of the index after the access's.
    :ivar check: a SELECT of ``columns`` of matching rows in the workspace,
        whose WHERE can be added to; and its ``arguments``.
    :ivar size: how many entries to read.
    :ivar once: if these are not enough, all are read.
    :ivar marker: the index key of values of ``columns``, or of the first of
        them: what comes before it does not match; b'' = none.
    :ivar after: begin with ``rest >= after``, or, descending, with ``rest <
        after``; None: at the slice's end.
    """

    rows: int
    descending: bool
    ties: bool
    columns: tuple[str, ...]
    check: str
    arguments: tuple[Any, ...]
    size: int
    marker: bytes = b''
    after: bytes | None = None
    once: bool = False


@dataclasses.dataclass(slots=True)
class BoundAccess:
    """An access with its values: what the session fetches.

    :ivar keys: for GROUP values of grouping.columns; for ROW those values
        followed by the values of table.key; for INDEX values of the first
        len(key) columns of the index; for SCAN []. The column's affinity has
        been applied, duplicates and (for equality) NULLs removed, except
        where the statement says IS NULL.
    :ivar unique: each key binds a whole unique key: at most one row each, so
        a row already in the workspace with these values (``unique_columns``)
        makes the fetch unnecessary.
    :ivar limit: only the beginning of each slice matters: it may be read by
        pages (see `limits`).
    """

    table: schema.Table
    path: Path
    keys: list[tuple[SQLValue, ...]]
    index: schema.Index | None = None
    lower: Bound | None = None
    upper: Bound | None = None
    unique: bool = False
    key_columns: tuple[str, ...] = ()
    limit: Limit | None = None


class Access:
    """An access of a plan, before its values are known (planner's own)."""

    table: schema.Table

    def bind(self, parameters: Parameters, query: RunQuery) -> BoundAccess:
        """Return the access with its values.

        :param query: runs a SELECT on the workspace: keys of joined tables
            come from there, never from a fetch's answers (rule 20).
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Plan:
    """A statement's plan; immutable, shared by threads, cached per text.

    :ivar sql: what SQLite shall run on the workspace (INSERTs with ids drawn
        by luc_next('table'), rowids by luc_rowid(), else the original text).
    :ivar waves: accesses to be done in this order; those of one wave are
        independent of one another: fetched in parallel.
    :ivar tables: names of all tables that it touches.
    :ivar target: the table that it writes; None for a SELECT.
    :ivar lock: SELECT … FOR UPDATE: the rows of ``lock_tables`` that match
        join the commit as no-op writes (rule 21). ``lock_queries`` select
        the rowids of the matching rows: (table name, sql); they take
        the statement's parameters.
    :ivar savepoint: name, for the savepoint kinds.
    :ivar replaces: INSERT OR REPLACE & co: SQLite may delete rows of the
        target without telling the update hook.
    :ivar conflict: the INSERT/UPDATE has an OR or ON CONFLICT clause: the
        rows that it may meet must be loaded before it decides.
    :ivar returning: it has a RETURNING clause.
    :ivar compares: an UPDATE whose condition names a column that it sets: a
        compare-and-set, which must see the latest committed row.
    """

    kind: Kind
    sql: str
    waves: tuple[tuple[Access, ...], ...] = ()
    tables: tuple[str, ...] = ()
    target: str | None = None
    lock: bool = False
    lock_queries: tuple[tuple[str, str], ...] = ()
    savepoint: str | None = None
    replaces: bool = False
    conflict: bool = False
    returning: bool = False
    compares: bool = False
    #: for messages and `explain`: why a table is scanned, …
    notes: tuple[str, ...] = ()
