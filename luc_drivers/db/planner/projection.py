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

"""The result columns of a query, and where they come from."""

from sqlglot import exp

from luc_drivers.db.planner.scope import Block
from luc_drivers.db.planner.scope import Output
from luc_drivers.db.planner.scope import unwrap


def outputs(trees: list[exp.Expr], arms: list[Block]
            ) -> list[Output] | None:
    """Return a query's result columns; None if they are not known.

    :param trees: the SELECTs of its arms.
    """
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
