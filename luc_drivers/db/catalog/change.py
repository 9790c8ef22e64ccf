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

"""States of the catalog, and how a DDL statement leads from one to the next.

Everything here is done for the tables that a statement is about, not for
the whole schema: DDL must cost milliseconds, however many tables there are.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import itertools

from luc_drivers.db import errors
from luc_drivers.db.catalog import backfill
from luc_drivers.db.catalog import ddl
from luc_drivers.db.catalog import layout as layouts
from luc_drivers.db.catalog import log
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.layout import Layout
from luc_drivers.db.catalog.reflect import Reflected
from luc_drivers.db.catalog.reflect import Twin
from luc_drivers.db.catalog.schema import Affinity
from luc_drivers.db.catalog.schema import ForeignKey
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.catalog.sqltext import Kind
from luc_drivers.db.catalog.sqltext import quote
from luc_drivers.db.profiles.base import Profile
from luc_drivers.db.store.base import Store

Statements = tuple[tuple[str, str, str, str], ...]

_NUMBERS = (Affinity.INTEGER, Affinity.REAL, Affinity.NUMERIC)


@dataclasses.dataclass(frozen=True)
class State:
    """The catalog at one version; tables by lower-case name.

    :ivar texts: each table's statements, its own first.
    """

    schema: Schema = dataclasses.field(
        default_factory=lambda: Schema(0, {}))
    layouts: Mapping[str, Layout] = dataclasses.field(default_factory=dict)
    texts: Mapping[str, Statements] = dataclasses.field(default_factory=dict)
    next_number: int = 1

    def at(self, version: int) -> 'State':
        """Return the same at another version."""
        return dataclasses.replace(self, schema=dataclasses.replace(
            self.schema, version=version))

    def snapshot(self) -> log.Entry:
        """Return the entry that holds everything."""
        return log.Entry(
            tuple(s[3] for s in self.schema.statements), self.layouts,
            self.next_number, snapshot=True)


class RowCheck:
    """Looks at a table's rows, when a statement's fate depends on them.

    :param fresh: no other process uses the database.
    """

    def __init__(self, store: Store, services: backfill.Services | None,
                 fresh: bool, holder: str) -> None:
        self.store = store
        self.services = services
        self.fresh = fresh
        self.holder = holder
        #: by table's number: what occupied() said
        self.consulted: dict[int, bool] = {}

    def occupied(self, table: Table) -> bool:
        """Tell whether a table has rows."""
        if table.number not in self.consulted:
            self.consulted[table.number] = backfill.has_rows(
                self.store, self.services, table)
        return self.consulted[table.number]

    def alone(self) -> bool:
        """Tell whether no other process uses the database now."""
        return self.fresh or not self.store.leases() - {self.holder}

    def any(self, sql: str) -> bool:
        """Tell whether a SELECT gives a row."""
        if self.services is None:
            raise errors.NotSupportedError(
                'the table has rows, and no session to look at them')
        return bool(self.services.query(sql))


@dataclasses.dataclass(frozen=True)
class Done:
    """A statement, applied to twin and state, not yet to the log.

    :ivar dropped: lower-case name of a dropped table.
    :ivar write_only: lower-case name of a table with indexes that are not
        public yet, or leaving.
    """

    statement: sqltext.Statement | None
    state: State
    entry: log.Entry | None = None
    dropped: str | None = None
    write_only: str | None = None

    @property
    def changed(self) -> bool:
        """Whether it has any effect."""
        return self.entry is not None


def apply(state: State, twin: Twin, statement: sqltext.Statement,
          profile: Profile, rows: RowCheck) -> Done:
    """Apply a statement to the twin; return what comes of it.

    :raises Error: the statement is refused (the twin is then half-changed:
        the caller rolls it back).
    """
    effect = ddl.apply(twin, statement)
    if effect is None:
        return Done(statement, state)
    counter = itertools.count(state.next_number)

    def number() -> int:
        return next(counter)

    touched: dict[str, Layout | None] = {}
    dropped = write_only = None
    if effect.views:
        pass
    elif effect.created is not None:
        name = effect.created.lower()
        reflected = twin.table(name)
        assert reflected is not None
        touched[name] = layouts.create(reflected, profile, number)
        touched.update(_children(state, name))
    elif effect.dropped is not None:
        dropped = effect.dropped.lower()
        touched[dropped] = None
    else:
        assert effect.changed is not None
        old, name = (n.lower() for n in effect.changed)
        if old != name or effect.renamed_column:
            touched.update(_children(state, old))
            touched.update(_children(state, name))
        if old != name:
            touched[old] = None
        reflected = twin.table(name)
        assert reflected is not None
        table = state.schema.tables[old]
        _check_rows(table, reflected, effect, rows)
        touched[name] = new = _update(
            state.layouts[old], table, reflected, profile, number, twin,
            effect, rows)
        if not effect.steps and new == state.layouts[old]:
            return Done(statement, state)
        if not new.settled:
            write_only = name
    entry = log.Entry(effect.steps, touched, next(counter), statement.sql)
    return Done(
        statement, install(state, twin, entry, state.schema.version + 1),
        entry, dropped, write_only)


def _update(old: Layout, table: Table, reflected: Reflected,
            profile: Profile, number: layouts.Numbers, twin: Twin,
            effect: ddl.Effect, rows: RowCheck) -> Layout:
    """Return a changed table's layout."""
    def chosen_anew() -> Layout | None:
        # nothing is stored by the old layout, and nobody can be about to
        if rows.alone() and not rows.occupied(table):
            return layouts.create(reflected, profile, number)
        return None

    try:
        new = layouts.update(
            old, reflected, profile, number, renamed=effect.renamed_column,
            initial=twin.default_value, leave=lambda: not rows.alone())
    except errors.NotSupportedError:
        fallback = chosen_anew()
        if fallback is None:
            raise
        return fallback
    if not layouts.fits(new, reflected, profile):
        better = chosen_anew()
        if better is not None:
            return better
    added = [i for i in new.indexes if not i.public and not i.leaving]
    if added and rows.fresh and not rows.occupied(table):
        new = layouts.published(new)
    return new


