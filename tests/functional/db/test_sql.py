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

"""SQL through all layers, on both stores."""

import os
import tempfile

import testtools

from luc_drivers.db import dbapi
from luc_drivers.testing import shared
from tests.unit.db import objects_contract
from tests.unit.db import sql_contract


class EmbeddedTestCase(sql_contract.SqlTests, testtools.TestCase):

    def options(self):
        return {'store': 'embedded'}


class EmbeddedObjectsTestCase(objects_contract.ObjectTests,
                              testtools.TestCase):

    def options(self):
        return {'store': 'embedded'}


class FileTestCase(testtools.TestCase):
    """What needs a database that outlives its process's objects."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = folder.name

    def connect(self):
        connection = dbapi.connect('kept', store='embedded', path=self.path)
        self.addCleanup(connection.close)
        return connection

    def test_a_child_process_gets_a_connection_of_its_own(self):
        connection = self.connect()
        connection.execute('CREATE TABLE t (a INTEGER PRIMARY KEY, b)')
        connection.execute('INSERT INTO t (b) VALUES (1)')
        connection.commit()
        child = os.fork()
        if not child:
            code = 1
            try:
                connection.execute('INSERT INTO t (b) VALUES (2)')
                connection.commit()
                code = 0
            finally:
                os._exit(code)
        self.assertEqual(0, os.waitstatus_to_exitcode(
            os.waitpid(child, 0)[1]))
        connection.execute('INSERT INTO t (b) VALUES (3)')
        connection.commit()
        self.assertEqual([(1,), (2,), (3,)], connection.execute(
            'SELECT b FROM t ORDER BY b').fetchall())
        self.assertEqual(3, connection.execute(
            'SELECT count(DISTINCT a) FROM t').fetchone()[0])

    def test_an_unknown_table_makes_the_catalog_look_again(self):
        connection = self.connect()
        connection.execute('CREATE TABLE t (a)')
        child = os.fork()
        if not child:
            code = 1
            try:
                connection.execute('CREATE TABLE u (a)')
                connection.execute('INSERT INTO u VALUES (5)')
                connection.commit()
                code = 0
            finally:
                os._exit(code)
        self.assertEqual(0, os.waitstatus_to_exitcode(
            os.waitpid(child, 0)[1]))
        self.assertEqual([(5,)], connection.execute(
            'SELECT a FROM u').fetchall())

    def test_a_database_that_was_never_synced(self):
        caught = self.assertRaises(
            dbapi.OperationalError, self.connect().execute,
            'SELECT * FROM instances')
        self.assertIn('db sync', str(caught))
        self.assertIn('no such table: instances', str(caught))

    def test_an_unknown_store_is_named(self):
        caught = self.assertRaises(
            dbapi.OperationalError, dbapi.connect, 'x', store='nope')
        self.assertIn("'nope'", str(caught))
        self.assertIn('embedded', str(caught))


class CassandraTestCase(sql_contract.SqlTests, testtools.TestCase):

    def options(self):
        host, port = shared.endpoint()
        return {'store': 'cassandra', 'host': host, 'port': port}


class CassandraObjectsTestCase(objects_contract.ObjectTests,
                               testtools.TestCase):

    def options(self):
        host, port = shared.endpoint()
        return {'store': 'cassandra', 'host': host, 'port': port}
