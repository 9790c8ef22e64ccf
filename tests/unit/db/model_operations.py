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

"""What the model's transactions do: drawn once, made on fresh rows."""

from collections.abc import Callable
import random
from typing import Any
from typing import TYPE_CHECKING

from luc_drivers.db.catalog import schema as s
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.rows import RowChange
from luc_drivers.db.rows import StoredRow
from tests.unit.db import transaction_fixtures as fixtures

if TYPE_CHECKING:
    from tests.unit.db.protocol_model import Process

CELLS = s.Table(
    60, 'cells', fixtures.columns('g', '#n', 'v', 'u'), ('n',), ('g', 'n'),
    s.Grouping(60, ('g',)),
    (s.Index(61, 'cells_v', ('v',), buckets=2), s.Index(62, 'cells_scan', ()),
     s.Index(63, 'cells_u', ('u',), unique_columns=('u',),
             guard=s.Guard.OWN)))
SCHEMA = fixtures.schema(
    CELLS, fixtures.ITEMS, fixtures.PARTS, fixtures.USERS, fixtures.TEAMS,
    fixtures.LOGS)
KEYS = [('A', 1), ('A', 2), ('B', 1), ('B', 2), ('C', 1)]


class Operations:
    """Draws transactions over cells, and over parents and children."""

    random: random.Random
    created: int

    def insert(self, name: str, *values: Any) -> RowChange:
        self.created += 1
        return RowChange(SCHEMA.tables[name], None,
                         dict(enumerate(values, 1)), created=self.created)

    @staticmethod
    def change(row: StoredRow, **values: Any) -> RowChange:
        new = dict(row.values)
        for name, value in values.items():
            new[row.table.column(name).number] = value
        return RowChange(row.table, row, new)

    def draw_cells(self) -> Callable[['Process'], list[RowChange]]:
        """Draw a transaction over cells."""
        r = self.random
        kind = r.choice(['several', 'several', 'one', 'unique', 'flip',
                         'move'])
        if kind == 'one':
            keys = [('A', 1), ('A', 2)][:r.choice([1, 2])]
        elif kind in ('flip', 'move'):
            keys = [r.choice(KEYS)]
        elif kind == 'unique':
            keys = r.choice([[('B', 1)], [('C', 1)], [('A', 1), ('C', 1)]])
        else:
            keys = r.sample(KEYS, r.choice([2, 3]))
        some = ['a', 'b', 'flip', 'touch', 'insert', 'delete']
        if kind == 'flip':
            some = ['flip', 'a', 'b']
        elif kind == 'unique':
            some = ['unique', 'unique', 'delete', 'replace']
        elif kind == 'move':
            some = ['move']
        operations = {key: r.choice(some) for key in keys}
        target = r.choice(KEYS)

        def make(process: 'Process') -> list[RowChange]:
            wanted = [(g, n) for g, n in operations]
            rows = process.rows('cells', *wanted)
            changes: list[RowChange] = []
            for key, row in zip(wanted, rows):
                made = self._operate(
                    process, operations[key], key, row, target)
                if made is None:
                    return []
                changes += made
            return changes

        return make

    def draw_unique(self) -> Callable[['Process'], list[RowChange]]:
        """Draw a transaction over the row that has the unique value."""
        kind = self.random.choice(
            ['insert', 'touch', 'move', 'move', 'replace', 'drop', 'delete'])
        target = self.random.choice(KEYS)

        def make(process: 'Process') -> list[RowChange]:
            found = process.find('cells', 'cells_u', 'u')
            if not found:
                (row,) = process.rows('cells', target)
                return [] if row else [self.insert('cells', *target, 'a', 'u')]
            row = found[0]
            if kind == 'touch':
                return [self.change(row)]
            if kind == 'drop':
                return [self.change(row, u=None)]
            if kind == 'delete':
                return [RowChange(row.table, row, None)]
            key = (row.values[1], row.values[2])
            return self._operate(process, kind, key, row, target) or []

        return make

    def _operate(self, process: 'Process', operation: str, key: tuple,
                 row: StoredRow | None, target: tuple
                 ) -> list[RowChange] | None:
        """Return the changes of one operation; None: it can't be done."""
        if operation in ('insert', 'unique'):
            if row is not None:
                return None
            u = None
            if operation == 'unique':
                u = 'u'
                if process.find('cells', 'cells_u', 'u'):
                    return None
            return [self.insert('cells', *key, 'a', u)]
        if row is None:
            if operation in ('a', 'b', 'flip'):
                value = 'a' if operation == 'flip' else operation
                return [self.insert('cells', *key, value, None)]
            return None
        value = row.values[3]
        if operation == 'delete':
            return [RowChange(row.table, row, None)]
        if operation == 'touch':
            return [self.change(row)]
        if operation == 'flip':
            return [self.change(row, v='b' if value == 'a' else 'a')]
        if operation == 'replace':
            # one unique value leaves a row and comes to another
            (other,) = process.rows('cells', target)
            if other is not None or key == target:
                return None
            return [RowChange(row.table, row, None),
                    self.insert('cells', *target, 'b', row.values[4])]
        if operation == 'move':
            (other,) = process.rows('cells', target)
            if other is not None:
                return None
            return [self.change(row, g=target[0], n=target[1])]
        return [self.change(row, v=operation)]

    def draw_references(self) -> Callable[['Process'], list[RowChange]]:
        """Draw a transaction over parents and children."""
        r = self.random
        number = r.randint(1, 2)
        parent = r.choice(['p', 'p', 'q'])
        kind = r.choice(['team+', 'team-', 'team-', 'user+', 'user+', 'user-',
                         'user>', 'log+', 'item+', 'item-', 'part+', 'part-',
                         'team@', 'item@'])

        def make(process: 'Process') -> list[RowChange]:
            return getattr(self, '_' + {
                'team': 'teams', 'user': 'users', 'logs': 'logs',
                'item': 'items', 'part': 'parts', 'log+': 'logs',
            }[kind[:4]])(process, kind[-1], parent, number)

        return make

    def _teams(self, process: 'Process', what: str, parent: str, number: int
               ) -> list[RowChange]:
        return self._parent(process, 'teams', what, parent)

    def _items(self, process: 'Process', what: str, parent: str, number: int
               ) -> list[RowChange]:
        return self._parent(process, 'items', what, parent)

    def _parent(self, process: 'Process', name: str, what: str, key: str
                ) -> list[RowChange]:
        (row,) = process.rows(name, (key, key))
        if what == '+':
            rest = ('v', 'w') if name == 'items' else ('name',)
            return [] if row else [self.insert(name, key, *rest)]
        if row is None:
            return []
        if what == '@':
            return [self.change(row)]
        # the statement-time check: no children are to be seen
        if name == 'items':
            access = [BoundAccess(SCHEMA.tables['parts'], Path.GROUP,
                                  [(key,)])]
        else:
            users = SCHEMA.tables['users']
            access = [
                BoundAccess(users, Path.INDEX, [(key,)], users.indexes[1]),
                BoundAccess(SCHEMA.tables['logs'], Path.GROUP, [()])]
        column = {'parts': 2, 'users': 3, 'logs': 2}
        for rows in process.reader.rows(SCHEMA, access):
            if any(c.values[column[c.table.name]] == key for c in rows):
                return []
        return [RowChange(row.table, row, None)]

    def _users(self, process: 'Process', what: str, parent: str, number: int
               ) -> list[RowChange]:
        key = f'u{number}'
        (row,) = process.rows('users', (key, key))
        (team,) = process.rows('teams', (parent, parent))
        if what == '+':
            if row is not None or team is None:
                return []
            return [self.insert('users', key, f'name{number}', parent)]
        if row is None:
            return []
        if what == '-':
            return [RowChange(row.table, row, None)]
        return [self.change(row, team=parent)] if team else []

    def _logs(self, process: 'Process', what: str, parent: str, number: int
              ) -> list[RowChange]:
        (team,) = process.rows('teams', (parent, parent))
        return [self.insert('logs', 'text', parent)] if team else []

    def _parts(self, process: 'Process', what: str, parent: str, number: int
               ) -> list[RowChange]:
        (row,) = process.rows('parts', (parent, number))
        (item,) = process.rows('items', (parent, parent))
        if what == '+':
            if row is not None or item is None:
                return []
            return [self.insert('parts', number, parent, f'n{number}', '')]
        return [] if row is None else [RowChange(row.table, row, None)]
