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

"""Accesses: their form in a plan, and how they get their values.

A *step* belongs to the analysis of a normal text and is shared by all texts
of that form; a *fetch* is a step with the layout of one text.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools
import math

from luc_drivers.db import keys as encoding
from luc_drivers.db.catalog import schema as schemas
from luc_drivers.db.planner import limits
from luc_drivers.db.planner import plan
from luc_drivers.db.planner import predicates
from luc_drivers.db.planner import text as texts
from luc_drivers.db.planner import values

#: more keys than this are not made by multiplying columns: an index look-up
#: then uses fewer columns
MAX_PRODUCT = 10000

#: the type that a column compares with as it is
_PLAIN = {
    schemas.Affinity.INTEGER: int,
    schemas.Affinity.REAL: int,
    schemas.Affinity.NUMERIC: int,
    schemas.Affinity.TEXT: str,
    schemas.Affinity.BLOB: str,
}


@dataclasses.dataclass(frozen=True, slots=True)
class KeyQuery:
    """A SELECT on the workspace that yields keys.

    :ivar sql: in normal form.
    :ivar source: whose rows it reads, for `explain`.
    """

    sql: str
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class FromQuery:
    """A key column that comes from a key query's result column."""

    query: KeyQuery
    column: int


Part = predicates.Term | FromQuery


