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

"""The DB-API driver's tests, the same on every store."""

import threading
import uuid

import sqlalchemy as sa
from sqlalchemy import orm
from testtools import matchers

from luc_drivers.db import dbapi
from luc_drivers.db import engine

_SCHEMA = """
CREATE TABLE p (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name VARCHAR(20) NOT NULL, uuid VARCHAR(36) UNIQUE, n INTEGER DEFAULT 3);
CREATE TABLE k (id INTEGER NOT NULL PRIMARY KEY, v TEXT,
    pid INTEGER CONSTRAINT fk REFERENCES p (id) ON DELETE CASCADE);
CREATE TABLE r (id INTEGER NOT NULL PRIMARY KEY,
    pid INTEGER, FOREIGN KEY (pid) REFERENCES p (id));
CREATE TABLE m (a VARCHAR(9), b VARCHAR(9), PRIMARY KEY (a, b));
CREATE INDEX k_pid ON k (pid)
"""


class ConnectionTests:
    """Mixed into a TestCase that says where: ``options()``."""

    def options(self):
        """Return the options of dbapi.connect that name the store."""
        raise NotImplementedError

    def setUp(self):
        super().setUp()
        self.private = uuid.uuid4().hex
        self.addCleanup(engine.drop_private, self.private)
        self.connection = self.connect()
        self.connection.executescript(_SCHEMA)

    def connect(self, **options):
        connection = dbapi.connect(
            'sqltest', fresh='1', private=self.private,
            **{**self.options(), **options})
        self.addCleanup(connection.close)
        return connection

    def run_sql(self, sql, parameters=(), connection=None):
        connection = connection or self.connection
        return connection.execute(sql, parameters).fetchall()

    def autocommit(self):
        connection = self.connect()
        connection.isolation_level = None
        return connection

    def filled(self):
        """Commit two parents, one with two children."""
        self.connection.executemany(
            'INSERT INTO p (name, uuid) VALUES (?, ?)',
            [('a', 'ua'), ('b', 'ub')])
        ids = dict(self.run_sql('SELECT name, id FROM p'))
        self.connection.executemany(
            'INSERT INTO k (pid, v) VALUES (?, ?)',
            [(ids['a'], 'x'), (ids['a'], 'y')])
        self.connection.commit()
        return ids


