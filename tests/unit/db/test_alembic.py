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

"""alembic: which implementation an engine gets, and what its ALTERs do."""

import sys
from unittest import mock

from alembic.ddl import impl
from alembic.ddl import sqlite
from alembic.migration import MigrationContext
from alembic.operations import Operations
import fixtures
import sqlalchemy
from sqlalchemy import exc
import testtools

from luc_drivers.db import alembic

METADATA = sqlalchemy.MetaData()
sqlalchemy.Table(
    'p', METADATA,
    sqlalchemy.Column('id', sqlalchemy.Integer, primary_key=True),
    sqlalchemy.Column('name', sqlalchemy.String(20)))
sqlalchemy.Table(
    'c', METADATA,
    sqlalchemy.Column('id', sqlalchemy.Integer, primary_key=True),
    sqlalchemy.Column('p_id', sqlalchemy.Integer),
    sqlalchemy.Column('name', sqlalchemy.String(20), server_default='x'),
    sqlalchemy.Column('flag', sqlalchemy.Boolean),
    sqlalchemy.UniqueConstraint('p_id', 'name', name='uq_c'))


class AlembicCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        with open(folder + '/luc.conf', 'w') as out:
            out.write('[DEFAULT]\nstate_path = %s\n' % folder)
        self.useFixture(fixtures.EnvironmentVariable(
            'LUC_CONFIG', folder + '/luc.conf'))
        self.engine = sqlalchemy.create_engine(
            'sqlite+luc:///shop?store=embedded&fresh=1')
        self.addCleanup(self.engine.dispose)
        METADATA.create_all(self.engine)

    def migrate(self, *steps):
        """Run steps on ``op``, each in a transaction of its own."""
        for step in steps:
            with self.engine.begin() as connection:
                step(Operations(MigrationContext.configure(connection)))

    def inspect(self):
        return sqlalchemy.inspect(self.engine)

    def columns(self, table='c'):
        return {c['name']: c for c in self.inspect().get_columns(table)}

    def execute(self, *statements):
        for sql in statements:
            with self.engine.begin() as connection:
                connection.exec_driver_sql(sql)

    def rows(self, sql):
        with self.engine.connect() as connection:
            return connection.exec_driver_sql(sql).fetchall()


class TestChoice(AlembicCase):
    def context(self, engine):
        with engine.connect() as connection:
            return MigrationContext.configure(connection)

    def test_by_driver(self):
        self.assertEqual(
            'LucImpl', type(self.context(self.engine).impl).__name__)
        stock = sqlalchemy.create_engine('sqlite://')
        self.addCleanup(stock.dispose)
        self.assertIs(sqlite.SQLiteImpl, type(self.context(stock).impl))

    def test_installed_once(self):
        registered = impl._impls['sqlite']
        self.assertTrue(alembic.install())
        alembic.setup(mock.Mock())
        self.assertIs(registered, impl._impls['sqlite'])

    def test_without_alembic(self):
        self.useFixture(fixtures.MockPatchObject(alembic, '_installed', False))
        with mock.patch.dict(sys.modules):
            del sys.modules['alembic.ddl.sqlite']
            self.assertFalse(alembic.install())

    def test_stock_sqlite_goes_on_refusing(self):
        stock = sqlalchemy.create_engine('sqlite://')
        self.addCleanup(stock.dispose)
        METADATA.create_all(stock)
        op = Operations(self.context(stock))
        self.assertRaises(
            NotImplementedError, op.create_unique_constraint, 'u', 'p',
            ['name'])


