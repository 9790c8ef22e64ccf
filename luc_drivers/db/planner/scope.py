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
from typing import Any

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


class Builder:
    """Builds the blocks of one statement.

    :ivar unknown: names that are no tables of the schema.
    """

    def __init__(self, schema: schemas.Schema) -> None:
        self.schema = schema
        self.unknown: set[str] = set()
        self.refs: list[Ref] = []
        self.blocks: list[Block] = []
        self.queries: list[Query] = []

    def statement(self, tree: exp.Expr) -> Block | None:
        """Build a whole statement; return the block of an UPDATE's or
        DELETE's target (None otherwise)."""
        target = None
        ctes = self._with_clause(tree, None, None, {})
        if isinstance(tree, exp.Insert):
            self._insert(tree, ctes)
        elif isinstance(tree, (exp.Update, exp.Delete)):
            target = self._write(tree, ctes)
        else:
            self._query(tree, None, None, ctes)
        for block in self.blocks:
            _mark_correlated(block)
        return target

    # --- statements

    def _insert(self, tree: exp.Insert, ctes: dict) -> None:
        source: Any = tree.args.get('expression')
        block = self._block(None, None)
        if isinstance(source, exp.Query):
            self._query(source, None, None, ctes)
        else:
            self._nested(source, block, ctes)
        self._nested(tree.args.get('conflict'), block, ctes)
        self._nested(tree.args.get('returning'), block, ctes)

    def _write(self, tree: exp.Expr, ctes: dict) -> Block:
        block = self._block(None, None)
        self._item(tree.this, block, block.root, {})
        source = tree.args.get('from_')
        if source is not None:
            self._item(source.this, block, block.root, ctes)
        where = tree.args.get('where')
        if where is not None:
            block.root.conjuncts.extend(conjuncts(where.this))
        for key, value in tree.args.items():
            if key not in ('this', 'from_', 'with_'):
                self._nested(value, block, ctes)
        return block

    # --- queries

    def _block(self, query: Query | None, parent: Block | None) -> Block:
        block = Block(query=query, parent=parent)
        block.groups.append(block.root)
        self.blocks.append(block)
        return block

    def _query(self, tree: exp.Expr, parent: Block | None,
               container: Block | None, ctes: dict) -> Query:
        """Build a query and all that is inside it.

        :param parent: where its outer names are resolved.
        """
        made = Query(tree=tree, container=container)
        self.queries.append(made)
        if container is None:
            # the statement itself: its CTEs are built already
            inner = ctes
        else:
            inner = self._with_clause(tree, parent, made, ctes)
        trees = list(_arms(tree))
        for arm in trees:
            own = inner if arm is tree else self._with_clause(
                arm, parent, made, inner)
            block = self._block(made, parent)
            made.arms.append(block)
            if isinstance(arm, exp.Select):
                self._select(arm, block, own)
            else:
                block.folds = True
                self._nested(arm, block, own)
        if not isinstance(tree, exp.Select):
            for key in ('order', 'limit', 'offset'):
                self._nested(tree.args.get(key), made.arms[-1], inner)
        made.limited = any(
            node.args.get(key) is not None
            for node in (tree, *trees) for key in ('limit', 'offset'))
        made.plain = len(trees) == 1 and not made.arms[0].folds
        made.outputs = _outputs(trees, made.arms)
        return made

    def _with_clause(self, tree: exp.Expr, parent: Block | None,
                     owner: Query | None, ctes: dict) -> dict:
        """Build the CTEs of a query; return the names in force inside."""
        clause = tree.args.get('with_')
        if clause is None:
            return ctes
        ctes = dict(ctes)
        for cte in clause.expressions:
            name = cte.alias.lower()
            # a recursive one sees itself, and knows nothing of it
            inside = {**ctes, name: None}
            made = self._query(unwrap(cte.this), parent,
                               Block(query=owner, parent=parent), inside)
            alias = cte.args.get('alias')
            columns = alias.args.get('columns') if alias else None
            if columns and made.outputs is not None:
                made.outputs = [
                    Output(c.name.lower(), o.origins, o.collated,
                               o.constant)
                    for c, o in zip(columns, made.outputs)
                ] if len(columns) == len(made.outputs) else None
            ctes[name] = made
        return ctes

    def _select(self, tree: exp.Select, block: Block, ctes: dict) -> None:
        source = tree.args.get('from_')
        if source is not None:
            self._item(source.this, block, block.root, ctes)
        outer = self._joins(tree, block, block.root, ctes)
        where = tree.args.get('where')
        if where is not None:
            block.root.conjuncts.extend(conjuncts(where.this))
        if outer:
            _isolate(block)
        block.folds = _folds(tree)
        group = tree.args.get('group')
        if group is not None and not any(
                tree.find_all(exp.Window, exp.Rollup, exp.Cube,
                              exp.GroupingSets)):
            found = (block.resolve(e) for e in group.expressions)
            block.grouped = frozenset(
                v for v in found if v is not None and v[0].block is block)
        block.aliases = frozenset(
            e.alias.lower() for e in tree.expressions
            if isinstance(e, exp.Alias))
        for key, value in tree.args.items():
            if key not in ('from_', 'joins', 'with_'):
                self._nested(value, block, ctes)

    def _joins(self, tree: exp.Expr, block: Block, group: Group,
               ctes: dict) -> bool:
        """Add what is joined; True if a join preserves its right side."""
        outer = False
        for join in tree.args.get('joins') or ():
            side = (join.side or '').upper()
            if side in ('RIGHT', 'FULL') or join.method:
                # RIGHT, FULL and NATURAL: nothing is narrowed
                outer = True
            into = group
            if side:
                into = Group()
                block.groups.append(into)
            outer |= self._item(join.this, block, into, ctes)
            condition = join.args.get('on')
            if condition is not None:
                into.conjuncts.extend(conjuncts(condition))
                self._nested(condition, block, ctes)
        return outer

    def _item(self, tree: exp.Expr, block: Block, group: Group,
              ctes: dict) -> bool:
        """Add one item of a FROM clause, with what is joined to it."""
        alias = (tree.alias or tree.name or '').lower()
        outer = False
        if isinstance(tree, exp.Table):
            self._table(tree, alias, block, group, ctes)
        elif isinstance(tree, exp.Subquery) and isinstance(
                tree.this, exp.Query):
            made = self._query(tree.this, block.parent, block, ctes)
            block.refs.append(Ref(alias, block, group, query=made))
        elif isinstance(tree, (exp.Subquery, exp.Paren)) and not tree.alias:
            outer = self._item(tree.this, block, group, ctes)
        else:
            block.refs.append(Ref(alias, block, group))
            for part in tree.iter_expressions():
                self._nested(part, block, ctes)
        return self._joins(tree, block, group, ctes) or outer

    def _table(self, tree: exp.Table, alias: str, block: Block,
               group: Group, ctes: dict) -> None:
        ref = Ref(alias, block, group)
        name = tree.name.lower()
        if not isinstance(tree.this, exp.Identifier):
            # a table-valued function: opaque
            self.unknown.add(tree.this.name)
            for part in tree.this.iter_expressions():
                self._nested(part, block, ctes)
        elif name in ctes and not tree.db:
            ref.query = ctes[name]
        else:
            ref.table = self.schema.table(name)
            if ref.table is None:
                self.unknown.add(tree.name)
            else:
                self.refs.append(ref)
        block.refs.append(ref)

    def _nested(self, value: object, block: Block, ctes: dict) -> None:
        """Build the queries inside expressions; note the columns."""
        stack = list(value) if isinstance(value, list) else [value]
        while stack:
            node = stack.pop()
            if not isinstance(node, exp.Expr):
                continue
            if isinstance(node, exp.Column):
                block.columns.append(node)
            if isinstance(node, exp.Query) and not isinstance(
                    node, exp.Subquery):
                made = self._query(node, block, block, ctes)
                block.inner[id(node)] = made
                if block.query is not None:
                    block.query.inner.append(made)
                continue
            field = node.args.get('field') if isinstance(
                node, exp.In) else None
            if field is not None:
                # x IN table: all rows of it matter
                holder = self._block(None, None)
                self._item(exp.Table(this=exp.to_identifier(field.name)),
                           holder, holder.root, ctes)
            stack.extend(node.iter_expressions())


