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

"""Statement → plan: the planner's public function, and its cache.

``plan(sql, parameters, schema)`` is pure but for the cache.  An analysis is
kept per normal text and schema; a plan per exact text and schema.
"""

import collections
import dataclasses
import logging
import threading
from typing import Any

from sqlglot import exp

from luc_drivers.db import errors
from luc_drivers.db.catalog import schema as schemas
from luc_drivers.db.planner import access
from luc_drivers.db.planner import build
from luc_drivers.db.planner import choose
from luc_drivers.db.planner import limits
from luc_drivers.db.planner import locks
from luc_drivers.db.planner import parse
from luc_drivers.db.planner import plan as plans
from luc_drivers.db.planner import predicates
from luc_drivers.db.planner import queries
from luc_drivers.db.planner import rewrite
from luc_drivers.db.planner import text as texts
from luc_drivers.db.planner import views

LOG = logging.getLogger(__name__)

#: parameters of one statement, at most
VARIABLES = 250000
_WRITES = (plans.Kind.INSERT, plans.Kind.UPDATE, plans.Kind.DELETE)


@dataclasses.dataclass(frozen=True, slots=True)
class Analysis:
    """What is known of all statements of one normal text.

    :ivar rewritten: normal text to run; None: the statement's own text.
    """

    kind: plans.Kind
    waves: tuple[tuple[access.Step, ...], ...] = ()
    tables: tuple[str, ...] = ()
    write: rewrite.Write | None = None
    rewritten: str | None = None
    lock_queries: tuple[tuple[str, str], ...] = ()
    compares: bool = False
    notes: tuple[str, ...] = ()


class Planner:
    """Plans statements and keeps the plans (LRU; shared by threads).

    :param plans: how many plans are kept, and at most as many analyses.
    """

    def __init__(self, size: int = 2048) -> None:
        self._size = size
        self._lock = threading.Lock()
        # values hold the schema, so that its id stays its own
        self._plans: collections.OrderedDict[Any, Any] = (
            collections.OrderedDict())
        self._analyses: collections.OrderedDict[Any, Any] = (
            collections.OrderedDict())

    def plan(self, sql: str, parameters: plans.Parameters = (),
             schema: schemas.Schema | None = None) -> plans.Plan:
        """Return the plan of a statement.

        :param parameters: not looked at: a plan fits all; see Access.bind.
        :param schema: the tables; plans are kept per schema object.
        """
        if schema is None:
            raise TypeError('plan() needs a schema')
        key = (id(schema), sql)
        with self._lock:
            found = self._plans.get(key)
            if found is not None:
                self._plans.move_to_end(key)
                return found[1]
        if len(sql) > 2 * VARIABLES and sql.count('?') > VARIABLES:
            # SQLite's own limit, said before minutes of analysis
            raise errors.OperationalError('too many SQL variables')
        made = self._make(sql, schema)
        with self._lock:
            _keep(self._plans, key, (schema, made), self._size)
        return made

    def _make(self, sql: str, schema: schemas.Schema) -> plans.Plan:
        normal = texts.normalise(sql)
        if normal is None:
            return _fallback(sql, sql, schema,
                             'the text holds placeholders named luc_N')
        simple = parse.control(normal.text)
        if simple is not None:
            return plans.Plan(simple.kind, sql, savepoint=simple.savepoint)
        expanded = views.expand(normal, schema)
        viewed, normal = expanded is not normal, expanded
        key = (id(schema), normal.text, normal.many, normal.lock)
        with self._lock:
            found = self._analyses.get(key)
            if found is not None:
                self._analyses.move_to_end(key)
        if found is None:
            found = (schema, analyse(normal, schema))
            with self._lock:
                _keep(self._analyses, key, found, self._size)
        return _instance(
            texts.render_numbered(normal.text, normal) if viewed else sql,
            normal, found[1])


def _keep(cache: collections.OrderedDict, key: Any, value: Any,
          size: int) -> None:
    cache[key] = value
    while len(cache) > size:
        cache.popitem(last=False)


def _instance(sql: str, normal: texts.Normal,
              analysis: Analysis) -> plans.Plan:
    """Return the plan of one text from its form's analysis."""
    write = analysis.write
    text = sql
    if analysis.rewritten is not None:
        text = texts.render_numbered(analysis.rewritten, normal)
    return plans.Plan(
        kind=analysis.kind,
        sql=text,
        waves=tuple(
            tuple(access.Fetch(step, normal.slots) for step in wave)
            for wave in analysis.waves),
        tables=analysis.tables,
        target=write.target if write else None,
        lock=normal.lock and analysis.kind is plans.Kind.SELECT,
        lock_queries=tuple(
            (table, locks.render(query, normal))
            for table, query in analysis.lock_queries),
        replaces=bool(write and write.replaces),
        conflict=bool(write and write.conflict),
        returning=bool(write and write.returning),
        compares=analysis.compares,
        notes=analysis.notes)


