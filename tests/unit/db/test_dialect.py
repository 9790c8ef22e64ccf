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

"""The SQLAlchemy dialect: URL, pool, FOR UPDATE, private databases."""

import gc
import os
import socket
import threading

import fixtures
import sqlalchemy
from sqlalchemy import exc
from sqlalchemy import pool
from sqlalchemy.dialects import registry
from sqlalchemy.dialects import sqlite
import testtools

from luc_drivers.db import dialect
from luc_drivers.db import errors

URL = 'sqlite+luc:///shop?store=embedded&fresh=1'


class DialectCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        # this host's file, if there is one, is nobody's business here
        folder = self.useFixture(fixtures.TempDir()).path
        with open(folder + '/luc.conf', 'w') as out:
            out.write('[DEFAULT]\nstate_path = %s\n' % folder)
        self.useFixture(fixtures.EnvironmentVariable(
            'LUC_CONFIG', folder + '/luc.conf'))

    def engine(self, url=URL, **kwargs):
        engine = sqlalchemy.create_engine(url, **kwargs)
        self.addCleanup(engine.dispose)
        return engine


class TestURL(DialectCase):
    def arguments(self, text):
        url = sqlalchemy.make_url(text)
        return url.get_dialect()().create_connect_args(url)

    def test_all_parts(self):
        names, options = self.arguments(
            'sqlite+luc://me:secret@h1,h2:9142/nova_cell1'
            '?store=cassandra&profile=nova')
        self.assertEqual(['nova_cell1'], names)
        self.assertEqual(('me', 'secret', 'h1,h2', 9142, 'cassandra', 'nova'),
                         tuple(options[k] for k in (
                             'username', 'password', 'host', 'port', 'store',
                             'profile')))
        self.assertNotIn('secret', options['url'])
        self.assertNotIn('private', options)

    def test_private_name_space_for_each_engine(self):
        ids = {self.arguments(URL)[1]['private'] for _ in range(3)}
        self.assertEqual(3, len(ids))
        self.assertNotIn('private', self.arguments(
            'sqlite+luc:///shop?fresh=0')[1])

    def test_no_database(self):
        error = self.assertRaises(
            exc.ArgumentError, self.arguments, 'sqlite+luc://')
        self.assertIn('names no database', str(error))

    def test_unknown_parameter(self):
        error = self.assertRaises(
            exc.ArgumentError, self.arguments,
            'sqlite+luc://u:secret@h/shop?stor=embedded')
        self.assertIn('no such parameter: stor;', str(error))
        self.assertNotIn('secret', str(error))

    def test_what_makes_no_sense_is_named(self):
        for query, message in (
                ('foreign_keys=perhaps', 'foreign_keys=perhaps: it must be'),
                ('isolation_level=WRONG', 'isolation_level=WRONG: it must be'),
                ('profile=nope', "no profile 'nope'")):
            error = self.assertRaises(
                exc.ArgumentError, self.engine,
                'sqlite+luc://u:secret@h/shop?' + query)
            self.assertIn('connection URL sqlite+luc://u:***@h/shop?' + query,
                          str(error))
            self.assertIn(message, str(error))
        for url, message in (
                ('sqlite+luc://h:99999/shop', '99999 is no port'),
                ('sqlite+luc:///shop?store=nope', "unknown store 'nope'"),
                ('sqlite+luc:///shop?fresh=maybe', 'fresh=maybe: neither'),
                ('sqlite+luc:///shop?keyspace_template={x}',
                 "keyspace_template '{x}'")):
            error = self.assertRaises(
                exc.OperationalError, self.engine(url).connect)
            self.assertIn(message, str(error))

    def test_a_store_that_does_not_answer(self):
        with socket.socket() as unused:
            unused.bind(('127.0.0.1', 0))
            port = unused.getsockname()[1]
            url = f'sqlite+luc://u:secret@127.0.0.1:{port}/shop'
            with open(os.environ['LUC_CONFIG'], 'a') as out:
                out.write('[cassandra]\nconnect_timeout = 1\n')
            error = self.assertRaises(
                exc.OperationalError, self.query, self.engine(url))
        self.assertIn(f'Cassandra at 127.0.0.1:{port} does not answer '
                      '([cassandra] contact_points', str(error))
        self.assertNotIn('secret', str(error))
        error = self.assertRaises(
            exc.OperationalError, self.query,
            self.engine('sqlite+luc://no.such.host.invalid/shop'))
        self.assertIn('no.such.host.invalid:9042', str(error))

    def test_a_database_that_was_never_synced(self):
        engine = self.engine('sqlite+luc:///shop?store=embedded')
        error = self.assertRaises(
            exc.OperationalError, self.query, engine,
            'SELECT * FROM instances')
        self.assertIn("run the service's \"db sync\" command first",
                      str(error))

    def query(self, engine, sql='SELECT 1 FROM t'):
        with engine.connect() as connection:
            connection.exec_driver_sql(sql)

    def test_names(self):
        engine = self.engine()
        self.assertEqual(('sqlite', 'luc'),
                         (engine.dialect.name, engine.dialect.driver))

    def test_pool(self):
        # oslo.db exchanges it for a NullPool by this
        self.assertTrue(issubclass(
            dialect.LucDialect.get_pool_class(sqlalchemy.make_url(URL)),
            pool.QueuePool))


