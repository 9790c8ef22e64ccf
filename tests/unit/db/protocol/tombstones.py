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

"""Tombstones, and rows that move (rules 10, 13)."""

from unittest import mock

from luc_drivers.db.planner.plan import Path
from luc_drivers.db.transaction.clock import micros
from tests.unit.db.protocol import base


class Tombstones(base.Contract):


    def test_a_key_comes_again(self):
        # rule 10, with a clock that is behind
        behind = self.process(offset=-5.0)
        k, v = self.key(), self.key('v')
        self.p.commit(self.p.insert('items', k, v, 'w'))
        self.time.advance(1)
        self.p.commit(self.p.delete(self.p.get('items', k)))
        deleted = self.raw('items', k).version
        txid = behind.commit(behind.insert('items', k, v, 'x'))
        self.assertGreater(micros(txid), micros(deleted))
        self.time.advance(6)
        self.p.background.run()
        self.assertEqual([(k, v, 'x')], [
            self.q.values(r) for r in self.q.find('items', 'items_v', v)])

    def test_delete_and_insert_of_one_key(self):
        k = self.item()
        old = self.p.get('items', k)
        self.p.commit(self.p.delete(old), self.p.insert('items', k, 'c', 'c'))
        self.assertEqual((k, 'c', 'c'), self.get('items', k))

    def test_a_row_changes_its_group(self):
        k, other = self.pair()
        n, name = base.number(), self.key()
        self.p.commit(self.p.insert('parts', n, k, name, '', generated=True))
        created = self.p.get('parts', k, n).created
        self.p.commit(self.p.update(self.p.get('parts', k, n), k=other))
        self.assertIsNone(self.get('parts', k, n))
        moved = self.p.get('parts', other, n)
        self.assertEqual((n, other, name, ''), self.p.values(moved))
        self.assertEqual(created, moved.created)
        self.assertEqual(1, len(self.q.find('parts', 'parts_name', name)))

    def test_a_scan_follows_a_row_that_moves(self):
        # rule 13
        k, other = self.pair()
        n, name = base.number(), self.key()
        self.p.commit(self.p.insert('parts', n, k, name, '', generated=True))

        def move():
            self.p.commit(self.p.update(self.p.get('parts', k, n), k=other))

        with base.at_step('reader:index-read', move):
            rows = self.q.find('parts', 'parts_name', name)
        self.assertEqual([(n, other, name, '')],
                         [self.q.values(r) for r in rows])

    def test_a_scan_finds_a_moved_row_whose_place_is_taken(self):
        k, other = self.pair()
        n, name = base.number(), self.key()
        self.p.commit(self.p.insert('parts', n, k, name, '', generated=True))

        def move():
            self.p.commit(self.p.update(self.p.get('parts', k, n), k=other))
            self.p.background.run()
            self.p.commit(
                self.p.insert('parts', n, k, 'else', '', generated=True))

        with base.at_step('reader:index-read', move):
            rows = self.q.find('parts', 'parts_name', name)
        self.assertIn((n, other, name, ''), [self.q.values(r) for r in rows])

    def read_groups(self, groups, move, apart=False):
        """Read groups one after the other; return the rows.

        :param move: called when the first has been read.
        :param apart: by an access for each.
        """
        resolver = self.q.reader.resolver
        read = resolver.read

        def one_by_one(reads, serial=False):
            answers = []
            for one in sorted(reads, key=lambda r: r.group != wanted[0]):
                answers.append((one, read([one], serial)[0]))
                if one.group == wanted[0] and not moved:
                    moved.append(True)
                    move()
            return [next(rows for r, rows in answers if r is one)
                    for one in reads]

        keys = [(k,) for k in groups]
        accesses = [self.q.access('parts', Path.GROUP, *some) for some in (
            [[k] for k in keys] if apart else [keys])]
        wanted = [group for found, _ in self.q.reader.places(accesses)
                  for group in found]
        moved = []
        with mock.patch.object(resolver, 'read', one_by_one):
            answers = self.q.reader.rows(self.q.schema, accesses)
        self.assertTrue(moved)
        return [self.q.values(row) for rows in answers for row in rows]

    def test_a_row_that_moves_between_groups_is_read_once(self):
        """Where it came is read before it came, or where it was before it
        left."""
        for taken in (False, True):
            for reverse in (False, True):
                with self.subTest(taken=taken, reverse=reverse):
                    before, after = self.pair()
                    n, name = base.number(), self.key()
                    self.p.commit(self.p.insert(
                        'parts', n, before, name, '', generated=True))

                    def move(n=n, before=before, after=after, taken=taken):
                        self.p.commit(self.p.update(
                            self.p.get('parts', before, n), k=after))
                        self.p.background.run()
                        if taken:
                            self.p.commit(self.p.insert(
                                'parts', n, before, 'else', '',
                                generated=True))

                    groups = [before, after] if reverse else [after, before]
                    found = self.read_groups(groups, move)
                    self.assertEqual([(n, after, name, '')], [
                        one for one in found if one[2] == name])

    def test_a_row_that_moves_between_two_accesses(self):
        """One statement's, of a slice each: ``k = 'a' OR k = 'b'``."""
        for reverse in (False, True):
            with self.subTest(reverse=reverse):
                before, after = self.pair()
                n, name = base.number(), self.key()
                self.p.commit(self.p.insert(
                    'parts', n, before, name, '', generated=True))

                def move(n=n, before=before, after=after):
                    self.p.commit(self.p.update(
                        self.p.get('parts', before, n), k=after))

                found = self.read_groups(
                    [before, after] if reverse else [after, before], move,
                    apart=True)
                self.assertEqual({(n, after, name, '')}, set(found))

    def test_rows_with_one_creation_number_stay_apart(self):
        """Two processes may draw the same number."""
        before, after = self.pair()
        for k, n in ((before, base.number()), (after, base.number())):
            self.p.commit(self.p.insert('parts', n, k, self.key(), '',
                                        created=7))
        self.assertEqual(2, len(self.read_groups(
            [before, after], lambda: None)))
