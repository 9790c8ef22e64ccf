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

"""Our errors, seen through oslo.db."""

import sys
from unittest import mock

import fixtures
from oslo_db import exception
from oslo_db.sqlalchemy import engines
from sqlalchemy import exc
import testtools

from luc_drivers.db import errors
from luc_drivers.db import filters

SCHEMA = (
    'CREATE TABLE p (id INTEGER PRIMARY KEY, name VARCHAR(5) UNIQUE)',
    'CREATE TABLE c (id INTEGER PRIMARY KEY, p_id INTEGER NOT NULL '
    'REFERENCES p (id), a TEXT, b TEXT, UNIQUE (a, b))',
    "INSERT INTO p VALUES (1, 'x')",
    "INSERT INTO c VALUES (1, 1, 'k', 'l')",
)


class TestFilters(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        folder = self.useFixture(fixtures.TempDir()).path
        with open(folder + '/luc.conf', 'w') as out:
            out.write('[DEFAULT]\nstate_path = %s\n' % folder)
        self.useFixture(fixtures.EnvironmentVariable(
            'LUC_CONFIG', folder + '/luc.conf'))
        self.engine = engines.create_engine(
            'sqlite+luc:///shop?store=embedded&fresh=1')
        self.addCleanup(self.engine.dispose)
        for sql in SCHEMA:
            with self.engine.begin() as connection:
                connection.exec_driver_sql(sql)

    def fails(self, expected, sql):
        with self.engine.begin() as connection:
            return self.assertRaises(
                expected, connection.exec_driver_sql, sql)

    def test_duplicate(self):
        error = self.fails(exception.DBDuplicateEntry,
                           "INSERT INTO p VALUES (2, 'x')")
        self.assertEqual(['name'], error.columns)
        error = self.fails(exception.DBDuplicateEntry,
                           "INSERT INTO c VALUES (2, 1, 'k', 'l')")
        self.assertEqual(['a', 'b'], error.columns)

    def test_reference(self):
        self.fails(exception.DBReferenceError,
                   "INSERT INTO c VALUES (2, 9, 'm', 'n')")
        self.fails(exception.DBReferenceError, 'DELETE FROM p')

    def test_missing_table(self):
        error = self.fails(exception.DBNonExistentTable, 'SELECT * FROM nope')
        self.assertEqual('nope', error.table)

    def test_not_null(self):
        self.fails(exception.DBError,
                   "INSERT INTO c VALUES (2, NULL, 'm', 'n')")

    def raised(self, error):
        """Return what reaches the caller if a statement raises ``error``."""
        cursor = mock.Mock()
        cursor.execute.side_effect = error
        with self.engine.connect() as connection:
            with mock.patch.object(
                    connection.connection.dbapi_connection, 'cursor',
                    return_value=cursor, create=True):
                return self.assertRaises(
                    (exception.DBError, exc.DBAPIError),
                    connection.exec_driver_sql, 'SELECT 1')

    def test_conflict(self):
        error = self.raised(errors.WriteConflict('row 1 of c was changed'))
        self.assertIsInstance(error, exception.DBDeadlock)
        self.assertIn('row 1 of c was changed', str(error))

    def test_conflict_at_commit(self):
        with self.engine.connect() as connection:
            connection.exec_driver_sql('SELECT 1 FROM p')
            with mock.patch.object(
                    type(connection.connection.dbapi_connection), 'commit',
                    side_effect=errors.WriteConflict('too late')):
                self.assertRaises(exception.DBDeadlock, connection.commit)

    def test_unavailable(self):
        error = self.raised(errors.StoreUnavailable('no node of h1 answers'))
        self.assertIsInstance(error, exception.DBConnectionError)

    def test_unknown_outcome_is_not_retried(self):
        error = self.raised(errors.OutcomeUnknown('nobody knows'))
        self.assertIsInstance(error, exc.OperationalError)
        self.assertNotIsInstance(error, exception.DBError)

    def test_stock_sqlite_is_as_it_was(self):
        engine = engines.create_engine('sqlite://')
        self.addCleanup(engine.dispose)
        with engine.connect() as connection:
            self.assertRaises(exc.OperationalError,
                              connection.exec_driver_sql, 'SELEC 1')

    def test_installed_once(self):
        from oslo_db.sqlalchemy import exc_filters
        self.assertTrue(filters.install())
        self.assertTrue(filters.install())
        self.assertEqual(1, len(
            exc_filters._registry['sqlite'][errors.WriteConflict]))

    def test_without_oslo_db(self):
        self.useFixture(fixtures.MockPatchObject(filters, '_installed', False))
        with mock.patch.dict(sys.modules):
            del sys.modules['oslo_db.sqlalchemy.exc_filters']
            self.assertFalse(filters.install())
