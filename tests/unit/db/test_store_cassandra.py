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


"""What the Cassandra store makes of answers, without a server."""

import os
import unittest
from unittest import mock

from luc_drivers import cql
from luc_drivers.db import errors
from luc_drivers.db.catalog import catalog
from luc_drivers.db.store import base
from luc_drivers.db.store import cassandra
from luc_drivers.db.store import cassandra_requests
from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import RowKey
from tests.unit.db.store_contract import insert
from tests.unit.db.store_contract import txid

UNREACHABLE = cql.Unavailable('no node answers')
LOST = cql.Unknown('the connection broke')
APPLIED, REFUSED = [(True,)], [(False,)]


class AnswersTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.store = cassandra.CassandraStore(
            'nova', base.StoreSettings(kind='cassandra'))

    def answer(self, *results):
        """Have the store hear these, and return what writes it."""
        patch = mock.patch.object(self.store, '_send', autospec=True,
                                  return_value=list(results))
        patch.start()
        self.addCleanup(patch.stop)

    def batches(self, count):
        return [Batch(Group('at_site1', b'%d' % n),
                      (insert(RowKey(5, b'k'), txid(1)),))
                for n in range(count)]

    def entry(self):
        return IndexEntry('at_site1', 5, 6, b'first', 0, b'', b'ref')

    def test_what_was_sent_has_an_unknown_outcome(self):
        self.answer(APPLIED, REFUSED, LOST, UNREACHABLE)
        self.assertEqual(
            [Outcome.APPLIED, Outcome.REFUSED, Outcome.UNKNOWN,
             Outcome.UNKNOWN], self.store.write(self.batches(4)))

    def test_no_batch_was_begun(self):
        self.answer(UNREACHABLE, UNREACHABLE)
        with self.assertRaisesRegex(
                errors.StoreUnavailable, 'nova: no node answers'):
            self.store.write(self.batches(2))

    def test_no_batch_was_begun_beside_index_entries(self):
        """Such a commit ends at once, not as one of unknown outcome."""
        self.answer(UNREACHABLE, UNREACHABLE, [])
        with self.assertRaisesRegex(
                errors.StoreUnavailable, 'nova: no node answers'):
            self.store.write_both(self.batches(2), [self.entry()], 1)

    def test_an_index_entry_is_missing(self):
        self.answer(APPLIED, LOST)
        with self.assertRaisesRegex(
                errors.StoreUnavailable, 'nova: the connection broke'):
            self.store.write_both(self.batches(1), [self.entry()], 1)

    def test_what_can_not_be_read_is_left_out(self):
        read = [GroupRead(Group('at_site1', b'0'))]
        self.answer(APPLIED, UNREACHABLE)
        self.assertEqual(([Outcome.APPLIED], None), self.store.write_and_read(
            self.batches(1), read, []))

    def test_what_is_read_beside_a_refused_batch(self):
        read = [GroupRead(Group('at_site1', b'0'))]
        self.answer(REFUSED, [])
        self.assertEqual(
            ([Outcome.REFUSED], ([[]], [])),
            self.store.write_and_read(self.batches(1), read, []))

    def test_no_batch_was_begun_beside_reads(self):
        self.answer(UNREACHABLE, [])
        with self.assertRaisesRegex(
                errors.StoreUnavailable, 'nova: no node answers'):
            self.store.write_and_read(
                self.batches(1), [GroupRead(Group('at_site1', b'0'))], [])

    def test_nothing_to_write(self):
        self.answer([])
        self.assertEqual([], self.store.write([]))
        self.assertEqual(
            [], self.store.write_both([], [self.entry()], 1))


class IndexWritesTest(unittest.TestCase):
    """How many entries go out together."""

    def requests(self, *entries):
        requester = cassandra_requests.Requester(
            'nova', base.StoreSettings(kind='cassandra'))
        found = requester.index_writes(entries, lambda texts, key: (
            texts.put_index, (*key, 1)))
        return [(locality, len(r.batch) if r.batch else 1)
                for locality, r in found]

    @staticmethod
    def entry(number, locality='global', first=b'', size=1):
        return IndexEntry(locality, 5, 6, first, 0, b'%d' % number,
                          b'r' * size)

    def test_several_partitions(self):
        self.assertEqual(
            [('global', 10), ('global', 10), ('global', 1)], self.requests(
                *(self.entry(n, first=b'%d' % n) for n in range(21))))
        self.assertEqual(
            [('global', 2), ('at_site1', 1)], self.requests(
                self.entry(1, first=b'a'), self.entry(1, 'at_site1', b'a'),
                self.entry(1, first=b'b')))

    def test_one_partition(self):
        # no limit to what one partition's batch may hold is near
        self.assertEqual(
            [('global', 100), ('global', 100), ('global', 50),
             ('global', 3)], self.requests(
                *(self.entry(n, first=b'a') for n in range(250)),
                *(self.entry(n, first=b'b') for n in range(3))))

    def test_large_entries(self):
        self.assertEqual(
            [('global', 2), ('global', 1), ('global', 2)], self.requests(
                *(self.entry(n, first=b'%d' % n, size=size) for n, size in
                  enumerate((1000, 1000, 60_000, 1000, 1000)))))


class LeaseTest(unittest.TestCase):
    """A process that ends gives its lease back, if that costs nothing."""

    def give_back(self, connected, pid):
        store = mock.Mock(connected=connected)
        catalog._give_back(store, 'holder', pid)
        return store.lease.mock_calls

    def test_connected(self):
        self.assertEqual([mock.call('holder', 0)],
                         self.give_back(True, os.getpid()))

    def test_not_connected_or_another_process(self):
        self.assertEqual([], self.give_back(False, os.getpid()))
        self.assertEqual([], self.give_back(True, os.getpid() + 1))

    def test_whether_it_is_connected(self):
        store = cassandra.CassandraStore(
            'nova', base.StoreSettings(kind='cassandra'))
        self.assertFalse(store.connected)
        session = store._session(cassandra.schema.GLOBAL)
        with mock.patch.object(session, '_control', object()):
            self.assertTrue(store.connected)
