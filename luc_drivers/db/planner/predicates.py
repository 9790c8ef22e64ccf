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

"""What conditions say of columns: constants, ranges, and edges.

A *vertex* is a column of a table reference, or a result column of a query.
An *edge* from one vertex to another says: rows of the target can matter only
if their value is among the source's values, of rows that matter themselves.
Constants travel along edges (equality classes).  Edges are directed:

* an equality in a group leads to both of its sides that stand directly in
  that group, so it never leads out of the nullable side of an outer join;
* a correlated query's equality leads inwards; outwards only from a
  positive EXISTS that is itself a condition of the outer group;
* ``x IN (SELECT y …)``, as a condition, leads from y to x;
* a derived table's column leads from its origin to where it is used; back
  only if the derived table just filters (no LIMIT, aggregate, window).
"""

from collections.abc import Iterator
import dataclasses
from typing import Any

from sqlglot import exp

from luc_drivers.db.catalog import schema as schemas
from luc_drivers.db.planner import build
from luc_drivers.db.planner import scope
from luc_drivers.db.planner import values

#: (reference, column) or (query, number of the result column)
Vertex = tuple[Any, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Operand:
    """A literal or a placeholder.

    :ivar slot: number of the placeholder; None for a literal.
    :ivar null: a NULL value matches NULL (IS), not nothing (=).
    """

    value: Any = None
    slot: int | None = None
    null: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """The column equals one of these."""

    operands: tuple[Operand, ...]
    many: bool = False

    @property
    def nulls(self) -> bool:
        """Tell whether NULL may be among the values."""
        return any(o.null for o in self.operands)


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """The column is on one side of an operand; if there are several, of
    one of them.
    """

    operands: tuple[Operand, ...]
    upper: bool
    inclusive: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Edge:
    """Where a vertex's values may come from.

    :ivar exact: values are the source's, or compare without conversion.
    :ivar nulls: NULL comes along (it does not where they are compared).
    """

    source: Vertex
    exact: bool
    nulls: bool = False


class Facts:
    """Constants, ranges and edges, by vertex."""

    def __init__(self) -> None:
        self.terms: dict[Vertex, list[Term]] = {}
        self.ranges: dict[Vertex, list[Range]] = {}
        self.edges: dict[Vertex, list[Edge]] = {}
        #: per group: ORs, as lists of branches
        self.choices: dict[scope.Group, list[list[Facts]]] = {}

    def merged(self, other: 'Facts') -> 'Facts':
        """Return what holds if both hold."""
        both = Facts()
        for facts in (self, other):
            for vertex, terms in facts.terms.items():
                both.terms.setdefault(vertex, []).extend(terms)
            for vertex, ranges in facts.ranges.items():
                both.ranges.setdefault(vertex, []).extend(ranges)
            for vertex, edges in facts.edges.items():
                both.edges.setdefault(vertex, []).extend(edges)
        both.choices = self.choices
        return both

    def sources(self, vertex: Vertex) -> tuple[list[Term], list[Vertex]]:
        """Return the constants that hold for a vertex, and the vertices
        that its values may be taken from, nearest first."""
        terms = list(self.terms.get(vertex, ()))
        found: list[Vertex] = []
        seen = {vertex}
        queue = [(vertex, True, True)]
        for at, exact, nulls in queue:
            for edge in self.edges.get(at, ()):
                if edge.source in seen:
                    continue
                seen.add(edge.source)
                found.append(edge.source)
                so_far = exact and edge.exact
                keeps = nulls and edge.nulls
                if so_far:
                    terms.extend(
                        t if keeps else _strict(t)
                        for t in self.terms.get(edge.source, ()))
                queue.append((edge.source, so_far, keeps))
        return terms, found


def _strict(term: Term) -> Term:
    """Return a term after an equality, which NULL never passes."""
    if not term.nulls:
        return term
    return Term(tuple(dataclasses.replace(o, null=False)
                      for o in term.operands), term.many)


@dataclasses.dataclass(frozen=True, slots=True)
class _Type:
    """How a vertex's values compare; affinity None: an expression."""

    affinity: schemas.Affinity | None
    binary: bool


def type_of(vertex: Vertex) -> _Type:
    """Return affinity and collation of a vertex."""
    owner, column = vertex
    if isinstance(owner, scope.Ref):
        if owner.table is not None:
            own = owner.table.column(column)
            return _Type(own.affinity, own.collation.upper() == 'BINARY')
        assert owner.query is not None
        names = [o.name for o in owner.query.outputs or ()]
        return type_of((owner.query, names.index(column)))
    output = owner.outputs[column]
    types = {None if o is None else type_of(o) for o in output.origins}
    if len(types) == 1:
        only = types.pop()
        if only is not None:
            return only
        types = {None}
    return _Type(None, not output.collated and all(
        t is None or t.binary for t in types))


def _usable(vertex: Vertex) -> bool:
    """Tell whether a look-up by the column can be done at all."""
    owner, column = vertex
    kind = type_of(vertex)
    if not kind.binary or kind.affinity is None:
        return False
    return not (isinstance(owner, scope.Ref) and owner.table is not None
                and owner.table.column(column).generated)


def _edge(source: Vertex, target: Vertex) -> Edge | None:
    """Return an edge if comparing the two lets the source drive."""
    origin, aim = type_of(source), type_of(target)
    if not _usable(target) or not origin.binary:
        return None
    assert aim.affinity is not None
    if _constant_output(source):
        # as a literal is compared: converted like one
        return Edge(source, False)
    if origin.affinity is None:
        # numeric columns convert the other side, never themselves
        return Edge(source, False) if values.is_numeric(
            aim.affinity) else None
    if not values.comparable(aim.affinity, origin.affinity):
        return None
    return Edge(source, values.is_numeric(aim.affinity)
                == values.is_numeric(origin.affinity))


def _constant_output(vertex: Vertex) -> bool:
    owner, column = vertex
    return isinstance(owner, scope.Query) and (
        owner.outputs is not None and owner.outputs[column].constant)


def constant(tree: exp.Expr) -> Operand | None:
    """Return a literal or placeholder; None for anything else."""
    tree = scope.unwrap(tree)
    if isinstance(tree, exp.Placeholder):
        name = tree.name
        if name.startswith('luc_'):
            return Operand(slot=int(name[4:]))
        return None
    if isinstance(tree, exp.Null):
        return Operand(None)
    if isinstance(tree, exp.Boolean):
        return Operand(int(tree.this))
    if isinstance(tree, exp.Literal):
        return _literal(tree)
    if isinstance(tree, exp.Neg):
        inner = constant(tree.this)
        if inner is not None and inner.slot is None and isinstance(
                inner.value, (int, float)):
            return Operand(-inner.value)
    return None


def _literal(tree: exp.Literal) -> Operand | None:
    if tree.is_string:
        return Operand(tree.this)
    try:
        number: int | float = int(tree.this)
        if not -2 ** 63 < number < 2 ** 63:
            number = float(tree.this)
    except ValueError:
        try:
            number = float(tree.this)
        except ValueError:
            return None
    return Operand(number)


class Collector:
    """Collects the facts of all blocks of a statement."""

    def __init__(self, many: frozenset[int]) -> None:
        self.many = many
        self.facts = Facts()

    def collect(self, builder: build.Builder) -> Facts:
        """Return all that the conditions of a statement say."""
        for block in builder.blocks:
            for group in block.groups:
                for tree in group.conjuncts:
                    self._conjunct(tree, block, group, self.facts)
        for query in builder.queries:
            self._outputs(query)
        for block in builder.blocks:
            for ref in block.refs:
                if ref.query is not None and ref.query.outputs is not None:
                    self._derived(ref)
        return self.facts

    # --- conditions

    def _conjunct(self, tree: exp.Expr, block: scope.Block,
                  group: scope.Group, facts: Facts) -> None:
        tree = scope.unwrap(tree)
        if isinstance(tree, exp.EQ):
            self._equality(tree.this, tree.expression, block, group, facts)
        elif isinstance(tree, (exp.Is, exp.NullSafeEQ)):
            self._is(tree.this, tree.expression, block, group, facts)
        elif isinstance(tree, exp.In):
            self._in(tree, block, group, facts)
        elif isinstance(tree, (exp.GT, exp.GTE, exp.LT, exp.LTE)):
            upper = isinstance(tree, (exp.LT, exp.LTE))
            inclusive = isinstance(tree, (exp.GTE, exp.LTE))
            self._range(tree.this, tree.expression, upper, inclusive,
                        block, group, facts)
            self._range(tree.expression, tree.this, not upper, inclusive,
                        block, group, facts)
        elif isinstance(tree, exp.Between):
            self._range(tree.this, tree.args['low'], False, True,
                        block, group, facts)
            self._range(tree.this, tree.args['high'], True, True,
                        block, group, facts)
        elif isinstance(tree, exp.Exists):
            self._exists(tree, block, group, facts)
        elif isinstance(tree, exp.Or):
            self._or(tree, block, group, facts)

    def _target(self, tree: exp.Expr, block: scope.Block,
                group: scope.Group) -> Vertex | None:
        """Return the column that a condition of ``group`` narrows."""
        vertex = block.resolve(scope.unwrap(tree))
        if vertex is None or vertex[0].group is not group:
            return None
        return vertex if _usable(vertex) else None

    def _equality(self, left: exp.Expr, right: exp.Expr,
                  block: scope.Block, group: scope.Group,
                  facts: Facts) -> None:
        for here, there in ((left, right), (right, left)):
            target = self._target(here, block, group)
            if target is None:
                continue
            operand = constant(there)
            if operand is not None:
                facts.terms.setdefault(target, []).append(Term((operand,)))
                continue
            tree = scope.unwrap(there)
            if isinstance(tree, exp.Query):
                self._from_query(tree, target, block, facts)
                continue
            source = block.resolve(tree)
            if source is not None and source[0] is not target[0]:
                self._add(source, target, facts)

    def _add(self, source: Vertex, target: Vertex, facts: Facts) -> None:
        edge = _edge(source, target)
        if edge is not None:
            facts.edges.setdefault(target, []).append(edge)

    def _is(self, left: exp.Expr, right: exp.Expr,
            block: scope.Block, group: scope.Group, facts: Facts) -> None:
        for here, there in ((left, right), (right, left)):
            target = self._target(here, block, group)
            operand = constant(there)
            if target is not None and operand is not None and not isinstance(
                    scope.unwrap(there), exp.Boolean):
                facts.terms.setdefault(target, []).append(
                    Term((dataclasses.replace(operand, null=True),)))

    def _in(self, tree: exp.In, block: scope.Block, group: scope.Group,
            facts: Facts) -> None:
        target = self._target(tree.this, block, group)
        if target is None:
            return
        query = tree.args.get('query')
        if query is not None:
            self._from_query(scope.unwrap(query), target, block, facts)
            return
        operands = [constant(e) for e in tree.expressions]
        found = tuple(o for o in operands if o is not None)
        if operands and len(found) == len(operands):
            facts.terms.setdefault(target, []).append(Term(
                found, len(found) > 1 or any(
                    o.slot in self.many for o in found)))

    def _from_query(self, tree: exp.Expr, target: Vertex,
                    block: scope.Block, facts: Facts) -> None:
        query = block.inner.get(id(tree))
        if query is not None and query.outputs is not None and len(
                query.outputs) == 1:
            self._add((query, 0), target, facts)

    def _range(self, here: exp.Expr, there: exp.Expr,
               upper: bool, inclusive: bool, block: scope.Block,
               group: scope.Group, facts: Facts) -> None:
        target = self._target(here, block, group)
        operand = constant(there)
        if target is not None and operand is not None:
            facts.ranges.setdefault(target, []).append(
                Range((operand,), upper, inclusive))

    def _exists(self, tree: exp.Exists, block: scope.Block,
                group: scope.Group, facts: Facts) -> None:
        query = block.inner.get(id(scope.unwrap(tree.this)))
        if query is None or not query.plain or query.limited:
            return
        inner = query.arms[0]
        for condition in inner.root.conjuncts:
            condition = scope.unwrap(condition)
            if not isinstance(condition, exp.EQ):
                continue
            for here, there in ((condition.this, condition.expression),
                                (condition.expression, condition.this)):
                target = self._target(here, inner, group)
                source = inner.resolve(scope.unwrap(there))
                if target is not None and source is not None and (
                        source[0].block is inner):
                    self._add(source, target, facts)

    def _or(self, tree: exp.Or, block: scope.Block, group: scope.Group,
            facts: Facts) -> None:
        branches = []
        for branch in _disjuncts(tree):
            found = Facts()
            for part in scope.conjuncts(branch):
                part = scope.unwrap(part)
                if not isinstance(part, exp.Or):
                    self._conjunct(part, block, group, found)
            branches.append(found)
        shared = set(branches[0].terms)
        for found in branches[1:]:
            shared &= set(found.terms)
        for vertex in shared:
            # one column in every branch: a list of values
            terms = [f.terms[vertex][0] for f in branches]
            facts.terms.setdefault(vertex, []).append(Term(
                tuple(o for t in terms for o in t.operands), True))
        for vertex in dict.fromkeys(v for f in branches for v in f.ranges):
            for upper in (False, True):
                ends = [end for f in branches
                        if (end := _end(f, vertex, upper)) is not None]
                if len(ends) == len(branches):
                    # a page's marker: a > 1 OR a = 1 AND b > 2
                    facts.ranges.setdefault(vertex, []).append(Range(
                        tuple(o for e in ends for o in e.operands), upper,
                        any(e.inclusive for e in ends)))
        facts.choices.setdefault(group, []).append(branches)

    # --- queries

    def _outputs(self, query: scope.Query) -> None:
        """Lead from a query's origins to its result columns."""
        if query.outputs is None or len(query.arms) != 1:
            return
        for number, output in enumerate(query.outputs):
            origin = output.origins[0]
            if origin is not None:
                self._pass(origin, (query, number))

    def _derived(self, ref: scope.Ref) -> None:
        """Lead from a query's columns to the derived table's, and back to
        their origins where a condition on it filters their rows."""
        query = ref.query
        assert query is not None and query.outputs is not None
        filters = (query.container is ref.block and not query.limited
                   and (len(query.arms) == 1
                        or isinstance(query.tree, exp.Union)))
        names = [o.name for o in query.outputs]
        for number, output in enumerate(query.outputs):
            if names.count(output.name) != 1:
                continue
            self._pass((query, number), (ref, output.name))
            if not filters:
                continue
            for origin, arm in zip(output.origins, query.arms):
                if origin is not None and origin[0].group is arm.root and (
                        not arm.folds or origin in arm.grouped):
                    self._pass((ref, output.name), origin)

    def _pass(self, source: Vertex, target: Vertex) -> None:
        if isinstance(target[0], scope.Ref) and target[0].table is not None:
            if not _usable(target):
                return
        self.facts.edges.setdefault(target, []).append(
            Edge(source, True, nulls=True))


def _end(facts: Facts, vertex: Vertex, upper: bool) -> Range | None:
    """Return the bound that a branch of an OR sets for a column."""
    for found in facts.ranges.get(vertex, ()):
        if found.upper is upper:
            return found
    for term in facts.terms.get(vertex, ()):
        if not term.nulls:
            return Range(term.operands, upper, True)
    return None


def _disjuncts(tree: exp.Expr) -> Iterator[exp.Expr]:
    """Yield the parts of an OR chain."""
    stack = [tree]
    while stack:
        node = scope.unwrap(stack.pop())
        if isinstance(node, exp.Or):
            stack.append(node.expression)
            stack.append(node.this)
        else:
            yield node


def own_conditions(ref: scope.Ref) -> Iterator[exp.Expr]:
    """Yield the conditions of a reference's group that name only it."""
    for tree in ref.group.conjuncts:
        tree = scope.unwrap(tree)
        if tree.find(exp.Query) is not None:
            continue
        found = [ref.block.resolve(c) for c in tree.find_all(exp.Column)]
        if found and all(v is not None and v[0] is ref for v in found):
            yield tree