class TestCompiler(DialectCase):
    table = sqlalchemy.table('t', sqlalchemy.column('a'))

    def compiled(self, statement):
        return str(statement.compile(dialect=dialect.LucDialect()))

    def test_for_update(self):
        select = sqlalchemy.select(self.table).where(
            self.table.c.a == 1).limit(1)
        locked = self.compiled(select.with_for_update())
        self.assertTrue(locked.rstrip().endswith(dialect.LOCK), locked)
        self.assertNotIn(dialect.LOCK, self.compiled(select))
        # stock SQLite's compiler is as it was
        self.assertNotIn(dialect.LOCK, str(select.with_for_update().compile(
            dialect=sqlite.dialect())))

    def test_for_update_in_a_subquery(self):
        inner = sqlalchemy.select(self.table.c.a).with_for_update()
        self.assertIn(dialect.LOCK + ')', self.compiled(
            sqlalchemy.select(inner.subquery())))


class TestConnections(DialectCase):
    def test_private_databases(self):
        one, two = self.engine(), self.engine()
        with one.begin() as connection:
            connection.exec_driver_sql('CREATE TABLE t (a INTEGER)')
            connection.exec_driver_sql('INSERT INTO t VALUES (1)')
        with one.connect() as connection:
            self.assertEqual([(1,)], connection.exec_driver_sql(
                'SELECT a FROM t').fetchall())
        with two.connect() as connection:
            self.assertRaises(
                exc.OperationalError, connection.exec_driver_sql,
                'SELECT a FROM t')

    def test_private_database_goes_with_its_engine(self):
        dropped = []
        self.useFixture(fixtures.MockPatchObject(
            dialect.LucDialect.import_dbapi(), 'drop_private',
            dropped.append))
        engine = sqlalchemy.create_engine(URL)
        name = engine.dialect._private
        with engine.connect():
            pass
        engine.dispose()
        del engine
        gc.collect()
        self.assertEqual([name], dropped)

    def test_functions(self):
        with self.engine().connect() as connection:
            self.assertEqual((1, 0, 2), tuple(connection.exec_driver_sql(
                "SELECT 'nova' REGEXP '^n.v', 'nova' REGEXP 'x', floor(2.5)"
            ).fetchone()))

    def test_isolation_levels(self):
        engine = self.engine()
        with engine.connect() as connection:
            self.assertEqual(
                'READ COMMITTED', connection.get_isolation_level())
        with engine.connect().execution_options(
                isolation_level='AUTOCOMMIT') as connection:
            connection.exec_driver_sql('CREATE TABLE t (a INTEGER)')
            connection.exec_driver_sql('INSERT INTO t VALUES (1)')
        with engine.connect() as connection:
            self.assertEqual(1, connection.exec_driver_sql(
                'SELECT count(*) FROM t').scalar())

    def table(self, engine):
        """Make a table of numbers."""
        table = sqlalchemy.Table(
            't', sqlalchemy.MetaData(),
            sqlalchemy.Column('a', sqlalchemy.Integer, primary_key=True))
        table.create(engine)
        return table

    def deleted_twice(self, look):
        """Delete the same rows in two transactions at once, as placement
        does with the allocations of a consumer.

        :returns: the counts of both, read after the commits.
        """
        engine = self.engine()
        table = self.table(engine)
        with engine.begin() as connection:
            connection.execute(table.insert(), [{'a': 1}, {'a': 2}])
        gone = table.delete().where(table.c.a.in_([1, 2]))
        with engine.connect() as one, engine.connect() as two:
            found = [c.execute(gone) for c in (one, two)]
            if look:
                self.assertEqual([2, 2], [r.rowcount for r in found])
            one.commit()
            two.commit()
            return [r.rowcount for r in found]

    def test_deleted_twice(self):
        self.assertEqual([2, 0], self.deleted_twice(look=False))

    def test_deleted_twice_and_counted(self):
        exc = self.assertRaises(sqlalchemy.exc.OperationalError,
                                self.deleted_twice, look=True)
        self.assertIsInstance(exc.orig, errors.WriteConflict)

    def test_row_counts(self):
        engine = self.engine()
        table = self.table(engine)
        with engine.begin() as connection:
            self.assertEqual(2, connection.execute(
                table.insert(), [{'a': 1}, {'a': 2}]).rowcount)
            self.assertEqual(2, connection.execute(
                table.update().values(a=table.c.a + 5)).rowcount)
            self.assertEqual(1, connection.exec_driver_sql(
                'DELETE FROM t WHERE a = 6').rowcount)
            self.assertEqual(-1, connection.execute(
                table.select()).rowcount)
            self.assertEqual(1, len(connection.execute(
                table.delete().returning(table.c.a)).all()))

    def test_disconnects(self):
        made = dialect.LucDialect(dbapi=dialect.LucDialect.import_dbapi())
        self.assertTrue(made.is_disconnect(
            errors.StoreUnavailable('no node answers'), None, None))
        for error in (errors.WriteConflict('x'), errors.OutcomeUnknown('x'),
                      errors.OperationalError('no such table: x')):
            self.assertFalse(made.is_disconnect(error, None, None))

    def test_reflection(self):
        engine = self.engine()
        metadata = sqlalchemy.MetaData()
        sqlalchemy.Table(
            'p', metadata, sqlalchemy.Column(
                'id', sqlalchemy.Integer, primary_key=True))
        sqlalchemy.Table(
            'c', metadata,
            sqlalchemy.Column('id', sqlalchemy.String(36), primary_key=True),
            sqlalchemy.Column('p_id', sqlalchemy.ForeignKey('p.id')),
            sqlalchemy.Column('n', sqlalchemy.Numeric(10, 2), index=True),
            sqlalchemy.UniqueConstraint('p_id', 'n', name='uq'))
        metadata.create_all(engine)
        stock = sqlalchemy.create_engine('sqlite://')
        metadata.create_all(stock)
        for method in ('get_columns', 'get_pk_constraint', 'get_indexes',
                       'get_foreign_keys', 'get_unique_constraints',
                       'get_check_constraints'):
            self.assertEqual(
                *(str(getattr(sqlalchemy.inspect(e), method)('c'))
                  for e in (stock, engine)))
        metadata.drop_all(engine)
        self.assertEqual([], sqlalchemy.inspect(engine).get_table_names())

    def test_threads(self):
        engine = self.engine()
        with engine.begin() as connection:
            connection.exec_driver_sql('CREATE TABLE t (a INTEGER)')

        def work():
            with engine.begin() as connection:
                connection.exec_driver_sql('INSERT INTO t VALUES (1)')

        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with engine.connect() as connection:
            self.assertEqual(5, connection.exec_driver_sql(
                'SELECT count(*) FROM t').scalar())


