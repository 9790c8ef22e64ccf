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

"""What a profile says of a database's tables.

A profile belongs to a database (by its name); it says, table by table, what
is stored together, at which locality, and which access paths are worth an
index.  But for ``same_writes`` it never decides what is right, only what is
fast: with any profile, or none, every statement gives the same answer.  A
rule that does not fit a table (an older or newer release's columns) is left
out for that table.

What a profile says is used when a table is created and then kept in the
catalog, because stored rows depend on it.
"""

from collections.abc import Mapping
import dataclasses

#: what alembic's batch mode calls the copy that it later renames
BATCH_PREFIX = '_alembic_tmp_'


@dataclasses.dataclass(frozen=True)
class Rule:
    """How a table is stored. All columns by name.

    :ivar by: grouping columns; None = each row is a group of its own,
        () = one group for the whole table.
    :ivar group: name of the group that tables with a ``by`` share; None =
        the table's own.
    :ivar key: the columns of the unique key that rows are stored under;
        () = the primary key.
    :ivar locality: 'site', 'global', None = the profile's.
    :ivar without: indexes (as declared) that get no entries: columns that
        change with every write, or that no query starts from.
    :ivar indexes: further access paths.
    :ivar orders: further orders in which all rows of the table are read
        page by page; that of the primary key needs no mention. Each is one
        more entry for each row: for columns that seldom change.
    :ivar buckets: {columns of an access path, after leading columns are left
        out: how many partitions its equal values are spread over}; () is the
        scan of the table.
    """

    by: tuple[str, ...] | None = None
    group: str | None = None
    key: tuple[str, ...] = ()
    locality: str | None = None
    without: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    orders: tuple[tuple[str, ...], ...] = ()
    buckets: Mapping[tuple[str, ...], int] = dataclasses.field(
        default_factory=dict)


def reference(group: str | None = None,
              locality: str | None = 'global') -> Rule:
    """Return the rule of a small table, read often and written rarely.

    All its rows are one group: one read gives the table.

    :param group: name of the group, if several tables share it.
    """
    return Rule(by=(), group=group, locality=locality)


def member(group: str, *by: str, key: tuple[str, ...] = (),
           without: tuple[tuple[str, ...], ...] = (),
           indexes: tuple[tuple[str, ...], ...] = (),
           orders: tuple[tuple[str, ...], ...] = (),
           buckets: Mapping[tuple[str, ...], int] | None = None,
           locality: str | None = None) -> Rule:
    """Return the rule of a table whose rows join the group of ``by``."""
    return Rule(by=by, group=group, key=key, without=without,
                indexes=indexes, orders=orders, buckets=buckets or {},
                locality=locality)


@dataclasses.dataclass(frozen=True)
class Profile:
    """The rules of a database.

    :ivar locality: of tables that say nothing else.
    :ivar leave_out: columns with few values: an index that starts with one
        is stored without it, an index on it alone not at all.
    :ivar together: sets of tables of one group that a service loads
        together, by statements that follow one another: where rounds are
        dear, the first reads for all. Not kept in the catalog.
    :ivar children: (parent, child) pairs of tables: the child's groups are
        by the parent's key, and the child is loaded with the parent: the
        read of a parent's row, which an index led to, reads its children,
        too. Not kept in the catalog.
    :ivar same_writes: tables in which two transactions that write the same
        values do not conflict, whatever they read before, as on MySQL. Only
        for tables that note a state (the day of a login) and where nobody
        counts up what he read.
    :ivar named_constraints: reflection gives unnamed keys and foreign keys
        names (stock SQLite's gives None): for services whose migrations
        drop constraints by what reflection says, as on MySQL.
    """

    name: str
    rules: Mapping[str, Rule] = dataclasses.field(default_factory=dict)
    locality: str = 'site'
    leave_out: frozenset[str] = frozenset(('deleted',))
    together: tuple[tuple[str, ...], ...] = ()
    children: tuple[tuple[str, str], ...] = ()
    same_writes: frozenset[str] = frozenset()
    named_constraints: bool = False

    def rule(self, table: str) -> Rule:
        """Return a table's rule; the default one if there is none."""
        name = table.lower()
        if name.startswith(BATCH_PREFIX):
            name = name[len(BATCH_PREFIX):]
        return self.rules.get(name, DEFAULT_RULE)


DEFAULT_RULE = Rule()
