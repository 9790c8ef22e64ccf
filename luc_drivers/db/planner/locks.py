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

"""SELECT … FOR UPDATE: queries for the rowids of the rows to lock.

The dialect says it by a comment (rule 21).  Rows are those of the table
references in FROM, derived tables' included, that pass FROM and WHERE; LIMIT
is kept where it means the same rows.
"""

from collections.abc import Iterator

from sqlglot import exp

from luc_drivers.db.planner import rewrite
from luc_drivers.db.planner import scope
from luc_drivers.db.planner import text as texts

_SET = frozenset(('UNION', 'EXCEPT', 'INTERSECT'))
_AFTER_WHERE = frozenset(('GROUP', 'HAVING', 'WINDOW', 'ORDER', 'LIMIT'))


def lock_queries(normal: texts.Normal, query: scope.Query,
                 ranges: dict[scope.Query, str]) -> Iterator[
                     tuple[str, str]]:
    """Yield (table name, SQL in normal form) for each reference.

    They hold for every length of the statement's IN lists; see `render`.
    """
    for one, text, prefix in _queries(normal.text, query, ranges):
        for block, tree, part in _parts(one, text):
            for ref in block.refs:
                if ref.table is None:
                    continue
                name = rewrite.rowid_name(ref.table)
                if name is None:
                    continue
                alias = texts.quote(ref.alias)
                inner = f'SELECT {alias}.{name} AS id {part}'
                if _keeps_limit(one, tree, block):
                    inner += ' ' + _tail(text)
                yield ref.table.name, (
                    f'{prefix}SELECT DISTINCT id FROM ({inner}) '
                    'WHERE id IS NOT NULL')


def render(query: str, normal: texts.Normal) -> str:
    """Turn one of the `lock_queries` into SQL that takes all parameters of
    the statement, in this one of its layouts."""
    sql = texts.render_numbered(query, normal)
    if normal.slots and all(s.name is None for s in normal.slots):
        # so that SQLite counts as many parameters as the statement has
        sql += f' AND (1 OR ?{normal.parameters})'
    return sql


def _queries(text: str, query: scope.Query,
             ranges: dict[scope.Query, str]) -> Iterator[
                 tuple[scope.Query, str, str]]:
    """Yield the query and the derived tables in its FROM, with their texts
    and the WITH clause in force."""
    found = texts.tokens(text)
    start = next((t.start for t in found
                  if t.depth == 0 and t.text == 'SELECT'), 0)
    prefix = text[:start]
    yield query, text[start:], prefix
    stack = [query]
    while stack:
        for arm in stack.pop().arms:
            for ref in arm.refs:
                inner = ref.query
                if inner is not None and inner in ranges and (
                        inner.container is arm):
                    yield inner, ranges[inner], prefix
                    stack.append(inner)


def _parts(query: scope.Query, text: str) -> Iterator[
        tuple[scope.Block, exp.Expr, str]]:
    """Yield each arm with its ``FROM … WHERE …``."""
    found = texts.tokens(text)
    starts = [t.start for t in found if t.depth == 0 and t.text == 'SELECT']
    if len(starts) != len(query.arms):
        return
    ends = [*(t.start for t in found
              if t.depth == 0 and t.text in _SET), len(text)]
    for block, start, end in zip(query.arms, starts, ends):
        inside = [t for t in found if start <= t.start < end
                  and t.depth == 0 and t.kind == 'word']
        begin = next((t.start for t in inside if t.text == 'FROM'), None)
        if begin is None:
            continue
        stop = next((t.start for t in inside if t.start > begin
                     and t.text in _AFTER_WHERE), end)
        yield block, query.tree, text[begin:stop].strip()


def _keeps_limit(query: scope.Query, tree: exp.Expr,
                 block: scope.Block) -> bool:
    if len(query.arms) != 1 or not query.limited or block.folds or (
            tree.args.get('distinct')):
        return False
    order = tree.args.get('order')
    return order is None or all(
        block.resolve(o.this) is not None for o in order.expressions)


def _tail(text: str) -> str:
    """Return ORDER BY and LIMIT of a SELECT."""
    for token in texts.tokens(text):
        if token.depth == 0 and token.text in ('ORDER', 'LIMIT'):
            return text[token.start:]
    return ''