class TestStandIn(DialectCase):
    def setUp(self):
        super().setUp()
        before = dict(registry.impls)
        self.addCleanup(registry.impls.update, before)
        self.addCleanup(registry.impls.clear)
        for name in ('sqlite', 'sqlite.pysqlite'):
            registry.register(
                name, 'luc_drivers.db.dialect', 'StandInDialect')

    def count(self, engine):
        with engine.connect() as connection:
            return connection.exec_driver_sql(
                "SELECT count(*) FROM sqlite_master WHERE name = 't'"
            ).scalar()

    def test_memory(self):
        one, two = self.engine('sqlite://'), self.engine('sqlite:///:memory:')
        self.assertEqual('luc', one.dialect.driver)
        with one.begin() as connection:
            connection.exec_driver_sql('CREATE TABLE t (a INTEGER)')
        self.assertEqual((1, 0), (self.count(one), self.count(two)))

    def test_files(self):
        folder = self.useFixture(fixtures.TempDir()).path
        one, two, other = (self.engine('sqlite:///%s/%s.db' % (folder, n))
                           for n in ('x', 'x', 'y'))
        with one.begin() as connection:
            connection.exec_driver_sql('CREATE TABLE t (a INTEGER)')
        self.assertEqual((1, 1, 0), tuple(map(
            self.count, (one, two, other))))
