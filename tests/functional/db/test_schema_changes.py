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


"""The schema changes while processes that know the old one go on."""

import tempfile
import uuid

import testtools

from luc_drivers.db import dbapi
from luc_drivers.db import engine
from luc_drivers.db.store import settings as store_settings
from luc_drivers.testing import shared


class SchemaChangeTests:
    """Mixed into a TestCase that says where: ``options()``.

    Two ``engine.Database`` objects are what two processes have: neither
    knows what the other one knows.
    """

    def options(self):
        """Return the store's settings."""
        raise NotImplementedError

    def setUp(self):
        super().setUp()
        self.name = 'schema_' + uuid.uuid4().hex[:12]
        self.old = self.process()
        self.run_sql(self.old, 'CREATE TABLE t (id INTEGER PRIMARY KEY, '
                     'a TEXT)', "INSERT INTO t (a) VALUES ('x'), ('y')")
        self.new = self.process()

    def process(self):
        """Return a connection of a process of its own."""
        database = engine.Database(
            self.name, store_settings.resolve(**self.options()))
        connection = dbapi.Connection(lambda: database)
        connection.isolation_level = None
        self.addCleanup(database.workspaces.close)
        self.addCleanup(database.catalog.close)
        self.addCleanup(connection.close)
        return connection

    def run_sql(self, connection, *statements):
        for sql in statements:
            rows = connection.execute(sql).fetchall()
        return rows

    def test_an_added_column_survives_an_old_process(self):
        self.run_sql(self.old, 'SELECT * FROM t')
        self.run_sql(self.new,
                     "ALTER TABLE t ADD COLUMN b TEXT DEFAULT 'd'",
                     "UPDATE t SET b = 'new' WHERE a = 'x'")
        # the old process knows no b, and writes the whole row
        self.run_sql(self.old, "UPDATE t SET a = 'x2' WHERE a = 'x'",
                     "UPDATE t SET a = 'y2' WHERE a = 'y'",
                     "INSERT INTO t (a) VALUES ('z')")
        self.assertEqual(
            [('x2', 'new'), ('y2', 'd'), ('z', 'd')],
            self.run_sql(self.new, 'SELECT a, b FROM t ORDER BY a'))
        # naming what it does not know makes it look
        self.assertEqual(
            [('d',), ('new',)],
            self.run_sql(self.old, 'SELECT DISTINCT b FROM t ORDER BY b'))

    def test_a_renamed_column(self):
        self.run_sql(self.old, 'SELECT * FROM t')
        self.run_sql(self.new, 'ALTER TABLE t RENAME COLUMN a TO aa')
        self.assertEqual([('x',), ('y',)], self.run_sql(
            self.old, 'SELECT aa FROM t ORDER BY aa'))
        caught = self.assertRaises(
            dbapi.OperationalError, self.run_sql, self.old,
            'SELECT a FROM t')
        self.assertIn('no such column: a', str(caught))

    def test_a_dropped_column(self):
        self.run_sql(self.old, 'SELECT * FROM t')
        self.run_sql(self.new, 'ALTER TABLE t ADD COLUMN b TEXT',
                     'ALTER TABLE t DROP COLUMN a',
                     "INSERT INTO t (b) VALUES ('n')")
        self.assertEqual([('n',)], self.run_sql(
            self.old, 'SELECT b FROM t WHERE b IS NOT NULL'))

    def test_a_renamed_table(self):
        self.run_sql(self.old, 'SELECT * FROM t')
        self.run_sql(self.new, 'ALTER TABLE t RENAME TO u')
        self.run_sql(self.old, "INSERT INTO u (a) VALUES ('z')")
        self.assertEqual([(3,)], self.run_sql(
            self.new, 'SELECT count(*) FROM u'))
        caught = self.assertRaises(
            dbapi.OperationalError, self.run_sql, self.old,
            'SELECT a FROM t')
        self.assertIn('no such table: t', str(caught))

    def test_a_dropped_table(self):
        self.run_sql(self.old, 'SELECT * FROM t')
        self.run_sql(self.new, 'DROP TABLE t',
                     'CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT)',
                     "INSERT INTO t (c) VALUES ('new')")
        self.assertEqual([('new',)], self.run_sql(
            self.old, 'SELECT c FROM t'))
        self.assertEqual([(1, 'new')], self.run_sql(
            self.old, 'SELECT * FROM t'))

    def test_a_view_made_by_another(self):
        self.run_sql(self.old, 'SELECT * FROM t')
        self.run_sql(self.new, 'CREATE VIEW v AS SELECT upper(a) AS a FROM t')
        self.assertEqual([('X',), ('Y',)], self.run_sql(
            self.old, 'SELECT a FROM v ORDER BY a'))

    def test_an_open_transaction_of_an_old_process(self):
        self.run_sql(self.old, 'BEGIN', "UPDATE t SET a = 'o' WHERE a = 'x'")
        self.run_sql(self.new, "ALTER TABLE t ADD COLUMN b TEXT DEFAULT 'd'",
                     "UPDATE t SET b = 'new' WHERE a = 'y'")
        self.run_sql(self.old, 'COMMIT')
        self.assertEqual([('o', 'd'), ('y', 'new')], self.run_sql(
            self.new, 'SELECT a, b FROM t ORDER BY a'))


class EmbeddedTestCase(SchemaChangeTests, testtools.TestCase):

    def options(self):
        if not hasattr(self, 'folder'):
            folder = tempfile.TemporaryDirectory()
            self.addCleanup(folder.cleanup)
            self.folder = folder.name
        return {'query': {'store': 'embedded', 'path': self.folder}}


class CassandraTestCase(SchemaChangeTests, testtools.TestCase):

    def options(self):
        host, port = shared.endpoint()
        return {'hosts': host, 'port': port, 'query': {
            'store': 'cassandra',
            'keyspace_template': 'luc_schema_changes_{locality}'}}
