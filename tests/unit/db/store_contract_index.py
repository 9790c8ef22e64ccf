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

"""What every store must do with index entries; see store_contract."""

import itertools
import os
from typing import Any

from luc_drivers.db.store import base
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import IndexRead

_numbers = itertools.count(1)


class IndexContract:

    store: base.Store
    assertEqual: Any

    def entry(self, first: bytes, rest: bytes = b'', ref: bytes = b'r',
              bucket: int = 0, locality: str = 'at_site1') -> IndexEntry:
        return IndexEntry(locality, 1, 2, first, bucket, rest, ref)

    def name(self) -> bytes:
        return b'v%d-%d' % (os.getpid(), next(_numbers))

    def slice(self, first: bytes, **more: Any) -> list[tuple[bytes, bytes]]:
        more = {'locality': 'at_site1', 'table': 1, 'index': 2} | more
        found, = self.store.read_index([IndexRead(first=first, **more)])
        return found

    def test_index_slices(self):
        value = self.name()
        rests = [b'', b'\0', b'a', b'a\0', b'a\xff', b'b', b'\xff']
        self.store.put_index(
            [self.entry(value, r, b'ref' + r, n % 3)
             for n, r in enumerate(rests)] +
            [self.entry(value, b'b', b'ref0', 1),
             self.entry(value, b'b', locality='global'),
             self.entry(b'', b'b', b'other'),
             self.entry(value + b'0', b'b', b'other')], 1000)
        pairs = [(r, b'ref' + r) for r in rests]
        pairs.insert(5, (b'b', b'ref0'))
        self.assertEqual(sorted(pairs),
                         sorted(self.slice(value, buckets=3)))
        found = self.slice(value, buckets=3)
        self.assertEqual([r for r, __ in sorted(found)],
                         [r for r, __ in found])
        self.assertEqual([(b'b', b'r')], self.slice(
            value, locality='global'))
        self.assertEqual([b'', b'a\0', b'\xff'],
                         sorted((r for r, __ in self.slice(value)),
                                key=rests.index))
        found = self.slice(value, buckets=3, lower=b'a', upper=b'b')
        self.assertEqual([b'a', b'a\0', b'a\xff'], [r for r, __ in found])
        found = self.slice(value, buckets=3, lower=b'b')
        self.assertEqual([b'b', b'b', b'\xff'], [r for r, __ in found])
        found = self.slice(value, buckets=3, upper=b'a')
        self.assertEqual([b'', b'\0'], [r for r, __ in found])

    def test_index_slices_from_one_end(self):
        value = self.name()
        entries = [self.entry(value, b'%02d' % (n // 2), b'ref%d' % (n % 2),
                              n % 3) for n in range(40)]
        self.store.put_index(entries, 1000)
        self.store.remove_index([self.entry(value, b'00', b'ref0')], 1000)
        pairs = [(e.rest, e.ref) for e in entries][1:]
        for more, expected in (
                ({'limit': 5}, pairs[:5]),
                ({'limit': 5, 'descending': True}, pairs[:-6:-1]),
                ({'limit': 100}, pairs),
                ({'limit': 100, 'descending': True}, pairs[::-1]),
                ({'limit': 3, 'lower': b'05'}, pairs[9:12]),
                ({'limit': 3, 'upper': b'05', 'descending': True},
                 pairs[8:5:-1]),
                ({'limit': 9, 'lower': b'05', 'upper': b'07'}, pairs[9:13]),
                ({'limit': 3, 'lower': b'05', 'upper': b'07',
                  'descending': True}, pairs[12:9:-1]),
                ({'limit': 3, 'lower': b'20'}, [])):
            self.assertEqual(
                expected, self.slice(value, buckets=3, **more), more)
        self.assertEqual(
            [pair for n, pair in enumerate(pairs, 1) if n % 3 == 0][:4],
            self.slice(value, limit=4))
        # with others, of the same first value, in one call
        read = dict(locality='at_site1', table=1, index=2, first=value,
                    buckets=3)
        self.assertEqual(
            [pairs[:2], pairs, pairs[:-3:-1]], self.store.read_index([
                IndexRead(limit=2, **read), IndexRead(**read),
                IndexRead(limit=2, descending=True, **read)]))

    def test_index_reads_are_answered_in_order(self):
        one, two = self.name(), self.name()
        self.store.put_index([self.entry(one, b'1'), self.entry(two, b'2')],
                             1000)
        read = dict(locality='at_site1', table=1, index=2)
        self.assertEqual(
            [[(b'2', b'r')], [], [(b'1', b'r')]],
            self.store.read_index([
                IndexRead(first=two, **read), IndexRead(first=b'-', **read),
                IndexRead(first=one, **read)]))
        self.assertEqual([], self.store.read_index([]))
        self.store.put_index([], 1)
        self.store.remove_index([], 1)

    def test_index_timestamps(self):
        """Rules 9 to 11: the greatest timestamp wins, a removal at a tie."""
        # (operation, timestamp)… → is the entry there?
        for steps, there in (
                ([('put', 10), ('remove', 9)], True),
                ([('put', 10), ('remove', 10)], False),
                ([('put', 10), ('remove', 11)], False),
                ([('remove', 10), ('put', 9)], False),
                ([('remove', 10), ('put', 10)], False),
                ([('remove', 10), ('put', 11)], True),
                ([('put', 10), ('remove', 10), ('put', 10)], False),
                ([('put', 10), ('remove', 10), ('put', 11)], True),
                ([('put', 12), ('put', 10), ('remove', 11)], True),
                ([('remove', 12), ('remove', 10), ('put', 11)], False),
                ([('put', 10), ('remove', 5), ('put', 5), ('put', 10)],
                 True)):
            entry = self.entry(self.name())
            for step, timestamp in steps:
                if step == 'put':
                    self.store.put_index([entry], timestamp)
                else:
                    self.store.remove_index([entry], timestamp)
            self.assertEqual([(b'', b'r')] if there else [],
                             self.slice(entry.first), steps)

    def test_entries_differ_by_all_their_parts(self):
        value = self.name()
        entries = [self.entry(value, rest, ref) for rest in (b'', b'a')
                   for ref in (b'', b'x', b'y')]
        self.store.put_index(entries, 1000)
        self.store.remove_index([self.entry(value, b'a', b'x')], 1000)
        self.assertEqual([(e.rest, e.ref) for e in entries
                          if (e.rest, e.ref) != (b'a', b'x')],
                         self.slice(value))
