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

"""Writes simple conditions of one table back to SQL, in normal form.

Only what is certain to come out as SQLite understood it; a condition with
anything else is left out of a key query, which then fetches more.
"""

from sqlglot import exp

from luc_drivers.db.planner import scope
from luc_drivers.db.planner import text as texts

_BINARY: dict[type, str] = {
    exp.And: 'AND', exp.Or: 'OR', exp.EQ: '=', exp.NEQ: '<>', exp.GT: '>',
    exp.GTE: '>=', exp.LT: '<', exp.LTE: '<=', exp.Is: 'IS',
    exp.NullSafeEQ: 'IS', exp.NullSafeNEQ: 'IS NOT', exp.Like: 'LIKE',
    exp.Add: '+', exp.Sub: '-', exp.Mul: '*',
}


class Unrenderable(Exception):
    """The condition holds something that is not written back."""


def condition(tree: exp.Expr, ref: scope.Ref, alias: str) -> str:
    """Return a condition's SQL, its columns qualified by ``alias``.

    :raises Unrenderable: it holds more than the simple kinds.
    """
    kind = type(tree)
    if kind in _BINARY:
        left = condition(tree.this, ref, alias)
        right = condition(tree.expression, ref, alias)
        return f'({left} {_BINARY[kind]} {right})'
    if isinstance(tree, exp.Paren):
        return condition(tree.this, ref, alias)
    if isinstance(tree, exp.Not):
        return f'(NOT {condition(tree.this, ref, alias)})'
    if isinstance(tree, exp.Neg):
        return f'(- {condition(tree.this, ref, alias)})'
    if isinstance(tree, exp.Between):
        low = condition(tree.args['low'], ref, alias)
        high = condition(tree.args['high'], ref, alias)
        return f'({condition(tree.this, ref, alias)} BETWEEN {low} AND {high})'
    if isinstance(tree, exp.In) and tree.expressions and not (
            tree.args.get('query') or tree.args.get('field')
            or tree.args.get('unnest')):
        items = ', '.join(condition(e, ref, alias) for e in tree.expressions)
        return f'({condition(tree.this, ref, alias)} IN ({items}))'
    return _leaf(tree, ref, alias)


def _leaf(tree: exp.Expr, ref: scope.Ref, alias: str) -> str:
    if isinstance(tree, exp.Column):
        vertex = ref.block.resolve(tree)
        if vertex is not None and vertex[0] is ref:
            return f'{alias}.{texts.quote(vertex[1])}'
    elif isinstance(tree, exp.Placeholder):
        if tree.name.startswith('luc_'):
            return ':' + tree.name
    elif isinstance(tree, exp.Null):
        return 'NULL'
    elif isinstance(tree, exp.Boolean):
        return 'TRUE' if tree.this else 'FALSE'
    elif isinstance(tree, exp.Literal):
        if tree.is_string:
            return texts.quote_text(tree.this)
        return tree.this
    raise Unrenderable(type(tree).__name__)
