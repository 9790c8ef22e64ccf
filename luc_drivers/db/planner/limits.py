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


"""Pages of ordered slices, for LIMIT, and for min() and max().

Where an index slice is in the order that a query wants, it is read from that
end, page by page, until enough rows have passed the query's conditions: the
rows that come after them, however many, cannot matter.  Whether there are
enough, the workspace says, so what the transaction itself has written counts.
"""

from collections.abc import Iterator
import dataclasses
from typing import Any

from sqlglot import exp

from luc_drivers.db import keys
from luc_drivers.db.planner import plan
from luc_drivers.db.planner import predicates
from luc_drivers.db.planner import render
from luc_drivers.db.planner import scope
from luc_drivers.db.planner import text as texts

#: slices of one access that are read by pages
_SLICES = 16
#: rows above which a LIMIT is no limit
_MOST = 5000
#: entries of a small table, which is not to be read in several steps
SMALL = 100
#: a page is this much larger than the one before it
_GROWTH = 4
_ALIAS = 'k0'


#: what one branch of a marker says of a column
Mark = predicates.Term | predicates.Range


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What a query wants of its table.

    :ivar columns: that it sorts by, the first of them, all in one direction.
    :ivar ties: rows that are equal in these columns are wanted all: what
        else the query sorts by, or SQLite, chooses among them.
    :ivar operands: LIMIT and OFFSET; none: one row.
    :ivar conditions: all of the query's, in normal form.
    :ivar grouped: columns of which it wants rows of each value.
    :ivar free: it sorts by nothing: any rows will do.
    """

    columns: tuple[str, ...]
    descending: bool
    ties: bool
    operands: tuple[predicates.Operand, ...]
    conditions: tuple[str, ...]
    grouped: frozenset[str] = frozenset()
    free: bool = False

    @property
    def least(self) -> int:
        """How many entries to read at least."""
        return SMALL if self.free and self.conditions else 0

    def check(self, ref: scope.Ref, columns: tuple[str, ...]) -> str:
        """Return the beginning of `plan.Limit.check`, in normal form.

        :param columns: those of this order that the index has.
        """
        assert ref.table is not None
        names = [f'{_ALIAS}.{texts.quote(c)}' for c in columns]
        conditions = list(self.conditions) or ['TRUE']
        if not self.ties:
            # min() and max() do not see NULLs
            conditions += (f'{name} IS NOT NULL' for name in names)
        return (f'SELECT {", ".join(names)} FROM '
                f'{texts.quote(ref.table.name)} AS {_ALIAS} '
                f'WHERE {" AND ".join(conditions)}')


def find(queries: list[scope.Query]) -> dict[scope.Ref, Wanted]:
    """Return what the queries of a statement want, where that is known."""
    found = {}
    for query in queries:
        if query.correlated or len(query.arms) != 1 or not isinstance(
                query.tree, exp.Select):
            continue
        block = query.arms[0]
        ref = _driving(query.tree, block)
        if ref is None or query.tree.args.get('distinct'):
            continue
        if not block.folds:
            made = _first(query.tree, block, ref, query)
        elif len(block.refs) == 1:
            made = _lowest(query.tree, block, ref)
        else:
            continue
        if made is not None:
            found[ref] = made
    return found


def _driving(tree: exp.Select, block: scope.Block) -> scope.Ref | None:
    """Return the table each of whose rows that pass the conditions gives a
    row of the result, or several: what is joined to it, if anything, is so by
    LEFT JOINs.
    """
    source = tree.args.get('from_')
    if source is None or not isinstance(source.this, exp.Table) or (
            source.this.args.get('joins')):
        return None
    for join in tree.args.get('joins') or ():
        if (join.side or '').upper() != 'LEFT' or join.method:
            return None
    ref = block.refs[0]
    return ref if ref.table is not None else None


def markers(choices: list[list[predicates.Facts]], ref: scope.Ref,
            columns: tuple[str, ...], descending: bool
            ) -> tuple[tuple[Mark, ...], ...]:
    """Return where a page begins: (a > 1 OR a = 1 AND b > 2).

    :param choices: the ORs of the query.
    :returns: for each branch of one of them what it says of the first
        columns; () if there is none.
    """
    for branches in choices:
        found = []
        for facts in branches:
            marks: list[Mark] = []
            for column in columns:
                mark = _mark(facts, (ref, column), descending)
                if mark is None:
                    break
                marks.append(mark)
                if isinstance(mark, predicates.Range):
                    break
            if not marks:
                break
            found.append(tuple(marks))
        else:
            return tuple(found)
    return ()


def _mark(facts: predicates.Facts, vertex: predicates.Vertex,
          descending: bool) -> Mark | None:
    for term in facts.terms.get(vertex, ()):
        if len(term.operands) == 1 and not term.many and not term.nulls:
            return term
    for found in facts.ranges.get(vertex, ()):
        if found.upper is descending and len(found.operands) == 1:
            return found
    return None


def _conditions(ref: scope.Ref) -> tuple[str, ...] | None:
    """Return a reference's conditions as SQL; None if one can't be
    written."""
    found = []
    for tree in ref.group.conjuncts:
        try:
            found.append(render.condition(scope.unwrap(tree), ref, _ALIAS))
        except render.Unrenderable:
            return None
    return tuple(found)


def _column(vertex: tuple[scope.Ref, str] | None, ref: scope.Ref
            ) -> str | None:
    """Return the name of a column whose index entries are in SQL's order."""
    if vertex is None or vertex[0] is not ref or ref.table is None:
        return None
    own = ref.table.column(vertex[1])
    if own.generated or own.collation.upper() != 'BINARY':
        return None
    return own.name


