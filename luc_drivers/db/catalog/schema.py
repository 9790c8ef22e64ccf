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

"""What the layer knows of a database's schema: plain, immutable data.

Built by the catalog from the verbatim DDL (SQLite itself parses it) and the
database's profile; read by planner, workspace and transaction.
"""

from collections.abc import Mapping
import dataclasses
import enum
from typing import Any


class Affinity(enum.Enum):
    """SQLite's column affinities (https://sqlite.org/datatype3.html)."""

    INTEGER = 'integer'
    TEXT = 'text'
    BLOB = 'blob'
    REAL = 'real'
    NUMERIC = 'numeric'


class Guard(enum.Enum):
    """How a unique key is kept unique (see UniqueKey handling in docs).

    PARTITION: equal values share a group and a row key: Cassandra keeps it.
    GROUP: equal values share a group; a unique row lies beside the row, in
    the same conditional batch.
    OWN: the unique row is a group of its own (a multi-group commit).
    SEQUENCE: values are drawn from the table's sequence, which never gives
    one twice; an explicit value gets a unique row of its own.
    """

    PARTITION = 'partition'
    GROUP = 'group'
    OWN = 'own'
    SEQUENCE = 'sequence'


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column; ``number`` is stable for the table's life (renames too)."""

    number: int
    name: str
    affinity: Affinity
    declared_type: str = ''
    collation: str = 'BINARY'
    not_null: bool = False
    #: SQL text of the default for new rows
    default: str | None = None
    #: value that rows have which were written before the column was added
    #: (rule 26); None also where there is none
    initial: Any = None
    #: a generated column (stored or virtual): never stored by us
    generated: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Index:
    """An access path with entries in the store, a unique key, or both.

    :ivar number: unique in the database, shared number space with tables.
    :ivar columns: names, in order; empty = a scan index of the table.
    :ivar order: of a scan index: the columns in whose order its entries
        are; empty = in no order that means anything.
    :ivar entries: False where the group or row key already gives the access
        (or the profile drops it): then it is a unique key only.
    :ivar public: False while it is back-filled: written, not read (rule 26).
    :ivar unique_columns: of the unique key, if it is one. They differ from
        ``columns`` where the profile leaves out low-cardinality leading
        columns or reorders.
    """

    number: int
    name: str
    columns: tuple[str, ...]
    buckets: int = 1
    entries: bool = True
    public: bool = True
    unique_columns: tuple[str, ...] = ()
    guard: Guard | None = None
    primary: bool = False
    order: tuple[str, ...] = ()

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns whose values an entry holds."""
        return self.columns or self.order


@dataclasses.dataclass(frozen=True, slots=True)
class ForeignKey:
    """``columns`` reference ``parent_columns`` of ``parent``."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str = 'NO ACTION'
    on_update: str = 'NO ACTION'
    name: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Grouping:
    """Which group a row belongs to: key = keys.encode((name, *columns)).

    :ivar name: shared by the tables of a group, from the profile; the
        table's number where the row or table is its own group.
    :ivar columns: () = one group for the whole table.
    """

    name: str | int
    columns: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    :ivar key: columns of the storage key, the row's key inside its group:
        pk = keys.encode(values of key). () = the creation number is the key
        (tables without a primary key). A NULL among them: see address().
    :ivar rowid_column: the INTEGER PRIMARY KEY column, whose values are
        drawn from the sequence when not given; None if there is none.
    :ivar locality: 'global' or 'site'.
    :ivar sql: verbatim CREATE TABLE text (as SQLite keeps it).
    """

    number: int
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    primary_key: tuple[str, ...]
    grouping: Grouping
    indexes: tuple[Index, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    #: (child table name, its foreign key) of all that reference this table
    referenced_by: tuple[tuple[str, ForeignKey], ...] = ()
    rowid_column: str | None = None
    locality: str = 'site'
    sql: str = ''

    def __post_init__(self) -> None:
        by_name = {c.name.lower(): c for c in self.columns}
        object.__setattr__(self, '_by_name', by_name)
        object.__setattr__(
            self, '_by_number', {c.number: c for c in self.columns})

    def column(self, name: str) -> Column:
        """Return a column by its name, any case. KeyError if none."""
        return self._by_name[name.lower()]  # type: ignore[attr-defined]

    def has_column(self, name: str) -> bool:
        """Tell whether there is a column of that name, any case."""
        return name.lower() in self._by_name  # type: ignore[attr-defined]

    @property
    def scan_index(self) -> Index | None:
        """The first index without columns; None for one-group tables."""
        for index in self.indexes:
            if not index.columns and index.entries:
                return index
        return None

    @property
    def unique_keys(self) -> tuple[Index, ...]:
        """The unique keys, the primary key included."""
        return tuple(i for i in self.indexes if i.unique_columns)


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """A view: a query with a name.

    :ivar columns: its list of column names, as text with parentheses; ''
        if it has none.
    :ivar query: the text of its SELECT.
    :ivar names: lower-case words of the query: among them all tables and
        views that it names.
    :ivar sql: verbatim CREATE VIEW text.
    """

    name: str
    columns: str
    query: str
    names: frozenset[str]
    sql: str


@dataclasses.dataclass(frozen=True)
class Schema:
    """All tables at one version of the catalog.

    :ivar tables: by lower-case name.
    :ivar views: by lower-case name.
    :ivar statements: (type, name, table name, sql) as in sqlite_master, in
        creation order: replayed, they make a reflecting twin.
    """

    version: int
    tables: Mapping[str, Table]
    statements: tuple[tuple[str, str, str, str], ...] = ()
    views: Mapping[str, View] = dataclasses.field(default_factory=dict)

    def table(self, name: str) -> Table | None:
        """Return a table by its name, any case; None if there is none."""
        return self.tables.get(name.lower())


def is_readable(known: Table, current: Table | None) -> bool:
    """Tell whether all of a table's rows can still be read by the indexes
    that it is known to have.

    An index that is dropped gets no new entries as soon as nobody should
    read by it any more (rule 26).

    :param current: the table as the newest schema has it.
    """
    if known is current:
        return True
    if current is None or current.number != known.number:
        return False
    public = {i.number for i in current.indexes if i.public}
    return all(i.number in public for i in known.indexes
               if i.entries and i.public)