class SqlTests(ConnectionTests):
    """What SQL does."""

    def test_large_text(self):
        """A request spec of a megabyte comes back, and can be changed."""
        self.connection.isolation_level = None
        text = 'é' * (1 << 19)
        self.run_sql('INSERT INTO k VALUES (1, ?, NULL)', (text,))
        self.assertEqual([(text,)], self.run_sql('SELECT v FROM k'))
        self.run_sql("UPDATE k SET v = v || 'x' WHERE id = 1")
        self.assertEqual([(text + 'x',)], self.run_sql(
            'SELECT v FROM k WHERE id = 1'))

    def test_too_large(self):
        """One clear error, and nothing is written."""
        self.connection.isolation_level = None
        large = 'x' * (16 << 20)
        self.run_sql("INSERT INTO k VALUES (1, 'small', NULL)")
        store = self.connection._session.database.store
        for sql, parameters in (
                ('INSERT INTO k VALUES (2, ?, NULL)', (large,)),
                ('UPDATE k SET v = ? WHERE id = 1', (large,))):
            before = store.here.rounds
            exc = self.assertRaises(
                dbapi.DataError, self.run_sql, sql, parameters)
            self.assertIn('a row of k would hold 167', str(exc))
            # nothing but what had to be read
            self.assertThat(store.here.rounds - before,
                            matchers.LessThan(3))
        self.assertEqual([(1, 'small')], self.run_sql(
            'SELECT id, v FROM k'))

    def test_long_keys(self):
        """Beyond Cassandra's 64 KiB, and told apart by their end."""
        self.connection.isolation_level = None
        for end in 'ab':
            self.run_sql("INSERT INTO m VALUES (?, 'y')", ('x' * 70000 + end,))
        self.assertEqual([('x' * 70000 + 'b',)], self.run_sql(
            'SELECT a FROM m WHERE a = ?', ('x' * 70000 + 'b',)))

    def test_long_lists(self):
        self.run_sql("INSERT INTO k VALUES (7, 'a', NULL)")
        marks = ', '.join(['?'] * 2000)
        self.assertEqual([(7,)], self.run_sql(
            f'SELECT id FROM k WHERE id IN ({marks})', range(2000)))
        marks = ', '.join(['?'] * 300000)
        exc = self.assertRaises(
            dbapi.OperationalError, self.run_sql,
            f'SELECT id FROM k WHERE id IN ({marks})', range(300000))
        self.assertIn('too many SQL variables', str(exc))

    def test_what_is_renamed_or_dropped_is_not_there(self):
        self.filled()
        self.run_sql('SELECT * FROM m')
        self.run_sql('ALTER TABLE m RENAME TO n')
        self.run_sql('SELECT * FROM n')
        self.run_sql('DROP TABLE r')
        for statement in ('SELECT * FROM m', "INSERT INTO m VALUES (1, 2)",
                          'UPDATE m SET a = 1', 'DELETE FROM m'):
            caught = self.assertRaises(
                dbapi.OperationalError, self.run_sql, statement)
            self.assertEqual('no such table: m', str(caught))
        self.run_sql('DROP TABLE n')
        caught = self.assertRaises(
            dbapi.OperationalError, self.run_sql, 'SELECT * FROM n')
        self.assertEqual('no such table: n', str(caught))

    # --- what comes back

    def test_types_come_back_unchanged(self):
        self.run_sql('CREATE TABLE t (id INTEGER PRIMARY KEY, v)')
        values = [None, 0, -1, 2 ** 63 - 1, -2 ** 63, 1.5, 1e300,
                  float('inf'), '', 'a\0b', '\u20ac', b'', b'\0\xff',
                  '2026-01-02 03:04:05.000006']
        self.connection.executemany(
            'INSERT INTO t VALUES (?, ?)', list(enumerate(values, 1)))
        self.connection.commit()
        found = [row[0] for row in self.run_sql(
            'SELECT v FROM t ORDER BY id', (), self.connect())]
        self.assertEqual(values, found)
        self.assertEqual([type(v) for v in values],
                         [type(v) for v in found])

    def test_bool_becomes_int(self):
        self.assertEqual([(1, 'integer')], self.run_sql(
            'SELECT ?1, typeof(?1)', (True,)))

    def test_description_without_rows(self):
        cursor = self.connection.execute(
            'SELECT id AS x, name FROM p WHERE id = 77')
        self.assertEqual(['x', 'name'], [d[0] for d in cursor.description])
        cursor.execute('UPDATE p SET n = 1 WHERE id = 77 RETURNING n')
        self.assertEqual(['n'], [d[0] for d in cursor.description])
        cursor.execute('UPDATE p SET n = 1 WHERE id = 77')
        self.assertIsNone(cursor.description)
        self.assertEqual(0, cursor.rowcount)

    def test_row_counts_and_last_id(self):
        ids = self.filled()
        cursor = self.connection.execute('UPDATE p SET n = n')
        self.assertEqual(2, cursor.rowcount)
        cursor.execute("INSERT INTO p (name) VALUES ('c')")
        self.assertEqual(1, cursor.rowcount)
        self.assertNotIn(cursor.lastrowid, ids.values())
        self.assertEqual([(cursor.lastrowid,)], self.run_sql(
            "SELECT id FROM p WHERE name = 'c'"))
        cursor.executemany('DELETE FROM k WHERE v = ?', [('x',), ('no',)])
        self.assertEqual(1, cursor.rowcount)
        self.assertEqual(-1, cursor.execute('SELECT 1').rowcount)

    def test_returning(self):
        cursor = self.connection.execute(
            "INSERT INTO p (name) VALUES ('c'), ('d') RETURNING id, name")
        self.assertEqual(['c', 'd'], [row[1] for row in cursor])

    def test_explicit_id_moves_the_sequence(self):
        self.run_sql("INSERT INTO p (id, name) VALUES (5000, 'c')")
        self.connection.commit()
        cursor = self.connect().execute("INSERT INTO p (name) VALUES ('d')")
        self.assertGreater(cursor.lastrowid, 5000)

    def test_id_zero_stays_zero(self):
        self.run_sql("INSERT INTO p (id, name) VALUES (0, 'c')")
        self.connection.commit()
        self.assertEqual([(0,)], self.run_sql('SELECT id FROM p'))

    def test_many_parameters(self):
        self.connection.executemany(
            'INSERT INTO m VALUES (?, ?)', [(str(n), 'x') for n in range(50)])
        self.connection.commit()
        marks = ', '.join('?' * 2000)
        self.assertEqual(50, len(self.run_sql(
            f'SELECT a FROM m WHERE a IN ({marks})',
            [str(n) for n in range(2000)])))

    def test_rows_keep_the_order_of_insertion(self):
        names = ['z', 'b', 'y', 'a']
        for name in names:
            self.run_sql("INSERT INTO m VALUES (?, 'x')", (name,))
            self.connection.commit()
        self.assertEqual(names, [row[0] for row in self.run_sql(
            'SELECT a, b FROM m NOT INDEXED', (), self.connect())])

    # --- errors

    def fails(self, error, text, sql, parameters=()):
        caught = self.assertRaises(
            error, self.connection.execute, sql, parameters)
        self.assertEqual(text, str(caught))

    def test_constraint_errors(self):
        self.filled()
        refused = dbapi.IntegrityError
        self.fails(refused, 'UNIQUE constraint failed: p.uuid',
                   "INSERT INTO p (name, uuid) VALUES ('c', 'ua')")
        self.fails(refused, 'UNIQUE constraint failed: p.uuid',
                   "UPDATE p SET uuid = 'ua' WHERE name = 'b'")
        self.fails(refused, 'NOT NULL constraint failed: p.name',
                   'INSERT INTO p (name) VALUES (NULL)')
        self.fails(refused, 'FOREIGN KEY constraint failed',
                   'INSERT INTO k (pid) VALUES (77)')
        self.fails(dbapi.OperationalError, 'no such table: nope',
                   'SELECT * FROM nope')
        self.fails(dbapi.OperationalError, 'no such column: nope',
                   'SELECT nope FROM p')
        self.run_sql("INSERT INTO m VALUES ('a', 'b')")
        self.fails(refused, 'UNIQUE constraint failed: m.a, m.b',
                   "INSERT INTO m VALUES ('a', 'b')")

    def test_failed_statement_leaves_the_transaction(self):
        self.filled()
        self.run_sql("INSERT INTO p (name) VALUES ('c')")
        self.fails(dbapi.IntegrityError, 'UNIQUE constraint failed: p.uuid',
                   "INSERT INTO p (name, uuid) VALUES ('d', 'n'), ('e', 'ua')")
        self.connection.commit()
        self.assertEqual(['a', 'b', 'c'], [row[0] for row in self.run_sql(
            'SELECT name FROM p ORDER BY name')])

    def test_parameters_that_do_not_fit(self):
        self.assertRaises(dbapi.ProgrammingError,
                          self.connection.execute, 'SELECT ?', (1, 2))
        self.assertRaises(dbapi.ProgrammingError,
                          self.connection.execute, 'SELECT :a', {})
        self.assertRaises(dbapi.ProgrammingError,
                          self.connection.execute, 'SELECT ?', (object(),))
        self.assertEqual([(7,)], self.run_sql('SELECT :a', {'a': 7}))

    # --- conflicts with rows that no statement has loaded

    def test_upsert_meets_an_unloaded_row(self):
        self.filled()
        self.run_sql("INSERT INTO p (name, uuid) VALUES ('c', 'ua') "
                     'ON CONFLICT (uuid) DO UPDATE SET n = n + 10')
        self.run_sql("INSERT OR IGNORE INTO p (name, uuid) VALUES "
                     "('c', 'ub')")
        self.connection.commit()
        self.assertEqual([('a', 13), ('b', 3)], self.run_sql(
            'SELECT name, n FROM p ORDER BY name', (), self.connect()))

    def test_replace_deletes_the_row_it_meets(self):
        self.filled()
        self.run_sql("INSERT OR REPLACE INTO p (name, uuid) "
                     "VALUES ('c', 'ub')")
        self.connection.commit()
        self.assertEqual([('a',), ('c',)], self.run_sql(
            'SELECT name FROM p ORDER BY name', (), self.connect()))

    def test_delete_without_where(self):
        self.filled()
        self.assertEqual(2, self.connection.execute(
            'DELETE FROM k').rowcount)
        self.connection.commit()
        self.assertEqual([(0,)], self.run_sql(
            'SELECT count(*) FROM k', (), self.connect()))

    def test_update_of_the_id(self):
        self.filled()
        self.run_sql("UPDATE p SET id = 900 WHERE name = 'b'")
        self.connection.commit()
        self.assertEqual([('b', 900)], self.run_sql(
            "SELECT name, id FROM p WHERE name <> 'a'", (), self.connect()))

    def test_delete_and_insert_the_same_key(self):
        self.run_sql("INSERT INTO m VALUES ('a', 'b')")
        self.connection.commit()
        self.run_sql('DELETE FROM m')
        self.run_sql("INSERT INTO m VALUES ('a', 'b')")
        self.connection.commit()
        self.assertEqual([('a', 'b')], self.run_sql(
            'SELECT * FROM m', (), self.connect()))

    # --- foreign keys

    def test_cascade_and_refusal(self):
        ids = self.filled()
        self.run_sql('INSERT INTO r (pid) VALUES (?)', (ids['b'],))
        self.connection.commit()
        other = self.connect()
        self.assertEqual(1, other.execute(
            "DELETE FROM p WHERE name = 'a'").rowcount)
        self.assertRaises(dbapi.IntegrityError, other.execute,
                          "DELETE FROM p WHERE name = 'b'")
        other.commit()
        self.assertEqual([(0,)], self.run_sql('SELECT count(*) FROM k'))
        self.assertEqual([('b',)], self.run_sql('SELECT name FROM p'))

    def test_foreign_keys_off(self):
        off = self.connect(foreign_keys='off')
        self.assertEqual([(0,)], self.run_sql('PRAGMA foreign_keys', (), off))
        off.execute('INSERT INTO k (pid) VALUES (77)')
        off.commit()
        self.run_sql('PRAGMA foreign_keys = ON', (), off)
        self.assertRaises(dbapi.IntegrityError, off.execute,
                          'INSERT INTO k (pid) VALUES (78)')

    # --- transactions

    def test_others_see_it_at_commit(self):
        other = self.connect()
        self.run_sql("INSERT INTO p (name) VALUES ('a')")
        self.assertEqual([], self.run_sql('SELECT * FROM p', (), other))
        self.assertTrue(self.connection.in_transaction)
        self.connection.commit()
        self.assertFalse(self.connection.in_transaction)
        self.assertEqual(1, len(self.run_sql('SELECT * FROM p', (), other)))

    def test_rollback(self):
        self.run_sql("INSERT INTO p (name) VALUES ('a')")
        self.connection.rollback()
        self.assertEqual([], self.run_sql('SELECT * FROM p'))

    def test_autocommit(self):
        one = self.autocommit()
        one.execute("INSERT INTO p (name) VALUES ('a')")
        self.assertFalse(one.in_transaction)
        self.assertEqual(1, len(self.run_sql('SELECT * FROM p')))
        one.execute('BEGIN')
        one.execute('DELETE FROM p')
        self.assertTrue(one.in_transaction)
        one.execute('ROLLBACK')
        self.assertEqual(1, len(self.run_sql('SELECT * FROM p')))

    def test_rollback_to_savepoint_keeps_stored_rows(self):
        # rule 1: the row is loaded inside of the savepoint
        self.filled()
        one = self.autocommit()
        one.execute('BEGIN')
        one.execute('SAVEPOINT s')
        one.execute("UPDATE p SET n = 9 WHERE name = 'a'")
        one.execute('ROLLBACK TO SAVEPOINT s')
        self.assertEqual([('a', 3)], self.run_sql(
            "SELECT name, n FROM p WHERE uuid = 'ua'", (), one))
        one.execute("UPDATE p SET n = 5 WHERE name = 'b'")
        one.execute('RELEASE SAVEPOINT s')
        one.execute('COMMIT')
        self.assertEqual([('a', 3), ('b', 5)], self.run_sql(
            'SELECT name, n FROM p ORDER BY name'))

    def test_outermost_savepoint(self):
        one = self.autocommit()
        one.execute('SAVEPOINT s')
        one.execute("INSERT INTO p (name) VALUES ('a')")
        self.assertTrue(one.in_transaction)
        self.assertEqual([], self.run_sql('SELECT * FROM p'))
        one.execute('RELEASE s')
        self.assertFalse(one.in_transaction)
        self.assertEqual(1, len(self.run_sql('SELECT * FROM p')))

    def test_ddl_commits(self):
        self.run_sql("INSERT INTO p (name) VALUES ('a')")
        self.run_sql('CREATE TABLE t2 (a)')
        self.connection.rollback()
        self.assertEqual(1, len(self.run_sql('SELECT * FROM p')))

    def test_statement_after_a_column_was_added(self):
        self.filled()
        other = self.connect()
        self.run_sql('SELECT * FROM p', (), other)
        self.run_sql("ALTER TABLE p ADD COLUMN z TEXT DEFAULT 'q'")
        self.assertEqual([('q',), ('q',)], self.run_sql(
            'SELECT z FROM p', (), other))

    # --- conflicts between transactions

    def test_both_writers_of_different_columns_succeed(self):
        self.filled()
        one, two = self.connect(), self.connect()
        one.execute("UPDATE p SET n = 7 WHERE name = 'a'")
        two.execute("UPDATE p SET uuid = 'new' WHERE name = 'a'")
        one.commit()
        two.commit()
        self.assertEqual([(7, 'new')], self.run_sql(
            "SELECT n, uuid FROM p WHERE name = 'a'"))

    def test_write_conflict_if_what_was_read_has_changed(self):
        self.filled()
        one, two = self.connect(), self.connect()
        for connection in (one, two):
            connection.isolation_level = None
            connection.execute('BEGIN')
            connection.execute("SELECT n FROM p WHERE name = 'a'")
            connection.execute("UPDATE p SET n = n + 1 WHERE name = 'a'")
        one.execute('COMMIT')
        from luc_drivers.db import errors
        self.assertRaises(errors.WriteConflict, two.execute, 'COMMIT')
        self.assertFalse(two.in_transaction)
        self.assertEqual([(4,)], self.run_sql(
            "SELECT n FROM p WHERE name = 'a'"))

    def test_same_new_key_twice(self):
        one, two = self.connect(), self.connect()
        one.execute("INSERT INTO p (name, uuid) VALUES ('a', 'u')")
        two.execute("INSERT INTO p (name, uuid) VALUES ('b', 'u')")
        one.commit()
        from luc_drivers.db import errors
        self.assertRaises((errors.WriteConflict, dbapi.IntegrityError),
                          two.commit)
        self.assertEqual([('a',)], self.run_sql('SELECT name FROM p'))

    def test_child_of_a_parent_that_goes(self):
        ids = self.filled()
        one, two = self.connect(), self.connect()
        one.execute('INSERT INTO r (pid) VALUES (?)', (ids['b'],))
        two.execute('DELETE FROM p WHERE id = ?', (ids['b'],))
        one.commit()
        self.assertRaises(dbapi.DatabaseError, two.commit)
        self.assertEqual([(1,)], self.run_sql(
            'SELECT count(*) FROM r JOIN p ON p.id = r.pid'))

    def test_parallel_increments_all_count(self):
        self.filled()
        failed = []

        def count():
            connection = self.autocommit()
            try:
                for _ in range(10):
                    connection.execute(
                        "UPDATE p SET n = n + 1 WHERE uuid = 'ua'")
            except Exception as exc:
                failed.append(exc)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], failed)
        self.assertEqual([(43,)], self.run_sql(
            "SELECT n FROM p WHERE uuid = 'ua'"))

    def test_parallel_inserts_have_ids_of_their_own(self):
        ids, failed = [], []

        def insert():
            connection = self.autocommit()
            try:
                for _ in range(10):
                    ids.append(connection.execute(
                        "INSERT INTO p (name) VALUES ('t')").lastrowid)
            except Exception as exc:
                failed.append(exc)

        threads = [threading.Thread(target=insert) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], failed)
        self.assertEqual(40, len(set(ids)))
        self.assertEqual(sorted(ids), [row[0] for row in self.run_sql(
            'SELECT id FROM p ORDER BY id')])

    def test_for_update_makes_the_reader_a_writer(self):
        self.filled()
        from luc_drivers.db import errors
        one, two = self.autocommit(), self.connect()
        one.execute('BEGIN')
        one.execute("SELECT n FROM p WHERE name = 'a' /*luc:lock*/")
        two.execute("UPDATE p SET n = 8 WHERE name = 'a'")
        two.commit()
        self.assertRaises(errors.WriteConflict, one.commit)

    # --- scripts, functions, SQLAlchemy

    def test_dump_and_script(self):
        self.filled()
        text = '\n'.join(self.connection.iterdump())
        other = dbapi.connect(
            'second', fresh='1', private=self.private, **self.options())
        self.addCleanup(other.close)
        other.executescript(text)
        self.assertEqual(
            text.removeprefix('PRAGMA foreign_keys=OFF;\n'),
            '\n'.join(other.iterdump()))
        self.assertIn("'ua'", text)

    def test_functions_of_the_connection(self):
        self.filled()
        self.connection.create_function('regexp', 2, lambda p, v: v == 'b')
        self.connection.create_function('twice', 1, lambda v: 2 * v)
        self.assertEqual([('b', 6)], self.run_sql(
            "SELECT name, twice(n) FROM p WHERE name REGEXP 'x'"))
        self.assertEqual([('a',)], self.run_sql(
            "SELECT name FROM p WHERE name REGEXP '^a$'", (),
            self.connect()))

    def test_orm(self):
        query = '&'.join(f'{k}={v}' for k, v in self.options().items()
                         if k not in ('host', 'port'))
        host = self.options().get('host') or ''
        port = self.options().get('port')
        base = orm.declarative_base()

        class Thing(base):
            __tablename__ = 'thing'
            id = sa.Column(sa.Integer, primary_key=True)
            name = sa.Column(sa.String(9), unique=True)
            size = sa.Column(sa.Integer)

        made = sa.create_engine('sqlite+luc://%s%s/orm?fresh=1&%s' % (
            host, f':{port}' if port else '', query))
        self.addCleanup(made.dispose)
        base.metadata.create_all(made)
        with orm.Session(made) as session:
            session.add_all([Thing(name=str(n), size=n) for n in range(5)])
            session.commit()
            session.add(Thing(name='1'))
            self.assertRaises(sa.exc.IntegrityError, session.flush)
            session.rollback()
            self.assertEqual(10, session.scalar(
                sa.select(sa.func.sum(Thing.size))))