def analyse(normal: texts.Normal, schema: schemas.Schema) -> Analysis:
    """Analyse a row statement in normal form."""
    found = texts.tokens(normal.text)
    kind = parse.kind_of(found)
    write = None
    if kind in _WRITES:
        write = rewrite.examine(normal.text, found, schema)
        if kind is plans.Kind.INSERT and write is not None and (
                not write.queries):
            return _result(kind, [], set(), write, ())
    tree = parse.parse(normal.text)
    if tree is None:
        return _blind(normal, found, kind, write, schema)
    try:
        return _seen(normal, kind, write, tree, schema)
    except Exception:
        # a fault of ours, or thousands of nested conditions: reading the
        # tables whole is slow, but right
        LOG.exception('The planner failed at %r', normal.text)
        return _blind(normal, found, kind, write, schema)


def _seen(normal: texts.Normal, kind: plans.Kind,
          write: rewrite.Write | None, tree: exp.Expr,
          schema: schemas.Schema) -> Analysis:
    """Analyse a statement by its tree."""
    builder = build.Builder(schema)
    builder.statement(tree)
    if any(parse.names_catalog(name) for name in builder.unknown):
        return Analysis(plans.Kind.SCHEMA)
    facts = predicates.Collector(normal.many).collect(builder)
    ranges = queries.query_texts(normal.text, builder)
    chooser = choose.Chooser(
        builder, facts,
        {q: t for q, t in ranges.items() if queries.runnable(q)},
        # whoever locks rows may see another one's in their place
        {} if normal.lock else limits.find(builder.queries))
    waves = chooser.choose()
    made = _result(kind, waves, {r.table.name for r in builder.refs
                                 if r.table is not None},
                   write, tuple(chooser.notes))
    if normal.lock and isinstance(tree, exp.Query):
        top = next(q for q in builder.queries if q.container is None)
        made = dataclasses.replace(made, lock_queries=tuple(
            locks.lock_queries(normal, top, ranges)))
    if isinstance(tree, exp.Update) and _compares(tree):
        made = dataclasses.replace(made, compares=True)
    return made


def _compares(update: exp.Update) -> bool:
    """Tell whether an UPDATE's condition names a column that it sets."""
    where = update.args.get('where')
    if where is None:
        return False
    given = {e.this.name.lower() for e in update.expressions
             if isinstance(e, exp.EQ) and isinstance(e.this, exp.Column)}
    return any(c.name.lower() in given for c in where.find_all(exp.Column))


def _result(kind: plans.Kind, waves: list[list[access.Step]],
            tables: set[str], write: rewrite.Write | None,
            notes: tuple[str, ...]) -> Analysis:
    if write is not None and write.target is not None:
        tables = tables | {write.target}
    return Analysis(
        kind, tuple(tuple(w) for w in waves), tuple(sorted(tables)), write,
        write.text if write is not None and write.changed else None,
        notes=notes)


def _blind(normal: texts.Normal, found: list[texts.Token],
           kind: plans.Kind, write: rewrite.Write | None,
           schema: schemas.Schema) -> Analysis:
    """Analyse what sqlglot can't parse: all tables that it may name are
    read whole."""
    names = {texts.name_of(normal.text, t).lower() for t in found
             if t.kind in ('word', 'quoted')}
    if any(parse.names_catalog(name) for name in names):
        return Analysis(plans.Kind.SCHEMA)
    tables = [t for t in (schema.table(n) for n in sorted(names))
              if t is not None]
    wave = [access.Step(
        t, plans.Path.SCAN if t.grouping.columns else plans.Path.GROUP,
        reference=t.name) for t in tables]
    return _result(kind, [wave] if wave else [], {t.name for t in tables},
                   write, ('the statement is not understood: its tables are '
                           'read whole',))


def _fallback(sql: str, text: str, schema: schemas.Schema,
              note: str) -> plans.Plan:
    found = texts.tokens(text)
    empty = texts.Normal(text, (), frozenset(), False, 0)
    made = _instance(sql, empty, _blind(
        empty, found, parse.kind_of(found), None, schema))
    return dataclasses.replace(made, notes=(note,))


_shared = Planner()

#: the planner of this process: plan(sql, parameters, schema) -> Plan
plan = _shared.plan
