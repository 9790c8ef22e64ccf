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

"""Builds the blocks of a statement (see scope) from its syntax tree."""

from collections.abc import Iterator
from typing import Any

from sqlglot import exp

from luc_drivers.db.catalog import schema as schemas
from luc_drivers.db.planner import projection
from luc_drivers.db.planner.scope import Block
from luc_drivers.db.planner.scope import conjuncts
from luc_drivers.db.planner.scope import Group
from luc_drivers.db.planner.scope import Output
from luc_drivers.db.planner.scope import Query
from luc_drivers.db.planner.scope import Ref
from luc_drivers.db.planner.scope import unwrap


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
        made.outputs = projection.outputs(trees, made.arms)
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
                    Output(c.name.lower(), o.origins, o.collated, o.constant)
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
