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

"""Chooses how each table reference is fetched, and in which wave.

Greedy, like Prim's algorithm: of all references that are not settled yet, the
cheapest access given those that are settled is taken.  Costs are guesses of
rows read, plus what a round and a wave cost in the same unit: rounds are what
a statement costs (see the design), so constants beat keys of joined tables.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
from typing import Any

from luc_drivers.db.catalog import schema as schemas
from luc_drivers.db.planner import access
from luc_drivers.db.planner import build
from luc_drivers.db.planner import limits
from luc_drivers.db.planner import plan
from luc_drivers.db.planner import predicates
from luc_drivers.db.planner import render
from luc_drivers.db.planner import scope
from luc_drivers.db.planner import text as texts

_ROUND = 20.0
_WAVE = 40.0
_SCAN_ROWS = 100_000.0
_SLICE_ROWS = 30.0
_GROUP_ROWS = 5.0
#: rows with one unique key but for its last column
_TWINS = 2.0
#: values that an IN list or an OR is taken to have
_LIST = 10.0
_LIMIT_ROWS = 20.0
#: rows of a whole table that are read, page by page, until enough of them
#: pass its conditions
_SIFTED = 500.0
#: what conditions without an index of their own leave over
_FILTER = 0.02
#: an OR is only tried where nothing better was found
_DEAR = 200.0
#: more branches of an OR are not looked into
_BRANCHES = 40
#: key queries that narrow one another
_CHAIN = 3


@dataclasses.dataclass
class Choice:
    """How one reference is fetched.

    :ivar rows: guess of the rows of the reference that matter.
    :ivar wave: number of the wave, from 0.
    """

    steps: list[access.Step]
    wave: int
    rows: float
    cost: float


@dataclasses.dataclass
class _Column:
    """Where a key column's values may come from: a term, or the column of
    an owner (a reference or a query)."""

    rows: float
    wave: int
    term: predicates.Term | None = None
    owner: Any = None
    column: Any = None


class Chooser:
    """Chooses the accesses of one statement.

    :param ranges: the text of each query, by query, where it is known.
    :param wanted: what is wanted of references that are read by pages.
    """

    def __init__(self, builder: build.Builder, facts: predicates.Facts,
                 ranges: dict[scope.Query, str],
                 wanted: dict[scope.Ref, limits.Wanted]) -> None:
        self._builder = builder
        self._facts = facts
        self._ranges = ranges
        self._wanted = wanted
        self._settled: dict[scope.Ref, Choice] = {}
        self._sources: dict[predicates.Vertex, tuple] = {}
        self.notes: list[str] = []

    def choose(self) -> list[list[access.Step]]:
        """Return the waves of steps."""
        open_refs = list(self._builder.refs)
        while open_refs:
            best: tuple[scope.Ref, Choice] | None = None
            for ref in open_refs:
                found = self._best(ref)
                if best is None or found.cost < best[1].cost:
                    best = (ref, found)
            assert best is not None
            self._settled[best[0]] = best[1]
            open_refs.remove(best[0])
        return self._waves()

    def _waves(self) -> list[list[access.Step]]:
        whole: dict[str, int] = {}
        for choice in self._settled.values():
            for step in choice.steps:
                if not step.columns and step.pages is None:
                    name = step.table.name
                    whole[name] = min(choice.wave,
                                      whole.get(name, choice.wave))
        waves: dict[int, list[access.Step]] = {}
        done: dict[tuple, int] = {}
        for choice in sorted(self._settled.values(), key=lambda c: c.wave):
            for step in choice.steps:
                covered = whole.get(step.table.name)
                if (step.columns or step.pages) and (
                        covered is not None and covered <= choice.wave):
                    continue
                if step.same() in done:
                    continue
                done[step.same()] = choice.wave
                waves.setdefault(choice.wave, []).append(step)
                if step.path is plan.Path.SCAN:
                    self.notes.append(
                        f'{step.table.name}: no condition on '
                        f'{step.reference} that an index or group serves: '
                        'all of it is read')
        return [waves[w] for w in sorted(waves)]

    # --- one reference

    def _best(self, ref: scope.Ref) -> Choice:
        best = self._cheapest(ref, self._facts)
        if best.cost > _DEAR:
            for branches in self._facts.choices.get(ref.group, ()):
                if len(branches) <= _BRANCHES:
                    found = self._union(ref, branches)
                    if found is not None and found.cost < best.cost:
                        best = found
        return best

    def _union(self, ref: scope.Ref,
               branches: Iterable[predicates.Facts]) -> Choice | None:
        """Return the union of an OR's branches; None if one has no path."""
        steps: list[access.Step] = []
        wave, rows, cost = 0, 0.0, 0.0
        for branch in branches:
            found = self._cheapest(ref, self._facts.merged(branch),
                                   shared=False)
            if found.steps[0].path is plan.Path.SCAN:
                return None
            steps.extend(found.steps)
            wave = max(wave, found.wave)
            rows += found.rows
            cost += found.cost
        return Choice(steps, wave, rows, cost)

    def _cheapest(self, ref: scope.Ref, facts: predicates.Facts,
                  shared: bool = True) -> Choice:
        table = ref.table
        assert table is not None
        cache: dict[str, _Column | None] = {}

        def column(name: str) -> _Column | None:
            if name not in cache:
                cache[name] = self._column(ref, name, facts, shared)
            return cache[name]

        choices = [self._whole(ref)]
        choices.extend(self._by_key(ref, column))
        for index in table.indexes:
            if index.columns and index.entries and index.public:
                found = self._by_index(ref, index, column, facts)
                if found is not None:
                    choices.append(found)
        choices.extend(self._by_order(ref, column, facts))
        best = min(choices, key=lambda c: c.cost)
        best.rows = min([best.rows, *(
            c.rows for c in choices if c.steps[0].unique)])
        return best

    def _column(self, ref: scope.Ref, name: str, facts: predicates.Facts,
                shared: bool) -> _Column | None:
        table = ref.table
        assert table is not None
        own = table.column(name)
        if own.generated or own.collation.upper() != 'BINARY':
            return None
        vertex = (ref, own.name)
        if shared:
            if vertex not in self._sources:
                self._sources[vertex] = facts.sources(vertex)
            terms, vertices = self._sources[vertex]
        else:
            terms, vertices = facts.sources(vertex)
        found = [_Column(_values(t), -1, t) for t in terms]
        if found:
            return min(found, key=lambda c: (
                c.rows, c.term is not None and c.term.nulls))
        for source in vertices:
            ready = self._ready(source, ref)
            if ready is not None:
                found.append(_Column(ready[1], ready[0], None, *source))
        if not found:
            return None
        return min(found, key=lambda c: (c.wave, c.rows))

    def _ready(self, source: predicates.Vertex,
               ref: scope.Ref) -> tuple[int, float] | None:
        """Return (wave, rows) of a source whose rows are fetched."""
        owner = source[0]
        if isinstance(owner, scope.Ref):
            choice = self._settled.get(owner)
            return None if choice is None else (choice.wave, choice.rows)
        if owner not in self._ranges:
            return None
        wave, rows = -1, 1.0
        for inner in owner.refs():
            choice = self._settled.get(inner)
            if choice is None:
                return None
            wave = max(wave, choice.wave)
            rows = max(rows, choice.rows)
        if owner.limited:
            rows = min(rows, _LIMIT_ROWS)
        return wave, rows

    def _whole(self, ref: scope.Ref) -> Choice:
        """Return the way to fetch the whole table."""
        table = ref.table
        assert table is not None
        filtered = any(True for _ in predicates.own_conditions(ref))
        share = _FILTER if filtered else 1.0
        if table.grouping.columns:
            step = access.Step(table, plan.Path.SCAN, reference=ref.alias)
            return Choice([step], 0, _SCAN_ROWS * share,
                          _SCAN_ROWS + 2 * _ROUND)
        step = access.Step(table, plan.Path.GROUP, reference=ref.alias)
        return Choice([step], 0, max(1.0, _SLICE_ROWS * share),
                      _SLICE_ROWS + _ROUND)

    def _by_key(self, ref: scope.Ref, column) -> Iterator[Choice]:
        """Yield the ways by the group, and by the row's own key."""
        table = ref.table
        assert table is not None
        group = [column(c) for c in table.grouping.columns]
        if not all(_bindable(c) for c in group):
            return
        key = [column(c) for c in table.key]
        if key and all(_bindable(c) for c in key):
            yield self._choice(
                ref, plan.Path.ROW, table.grouping.columns + table.key,
                group + key, None, 1.0, 1)
        if group:
            yield self._choice(ref, plan.Path.GROUP, table.grouping.columns,
                               group, None, _GROUP_ROWS, 1)

    def _by_index(self, ref: scope.Ref, index: schemas.Index, column,
                  facts: predicates.Facts) -> Choice | None:
        chosen: list[_Column] = []
        for name in index.columns:
            found = column(name)
            if found is None:
                break
            chosen.append(found)
        if not chosen:
            return None
        ranges: list[predicates.Range] = []
        table = ref.table
        assert table is not None
        if len(chosen) < len(index.columns):
            following = table.column(index.columns[len(chosen)])
            if not following.generated and (
                    following.collation.upper() == 'BINARY'):
                ranges = facts.ranges.get((ref, following.name), [])
        if len(chosen) > 1 and len(chosen) + 1 >= len(
                index.unique_columns) > 0:
            # most such keys have a last column that tells deleted rows
            rows = _TWINS
        else:
            # spread, if few values have most of the rows each
            rows = _slice_rows(len(chosen), ranges) * index.buckets
        return self._choice(
            ref, plan.Path.INDEX, index.columns[:len(chosen)], chosen, index,
            rows, 2, ranges)

    def _by_order(self, ref: scope.Ref, column,
                  facts: predicates.Facts) -> Iterator[Choice]:
        """Yield the ways by slices that are in the query's order."""
        wanted = self._wanted.get(ref)
        table = ref.table
        assert table is not None
        if wanted is None:
            return
        for index in table.indexes:
            if index.entries and index.public and index.key_columns:
                found = self._ordered(ref, index, wanted, column, facts)
                if found is not None:
                    yield found

    def _ordered(self, ref: scope.Ref, index: schemas.Index,
                 wanted: limits.Wanted, column,
                 facts: predicates.Facts) -> Choice | None:
        chosen: list[_Column] = []
        if index.columns:
            for at, name in enumerate(index.columns):
                # the first column's values have a partition each
                if at and name == wanted.columns[0]:
                    break
                found = column(name)
                if found is None:
                    return None
                chosen.append(found)
        following = index.key_columns[len(chosen):]
        shared = 0
        for ours, theirs in zip(following, wanted.columns):
            if ours != theirs:
                break
            shared += 1
        prefix = index.columns[:len(chosen)]
        if not shared or not wanted.grouped.issubset(
                c.lower() for c in prefix):
            return None
        ranges = facts.ranges.get((ref, following[0]), [])
        if chosen:
            # a little less than the slice whole
            rows = min(_LIMIT_ROWS, 0.9 * _slice_rows(len(chosen), ranges))
        else:
            others = len(wanted.conditions) > bool(ranges)
            rows = _SIFTED if others else _LIMIT_ROWS
        made = self._choice(ref, plan.Path.INDEX, prefix, chosen, index,
                            rows, 2, ranges)
        columns = following[:shared]
        step, = made.steps
        made.steps[0] = dataclasses.replace(step, pages=access.Pages(
            wanted, columns, wanted.check(ref, columns),
            limits.markers(facts.choices.get(ref.group, []), ref, columns,
                           wanted.descending)))
        return made

    def _choice(self, ref: scope.Ref, path: plan.Path,
                columns: tuple[str, ...], chosen: list, index,
                per_key: float, rounds: int,
                ranges: Iterable[predicates.Range] = ()) -> Choice:
        table = ref.table
        assert table is not None
        strict = {c.lower() for c, s in zip(columns, chosen)
                  if _bindable(s)}
        unique = any(strict >= {c.lower() for c in key.unique_columns}
                     for key in table.unique_keys if key.public)
        if unique:
            per_key = 1.0
        rows, owners = per_key, set[object]()
        wave = 0
        for source in chosen:
            wave = max(wave, source.wave + 1)
            origin = source.owner or id(source)
            if origin not in owners:
                rows *= source.rows
                owners.add(origin)
        step = access.Step(
            table, path, columns, self._parts(chosen), index,
            next((r for r in ranges if not r.upper), None),
            next((r for r in ranges if r.upper), None),
            unique, ref.alias)
        return Choice([step], wave, rows,
                      rows + rounds * _ROUND + wave * _WAVE)

    # --- key queries

    def _parts(self, chosen: list[_Column]) -> tuple[access.Part, ...]:
        wanted: dict[Any, list] = {}
        for source in chosen:
            if source.term is None:
                columns = wanted.setdefault(source.owner, [])
                if source.column not in columns:
                    columns.append(source.column)
        queries = {owner: self._key_query(owner, columns)
                   for owner, columns in wanted.items()}
        return tuple(
            source.term or access.FromQuery(
                queries[source.owner],
                wanted[source.owner].index(source.column))
            for source in chosen)

    def _key_query(self, owner: scope.Ref | scope.Query,
                   columns: list) -> access.KeyQuery:
        if isinstance(owner, scope.Query):
            count = len(owner.outputs or ())
            names = ', '.join(f'c{i}' for i in range(count))
            wanted = ', '.join(f'c{i}' for i in columns)
            return access.KeyQuery(
                f'WITH luc_keys({names}) AS ({self._ranges[owner]}) '
                f'SELECT DISTINCT {wanted} FROM luc_keys', 'sub-select')
        return access.KeyQuery(self._of_ref(owner, columns, 0), owner.alias)

    def _of_ref(self, ref: scope.Ref, columns: list[str],
                depth: int) -> str:
        """Return a SELECT of the columns of a fetched reference's rows,
        as narrow as its own conditions make it."""
        table = ref.table
        assert table is not None
        alias = f'k{depth}'
        wanted = ', '.join(f'{alias}.{texts.quote(c)}' for c in columns)
        conditions = []
        for tree in predicates.own_conditions(ref):
            try:
                conditions.append(render.condition(tree, ref, alias))
            except render.Unrenderable:
                continue  # a wider key query is as right
        conditions.extend(self._implied(ref, alias))
        if depth < _CHAIN:
            conditions.extend(self._chained(ref, alias, depth))
        where = ' WHERE ' + ' AND '.join(conditions) if conditions else ''
        return (f'SELECT DISTINCT {wanted} FROM {texts.quote(table.name)} '
                f'AS {alias}{where}')

    def _implied(self, ref: scope.Ref, alias: str) -> Iterator[str]:
        """Yield the constants that edges bring to a reference."""
        for vertex in self._facts.edges:
            if vertex[0] is not ref:
                continue
            direct = self._facts.terms.get(vertex, ())
            for term in self._facts.sources(vertex)[0][len(direct):]:
                if not term.nulls:
                    yield (f'{alias}.{texts.quote(vertex[1])} IN ('
                           + ', '.join(_operand(o) for o in term.operands)
                           + ')')

    def _chained(self, ref: scope.Ref, alias: str,
                 depth: int) -> Iterator[str]:
        """Yield what the keys say by which a reference was fetched."""
        steps = self._settled[ref].steps
        if len(steps) != 1:
            return
        for vertex, edges in self._facts.edges.items():
            if vertex[0] is not ref or vertex[1] not in steps[0].columns:
                continue
            for edge in edges:
                owner, column = edge.source
                if edge.exact and isinstance(owner, scope.Ref) and (
                        owner.table is not None) and self._before(owner, ref):
                    inner = self._of_ref(owner, [column], depth + 1)
                    yield (f'{alias}.{texts.quote(vertex[1])} IN ({inner})')
                    break

    def _before(self, owner: scope.Ref, ref: scope.Ref) -> bool:
        choice = self._settled.get(owner)
        return choice is not None and choice.wave < self._settled[ref].wave


def _slice_rows(columns: int, ranges: list[predicates.Range]) -> float:
    """Guess how many rows have the same values in so many columns."""
    rows = 1000.0 / 10.0 ** columns
    return max(rows / 2 if ranges else rows, _GROUP_ROWS)


def _values(term: predicates.Term) -> float:
    """Guess how many values a term has."""
    if term.many and len(term.operands) == 1:
        return _LIST
    return float(len(term.operands))


def _bindable(source: _Column | None) -> bool:
    """Tell whether a column is surely not NULL, as group and row keys (and
    unique keys) need it."""
    return source is not None and (
        source.term is None or not source.term.nulls)


def _operand(operand: predicates.Operand) -> str:
    if operand.slot is not None:
        return f':luc_{operand.slot}'
    value = operand.value
    if value is None:
        return 'NULL'
    if isinstance(value, str):
        return texts.quote_text(value)
    return repr(value)
