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

"""What a statement will read, for people (``luc db explain``)."""

from typing import NamedTuple

from luc_drivers.db.catalog import schema as schemas
from luc_drivers.db.planner import access
from luc_drivers.db.planner import plan as plans
from luc_drivers.db.planner import planner

#: requests that have to follow one another: index, then groups
ROUNDS = {plans.Path.GROUP: 1, plans.Path.ROW: 1,
          plans.Path.INDEX: 2, plans.Path.SCAN: 2}


class Row(NamedTuple):
    """One access.

    :ivar wave: from 1; 0 in a row that says something of the statement.
    :ivar table: the table, with the alias that it serves.
    :ivar path: row, group, index, scan.
    :ivar by: the index's name and its columns, or the key's columns.
    :ivar keys: where their values come from.
    :ivar notes: anything else worth knowing.
    """

    wave: int
    table: str
    path: str
    by: str
    keys: str
    notes: str


def explain(sql: str, schema: schemas.Schema) -> list[Row]:
    """Return what a statement reads, in order.

    :param sql: one statement, with placeholders or literals.
    """
    plan = planner.plan(sql, (), schema)
    made = [_row(number, found.step)
            for number, wave in enumerate(plan.waves, 1)
            for found in wave if isinstance(found, access.Fetch)]
    rounds = sum(
        max(ROUNDS[plans.Path(r.path)] for r in made if r.wave == wave)
        for wave in {r.wave for r in made})
    summary = [f'{plan.kind.value}: {len(plan.waves)} waves, '
               f'{rounds} rounds of requests']
    if plan.target:
        summary.append(f'writes {plan.target}')
    if plan.lock:
        summary.append('locks ' + ', '.join(
            sorted({table for table, _sql in plan.lock_queries})))
    if plan.replaces:
        summary.append('may replace rows')
    if plan.sql != sql:
        summary.append(f'runs as {plan.sql}')
    made.append(Row(0, '', '', '', '', '; '.join(summary)))
    made.extend(Row(0, '', '', '', '', note) for note in plan.notes)
    return made


def _row(wave: int, step: access.Step) -> Row:
    table = step.table.name
    if step.reference and step.reference != table.lower():
        table += f' AS {step.reference}'
    index = ', '.join(dict.fromkeys(step.columns))
    if step.index is not None:
        index = f'{step.index.name} ({index})'
    notes = []
    if step.unique:
        notes.append('one row for each key')
    if step.lower or step.upper:
        assert step.index is not None
        notes.append('range on ' + step.index.key_columns[
            len(step.columns)])
    if step.pages is not None:
        notes.append('page by page in %s order of %s' % (
            'descending' if step.pages.wanted.descending else 'ascending',
            ', '.join(step.pages.columns)))
    elif not step.columns:
        notes.append('the whole table'
                     + (', which is one group'
                        if step.path is plans.Path.GROUP else ''))
    return Row(wave, table, step.path.value, index,
               '; '.join(dict.fromkeys(map(_source, step.parts))),
               ', '.join(notes))


def _source(part: access.Part) -> str:
    if isinstance(part, access.FromQuery):
        return f'from {part.query.source}'
    return ', '.join(
        f'parameter {o.slot + 1}' if o.slot is not None else repr(o.value)
        for o in part.operands)