@dataclasses.dataclass(frozen=True, slots=True)
class Pages:
    """How the slices of a step are read by pages.

    :ivar columns: the order that query and index share.
    :ivar check: see `plan.Limit`; in normal form.
    :ivar markers: see `limits.markers`.
    """

    wanted: limits.Wanted
    columns: tuple[str, ...]
    check: str
    markers: tuple[tuple[limits.Mark, ...], ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """An access of an analysis.

    :ivar parts: where the values of ``columns`` come from.
    :ivar reference: the alias that it serves, for `explain`.
    """

    table: schemas.Table
    path: plan.Path
    columns: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    index: schemas.Index | None = None
    lower: predicates.Range | None = None
    upper: predicates.Range | None = None
    unique: bool = False
    reference: str = ''
    pages: Pages | None = None

    def same(self) -> tuple:
        """Return what makes two steps fetch the same rows."""
        return (self.table.name, self.path,
                self.index.number if self.index else None,
                self.columns, self.parts, self.lower, self.upper, self.pages)


class Fetch(plan.Access):
    """A step with the layout of one statement text."""

    __slots__ = ('step', 'table', '_slots', '_queries', '_check')

    def __init__(self, step: Step, slots: Sequence[texts.Slot]) -> None:
        self.step = step
        self.table = step.table
        self._slots = slots
        queries = dict.fromkeys(
            p.query for p in step.parts if isinstance(p, FromQuery))
        self._queries = {q: texts.render(q.sql, slots) for q in queries}
        if step.pages is not None:
            self._check = texts.render(step.pages.check, slots)

    def __repr__(self) -> str:
        step = self.step
        by = ', '.join(step.columns)
        return f'<{step.path.value} {step.table.name} ({by})>'

    def bind(self, parameters: plan.Parameters,
             query: plan.RunQuery) -> plan.BoundAccess:
        """See :class:`plan.Access`."""
        step = self.step
        bound = plan.BoundAccess(
            table=step.table, path=step.path, keys=[], index=step.index,
            unique=step.unique, key_columns=step.columns)
        if step.path is plan.Path.SCAN:
            return bound
        if not self._range(bound, parameters, query):
            return bound
        if step.pages is not None:
            bound.limit = self._limit(step.pages, parameters, query)
        if not step.columns:
            bound.keys = [()]
            return bound
        keys, columns = self._keys(parameters, query)
        bound.keys = keys
        if columns < len(step.columns):
            if step.path is plan.Path.ROW:
                # whole groups instead
                columns = len(step.table.grouping.columns)
                bound.path = plan.Path.GROUP
                bound.keys = list(dict.fromkeys(k[:columns] for k in keys))
            bound.key_columns = step.columns[:columns]
            bound.unique = False
            bound.lower = bound.upper = bound.limit = None
        return bound

    def _limit(self, pages: Pages, parameters: plan.Parameters,
               query: plan.RunQuery) -> plan.Limit | None:
        wanted = pages.wanted
        rows = limits.count([
            values.plain(next(self._value(one, parameters)), query)
            for one in wanted.operands], wanted.free)
        if rows is None:
            return None
        sql, order = self._check
        return plan.Limit(
            rows, wanted.descending, wanted.ties, pages.columns, sql,
            tuple(self._arguments(order, parameters)),
            max(limits.first_page(rows), wanted.least),
            limits.start(list(self._branches(pages, parameters, query)),
                         wanted.descending),
            # what a slice begins with are old entries, at worst, of rows that
            # have just been changed; of a table, no row may match
            once=wanted.free and not self.step.columns)

    def _branches(self, pages: Pages, parameters: plan.Parameters,
                  query: plan.RunQuery) -> Iterator[limits.Start]:
        """Yield where the branches of a marker begin, of those that may be
        true."""
        for marks in pages.markers:
            found = limits.Start([], False)
            for name, mark in zip(pages.columns, marks):
                operand, = mark.operands
                value = values.plain(
                    next(self._value(operand, parameters)), query)
                if value is None:
                    # equal to nothing, above nothing
                    break
                affinity = self.table.column(name).affinity
                found.values.append(values.range_end(
                    value, affinity, query,
                    upper=pages.wanted.descending))
                if len(list(values.candidates(value, affinity, query))) > 1:
                    yield found
                    break
                found.beyond = isinstance(mark, predicates.Range) and (
                    not mark.inclusive)
            else:
                yield found

    # --- values

    def _value(self, operand: predicates.Operand,
               parameters: plan.Parameters) -> Iterator[object]:
        if operand.slot is None:
            yield operand.value
            return
        slot = self._slots[operand.slot]
        if slot.name is not None and hasattr(parameters, 'keys'):
            yield parameters[slot.name]  # type: ignore[call-overload]
        elif slot.count == 1:
            yield parameters[slot.index]  # type: ignore[index]
        else:
            yield from parameters[  # type: ignore[misc]
                slot.index:slot.index + slot.count]  # type: ignore[index]

    def _term(self, term: predicates.Term, affinity: schemas.Affinity,
              parameters: plan.Parameters,
              query: plan.RunQuery) -> list[plan.SQLValue]:
        if len(term.operands) == 1 and term.many:
            # a long list of values that need no conversion
            listed = list(self._value(term.operands[0], parameters))
            if set(map(type, listed)) == {_PLAIN[affinity]}:
                return list(dict.fromkeys(listed))  # type: ignore[arg-type]
        found: dict[tuple[type, plan.SQLValue], plan.SQLValue] = {}
        for operand in term.operands:
            for given in self._value(operand, parameters):
                value = values.plain(given, query)
                if value is None:
                    if operand.null:
                        found[type(None), None] = None
                    continue
                for one in values.candidates(value, affinity, query):
                    found[type(one), one] = one
        return list(found.values())

    def _arguments(self, order: Sequence[int],
                   parameters: plan.Parameters) -> list[object]:
        return [value for slot in order for value in self._value(
            predicates.Operand(slot=slot), parameters)]

    def _range(self, bound: plan.BoundAccess, parameters: plan.Parameters,
               query: plan.RunQuery) -> bool:
        """Set the range's ends; False if nothing can be in it."""
        step = self.step
        if step.index is None or len(step.columns) >= len(
                step.index.key_columns):
            return True
        column = step.table.column(step.index.key_columns[len(step.columns)])
        for end in (step.lower, step.upper):
            if end is None:
                continue
            ends = [values.range_end(value, column.affinity, query,
                                     upper=end.upper)
                    for operand in end.operands
                    for given in self._value(operand, parameters)
                    if (value := values.plain(given, query)) is not None]
            if not ends:
                return False
            farthest = max if end.upper else min
            made = plan.Bound(
                ends[0] if len(ends) == 1 else farthest(
                    ends, key=lambda v: encoding.encode((v,))),
                end.inclusive)
            if end.upper:
                bound.upper = made
            else:
                bound.lower = made
        return True

    def _keys(self, parameters: plan.Parameters, query: plan.RunQuery
              ) -> tuple[list[tuple[plan.SQLValue, ...]], int]:
        """Return the keys, and how many of the columns they bind."""
        step = self.step
        rows = {}
        for wanted, (sql, order) in self._queries.items():
            rows[wanted] = query(sql, self._arguments(order, parameters))
            if not rows[wanted]:
                return [], len(step.columns)
        # a grouping column may be in the row's key, too: bound once
        names = list(dict.fromkeys(step.columns))
        parts = [step.parts[step.columns.index(n)] for n in names]
        # each factor: positions among the names, and the tuples for them
        factors: list[tuple[list[int], list[tuple]]] = []
        for wanted in rows:
            positions = [i for i, p in enumerate(parts)
                         if isinstance(p, FromQuery) and p.query == wanted]
            factors.append((positions, self._converted(
                [(names[i], parts[i].column)  # type: ignore[union-attr]
                 for i in positions], rows[wanted], query)))
        for position, (name, part) in enumerate(zip(names, parts)):
            if not isinstance(part, FromQuery):
                affinity = step.table.column(name).affinity
                found = self._term(part, affinity, parameters, query)
                factors.append(([position], [(v,) for v in found]))
        if not all(tuples for _positions, tuples in factors):
            return [], len(step.columns)
        keys, bound = self._product(factors, len(names))
        if len(names) == len(step.columns) or bound < len(names):
            return keys, bound
        places = [names.index(c) for c in step.columns]
        return ([tuple(k[p] for p in places) for k in keys],
                len(step.columns))

    def _converted(self, columns: Sequence[tuple[str, int]],
                   rows: Sequence[tuple[plan.SQLValue, ...]],
                   query: plan.RunQuery) -> list[tuple]:
        """Return a key query's rows as values of the key's columns.

        :param columns: (name of the key's column, the query's column).
        """
        affinities = [self.step.table.column(n).affinity for n, _c in columns]
        found: dict[tuple, tuple] = {}
        for row in rows:
            chosen = [row[c] for _n, c in columns]
            if None in chosen:
                continue
            for made in itertools.product(*(
                    values.candidates(v, a, query)
                    for v, a in zip(chosen, affinities))):
                found[tuple((type(v), v) for v in made)] = made
        return list(found.values())

    def _product(self, factors: list[tuple[list[int], list[tuple]]],
                 columns: int) -> tuple[
                     list[tuple[plan.SQLValue, ...]], int]:
        """Return all combinations of the factors' tuples, and how many of
        the columns they bind: fewer where there would be too many."""
        fewest = {
            plan.Path.INDEX: 1,
            plan.Path.ROW: len(self.step.table.grouping.columns),
        }.get(self.step.path, columns)
        while columns > max(fewest, 1) and (
                math.prod(len(t) for _p, t in factors) > MAX_PRODUCT):
            columns -= 1
            factors = [f for f in factors if f[0][0] < columns]
        if len(factors) == 1 and factors[0][0] == list(range(columns)):
            return factors[0][1], columns
        keys: dict[tuple, tuple] = {}
        for combined in itertools.product(*(t for _p, t in factors)):
            key: list[plan.SQLValue] = [None] * columns
            for (positions, _tuples), chosen in zip(factors, combined):
                for position, value in zip(positions, chosen):
                    if position < columns:
                        key[position] = value
            keys[tuple((type(v), v) for v in key)] = tuple(key)
        return list(keys.values()), columns
