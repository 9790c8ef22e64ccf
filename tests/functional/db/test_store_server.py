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

"""The Cassandra store on a server of its own: roles, death, restart."""

import re
import tempfile
import threading
import time
import unittest

import sqlalchemy

from luc_drivers import cql
from luc_drivers.db import errors
from luc_drivers.db.store import base
from luc_drivers.db.store import cassandra
from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.store.base import RowWrite
from luc_drivers.testing import addresses
from luc_drivers.testing import cassandra as server
from tests.functional.db import certificates
from tests.unit.db.store_contract import insert
from tests.unit.db.store_contract import LOCALITIES
from tests.unit.db.store_contract import txid

_KEY = RowKey(1, b'a')


class OwnServerTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        address = addresses.claim()
        cls.authority = certificates.Authority(folder.name, 'authority')
        cls.other = certificates.Authority(folder.name, 'other')
        cls.server = server.Cluster(
            folder.name, base_address=address,
            auth=True, heap_mb=384,
            # one replica: else the last 100 ms would die with the server
            durable=True,
            overrides={'client_encryption_options': cls.encryption(
                *cls.authority.sign('node', address))})
        cls.addClassCleanup(cls.server.wipe)
        cls.server.start()
        cls.root = cql.session(cls.settings('cassandra', 'cassandra'))

    @classmethod
    def encryption(cls, certificate, key):
        """Return what has a node want TLS of those who begin with it."""
        both = f'{certificate}.both'
        with open(both, 'w') as target:
            for name in (key, certificate):
                with open(name) as source:
                    target.write(source.read())
        return {
            'enabled': True, 'optional': True, 'require_client_auth': True,
            'keystore': both, 'truststore': cls.authority.file,
            'ssl_context_factory': {
                'class_name': 'org.apache.cassandra.security.'
                              'PEMBasedSslContextFactory'}}

    @classmethod
    def settings(cls, username, password, **more) -> cql.CqlSettings:
        return cql.CqlSettings(
            contact_points=(cls.server.endpoint.host,),
            port=cls.server.endpoint.port, username=username,
            password=password, **more)

    def store(self, username, password, name, **more):
        return cassandra.CassandraStore(name, base.StoreSettings(
            contact_points=(self.server.endpoint.host,),
            port=self.server.endpoint.port, username=username,
            password=password, **more))

    def test_wrong_password(self):
        for username, password, pattern in (
                (None, None, 'without a user.*username and password'),
                ('cassandra', 'wrong', "'cassandra' and its password"),
                ('nobody', 'x', "'nobody' and its password")):
            started = time.monotonic()
            with self.assertRaisesRegex(errors.StoreUnavailable, pattern):
                self.store(username, password, 'roles').prepare(LOCALITIES)
            self.assertLess(time.monotonic() - started, 10)

    def test_wrong_password_in_a_connection_url(self):
        point = self.server.endpoint
        engine = sqlalchemy.create_engine(
            f'sqlite+luc://cassandra:wrong@{point.host}:{point.port}/roles')
        self.addCleanup(engine.dispose)
        started = time.monotonic()
        with self.assertRaisesRegex(
                sqlalchemy.exc.OperationalError,
                "'cassandra' and its password") as caught:
            with engine.connect() as connection:
                connection.exec_driver_sql('SELECT 1 FROM t')
        self.assertLess(time.monotonic() - started, 10)
        self.assertNotIn('wrong@', str(caught.exception))

    def test_role_that_may_not_create(self):
        self.root.execute("CREATE ROLE IF NOT EXISTS svc WITH LOGIN = true "
                          "AND PASSWORD = 'svc'", None)
        store = self.store('svc', 'svc', 'roles')
        with self.assertRaisesRegex(
                errors.OperationalError,
                "roles_at_site1, roles_global are missing.*'svc'"):
            store.prepare(LOCALITIES)
        self.store('cassandra', 'cassandra', 'roles').prepare(LOCALITIES)
        store.prepare(LOCALITIES)
        with self.assertRaisesRegex(errors.StoreUnavailable,
                                    'svc has no SELECT'):
            store.catalog_read()
        for locality in LOCALITIES:
            for permission in ('SELECT', 'MODIFY'):
                self.root.execute(
                    f'GRANT {permission} ON KEYSPACE roles_{locality} '
                    'TO svc', None)
        deadline = time.monotonic() + 15  # permissions are cached
        while True:
            try:
                self.assertEqual([], store.catalog_read())
                break
            except errors.StoreUnavailable:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.5)
        self.assertEqual([Outcome.APPLIED], store.write([Batch(
            Group('at_site1', b'g'), (insert(_KEY, txid(1)),))]))

    def test_tls(self):
        self.root.execute("CREATE ROLE IF NOT EXISTS tls WITH LOGIN = true "
                          "AND SUPERUSER = true AND PASSWORD = 'tls'", None)
        certificate, key = self.authority.sign('service')
        store = self.store(
            'tls', 'tls', 'encrypted', tls=True,
            tls_ca_file=self.authority.file, tls_cert_file=certificate,
            tls_key_file=key)
        store.prepare(LOCALITIES)
        group = Group('at_site1', b'g')
        document = bytes(range(256)) * 2000  # more than a record of TLS
        self.assertEqual([Outcome.APPLIED], store.write([Batch(
            group, (insert(_KEY, txid(1), document),))]))
        row, = store.read([GroupRead(group)], serial=True)[0]
        self.assertEqual(document, row.document)
        encrypted = [row[0] for row in self.root.execute(
            'SELECT ssl_enabled, username FROM system_views.clients', None,
            consistency='ONE') if row[1] == 'tls']
        # the driver's, and ours
        self.assertGreater(len(encrypted), 1)
        self.assertEqual({True}, set(encrypted))

    def test_tls_that_is_not_trusted(self):
        certificate, key = self.authority.sign('client')
        for wrong, pattern in (
                ({'tls_ca_file': self.other.file},
                 'TLS fails.*tls_ca_file.*certificate verify failed'),
                ({'tls_cert_file': None, 'tls_key_file': None},
                 'tls_cert_file'),
                ({'tls_ca_file': '/no/such'}, '/no/such.*tls_ca_file')):
            session = cql.session(self.settings(
                'cassandra', 'cassandra', **({
                    'tls': True, 'tls_ca_file': self.authority.file,
                    'tls_cert_file': certificate, 'tls_key_file': key}
                    | wrong)))
            started = time.monotonic()
            with self.assertRaisesRegex(cql.Unavailable, pattern):
                session.execute('SELECT key FROM system.local', None)
            self.assertLess(time.monotonic() - started, 15)

    def test_death_and_restart(self):
        """An acknowledged write is there, an unanswered one is unknown,
        and the session goes on by itself."""
        store = self.store('cassandra', 'cassandra', 'death',
                           request_timeout=3.0)
        store.prepare(LOCALITIES)
        group = Group('at_site1', b'counter')
        store.write([Batch(group, (insert(_KEY, txid(1)),))])
        seen, sent = [1], [1]
        outcomes: list[object] = []

        def work():
            while True:
                sent[0] += 1
                old, new = txid(sent[0] - 1), txid(sent[0])
                try:
                    outcome, = store.write([Batch(group, (RowWrite(
                        _KEY, Expect.VERSION, old, version=new,
                        document=b'd', history=(new,)),))])
                except errors.StoreUnavailable as exc:
                    outcomes.append(exc)
                    return
                if outcome is not Outcome.APPLIED:
                    outcomes.append(outcome)
                    return
                seen[0] = sent[0]
        thread = threading.Thread(target=work)
        thread.start()
        deadline = time.monotonic() + 30
        while seen[0] <= 10 and time.monotonic() < deadline:
            time.sleep(0.1)
        self.server.kill(1)
        thread.join(30)
        self.assertFalse(thread.is_alive())
        self.assertEqual(1, len(outcomes))
        self.assertNotEqual(Outcome.REFUSED, outcomes[0])
        self.assertGreater(seen[0], 10)
        started = time.monotonic()
        with self.assertRaisesRegex(
                errors.StoreUnavailable,
                re.escape(self.server.endpoint.host)):
            store.write([Batch(group, (insert(_KEY, txid(1)),))])
        self.assertLess(time.monotonic() - started, 10)
        self.server.start_node(1)
        deadline = time.monotonic() + 15
        while True:
            try:
                row, = store.read([GroupRead(group)], serial=True)[0]
                break
            except errors.StoreUnavailable:
                self.assertLess(time.monotonic(), deadline)
        self.assertIn(row.version, (txid(seen[0]), txid(sent[0])))
        if isinstance(outcomes[0], errors.StoreUnavailable):
            self.assertEqual(txid(seen[0]), row.version)
        self.assertEqual([Outcome.APPLIED], store.write([Batch(
            Group('at_site1', b'after'), (insert(_KEY, txid(1)),))]))
