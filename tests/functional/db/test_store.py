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

"""The Cassandra store on a real server: the contract, and what is its own."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
import unittest
import uuid

from luc_drivers import cql
from luc_drivers.db import errors
from luc_drivers.db.store import base
from luc_drivers.db.store import cassandra
from luc_drivers.db.store import cassandra_schema
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import RowKey
from luc_drivers.testing import shared
from tests.unit.db import store_contract
from tests.unit.db.store_contract import insert
from tests.unit.db.store_contract import txid


def settings(**more) -> base.StoreSettings:
    host, port = shared.endpoint()
    values = {'contact_points': (host,), 'port': port} | more
    return base.StoreSettings(kind='cassandra', **values)


class FreshStoreTest(store_contract.StoreContract,
                     store_contract.FreshContract, unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.store = cassandra.CassandraStore('test', settings(fresh=True))
        self.store.prepare(store_contract.LOCALITIES)

    def test_instances_are_apart(self):
        other = cassandra.CassandraStore('test', settings(fresh=True))
        self.store.claim('s', 1)
        self.assertEqual(1, other.claim('s', 1))

    def test_what_is_written_vanishes(self):
        group, key = self.group(), RowKey(1, b'a')
        self.put(group, insert(key, txid(1)))
        (left,), = cql.session(cql.from_options(
            self.store.settings)).execute(
            'SELECT ttl(ver) FROM luc_fresh.rows '
            'WHERE db = ? AND grp = ?',
            (self.store._requester.db('at_site1'), group.key))
        self.assertTrue(0 < left <= 3600)


class KeyspaceTest(store_contract.StoreContract, unittest.TestCase):
    """Keyspaces of the test run, one database for each test."""

    template = f'luctest{os.getpid()}_{{locality}}'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        session = cql.session(cql.from_options(settings()))
        for locality in store_contract.LOCALITIES:
            name = cassandra_schema.keyspace_name(cls.template, '', locality)
            cls.addClassCleanup(
                session.ddl, [f'DROP KEYSPACE IF EXISTS {name}'])

    def setUp(self):
        super().setUp()
        self.store = self.open()
        self.store.prepare(store_contract.LOCALITIES)

    def open(self, name=None, **more):
        more = {'keyspace_template': self.template} | more
        return cassandra.CassandraStore(name or f't{uuid.uuid4().hex}',
                                        settings(**more))

    def test_a_process_that_has_closed_its_session_ends_at_once(self):
        """It gives no lease back: the driver can't connect any more."""
        host, port = shared.endpoint()
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', textwrap.dedent('''
                import sys
                import time
                from luc_drivers import cql
                from luc_drivers.db.tools import naming
                naming.database(sys.argv[1]).catalog.refresh()
                cql.close_all()
                print(time.time())
                '''), f'sqlite+luc://{host}:{port}/t{uuid.uuid4().hex}'
             f'?keyspace_template={self.template}'],
            check=True, stdout=subprocess.PIPE, text=True)
        self.assertLess(time.time() - float(done.stdout), 4)

    def test_drop_takes_only_its_own(self):
        other = self.open()
        entry = self.entry(b'v')
        group, key = self.group(), RowKey(1, b'a')
        for store in (self.store, other):
            store.write([base.Batch(group, (insert(key, txid(1)),))])
            store.put_index([entry], 1000)
            store.catalog_append(1, b'one')
            store.claim('s', 5)
            store.lease('h', 60)
        self.store.drop()
        read = IndexRead('at_site1', 1, 2, b'v')
        self.assertEqual(
            ([[]], [[]], [], 1, set()),
            (self.store.read([GroupRead(group)]),
             self.store.read_index([read]), self.store.catalog_read(),
             self.store.claim('s', 1), self.store.leases()))
        self.assertEqual(
            (1, [[(b'', b'r')]], [(1, b'one')], 6, {'h'}),
            (len(other.read([GroupRead(group)])[0]), other.read_index([read]),
             other.catalog_read(), other.claim('s', 1), other.leases()))

    def test_catalog_log(self):
        other = self.open(self.store.database)
        self.assertTrue(self.store.catalog_append(1, b'one'))
        self.assertFalse(other.catalog_append(1, b'other'))
        self.assertTrue(other.catalog_append(2, b'two'))
        self.assertEqual([(1, b'one'), (2, b'two')],
                         self.store.catalog_read())
        self.assertEqual([(2, b'two')], self.store.catalog_read(1))

    def test_a_fresh_name_space_keeps_its_log_and_sequences(self):
        store = cassandra.CassandraStore('test', settings(fresh=True))
        requests = cql.session(store._cql_settings).requests
        self.assertTrue(store.catalog_append(1, b'one'))
        self.assertEqual([(1, b'one')], store.catalog_read())
        self.assertEqual(1, store.claim('s', 5))
        store.advance('s', 9)
        store.advance('s', 3)
        self.assertEqual(10, store.claim('s', 1))
        self.assertEqual(1, store.claim('t', 1))
        self.assertEqual(requests, cql.session(store._cql_settings).requests)

    def test_prepare_is_one_request_when_all_is_there(self):
        store = self.open()
        requests = cql.session(store._cql_settings).requests
        store.prepare(store_contract.LOCALITIES)
        self.assertEqual(requests + 1,
                         cql.session(store._cql_settings).requests)

    def test_processes_create_at_once(self):
        template = f'luctest{os.getpid()}_race_{{locality}}'
        session = cql.session(cql.from_options(settings()))
        self.addCleanup(session.ddl, [
            'DROP KEYSPACE IF EXISTS ' + template.format(locality=n)
            for n in store_contract.LOCALITIES])
        context = multiprocessing.get_context('fork')
        queue = context.SimpleQueue()

        def child(number):
            store = self.open('race', keyspace_template=template)
            store.prepare(store_contract.LOCALITIES)
            group = base.Group('at_site1', b'%d' % number)
            outcomes = store.write([base.Batch(group, (
                insert(RowKey(1, b'a'), txid(1)),))])
            queue.put((outcomes, store.claim('s', 1)))
        children = [context.Process(target=child, args=(n,))
                    for n in range(4)]
        for process in children:
            process.start()
        found = []
        for process in children:
            process.join(60)
            self.assertEqual(0, process.exitcode)
            found.append(queue.get())
        self.assertEqual([[base.Outcome.APPLIED]] * 4, [o for o, __ in found])
        self.assertEqual([1, 2, 3, 4], sorted(n for __, n in found))

    def test_many_groups_are_few_requests(self):
        groups = [self.group() for __ in range(50)]
        self.store.write([base.Batch(g, (insert(RowKey(1, b'a'), txid(1)),))
                          for g in groups])
        requests = self.store.requests
        reads = [GroupRead(g, (1,), (b'a',)) for g in groups]
        found = self.store.read([*reads, *reversed(reads)])
        self.assertEqual([1] * 100, [len(rows) for rows in found])
        self.assertLess(self.store.requests - requests, 10)


class UnreachableTest(unittest.TestCase):

    def refused(self, pattern, **more):
        store = cassandra.CassandraStore('test', settings(**more))
        for call in (lambda: store.prepare(['global']),
                     lambda: store.catalog_read(),
                     lambda: store.write([base.Batch(
                         base.Group('global', b'g'),
                         (insert(RowKey(1, b'a'), txid(1)),))])):
            with self.assertRaisesRegex(errors.StoreUnavailable, pattern):
                call()

    def test_nobody_there(self):
        self.refused('127.0.99.9:9042 does not answer.*contact_points',
                     contact_points=('127.0.99.9',), port=9042,
                     connect_timeout=0.3)

    def test_no_such_host(self):
        self.refused('nosuch.invalid', contact_points=('nosuch.invalid',),
                     connect_timeout=0.3)

    def test_no_such_site(self):
        self.refused("no datacenter 'nosuch', only site1.*luc.conf",
                     site='nosuch')

    def test_never_prepared(self):
        store = cassandra.CassandraStore('test', settings(
            keyspace_template='test_unknown_{locality}'))
        with self.assertRaisesRegex(errors.StoreUnavailable,
                                    'test_unknown_global'):
            store.catalog_read()


class NamesTest(unittest.TestCase):

    def test_keyspace_name(self):
        def name(template, database='nova_cell1', locality='at_site1'):
            return cassandra_schema.keyspace_name(
                template, database, locality)
        self.assertEqual('nova_cell1_at_site1',
                         name('{database}_{locality}'))
        self.assertEqual('luc_at_site1', name('luc_{locality}'))
        self.assertEqual('my_db_global',
                         name('{database}_{locality}', 'My-DB', 'global'))
        self.assertEqual('luc_1st_x', name('{database}_x', '1st'))
        one, two = (name('{database}_{locality}', 'd' * 60 + n)
                    for n in 'ab')
        self.assertEqual((48, 48), (len(one), len(two)))
        self.assertNotEqual(one, two)

    def test_replication(self):
        def replicas(locality, *configured):
            return cassandra_schema.replication(
                base.StoreSettings(replication=configured), locality,
                {'b', 'a'})
        self.assertEqual({'a': 1, 'b': 1}, replicas('global'))
        self.assertEqual({'a': 1}, replicas('at_a'))
        both = (('a', 3), ('b', 2))
        self.assertEqual({'a': 3, 'b': 2}, replicas('global', *both))
        self.assertEqual({'b': 2}, replicas('at_b', *both))
        with self.assertRaisesRegex(errors.OperationalError,
                                    "replication.*'c'"):
            replicas('at_c', *both)
