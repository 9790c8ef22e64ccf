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

"""Texts of a statement's queries, and which may be run ahead of it."""

from collections.abc import Iterator

from sqlglot import exp

from luc_drivers.db.planner import build
from luc_drivers.db.planner import scope
from luc_drivers.db.planner import text as texts


def query_texts(text: str, builder: build.Builder) -> dict[
        scope.Query, str]:
    """Return what stands in the parentheses of each query of a statement.

    Found by the positions that sqlglot keeps of names and literals; a query
    whose place isn't certain is left out.
    """
    ranges = texts.query_ranges(text)
    placed: dict[tuple[int, int], list[scope.Query]] = {}
    for query in builder.queries:
        spots = [node.meta['start'] for node in query.tree.walk()
                 if 'start' in node.meta]
        if not spots:
            continue
        low, high = min(spots), max(spots)
        around = [r for r in ranges if r[0] <= low and high < r[1]]
        if around:
            placed.setdefault(max(around), []).append(query)
    return {found[0]: text[at[0]:at[1]]
            for at, found in placed.items() if len(found) == 1}


def runnable(query: scope.Query) -> bool:
    """Tell whether a query, run on its own ahead of the statement, yields
    what it will yield inside it, whatever else is loaded meanwhile."""
    return not query.correlated and all(
        _settled(inner) for inner in _all(query, set()))


def _all(query: scope.Query, seen: set[scope.Query]) -> Iterator[
        scope.Query | None]:
    """Yield a query and those inside it; None for one that is outside
    (a CTE of the statement)."""
    if query in seen:
        return
    seen.add(query)
    yield query
    for inner in query.inner:
        yield from _all(inner, seen)
    for arm in query.arms:
        for ref in arm.refs:
            if ref.query is not None:
                if ref.query.container is not arm:
                    yield None
                else:
                    yield from _all(ref.query, seen)
            elif ref.table is None:
                yield None


def _settled(query: scope.Query | None) -> bool:
    if query is None or query.tree.find(
            exp.Window, exp.GroupConcat, exp.Rand) is not None:
        return False
    if any(f.name.lower() in ('random', 'randomblob', 'group_concat')
           for f in query.tree.find_all(exp.Anonymous)):
        return False
    return not query.limited or ordered(query)


def ordered(query: scope.Query) -> bool:
    """Tell whether ORDER BY leaves no ties, so that LIMIT means one set."""
    order = query.tree.args.get('order')
    if order is None:
        return False
    items = [item.this if isinstance(item, exp.Ordered) else item
             for item in order.expressions]
    if len(query.arms) != 1:
        if any(limited_arm(arm) for arm in _selects(query.tree)):
            return False
        names = {i.name.lower() for i in items if isinstance(i, exp.Column)}
        return any(key <= names for key in unique_outputs(query))
    block = query.arms[0]
    if block.folds and not block.grouped:
        return False
    columns: dict[scope.Ref, set[str]] = {}
    for item in items:
        vertex = block.resolve(item)
        if vertex is None and isinstance(item, exp.Column) and (
                not item.table):
            vertex = _by_alias(query, item.name.lower())
        if vertex is not None:
            columns.setdefault(vertex[0], set()).add(vertex[1].lower())
    if block.grouped:
        return all(c.lower() in columns.get(r, ()) for r, c in block.grouped)
    return all(
        any(key <= columns.get(ref, set()) for key in unique_columns(ref))
        for ref in block.refs)


def limited_arm(tree: exp.Expr) -> bool:
    """Tell whether a SELECT has a LIMIT or OFFSET of its own."""
    return tree.args.get('limit') is not None or (
        tree.args.get('offset') is not None)


def _selects(tree: exp.Expr) -> Iterator[exp.Expr]:
    tree = scope.unwrap(tree)
    if isinstance(tree, exp.SetOperation):
        yield from _selects(tree.this)
        yield from _selects(tree.expression)
    else:
        yield tree


def _by_alias(query: scope.Query,
              name: str) -> tuple[scope.Ref, str] | None:
    for output in query.outputs or ():
        if output.name == name:
            return output.origins[0]
    return None


def unique_columns(ref: scope.Ref) -> list[set[str]]:
    """Return sets of (lower-case) columns that identify a row of ``ref``."""
    if ref.query is not None:
        return unique_outputs(ref.query)
    if ref.table is None:
        return []
    found = []
    if ref.table.rowid_column is not None:
        found.append({ref.table.rowid_column.lower()})
    for key in ref.table.unique_keys:
        if key.public and all(
                ref.table.column(c).not_null for c in key.unique_columns):
            found.append({c.lower() for c in key.unique_columns})
    return found


def unique_outputs(query: scope.Query) -> list[set[str]]:
    """Return sets of result columns that identify a row of a query."""
    if query.outputs is None:
        return []
    if len(query.arms) == 1:
        block = query.arms[0]
        if len(block.refs) != 1 or block.folds:
            return []
        handed: dict[str, set[str]] = {}
        for output in query.outputs:
            origin = output.origins[0]
            if origin is not None and origin[0] is block.refs[0]:
                handed.setdefault(origin[1].lower(), set()).add(output.name)
        return [{min(handed[c]) for c in key}
                for key in unique_columns(block.refs[0])
                if all(c in handed for c in key)]
    return _unique_union(query)


def _unique_union(query: scope.Query) -> list[set[str]]:
    """As unique_outputs, of a UNION whose arms all hand on columns of one
    table: rows with one key are alike, and UNION keeps one of them."""
    if any(not isinstance(t, exp.Union) or not t.args.get('distinct')
           for t in query.tree.find_all(exp.SetOperation)):
        return []
    assert query.outputs is not None
    handed: dict[str, str] = {}
    table = None
    for output in query.outputs:
        if None in output.origins:
            return []
        columns = {(o[0].table, o[1]) for o in output.origins
                   if o is not None and o[0].table is not None}
        if len({id(t) for t, _c in columns}) != 1 or len(
                {c for _t, c in columns}) != 1:
            return []
        mine, column = next(iter(columns))
        if table is not None and mine is not table:
            return []
        table = mine
        handed[column.lower()] = output.name
    for arm in query.arms:
        found = {o.origins[query.arms.index(arm)][0]  # type: ignore[index]
                 for o in query.outputs}
        if len(found) != 1:
            return []
    ref = query.outputs[0].origins[0][0]  # type: ignore[index]
    return [{handed[c] for c in key} for key in unique_columns(ref)
            if all(c in handed for c in key)]
