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

"""Who is who in a statement: table references, blocks, groups, columns.

A *query* is a SELECT or a compound of them (its arms); a *block* is one
SELECT, or the part of an UPDATE or DELETE that finds rows.  The table
references of a block fall into *groups* by outer joins: the root group, and
one below it for the nullable side of every outer join.  A conjunct belongs to
the group that it filters: WHERE and inner ON to their own, the ON of an outer
join to its nullable side (rule 19).  It narrows the references that stand
directly in that group, and no others.
"""

from collections.abc import Iterator
import dataclasses

from sqlglot import exp

from luc_drivers.db.catalog import schema as schemas

_ROWID = frozenset(('rowid', 'oid', '_rowid_'))


@dataclasses.dataclass(eq=False)
class Group:
    """References that are inner-joined with one another."""

    conjuncts: list[exp.Expr] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(eq=False)
class Ref:
    """One appearance of a table, or of a derived table, in a block.

    :ivar table: the base table; None for derived ones and unknown ones.
    :ivar query: what a derived table (or CTE) is.
    """

    alias: str
    block: 'Block'
    group: Group
    table: schemas.Table | None = None
    query: 'Query | None' = None

    @property
    def opaque(self) -> bool:
        """Its columns are not known."""
        return self.table is None and (
            self.query is None or self.query.outputs is None)

    def column(self, name: str) -> str | None:
        """Return the column's own spelling; None if it has none such."""
        if self.table is not None:
            if self.table.has_column(name):
                return self.table.column(name).name
            if name.lower() in _ROWID:
                return self.table.rowid_column
            return None
        if self.query is not None and self.query.outputs is not None:
            names = [o.name for o in self.query.outputs]
            if names.count(name.lower()) == 1:
                return name.lower()
        return None

    def claims(self, name: str) -> bool:
        """Tell whether an unqualified name may mean a column of it."""
        if self.table is not None:
            return self.table.has_column(name) or name.lower() in _ROWID
        if self.query is not None and self.query.outputs is not None:
            return name.lower() in [o.name for o in self.query.outputs]
        return True


@dataclasses.dataclass(eq=False)
class Output:
    """A result column of a query.

    :ivar origins: per arm, the (reference, column) that it hands on
        unchanged; None where it is an expression.
    :ivar collated: an expression that may bring a collation.
    :ivar constant: a literal or placeholder: no affinity, no collation.
    """

    name: str
    origins: tuple[tuple[Ref, str] | None, ...]
    collated: bool = False
    constant: bool = False


@dataclasses.dataclass(eq=False)
class Query:
    """A SELECT or a compound.

    :ivar outputs: None if they are not known (a star over the unknown).
    :ivar container: the block that it stands in.
    :ivar inner: the queries in its expressions.
    :ivar correlated: it names columns of a block around it.
    :ivar limited: LIMIT or OFFSET.
    :ivar plain: one arm, no aggregate, no GROUP BY: rows are those of its
        FROM and WHERE.
    """

    tree: exp.Expr
    container: 'Block | None' = None
    arms: 'list[Block]' = dataclasses.field(default_factory=list)
    inner: 'list[Query]' = dataclasses.field(default_factory=list)
    outputs: list[Output] | None = None
    correlated: bool = False
    limited: bool = False
    plain: bool = False

    def refs(self) -> Iterator[Ref]:
        """Yield all references inside, those of nested queries too."""
        for arm in self.arms:
            for ref in arm.refs:
                if ref.query is None:
                    yield ref
                else:
                    yield from ref.query.refs()
        for query in self.inner:
            yield from query.refs()


@dataclasses.dataclass(eq=False)
class Block:
    """One SELECT, or the row-finding part of an UPDATE or DELETE.

    :ivar parent: where names are looked for that are not found here.
    :ivar aliases: names of result columns: SQLite takes them for columns.
    :ivar folds: its result rows depend on one another (aggregate, window).
    :ivar grouped: the columns of its GROUP BY.
    :ivar columns: all column nodes of its own expressions.
    :ivar inner: the queries in its expressions, by the id of their tree.
    """

    query: Query | None = None
    parent: 'Block | None' = None
    refs: list[Ref] = dataclasses.field(default_factory=list)
    root: Group = dataclasses.field(default_factory=Group)
    groups: list[Group] = dataclasses.field(default_factory=list)
    aliases: frozenset[str] = frozenset()
    folds: bool = False
    grouped: frozenset[tuple[Ref, str]] = frozenset()
    columns: list[exp.Column] = dataclasses.field(default_factory=list)
    inner: dict[int, Query] = dataclasses.field(default_factory=dict)

    def resolve(self, column: exp.Expr) -> tuple[Ref, str] | None:
        """Return whose column a name is; None if that isn't certain."""
        if not isinstance(column, exp.Column) or column.args.get('db') or (
                isinstance(column.this, exp.Star)):
            return None
        name = column.name
        qualifier = column.table.lower()
        block: Block | None = self
        while block is not None:
            if qualifier:
                found = [r for r in block.refs if r.alias == qualifier]
            else:
                found = [r for r in block.refs if r.claims(name)]
                if not found and name.lower() in block.aliases:
                    return None
            if len(found) > 1:
                return None
            if found:
                own = found[0].column(name)
                return None if own is None else (found[0], own)
            block = block.parent
        return None


def conjuncts(tree: exp.Expr | None) -> Iterator[exp.Expr]:
    """Yield the parts of an AND chain."""
    if tree is None:
        return
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, exp.Paren):
            stack.append(node.this)
        elif isinstance(node, exp.And):
            stack.append(node.expression)
            stack.append(node.this)
        else:
            yield node


def unwrap(tree: exp.Expr) -> exp.Expr:
    """Take off parentheses."""
    while isinstance(tree, exp.Paren) or (
            isinstance(tree, exp.Subquery)
            and isinstance(tree.this, (exp.Query, exp.Table))
            and not tree.args.get('joins')):
        tree = tree.this
    return tree