def _check_rows(table: Table, reflected: Reflected, effect: ddl.Effect,
                rows: RowCheck) -> None:
    """Refuse what the rows that are there do not allow."""
    kind = effect.statement.kind
    if kind in (Kind.CREATE_INDEX, Kind.ADD_CONSTRAINT):
        _check_unique(table, reflected, rows)
    if kind not in (Kind.ADD_COLUMN, Kind.ALTER_COLUMN, Kind.ADD_CONSTRAINT):
        return
    quoted = quote(table.name)
    for column in reflected.columns:
        if not table.has_column(column.name):
            if (column.not_null and not column.generated
                    and (column.default or 'NULL').upper() == 'NULL'
                    and rows.occupied(table)):
                raise errors.OperationalError(
                    'Cannot add a NOT NULL column with default value NULL')
            continue
        old = table.column(column.name)
        if (old.affinity is not column.affinity
                and not (old.affinity in _NUMBERS
                         and column.affinity in _NUMBERS)
                and rows.occupied(table)):
            raise errors.NeedsCopy(
                'table %s has rows: column %s can not turn from %s to %s in '
                'place; copy the rows into a new table instead' % (
                    table.name, column.name, old.declared_type,
                    column.declared_type))
        if (column.not_null and not old.not_null and rows.occupied(table)
                and rows.any('SELECT 1 FROM %s WHERE %s IS NULL LIMIT 1' % (
                    quoted, quote(column.name)))):
            raise errors.IntegrityError('NOT NULL constraint failed: %s.%s' % (
                table.name, column.name))
    if kind is not Kind.ADD_CONSTRAINT or not rows.occupied(table):
        return
    rest = effect.statement.rest
    if rest[0].upper == 'CHECK' and rows.any(
            'SELECT 1 FROM %s WHERE NOT %s LIMIT 1' % (
                quoted, effect.statement.sql[rest[1].start:rest[-1].end])):
        raise errors.IntegrityError(
            'CHECK constraint failed: ' + effect.statement.name)
    for foreign in reflected.foreign_keys:
        if foreign not in table.foreign_keys and _orphan(
                table, foreign, rows):
            raise errors.IntegrityError('FOREIGN KEY constraint failed')


def _check_unique(table: Table, reflected: Reflected,
                  rows: RowCheck) -> None:
    """Refuse a new unique key that the rows do not obey (those that others
    write meanwhile are found when the key's entries are filled)."""
    known = {frozenset(i.unique_columns) for i in table.unique_keys}
    primary = [reflected.primary_key] if reflected.primary_key else []
    wanted = [k.columns for k in reflected.keys if k.unique and k.columns]
    for columns in primary + wanted:
        if frozenset(columns) in known or not rows.occupied(table):
            continue
        quoted = [quote(c) for c in columns]
        if rows.any('SELECT 1 FROM %s WHERE %s GROUP BY %s '
                    'HAVING count(*) > 1 LIMIT 1' % (
                        quote(table.name),
                        ' AND '.join(q + ' IS NOT NULL' for q in quoted),
                        ', '.join(quoted))):
            raise backfill.unique_error(table, columns)


