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

"""Reads that are said by the groups a thread has used before."""

import threading
import unittest
from unittest import mock

from luc_drivers.db import keys
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.transaction import recent
from luc_drivers.db.transaction.recent import Near


def group(kind, *values, locality='at_site1'):
    return Group(locality, keys.encode((kind, *values)))


def index(value, locality='at_site1', **more):
    return IndexRead(locality, 5, 6, keys.encode_index((value,)), **more)


class NearTest(unittest.TestCase):

    ONE = {'provider': (group('provider', 2), group('provider', 1)),
           7: (group(7, 'abc'),)}
    OTHER = {'provider': (group('provider', 8), group('provider', 9)),
             7: (group(7, 'def'),)}

    def check(self, read, near, other):
        self.assertEqual({near}, recent.relative([read], self.ONE))
        self.assertEqual([other], recent.absolute([near], self.OTHER))

    def test_a_slice(self):
        self.check((group('provider', 1), 4), Near('provider', 1, 4),
                   (group('provider', 9), 4))

    def test_a_row_of_the_same_key(self):
        self.check(
            (group(7, 'abc'), RowKey(4, keys.encode(('abc',)))),
            Near(7, 0, RowKey(4, b'')),
            (group(7, 'def'), RowKey(4, keys.encode(('def',)))))

    def test_an_index_slice_of_the_same_value(self):
        self.check(index('abc', lower=b'l', upper=b'u'),
                   Near(7, 0, IndexRead('at_site1', 5, 6, b'', 1, b'l',
                                        b'u')),
                   index('def', lower=b'l', upper=b'u'))

    def test_what_can_not_be_said(self):
        self.assertEqual(set(), recent.relative([
            (group('provider', 3), 4),
            # a row of another key
            (group(7, 'abc'), RowKey(4, keys.encode(('x',)))),
            index('x'), index('abc', locality='global'),
            # a page
            index('abc', limit=10)], self.ONE))

    def test_what_is_not_there(self):
        for groups in ({}, {'provider': (group('provider', 8),)},
                       {'provider': (group('provider', 8), Group(
                           'at_site1', b'a hash'))}):
            self.assertEqual([], recent.absolute(
                [Near('provider', 1, RowKey(4, b''))], groups))
        # the index of another locality
        self.assertEqual([], recent.absolute(
            [Near(7, 0, index('abc'))],
            {7: (group(7, 'abc', locality='global'),)}))


class RecentTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.recent = recent.Recent()

    def use(self, *numbers):
        for number in numbers:
            self.recent.note('provider', group('provider', number))

    def known(self):
        return [found.key for found in self.recent.groups().get(
            'provider', ())]

    def test_the_last_ones_first(self):
        self.use(1, 2, 3, 4, 5, 3)
        self.assertEqual([group('provider', n).key for n in (3, 5, 4, 2)],
                         self.known())

    def test_each_thread_has_its_own(self):
        self.use(1)
        found = []

        def other():
            found.append(self.known())
            self.use(2)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        self.assertEqual([[]], found)
        self.assertEqual([group('provider', 1).key], self.known())

    def test_not_for_long(self):
        with mock.patch('time.monotonic', autospec=True) as clock:
            clock.return_value = 100.0
            self.use(1)
            clock.return_value = 120.0
            self.use(2)
            clock.return_value = 131.0
            self.assertEqual([group('provider', 2).key], self.known())
            clock.return_value = 151.0
            self.assertEqual({}, self.recent.groups())