def _arms(tree: exp.Expr) -> Iterator[exp.Expr]:
    tree = unwrap(tree)
    if isinstance(tree, exp.SetOperation):
        yield from _arms(tree.this)
        yield from _arms(tree.expression)
    else:
        yield tree


def _isolate(block: Block) -> None:
    """Give every reference a group of its own, without conditions."""
    for ref in block.refs:
        ref.group = Group()
        block.groups.append(ref.group)


def _folds(tree: exp.Select) -> bool:
    """Tell whether a SELECT's rows depend on one another (aggregates,
    windows, or functions that may be)."""
    if any(tree.args.get(k) for k in ('group', 'having', 'windows')):
        return True
    stack: list[exp.Expr] = list(tree.expressions)
    while stack:
        node = stack.pop()
        if isinstance(node, exp.Query):
            continue
        if isinstance(node, (exp.AggFunc, exp.Window, exp.Anonymous)):
            return True
        stack.extend(node.iter_expressions())
    return False


def _outputs(trees: list[exp.Expr],
             arms: list[Block]) -> list[Output] | None:
    lists: list[list[Output]] = []
    for tree, block in zip(trees, arms):
        if not isinstance(tree, exp.Select):
            return None
        found = _projection(tree, block)
        if found is None or (lists and len(found) != len(lists[0])):
            return None
        lists.append(found)
    return [Output(found[0].name, tuple(o for p in found for o in p.origins),
                   any(p.collated for p in found),
                   all(p.constant for p in found))
            for found in zip(*lists)]


