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

"""Reading: rounds, order, ranges, localities."""

import dataclasses
from unittest import mock

from luc_drivers.db import document
from luc_drivers.db import errors
from luc_drivers.db.catalog import schema as s
from luc_drivers.db.planner.plan import Bound
from luc_drivers.db.planner.plan import Path
from luc_drivers.db.rows import RowChange
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.transaction import ahead
from luc_drivers.db.transaction import hints
from luc_drivers.db.transaction import writes
from tests.unit.db import transaction_fixtures as fixtures
from tests.unit.db.protocol import base


class Reading(base.Contract):


    def test_waves_cost_two_rounds_at_most(self):
        v = self.key('v')
        keys = [self.item(v=v) for _ in range(3)]
        self.p.commit(self.p.insert('parts', base.number(), keys[0], 'x', '',
                                    generated=True))
        before = self.faulty.rounds
        found = self.q.reader.rows(self.q.schema, [
            self.q.access('items', Path.INDEX, (v,), index='items_v'),
            self.q.access('items', Path.GROUP, *[(k,) for k in keys]),
            self.q.access('parts', Path.GROUP, *[(k,) for k in keys]),
            self.q.access('items', Path.ROW, (keys[0], keys[0]))])
        self.assertEqual(2, self.faulty.rounds - before)
        self.assertEqual([3, 3, 1, 1], [len(rows) for rows in found])
        self.assertEqual(keys, [r.values[1] for r in found[0]])
        self.assertEqual(keys, [r.values[1] for r in found[1]])

    def test_what_is_used_together_is_read_once(self):
        key = self.key()
        self.p.commit(self.p.insert('items', key, 'v', 'w'),
                      self.p.insert('parts', base.number(), key, 'x', '',
                                    generated=True))
        schema = self.q.schema
        tables = ahead.together(schema, [('items', 'parts')])
        mine = ahead.Ahead(tables)

        def find(table):
            rows, = self.q.reader.rows(schema, [
                self.q.access(table, Path.GROUP, (key,))], ahead=mine)
            return len(rows)

        self.assertEqual(1, find('items'))
        self.p.commit(self.p.insert('parts', base.number(), key, 'y', '',
                                    generated=True))
        before = self.faulty.rounds
        self.assertEqual(1, find('parts'))
        self.assertEqual(0, self.faulty.rounds - before)
        mine.clear()
        self.assertEqual(2, find('parts'))

    def test_many_groups_are_read_ahead_if_their_tables_are_named(self):
        """Who only counts rows gets these rows, not all beside them."""
        v = self.key('v')
        for _ in range(5):
            key = self.key()
            self.p.commit(self.p.insert('items', key, v, 'w'),
                          self.p.insert('parts', base.number(), key, 'x', '',
                                        generated=True))
        schema = self.q.schema
        number = schema.tables['parts'].number

        def parts(*names):
            mine = ahead.Ahead(ahead.together(schema, [('items', 'parts')]))
            mine.statement(schema, names)
            rows, = self.q.reader.rows(schema, [self.q.access(
                'items', Path.INDEX, (v,), index='items_v')], ahead=mine)
            self.assertEqual(5, len(rows))
            return sum(len(found) for (_, table), found
                       in mine.slices.items() if table == number)

        self.assertEqual(0, parts('items'))
        self.assertEqual(5, parts('items', 'parts'))

    def test_an_index_leads_to_the_latest_row(self):
        """What was read ahead may lack a row that has come since."""
        key, v = self.key(), self.key('v')
        schema = self.q.schema
        mine = ahead.Ahead(ahead.together(schema, [('items', 'parts')]))
        group = self.q.access('items', Path.GROUP, (key,))
        self.assertEqual([[]], self.q.reader.rows(
            schema, [group], ahead=mine))
        self.p.commit(self.p.insert('items', key, v, 'w'))
        self.assertEqual([[]], self.q.reader.rows(
            schema, [group], ahead=mine))
        rows, = self.q.reader.rows(schema, [self.q.access(
            'items', Path.INDEX, (v,), index='items_v')], ahead=mine)
        self.assertEqual([key], [r.values[1] for r in rows])

    def test_a_row_that_moves_while_a_habit_reads_is_found(self):
        """Index and rows of one round: the rows may be the older ones."""
        for kept in (('from', 'to'), ('to',), ('from',)):
            for taken in (False, True):
                for first in ('rows', 'index'):
                    with self.subTest(kept=kept, taken=taken, first=first):
                        self.read_while_it_moves(kept, taken, first)

    def by_name(self, process, name):
        """Return what a look-up by a unique name finds, and its rounds."""
        before = self.faulty.here.rounds
        rows, = process.reader.rows(process.schema, [process.access(
            'users', Path.INDEX, (name,), index='users_name', unique=True,
            key_columns=('name',))])
        return ([process.values(r) for r in rows],
                self.faulty.here.rounds - before)

    def test_a_hint_saves_a_round(self):
        one, two, three = self.key(), self.key(), self.key()
        name, other = self.key('name'), self.key('name')
        self.q.reader.hints = hints.Hints()
        self.p.commit(self.p.insert('users', one, name, None))
        user = (one, name, None)
        self.assertEqual(([user], 2), self.by_name(self.q, name))
        self.assertEqual(([user], 1), self.by_name(self.q, name))
        # the row has another name, and then another one has that name
        self.p.commit(self.p.update(self.p.get('users', one), name=other))
        found, _ = self.by_name(self.q, name)
        self.assertNotIn(name, [values[1] for values in found])
        self.p.commit(self.p.insert('users', two, name, None))
        found, _ = self.by_name(self.q, name)
        self.assertIn((two, name, None), found)
        self.assertEqual(([(one, other, None)], 2),
                         self.by_name(self.q, other))
        # deleted, and come back with another key
        self.p.commit(self.p.delete(self.p.get('users', one)))
        self.assertEqual([], self.by_name(self.q, other)[0])
        self.p.commit(self.p.insert('users', three, other, None))
        self.assertEqual([(three, other, None)],
                         self.by_name(self.q, other)[0])

    def test_a_process_knows_where_it_has_put_a_row(self):
        k, name = self.key(), self.key('name')
        self.p.reader.hints = hints.Hints()
        self.p.commit(self.p.insert('users', k, name, None))
        self.assertEqual(([(k, name, None)], 1), self.by_name(self.p, name))

    def test_a_row_that_moves_while_a_hint_is_followed(self):
        for first in ('rows', 'index'):
            with self.subTest(first=first):
                n, name = base.number(), self.key()
                before, after = self.item(), self.item()
                self.p.commit(self.p.insert('parts', n, before, name, '',
                                            generated=True))
                self.q.reader.hints = hints.Hints()
                wanted = self.q.access(
                    'parts', Path.INDEX, (name,), index='parts_name',
                    unique=True, key_columns=('name',))
                self.q.reader.rows(self.q.schema, [wanted])

                def move(n=n, before=before, after=after):
                    self.p.commit(self.p.update(
                        self.p.get('parts', before, n), k=after))
                    self.p.background.run()

                rows, read = self.read_with(first, move, wanted)
                # the row as it was, and then as it is: the newer one last,
                # and whoever loads both begins again
                self.assertEqual((n, after, name, ''),
                                 self.q.values(rows[-1]))
                self.assertEqual(1, read)

    def between(self, first, move):
        """Have the next round of rows and index do something in between.

        :param first: 'rows' or 'index': what is read before ``move()``.
        :returns: the list that gets the reads of that round.
        """
        resolver = self.q.reader.resolver
        seen = []

        def read_both(reads, slices):
            patch.stop()
            seen.extend(reads)
            if first == 'rows':
                rows = resolver.read(reads)
                move()
                return rows, self.store.read_index(slices)
            found = self.store.read_index(slices)
            move()
            return resolver.read(reads), found

        patch = mock.patch.object(resolver, 'read_both', read_both)
        patch.start()
        return seen

    def read_with(self, first, move, wanted):
        """Read with something done between rows and index."""
        guessed = self.between(first, move)
        rows, = self.q.reader.rows(self.q.schema, [wanted])
        return rows, len(guessed)

    def read_while_it_moves(self, kept, taken, first):
        n, name = base.number(), self.key()
        before, after = self.item(), self.item()
        self.p.commit(self.p.insert('parts', n, before, name, '',
                                    generated=True))
        schema = self.q.schema
        wanted = self.q.access('parts', Path.INDEX, (name,),
                               index='parts_name')
        places = {'from': before, 'to': after}
        slots = [(group, schema.tables['parts'].number)
                 for groups, _ in self.q.reader.places([self.q.access(
                     'parts', Path.GROUP, *((places[one],) for one in kept))])
                 for group in groups]
        known = ahead.Memory()
        known.habits.learn(('key', ()), slots)
        mine = ahead.Ahead({}, memory=known)
        mine.statement(schema, ('parts',), ('key', ()))

        def move():
            self.p.commit(self.p.update(
                self.p.get('parts', before, n), k=after))
            self.p.background.run()
            if taken:
                self.p.commit(self.p.insert('parts', n, before, 'else', '',
                                            generated=True))

        self.between(first, move)
        rows, = self.q.reader.rows(schema, [wanted], ahead=mine)
        found = [one for one in map(self.q.values, rows) if one[2] == name]
        self.assertIn(found, [[(n, k, name, '')] for k in (before, after)])
        self.assertEqual(set(slots), set(mine.slices))

    def test_index_slices_of_several_rounds_are_read_anew(self):
        """A row that changes its value may be in none of them (rule 12)."""
        a, b = self.key('v'), self.key('v')
        key = self.item(v=b)
        schema = self.q.schema
        known = ahead.Memory()

        def find(mine, *values):
            before = self.faulty.rounds
            rows, = self.q.reader.rows(schema, [self.q.access(
                'items', Path.INDEX, *((v,) for v in values),
                index='items_v')], ahead=mine)
            return ([row.values[1] for row in rows],
                    self.faulty.rounds - before)

        def lead(mine, name):
            mine.statement(schema, ('items',), (name, ()))
            find(mine, self.key('v'))

        for v in (a, b):
            mine = ahead.Ahead({}, memory=known)
            lead(mine, v)
            find(mine, v)
            mine.learn()
        mine = ahead.Ahead({}, memory=known)
        lead(mine, a)
        self.assertEqual(([], 0), find(mine, a))
        self.p.commit(self.p.update(self.p.get('items', key), v=a))
        self.time.advance(self.p.bounds.removal_delay + 1)
        self.p.background.run()
        lead(mine, b)
        self.assertEqual(([], 0), find(mine, b))
        # a was read when the row had b; b was read when it had a
        self.assertEqual([key], find(mine, a, b)[0])

    def test_rows_come_in_order_of_creation(self):
        v = self.key('v')
        made = [(self.key(), n) for n in (5, 3, 9)]
        for k, n in made:
            self.p.commit(self.p.insert('items', k, v, 'w', created=n))
        self.assertEqual([3, 5, 9], [
            r.created for r in self.q.find('items', 'items_v', v)])

    def test_ranges_and_prefixes(self):
        number = base.number() * 1000 + 10 ** 9
        table = s.Table(
            1000 + base.number(), 'points',
            fixtures.columns('k', '#x', '#y', 'z'), ('k',), ('k',),
            s.Grouping(1, ('k',)),
            (s.Index(number, 'xyz', ('x', 'y', 'z')),
             s.Index(number + 1, 'scan', (), buckets=3)))
        table = dataclasses.replace(
            table, grouping=s.Grouping(table.number, ('k',)))
        p = self.process(schema_=fixtures.schema(table))
        for n in range(6):
            p.commit(p.insert('points', f'k{n}', 1, n if n else None, 'z'))

        def ys(*key, **more):
            access = p.access('points', Path.INDEX, key, index='xyz', **more)
            return [r.values[3] for r in p.reader.rows(p.schema, [access])[0]]

        self.assertEqual([None, 1, 2, 3, 4, 5], ys(1))
        self.assertEqual([], ys(2))
        self.assertEqual([3], ys(1, 3))
        self.assertEqual([3], ys(1, 3.0))
        self.assertEqual([None], ys(1, None))
        self.assertEqual([3], ys(1, 3, 'z'))
        self.assertEqual([], ys(1, 3, 'y'))
        self.assertEqual([2, 3, 4], ys(1, lower=Bound(2, True),
                                       upper=Bound(4, True)))
        self.assertEqual([3], ys(1, lower=Bound(2, False),
                                 upper=Bound(4, False)))
        self.assertEqual([1, 2], ys(1, upper=Bound(3, False)))
        self.assertEqual([5], ys(1, lower=Bound(4.5, True)))
        self.assertEqual(6, len(p.find('points', None)))

    def test_one_group_tables(self):
        text = self.key()
        for _ in range(3):
            self.p.commit(self.p.insert(
                'logs', text, None, created=base.number()))
        found = [r for r in self.q.find('logs', None) if r.values[1] == text]
        self.assertEqual(3, len(found))
        access = self.q.access('logs', Path.GROUP, ())
        again = self.q.reader.rows(self.q.schema, [access])[0]
        self.assertEqual(found, [r for r in again if r.values[1] == text])

    def test_nothing_asked(self):
        access = self.q.access('items', Path.INDEX, index='items_v')
        before = self.faulty.rounds
        self.assertEqual([[]], self.q.reader.rows(self.q.schema, [access]))
        self.assertEqual([], self.q.reader.rows(self.q.schema, []))
        self.assertEqual(before, self.faulty.rounds)

    def test_a_locality_that_can_not_be_reached(self):
        # rule 30: the marker is elsewhere; the rows read as they were
        k = self.item()
        with base.crash_at('several:answered'):
            self.p.commit(
                self.p.insert('logs', 'text', None, created=base.number()),
                self.p.update(self.p.get('items', k), v='b'))
        inner = self.faulty.inner
        read = inner.read

        def cut_off(reads, serial=False):
            if any(r.group.locality == 'global' for r in reads):
                raise errors.StoreUnavailable('cut off')
            return read(reads, serial)

        inner.read = cut_off
        try:
            self.assertEqual((k, 'a', 'w'), self.get('items', k))
            self.time.advance(60)
            self.assertEqual((k, 'a', 'w'), self.get('items', k))
            self.assertIsNotNone(self.raw('items', k).lock)
            self.assertRaises(
                errors.StoreUnavailable, self.q.commit,
                self.q.update(self.q.get('items', k), w='x'))
        finally:
            inner.__dict__.pop('read', None)
        self.assertEqual((k, 'b', 'w'), self.get('items', k))

    def test_documents_hold_what_was_given(self):
        k = self.key()
        values = {1: k, 2: b'\0\xff', 3: 1.5}
        self.p.commit(RowChange(self.p.table('items'), None, values))
        self.assertEqual(values, self.q.get('items', k).values)
        self.assertEqual(values, document.decode(
            self.raw('items', k).document)[0])

    def test_conditions_name_the_state_and_the_lock(self):
        # rule 2: a prepared row refuses whoever read it before
        keys = self.pair()
        rows = {k: self.q.get('items', k) for k in keys}
        with base.crash_at('several:send'):
            self.both(self.p, keys, v='b')
        locked = next(k for k in keys if self.raw('items', k).lock)
        group = rows[locked].address.group
        write = writes.change(writes.Intent(
            group, RowKey(10, rows[locked].address.key.pk), Expect.VERSION,
            rows[locked].version, document=b'd'), self.q.clock.new_id(), 1)
        self.assertEqual([Outcome.REFUSED], self.store.write(
            [writes.batch(group, write)]))