def _orphan(table: Table, foreign: ForeignKey, rows: RowCheck) -> bool:
    if not foreign.parent_columns:
        return False
    return rows.any('SELECT 1 FROM %s AS c WHERE %s AND NOT EXISTS '
                    '(SELECT 1 FROM %s AS p WHERE %s) LIMIT 1' % (
                        quote(table.name),
                        ' AND '.join('c.%s IS NOT NULL' % quote(c)
                                     for c in foreign.columns),
                        quote(foreign.parent),
                        ' AND '.join('p.%s = c.%s' % (quote(p), quote(c))
                                     for p, c in zip(foreign.parent_columns,
                                                     foreign.columns))))


def _children(state: State, parent: str) -> dict[str, Layout | None]:
    """Return the layouts of the tables that reference one."""
    return {
        name: state.layouts[name] for name, table
        in state.schema.tables.items()
        if any(f.parent.lower() == parent for f in table.foreign_keys)
        and name != parent}


def install(state: State, twin: Twin, entry: log.Entry,
            version: int) -> State:
    """Return the state after an entry whose steps the twin has run."""
    tables = {} if entry.snapshot else dict(state.schema.tables)
    places = {} if entry.snapshot else dict(state.layouts)
    texts = {} if entry.snapshot else dict(state.texts)
    parents: set[str] = set()
    for name, layout in entry.layouts.items():
        before = tables.pop(name, None) if layout is None else tables.get(
            name)
        if before is not None:
            parents.update(f.parent.lower() for f in before.foreign_keys)
        if layout is None:
            places.pop(name, None)
            texts.pop(name, None)
            continue
        reflected = twin.table(name)
        assert reflected is not None, name
        tables[name] = layouts.table(layout, reflected)
        places[name] = layout
        texts[name] = twin.statements_of(name)
    parents.update(name for name in entry.layouts if name in tables)
    for name in entry.layouts:
        if name in tables:
            tables[name] = _with_parent_columns(tables[name], tables)
            parents.update(
                f.parent.lower() for f in tables[name].foreign_keys)
    for name in parents & tables.keys():
        references = tuple(
            (child.name, foreign) for child in tables.values()
            for foreign in child.foreign_keys
            if foreign.parent.lower() == name)
        if references != tables[name].referenced_by:
            tables[name] = dataclasses.replace(
                tables[name], referenced_by=references)
    views = state.schema.views
    if views or any('view' in step.lower() for step in entry.steps):
        # renaming a table or column changes the views that name it, too
        views = twin.views()
    return State(
        Schema(version, tables, (
            *itertools.chain.from_iterable(texts.values()),
            *(('view', v.name, v.name, v.sql) for v in views.values())),
            views),
        places, texts, entry.next_number)


def _with_parent_columns(table: Table, tables: Mapping[str, Table]) -> Table:
    """Put in the parent's primary key where REFERENCES names no columns."""
    if all(f.parent_columns for f in table.foreign_keys):
        return table
    completed = []
    for foreign in table.foreign_keys:
        parent = tables.get(foreign.parent.lower())
        if not foreign.parent_columns and parent is not None:
            foreign = dataclasses.replace(
                foreign, parent_columns=parent.primary_key)
        completed.append(foreign)
    return dataclasses.replace(table, foreign_keys=tuple(completed))


def publish(state: State, twin: Twin, name: str) -> Done:
    """Make a table's write-only indexes public."""
    return _lay_out(state, twin, name, 'publish', layouts.published)


def leave(state: State, twin: Twin, name: str) -> Done:
    """Drop a table's indexes that were leaving."""
    return _lay_out(state, twin, name, 'leave', layouts.left)


def _lay_out(state: State, twin: Twin, name: str, what: str,
             make: Callable[[Layout], Layout]) -> Done:
    """Give a table, if it is still there, another layout; its SQL stays."""
    layout = state.layouts.get(name)
    touched = {name: make(layout)} if layout else {}
    entry = log.Entry((), touched, state.next_number, f'{what} {name}')
    return Done(None, install(
        state, twin, entry, state.schema.version + 1), entry)


def undo(state: State, twin: Twin, done: Done, before: State) -> Done:
    """Take back a new unique key that the rows do not obey.

    :param before: the state before the statement that added it.
    """
    name = done.write_only
    assert name is not None
    steps: list[str] = ['DROP TABLE ' + quote(name)]
    steps += [text for _, _, _, text in before.texts[name]]
    for step in steps:
        twin.run(step)
    entry = log.Entry(
        tuple(steps), {name: before.layouts[name]}, state.next_number,
        'undo ' + (done.statement.sql if done.statement else name))
    return Done(None, install(
        state, twin, entry, state.schema.version + 1), entry)