def _projection(tree: exp.Select, block: Block) -> list[Output] | None:
    """Return the result columns of one SELECT."""
    found: list[Output] = []
    for item in tree.expressions:
        inner = item.this if isinstance(item, exp.Alias) else item
        if isinstance(inner, exp.Star) or (
                isinstance(inner, exp.Column)
                and isinstance(inner.this, exp.Star)):
            qualifier = '' if isinstance(inner, exp.Star) else (
                inner.table.lower())
            expanded = _star(tree, block, qualifier)
            if expanded is None:
                return None
            found.extend(expanded)
            continue
        origin = block.resolve(inner)
        if origin is not None and origin[0].block is not block:
            origin = None
        if isinstance(item, exp.Alias):
            name = item.alias.lower()
        else:
            name = inner.name.lower() if isinstance(inner, exp.Column) else ''
        # a column has its own collation, an expression may have one
        collated = origin is None and (
            isinstance(inner, exp.Column)
            or inner.find(exp.Collate) is not None)
        found.append(Output(name, (origin,), collated, isinstance(
            unwrap(inner), (exp.Literal, exp.Placeholder, exp.Null))))
    return found


def _star(tree: exp.Select, block: Block, qualifier: str) -> list[
        Output] | None:
    refs = [r for r in block.refs if not qualifier or r.alias == qualifier]
    if not refs or any(r.opaque for r in refs) or any(
            j.args.get('using') or j.method
            for j in tree.find_all(exp.Join)):
        return None
    found: list[Output] = []
    for ref in refs:
        if ref.table is not None:
            names = [c.name for c in ref.table.columns]
        else:
            assert ref.query is not None and ref.query.outputs is not None
            names = [o.name for o in ref.query.outputs]
        found.extend(Output(n.lower(), ((ref, n),)) for n in names)
    return found


def _mark_correlated(block: Block) -> None:
    """Mark the queries around a block that its columns reach out of."""
    for column in block.columns:
        resolved = block.resolve(column)
        if resolved is None:
            if not column.table and column.name.lower() in block.aliases:
                continue
            target = None
        else:
            target = resolved[0].block
        inside: Block | None = block
        while inside is not None and inside is not target and (
                inside.query is not None):
            inside.query.correlated = True
            inside = inside.query.container
