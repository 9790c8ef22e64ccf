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

from luc_drivers.db.catalog import schema as schemas
from luc_drivers.db.planner import plan
from luc_drivers.db.planner import predicates
from luc_drivers.db.planner import text as texts
from luc_drivers.db.planner import values

#: more keys than this are not made by multiplying columns: an index look-up
#: then uses fewer columns
MAX_PRODUCT = 10000


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

    def same(self) -> tuple:
        """Return what makes two steps fetch the same rows."""
        return (self.table.name, self.path,
                self.index.number if self.index else None,
                self.columns, self.parts, self.lower, self.upper)


class Fetch(plan.Access):
    """A step with the layout of one statement text."""

    __slots__ = ('step', 'table', '_slots', '_queries')

    def __init__(self, step: Step, slots: Sequence[texts.Slot]) -> None:
        self.step = step
        self.table = step.table
        self._slots = slots
        queries = dict.fromkeys(
            p.query for p in step.parts if isinstance(p, FromQuery))
        self._queries = {q: texts.render(q.sql, slots) for q in queries}

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
        if not step.columns:
            bound.keys = [()]
            return bound
        if not self._range(bound, parameters, query):
            return bound
        keys, columns = self._keys(parameters, query)
        bound.keys = keys
        if columns < len(step.columns):
            bound.key_columns = step.columns[:columns]
            bound.unique = False
            bound.lower = bound.upper = None
        return bound

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
                step.index.columns):
            return True
        column = step.table.column(step.index.columns[len(step.columns)])
        for end in (step.lower, step.upper):
            if end is None:
                continue
            given = next(self._value(end.operand, parameters))
            value = values.plain(given, query)
            if value is None:
                return False
            made = plan.Bound(values.range_end(
                value, column.affinity, query, upper=end.upper),
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
        # each factor: positions of columns, and the tuples for them
        factors: list[tuple[list[int], list[tuple]]] = []
        seen: dict[KeyQuery, int] = {}
        for position, part in enumerate(step.parts):
            if isinstance(part, FromQuery):
                if part.query in seen:
                    factors[seen[part.query]][0].append(position)
                else:
                    seen[part.query] = len(factors)
                    factors.append(([position], []))
                continue
            affinity = step.table.column(step.columns[position]).affinity
            found = self._term(part, affinity, parameters, query)
            if not found:
                return [], len(step.columns)
            factors.append(([position], [(v,) for v in found]))
        for wanted, at in seen.items():
            positions, tuples = factors[at]
            tuples.extend(self._converted(
                positions, rows[wanted], query))
            if not tuples:
                return [], len(step.columns)
        return self._product(factors)

    def _converted(self, positions: Sequence[int],
                   rows: Sequence[tuple[plan.SQLValue, ...]],
                   query: plan.RunQuery) -> list[tuple]:
        """Return a key query's rows as values of the key's columns."""
        parts = [self.step.parts[p] for p in positions]
        columns = [p.column for p in parts if isinstance(p, FromQuery)]
        affinities = [self.step.table.column(self.step.columns[p]).affinity
                      for p in positions]
        found: dict[tuple, tuple] = {}
        for row in rows:
            chosen = [row[c] for c in columns]
            if None in chosen:
                continue
            for made in itertools.product(*(
                    values.candidates(v, a, query)
                    for v, a in zip(chosen, affinities))):
                found[tuple((type(v), v) for v in made)] = made
        return list(found.values())

    def _product(self, factors: list[tuple[list[int], list[tuple]]]
                 ) -> tuple[list[tuple[plan.SQLValue, ...]], int]:
        step = self.step
        columns = len(step.columns)
        if len(factors) == 1 and factors[0][0] == list(range(columns)):
            return factors[0][1], columns
        size = 1
        for _positions, tuples in factors:
            size *= len(tuples)
        while size > MAX_PRODUCT and step.path is plan.Path.INDEX and (
                columns > 1):
            columns -= 1
            factors = [([p for p in positions if p < columns], tuples)
                       for positions, tuples in factors]
            factors = [f for f in factors if f[0]]
            size = 1
            for _positions, tuples in factors:
                size *= len(tuples)
        keys: dict[tuple, tuple] = {}
        for combined in itertools.product(*(t for _p, t in factors)):
            key: list[plan.SQLValue] = [None] * columns
            for (positions, _tuples), chosen in zip(factors, combined):
                for position, value in zip(positions, chosen):
                    key[position] = value
            keys[tuple((type(v), v) for v in key)] = tuple(key)
        return list(keys.values()), columns