def _first(tree: exp.Select, block: scope.Block, ref: scope.Ref,
           query: scope.Query) -> Wanted | None:
    """Return what a SELECT with LIMIT wants.

    Without ORDER BY those of the lowest ids, as SQLite finds them first.
    """
    order, limit = tree.args.get('order'), tree.args.get('limit')
    if not isinstance(limit, exp.Limit):
        return None
    operands = []
    for clause in (limit, tree.args.get('offset')):
        if clause is not None:
            operand = predicates.constant(clause.expression)
            if operand is None:
                return None
            operands.append(operand)
    conditions = _conditions(ref)
    if conditions is None:
        return None
    if order is None:
        assert ref.table is not None
        own = ref.table.rowid_column
        return None if own is None else Wanted(
            (ref.table.column(own).name,), False, False, tuple(operands),
            conditions, free=True)
    columns: list[str] = []
    descending = False
    for item in order.expressions:
        column = _column(_sorted_by(item.this, block, query), ref)
        down = bool(item.args.get('desc'))
        if column is None or bool(item.args.get('nulls_first')) is down:
            break
        if columns and down is not descending:
            break
        columns.append(column)
        descending = down
    if not columns:
        return None
    return Wanted(tuple(columns), descending, True, tuple(operands),
                  conditions)


def _sorted_by(tree: exp.Expr, block: scope.Block, query: scope.Query
               ) -> tuple[scope.Ref, str] | None:
    """Return the column that an item of ORDER BY means: a result column's
    name comes first."""
    if isinstance(tree, exp.Column) and not tree.table and (
            tree.name.lower() in block.aliases):
        named = [o for o in query.outputs or ()
                 if o.name == tree.name.lower()]
        return named[0].origins[0] if len(named) == 1 else None
    return block.resolve(tree)


def _lowest(tree: exp.Select, block: scope.Block, ref: scope.Ref
            ) -> Wanted | None:
    """Return what a SELECT of one min() or max() wants, for each group."""
    if any(tree.args.get(k) for k in ('having', 'windows', 'qualify')):
        return None
    group = tree.args.get('group')
    grouped = set()
    for item in group.expressions if group is not None else ():
        column = _column(block.resolve(item), ref)
        if column is None:
            return None
        grouped.add(column.lower())
    if group is not None and len(block.grouped) != len(grouped):
        return None
    found = []
    for item in tree.expressions:
        inner = item.this if isinstance(item, exp.Alias) else item
        if isinstance(inner, (exp.Min, exp.Max)) and not inner.expressions:
            found.append((_column(block.resolve(inner.this), ref),
                          isinstance(inner, exp.Max)))
        elif (_column(block.resolve(inner), ref) or '').lower() not in (
                grouped):
            return None
    conditions = _conditions(ref)
    if len(found) != 1 or found[0][0] is None or conditions is None:
        return None
    return Wanted((found[0][0],), found[0][1], False, (), conditions,
                  frozenset(grouped))