class TestAlter(AlembicCase):
    def test_columns(self):
        self.execute("INSERT INTO c (id, p_id, flag) VALUES (1, 2, 1)")
        self.migrate(
            lambda op: op.add_column('c', sqlalchemy.Column(
                'more', sqlalchemy.String(9), nullable=False,
                server_default='m')),
            lambda op: op.alter_column(
                'c', 'p_id', new_column_name='parent',
                existing_type=sqlalchemy.Integer),
            lambda op: op.alter_column(
                'c', 'name', type_=sqlalchemy.String(255), nullable=False,
                server_default=None, existing_type=sqlalchemy.String(20)),
            lambda op: op.drop_column('c', 'flag'))
        columns = self.columns()
        self.assertEqual(['id', 'parent', 'name', 'more'], list(columns))
        self.assertEqual(255, columns['name']['type'].length)
        self.assertFalse(columns['name']['nullable'])
        self.assertIsNone(columns['name']['default'])
        self.assertEqual([(1, 2, 'x', 'm')], self.rows('SELECT * FROM c'))
        self.assertEqual(['parent', 'name'], self.inspect(
            ).get_unique_constraints('c')[0]['column_names'])

    def test_unique(self):
        self.execute("INSERT INTO p VALUES (1, 'a')",
                     "INSERT INTO p VALUES (2, 'b')",
                     "INSERT INTO p VALUES (3, NULL)",
                     "INSERT INTO p VALUES (4, NULL)")
        self.migrate(lambda op: op.create_unique_constraint(
            'uq_name', 'p', ['name']))
        self.assertEqual('uq_name', self.inspect(
            ).get_unique_constraints('p')[0]['name'])
        error = self.assertRaises(exc.IntegrityError, self.execute,
                                  "INSERT INTO p VALUES (5, 'b')")
        self.assertIn('UNIQUE constraint failed: p.name', str(error))
        # rows from before are found by it, and can be changed
        self.assertEqual([(2,)], self.rows(
            "SELECT id FROM p WHERE name = 'b'"))
        self.execute("UPDATE p SET name = 'c' WHERE id = 2",
                     "INSERT INTO p VALUES (5, 'b')",
                     "DELETE FROM p WHERE name = 'a'",
                     "INSERT INTO p VALUES (1, 'a')")
        self.migrate(lambda op: op.drop_constraint(
            'uq_name', 'p', type_='unique'))
        self.execute("INSERT INTO p VALUES (6, 'b')")
        self.assertEqual([], self.inspect().get_unique_constraints('p'))

    def test_unique_that_the_rows_break(self):
        self.execute("INSERT INTO p VALUES (1, 'a')",
                     "INSERT INTO p VALUES (2, 'a')")
        error = self.assertRaises(
            exc.IntegrityError, self.migrate,
            lambda op: op.create_unique_constraint('uq', 'p', ['name']))
        self.assertIn('UNIQUE constraint failed: p.name', str(error))
        self.assertEqual([], self.inspect().get_unique_constraints('p'))
        self.execute("INSERT INTO p VALUES (3, 'a')")

    def test_foreign_key(self):
        self.execute("INSERT INTO p VALUES (1, 'a')",
                     'INSERT INTO c (id, p_id) VALUES (1, 1)')
        self.migrate(lambda op: op.create_foreign_key(
            'fk_c', 'c', 'p', ['p_id'], ['id'], ondelete='CASCADE'))
        foreign = self.inspect().get_foreign_keys('c')[0]
        self.assertEqual(('fk_c', 'p', {'ondelete': 'CASCADE'}), tuple(
            foreign[k] for k in ('name', 'referred_table', 'options')))
        error = self.assertRaises(
            exc.IntegrityError, self.execute,
            'INSERT INTO c (id, p_id) VALUES (2, 9)')
        self.assertIn('FOREIGN KEY constraint failed', str(error))
        self.execute('DELETE FROM p')
        self.assertEqual([], self.rows('SELECT * FROM c'))
        self.migrate(lambda op: op.drop_constraint(
            'fk_c', 'c', type_='foreignkey'))
        self.execute('INSERT INTO c (id, p_id) VALUES (2, 9)')

    def test_foreign_key_that_the_rows_break(self):
        self.execute('INSERT INTO c (id, p_id) VALUES (1, 9)')
        self.assertRaises(
            exc.IntegrityError, self.migrate,
            lambda op: op.create_foreign_key(
                'fk_c', 'c', 'p', ['p_id'], ['id']))
        self.assertEqual([], self.inspect().get_foreign_keys('c'))

    def test_check(self):
        self.execute('INSERT INTO c (id, p_id) VALUES (1, 9)')
        self.assertRaises(
            exc.IntegrityError, self.migrate,
            lambda op: op.create_check_constraint('ck', 'c', 'p_id < 5'))
        self.migrate(lambda op: op.create_check_constraint(
            'ck', 'c', 'p_id > 5'))
        self.assertRaises(exc.IntegrityError, self.execute,
                          'INSERT INTO c (id, p_id) VALUES (2, 3)')

    def test_not_null_that_the_rows_break(self):
        self.execute('INSERT INTO c (id) VALUES (1)')
        error = self.assertRaises(
            exc.IntegrityError, self.migrate,
            lambda op: op.alter_column('c', 'p_id', nullable=False))
        self.assertIn('NOT NULL constraint failed: c.p_id', str(error))
        self.assertTrue(self.columns()['p_id']['nullable'])

    def test_other_affinity(self):
        def to_text(op):
            op.alter_column('c', 'p_id', type_=sqlalchemy.String(36))

        self.execute(
            'CREATE INDEX ix_p ON c (p_id)',
            "INSERT INTO c (id, p_id, name) VALUES (1, 5, 'a'), (7, 6, 'b')")
        self.migrate(to_text)
        self.assertEqual('VARCHAR(36)', str(self.columns()['p_id']['type']))
        self.assertEqual([(1, '5'), (7, '6')], self.rows(
            'SELECT id, p_id FROM c ORDER BY id'))
        self.assertEqual([(7,)], self.rows(
            "SELECT id FROM c WHERE p_id = '6'"))
        self.assertEqual(['ix_p'], [
            i['name'] for i in self.inspect().get_indexes('c')])
        error = self.assertRaises(
            exc.IntegrityError, self.execute,
            "INSERT INTO c (p_id, name) VALUES (5, 'a')")
        self.assertIn('UNIQUE constraint failed: c.p_id, c.name', str(error))
        # ids go on after those that were copied
        self.execute("INSERT INTO c (name) VALUES ('n')")
        self.assertEqual([(True,)], self.rows(
            "SELECT id NOT IN (1, 7) FROM c WHERE name = 'n'"))
        self.assertEqual({'c', 'p'}, set(self.inspect().get_table_names()))

    def test_other_affinity_that_rows_or_views_forbid(self):
        def to_number(op):
            op.alter_column('c', 'name', type_=sqlalchemy.Integer())

        self.execute("INSERT INTO c (p_id, name) VALUES (5, '1'), (5, '01')")
        error = self.assertRaises(
            exc.IntegrityError, self.migrate, to_number)
        self.assertIn('UNIQUE constraint failed', str(error))
        self.assertEqual([('01',), ('1',)], self.rows(
            'SELECT name FROM c ORDER BY name'))
        self.assertEqual({'c', 'p'}, set(self.inspect().get_table_names()))
        self.execute('DELETE FROM c WHERE name = 1',
                     'CREATE VIEW v AS SELECT name FROM c')
        error = self.assertRaises(
            exc.NotSupportedError, self.migrate, to_number)
        self.assertIn('column name can not turn from VARCHAR(20) to INTEGER',
                      str(error))

    def test_index(self):
        self.execute(*('INSERT INTO c (id, p_id, name) VALUES (%d, %d, %d)' % (
            n, n % 3, n) for n in range(9)))
        self.migrate(lambda op: op.create_index('ix', 'c', ['flag', 'p_id']),
                     lambda op: op.create_index('ix2', 'c', ['p_id']))
        self.assertEqual([(1,), (4,), (7,)], self.rows(
            'SELECT id FROM c WHERE p_id = 1 ORDER BY id'))
        self.migrate(lambda op: op.drop_index('ix', 'c'))
        self.assertEqual(['ix2'], [
            i['name'] for i in self.inspect().get_indexes('c')])

    def test_batch(self):
        self.execute("INSERT INTO p VALUES (7, 'a')",
                     'INSERT INTO c (id, p_id, flag) VALUES (1, 7, 0)')

        def copy(op):
            with op.batch_alter_table('c') as batch:
                batch.alter_column('p_id', nullable=False)
                batch.drop_column('flag')
                batch.create_foreign_key('fk', 'p', ['p_id'], ['id'])

        self.migrate(copy)
        self.assertEqual({'c', 'p'}, set(self.inspect().get_table_names()))
        self.assertEqual(['id', 'p_id', 'name'], list(self.columns()))
        self.assertEqual([(1, 7, 'x')], self.rows('SELECT * FROM c'))
        self.assertEqual('fk', self.inspect().get_foreign_keys(
            'c')[0]['name'])
        self.execute("INSERT INTO c (p_id, name) VALUES (7, 'n')")
        self.assertEqual(2, len(self.rows('SELECT DISTINCT id FROM c')))

    def test_tables(self):
        self.execute("INSERT INTO p VALUES (7, 'a')")
        self.migrate(
            lambda op: op.rename_table('p', 'q'),
            lambda op: op.create_table('p', sqlalchemy.Column(
                'id', sqlalchemy.Integer, primary_key=True)))
        self.assertEqual([], self.rows('SELECT * FROM p'))
        self.assertEqual([(7, 'a')], self.rows('SELECT * FROM q'))
        self.migrate(lambda op: op.drop_table('q'),
                     lambda op: op.rename_table('p', 'q'))
        self.assertEqual([], self.rows('SELECT * FROM q'))