# --- of a bound access


def count(numbers: list[Any], free: bool = False) -> int | None:
    """Return how many rows LIMIT and OFFSET ask for; None: all, or too many
    to read them by pages.

    :param free: without an order those that an OFFSET leaves out must be
        found out in the same way each time: among all.
    """
    if not all(type(n) is int for n in numbers) or (
            free and any(n > 0 for n in numbers[1:])):
        return None
    if not numbers:
        return 1
    rows = numbers[0] + max(0, sum(numbers[1:]))
    return rows if 0 <= numbers[0] and rows <= _MOST else None


def first_page(rows: int) -> int:
    """Return how many entries to read at first: some may be stale, and one
    more tells that there are no ties."""
    return rows + rows // 8 + 2


@dataclasses.dataclass(slots=True)
class Start:
    """Where one branch of a marker begins.

    :ivar values: of the first columns.
    :ivar beyond: rows with just these values do not match.
    """

    values: list[plan.SQLValue]
    beyond: bool


def start(branches: list[Start], descending: bool) -> bytes:
    """Return the marker of a page; see `plan.Limit`.

    :param branches: those of the marker that can be true.
    """
    found = []
    for branch in branches:
        exact: list[plan.SQLValue] = []
        for value in branch.values:
            if _is_long(value):
                break
            exact.append(value)
        beyond = branch.beyond and len(exact) == len(branch.values)
        low, high = keys.prefix_range(keys.encode_index(exact))
        found.append(high if descending is not beyond else low)
    if not found:
        return b''
    return max(found) if descending else min(found)


def _is_long(value: plan.SQLValue) -> bool:
    """Tell whether entries of a value may not be in SQL's order."""
    if isinstance(value, str):
        value = value.encode()
    return isinstance(value, bytes) and len(value) > keys.KEPT_INDEX_VALUE


def split(access: plan.BoundAccess) -> Iterator[plan.BoundAccess]:
    """Yield one access for each slice that is read by pages; with very many
    slices all of them are read whole."""
    if access.limit is None:
        yield access
    elif len(access.keys) > _SLICES:
        yield dataclasses.replace(access, limit=None)
    else:
        for key in access.keys:
            limit = access.limit
            if limit.marker:
                limit = dataclasses.replace(
                    limit, after=keys.encode_index(key[1:]) + limit.marker)
            yield dataclasses.replace(access, keys=[key], limit=limit)


def enough(access: plan.BoundAccess, boundary: bytes,
           query: plan.RunQuery) -> bool:
    """Tell whether no further page of a slice can matter.

    :param access: of one slice, what is read of it being loaded.
    :param boundary: ``rest`` of the last entry that was read: all on this
        side of it are.
    """
    limit = access.limit
    assert limit is not None
    key, = access.keys
    if not limit.rows:
        return True
    where = ''.join(f' AND {_ALIAS}.{texts.quote(c)} IS ?'
                    for c in access.key_columns)
    direction = 'DESC' if limit.descending else 'ASC'
    order = ', '.join(f'{n} {direction}'
                      for n in range(1, len(limit.columns) + 1))
    found = query(
        f'{limit.check}{where} ORDER BY {order} LIMIT 1 OFFSET ?',
        [*limit.arguments, *key, limit.rows - 1])
    if not found:
        return False
    last = found[0]
    if any(map(_is_long, last)):
        return False
    low, high = keys.prefix_range(
        keys.encode_index(key[1:]) + keys.encode_index(last))
    if limit.descending:
        return boundary < (low if limit.ties else high)
    return (high if limit.ties else low) <= boundary


def following(access: plan.BoundAccess, boundary: bytes
              ) -> plan.BoundAccess:
    """Return the next page of a slice.

    It begins with the last entry of the one before: others may have the
    same ``rest``.
    """
    limit = access.limit
    assert limit is not None
    if limit.once:
        return dataclasses.replace(access, limit=None)
    return dataclasses.replace(access, limit=dataclasses.replace(
        limit, size=limit.size * _GROWTH,
        after=boundary + b'\0' if limit.descending else boundary))
