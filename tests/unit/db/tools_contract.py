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

"""Tests of ``luc db``'s tools, the same on every store."""

import dataclasses
import io
import itertools
import os
import sqlite3
import tempfile
from typing import Any
from unittest import mock
import uuid

from luc_drivers.db import dbapi
from luc_drivers.db import document
from luc_drivers.db import engine
from luc_drivers.db import errors
from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import IndexRead
from luc_drivers.db.store.base import Lock
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import RowWrite
from luc_drivers.db.tools import check
from luc_drivers.db.tools import naming
from luc_drivers.db.tools import repair
from luc_drivers.db.tools import rows
from luc_drivers.db.tools import transfer
from luc_drivers.db.tools.check import Kind
from luc_drivers.db.transaction import protocol
from luc_drivers.db.transaction import writes

_SCHEMA = """
CREATE TABLE p (id INTEGER NOT NULL PRIMARY KEY, name TEXT UNIQUE, n);
CREATE TABLE k (id INTEGER NOT NULL PRIMARY KEY, v,
    pid INTEGER REFERENCES p (id));
CREATE INDEX k_pid ON k (pid);
INSERT INTO p (name, n) VALUES ('a', 1), ('b', 2.5), ('c', NULL);
INSERT INTO k (pid, v) VALUES (1, 'x'), (1, X'00FF'), (NULL, 'it''s');
"""


class CheckTests:
    """Mixed into a TestCase that says where: ``options()``."""

    def setUp(self):
        super().setUp()
        private = uuid.uuid4().hex
        self.addCleanup(engine.drop_private, private)
        self.connection = dbapi.connect(
            'tools', fresh='1', private=private, foreign_keys='off',
            isolation_level=None, **self.options())
        self.addCleanup(self.connection.close)
        self.connection.executescript(_SCHEMA)
        self.database = self.connection.database
        self.store = self.database.store
        # unique rows are unlocked after the commit
        self.database.background.flush(10)

    def look(self):
        localities = naming.localities(self.database)
        return list(check.Check(self.database, localities).findings())

    def impatient(self):
        """Take what is stale for a fault at once, not after a while."""
        self.database.limits = dataclasses.replace(
            self.database.limits, removal_delay=0.0, clock_skew=0.0)

    def mend(self, *kinds):
        """Check that just this is wrong, mend it, check that nothing is."""
        found = self.look()
        self.assertEqual(sorted(k.value for k in kinds),
                         sorted(f.kind.value for f in found), found)
        for one in found:
            mended, note = repair.repair(self.database, one)
            self.assertTrue(mended, note)
        self.assertEqual([], self.look())
        return found

    def entries(self, table, index):
        """Return an index's entries: (partition, rest, ref)."""
        numbers = {i.name: i for i in
                   self.database.catalog.current().table(table).indexes}
        wanted = numbers[index]
        found = []
        for locality in naming.localities(self.database):
            for part in self.store.index_partitions(locality):
                if part.index == wanted.number:
                    pairs, = self.store.read_index([IndexRead(
                        locality, part.table, part.index, part.first,
                        wanted.buckets)])
                    found += [(locality, part, *pair) for pair in pairs]
        return found

    def entry(self, table, index):
        locality, part, rest, ref = self.entries(table, index)[0]
        return IndexEntry(locality, part.table, part.index, part.first,
                          part.bucket, rest, ref)

    def stored(self, number):
        """Return (group, row) of all rows of a table or unique key."""
        found = []
        for locality in naming.localities(self.database):
            for key in self.store.group_keys(locality):
                group = Group(locality, key)
                read, = self.store.read([GroupRead(group, (number,))])
                found += [(group, row) for row in read
                          if row.document is not None]
        return found

    def unique_number(self):
        index, = [i for i in
                  self.database.catalog.current().table('p').unique_keys
                  if i.unique_columns == ('name',)]
        return index.number

    def write(self, group, write):
        outcome, = self.store.write([Batch(group, (write,))])
        self.assertEqual(Outcome.APPLIED, outcome)

    def test_nothing_is_wrong(self):
        self.assertEqual([], self.look())
        self.connection.execute("UPDATE p SET name = 'z', n = 7 WHERE id = 1")
        self.connection.execute('DELETE FROM k WHERE id = 1')
        self.connection.execute('UPDATE k SET pid = 2 WHERE id = 2')
        self.assertEqual([], self.look())

    def test_missing_entry(self):
        entry = self.entry('k', 'k_pid')
        self.store.remove_index([entry], self.database.clock.now())
        # a row whose later state wants it again
        count = 'SELECT count(*) FROM k WHERE pid = 1 OR pid IS NULL'
        self.assertEqual(2, self.connection.execute(count).fetchone()[0])
        found, = self.look()
        self.assertEqual((Kind.MISSING_ENTRY, 'k', entry),
                         (found.kind, found.table, found.entry))
        # the tombstone is newer than the row: its entry has to be, too
        mended, _ = repair.repair(self.database, found)
        self.assertTrue(mended)
        self.assertEqual([], self.look())
        self.assertEqual(3, self.connection.execute(count).fetchone()[0])

    def test_stale_entry(self):
        self.impatient()
        entry = self.entry('k', 'k_pid')
        self.store.put_index(
            [dataclasses.replace(entry, first=b'\x03zz\0')], 1)
        found, = self.mend(Kind.STALE_ENTRY)
        self.assertIn(found.kind, check.HARMLESS)

    def test_stale_entry_of_a_row_that_never_was(self):
        self.impatient()
        entry = self.entry('k', 'k_pid')
        self.store.put_index(
            [dataclasses.replace(entry, ref=entry.ref + b'\x01')], 1)
        self.mend(Kind.STALE_ENTRY)

    def test_missing_unique_row(self):
        group, row = self.stored(self.unique_number())[0]
        self.write(group, RowWrite(row.key, Expect.VERSION, row.version,
                                   erase=True))
        found, = self.mend(Kind.MISSING_UNIQUE)
        self.assertEqual('p', found.table)
        name, = self.connection.execute(
            'SELECT name FROM p ORDER BY name').fetchone()
        with self.assertRaises(errors.IntegrityError):
            self.connection.execute('INSERT INTO p (name) VALUES (?)',
                                    (name,))

    def test_unique_row_without_owner(self):
        number = self.unique_number()
        group, row = self.stored(number)[0]
        other = group._replace(key=group.key + b'\x01')
        txid = self.database.clock.new_id()
        self.write(other, RowWrite(
            row.key, Expect.ABSENT, version=txid, document=row.document,
            history=(txid,)))
        found, = self.mend(Kind.STALE_UNIQUE)
        self.assertEqual('p', found.table)

    def test_two_rows_with_one_key(self):
        table = self.database.catalog.current().table('p')
        (group, row), *_ = self.stored(table.number)
        # what a faulty writer might do: another row's name, unguarded
        self.connection.execute("INSERT INTO p (name) VALUES ('d')")
        self.database.background.flush(10)
        for group, row in self.stored(table.number):
            values, created = document.decode(row.document)
            if values[table.column('name').number] == 'd':
                values[table.column('name').number] = 'a'
                txid = self.database.clock.new_id([row.version])
                self.write(group, RowWrite(
                    row.key, Expect.VERSION, row.version, version=txid,
                    document=document.encode(values, created),
                    history=(txid,)))
        kinds = {f.kind for f in self.look()}
        self.assertIn(Kind.DUPLICATE, kinds)
        duplicate = [f for f in self.look() if f.kind is Kind.DUPLICATE][0]
        mended, note = repair.repair(self.database, duplicate)
        self.assertFalse(mended)
        self.assertIn('delete or change', note)

    def test_broken_foreign_key(self):
        self.connection.execute('DELETE FROM p WHERE id = 1')
        found = self.look()
        self.assertEqual([Kind.ORPHAN] * 2, [f.kind for f in found])
        self.assertIn('pid → p', found[0].what)
        self.assertFalse(repair.repair(self.database, found[0])[0])

    def test_old_lock(self):
        table = self.database.catalog.current().table('k')
        group, row = self.stored(table.number)[0]
        old = (self.database.clock.now() - 3600 * 10 ** 6).to_bytes(8, 'big')
        self.write(group, RowWrite(
            row.key, Expect.VERSION, row.version,
            prepare=Lock(old + b'deadproc', group, None)))
        self.mend(Kind.OLD_LOCK)
        self.assertEqual(3, self.connection.execute(
            'SELECT count(*) FROM k').fetchone()[0])

    def test_young_lock_is_nothing_wrong(self):
        table = self.database.catalog.current().table('k')
        group, row = self.stored(table.number)[0]
        self.write(group, RowWrite(
            row.key, Expect.VERSION, row.version,
            prepare=Lock(self.database.clock.new_id(), group, None)))
        self.assertEqual([], self.look())

    def test_old_marker(self):
        table = self.database.catalog.current().table('k')
        group, _ = self.stored(table.number)[0]
        age = self.database.limits.marker_age + (
            2 * self.database.limits.sweep) + 60
        txid = (int(self.database.clock.now() - age * 1e6)
                ).to_bytes(8, 'big') + b'deadproc'
        self.write(group, writes.commit_marker(txid, ()))
        self.mend(Kind.OLD_MARKER)

    def test_left_over_from_a_dropped_table(self):
        group, row = self.stored(
            self.database.catalog.current().table('k').number)[0]
        txid = self.database.clock.new_id()
        self.write(group, RowWrite(
            row.key._replace(table=9999), Expect.ABSENT,
            version=txid, document=row.document, history=(txid,)))
        entry = self.entry('k', 'k_pid')
        self.store.put_index(
            [dataclasses.replace(entry, table=9999, index=9998)], 1)
        self.mend(Kind.LEFTOVER, Kind.LEFTOVER)

    def test_unreadable_row(self):
        group, row = self.stored(
            self.database.catalog.current().table('k').number)[0]
        txid = self.database.clock.new_id([row.version])
        self.write(group, RowWrite(
            row.key, Expect.VERSION, row.version, version=txid,
            document=b'\xc1', history=(txid,)))
        kinds = {f.kind for f in self.look()}
        self.assertIn(Kind.DAMAGED, kinds)

    def test_all_rows_of_a_table(self):
        table = self.database.catalog.current().table('p')
        names = [c.name for c in rows.columns(table)]
        self.assertEqual(['id', 'name', 'n'], names)
        self.assertEqual(
            [[1, 'a', 1], [2, 'b', 2.5], [3, 'c', None]],
            sorted(rows.rows(self.database, table,
                             naming.localities(self.database))))

    def walk(self, *meanwhile):
        """Return what is read, one by one, of rows that others change."""
        table = self.database.catalog.current().table('m')
        walk = rows.rows(self.database, table,
                         naming.localities(self.database))
        found = []
        with mock.patch.object(rows, '_AT_ONCE', 1):
            for values in walk:
                found.append(values)
                if len(found) <= len(meanwhile):
                    self.connection.execute(
                        meanwhile[len(found) - 1].format(*found))
                    self.database.background.flush(10)
        return sorted(values[1] for values in found)

    def test_a_row_that_moves_while_all_are_read(self):
        self.connection.execute(
            'CREATE TABLE m (id TEXT NOT NULL PRIMARY KEY, name)')
        self.connection.execute(
            "INSERT INTO m VALUES ('1', 'a'), ('2', 'b'), ('3', 'c')")
        self.database.background.flush(10)
        self.assertEqual(['a', 'b', 'c'], self.walk(
            # one that was read already, to where it is read again
            "UPDATE m SET id = '9' WHERE id = '{0[0]}'"))
        # one that was not, to a place where another one was read
        self.assertEqual(['a', 'b', 'c'], self.walk(
            "DELETE FROM m WHERE id = '{0[0]}'",
            "UPDATE m SET id = '{0[0]}' WHERE id != '{1[0]}'"))


    def test_reading_all_takes_longer_than_tombstones_live(self):
        """Where rows have moved to is not known any more."""
        table = self.database.catalog.current().table('p')
        clock, hours = self.database.clock, itertools.count()
        start = clock.monotonic()
        with mock.patch.object(rows, '_AT_ONCE', 1), \
                mock.patch.object(clock, 'monotonic',
                                  lambda: start + 3600 * later), \
                self.assertLogs(rows.LOG, 'WARNING') as logged:
            later = next(hours)
            found = []
            for values in rows.rows(self.database, table,
                                    naming.localities(self.database)):
                found.append(values)
                later = next(hours)
        self.assertEqual(3, len(found))
        self.assertEqual(1, len(logged.output))
        self.assertIn('table p of', logged.output[0])


class TransferTests:
    """Mixed into a TestCase that says where: ``url(name)``."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        # a process remembers databases by their names
        self.name = f'one_{uuid.uuid4().hex[:8]}'
        self.one, self.two = self.url(self.name), self.url(f'two{self.name}')
        for url in (self.one, self.two):
            # what a fill waits
            naming.database(url).clock.max_ahead = 0.2
        connection = self.connect(self.one)
        connection.executescript(_SCHEMA)
        connection.close()

    def connect(self, url: str) -> Any:
        connection = naming.connect(url)
        self.addCleanup(self.drop, connection.database)
        return connection

    @staticmethod
    def drop(database):
        database.store.drop()

    def stock(self, name):
        connection = sqlite3.connect(os.path.join(self.folder, name))
        self.addCleanup(connection.close)
        return connection

    def everything(self, connection):
        return [connection.execute(f'SELECT * FROM {t} ORDER BY id'
                                   ).fetchall() for t in ('p', 'k')]

    def test_dump_is_what_stock_sqlite_reads_and_load_reads_it_back(self):
        text = '\n'.join(transfer.dump(self.one)) + '\n'
        stock = self.stock('stock.db')
        stock.executescript(text)
        expected = self.everything(self.connect(self.one))
        self.assertEqual(expected, self.everything(stock))
        self.assertEqual(6, transfer.load(self.two, io.StringIO(text)))
        loaded = self.connect(self.two)
        self.assertEqual(expected, self.everything(loaded))
        # ids go on after those that were loaded
        cursor = loaded.execute("INSERT INTO p (name) VALUES ('new')")
        self.assertGreater(cursor.lastrowid, 3)
        self.assertEqual([], list(check.Check(
            loaded.database,
            naming.localities(loaded.database)).findings()))

    def test_load_reads_what_stock_sqlite_dumps(self):
        stock = self.stock('stock.db')
        stock.executescript(_SCHEMA + "INSERT INTO k (v) VALUES ('a;\nb');")
        text = '\n'.join(stock.iterdump()) + '\n'
        transfer.load(self.two, io.StringIO(text))
        self.assertEqual(self.everything(stock),
                         self.everything(self.connect(self.two)))

    def test_load_names_the_statement_that_fails(self):
        with self.assertRaisesRegex(
                errors.OperationalError, 'statement 2: no such table: q'):
            transfer.load(self.two, io.StringIO(
                'CREATE TABLE p (id INTEGER PRIMARY KEY);\n'
                'INSERT INTO q VALUES (1);\n'))
        with self.assertRaisesRegex(
                errors.DataError, 'ends within a statement'):
            transfer.load(self.two, io.StringIO('INSERT INTO p VALUES (1'))

    def test_copy_in_and_out(self):
        path = os.path.join(self.folder, 'stock.db')
        stock = self.stock('stock.db')
        for statement in _SCHEMA.split(';')[:3]:
            stock.execute(statement)
            self.connect(self.two).execute(statement)
        found = list(transfer.copy(self.one, f'sqlite:///{path}'))
        self.assertEqual([('p', 3, 3), ('k', 3, 3)],
                         [(c.table, c.source, c.target) for c in found])
        expected = self.everything(self.connect(self.one))
        self.assertEqual(expected, self.everything(stock))
        list(transfer.copy(f'sqlite:///{path}', self.two))
        self.assertEqual(expected, self.everything(self.connect(self.two)))

    def test_what_was_copied_is_as_if_committed(self):
        two = self.connect(self.two)
        two.executescript(';'.join(_SCHEMA.split(';')[:3]))
        list(transfer.copy(self.one, self.two))
        self.assertIs(protocol.Committer, type(two.database.committer))
        self.assertEqual([], list(check.Check(
            two.database, naming.localities(two.database)).findings()))
        for sql in ("INSERT INTO p (name) VALUES ('b')",
                    "INSERT INTO p (id) VALUES (2)",
                    "UPDATE p SET name = 'a' WHERE id = 3",
                    'DELETE FROM p WHERE id = 1'):
            self.assertRaises(errors.IntegrityError, two.execute, sql)
        two.executescript(
            "UPDATE p SET name = 'd' WHERE name = 'b';"
            'DELETE FROM k WHERE pid = 1; DELETE FROM p WHERE id = 1;'
            "INSERT INTO p (name) VALUES ('b'), ('a')")
        self.assertEqual(
            [('c',), ('d',), ('b',), ('a',)], two.execute(
                'SELECT name FROM p ORDER BY id IN (2, 3) DESC, name = ?, '
                'name = ?', ('a', 'd')).fetchall())

    def test_load_goes_on_with_the_ids_of_stock_sqlite(self):
        stock = self.stock('stock.db')
        stock.executescript(
            'CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v);'
            'INSERT INTO t (v) VALUES (1), (2), (3);'
            'DELETE FROM t WHERE id > 1;')
        text = '\n'.join(stock.iterdump()) + '\n'
        self.assertIn('sqlite_sequence', text)
        self.assertEqual(1, transfer.load(self.two, io.StringIO(text)))
        cursor = self.connect(self.two).execute(
            'INSERT INTO t (v) VALUES (4)')
        self.assertGreater(cursor.lastrowid, 3)

    def test_load_of_more_than_rows(self):
        self.assertEqual(3, transfer.load(self.two, io.StringIO(
            'CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY);\n'
            'INSERT INTO t VALUES (1), (2), (3);\n'
            'DELETE FROM t WHERE id > 1;\n')))
        self.assertEqual([(1,)], self.connect(self.two).execute(
            'SELECT id FROM t').fetchall())

    def test_load_tells_of_rows_with_one_key(self):
        text = ('CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY);\n'
                'INSERT INTO t VALUES (1);\nINSERT INTO t VALUES (1);\n')
        self.assertRaises(errors.IntegrityError, transfer.load, self.two,
                          io.StringIO(text))

    def test_copy_refuses_what_would_not_fit(self):
        with self.assertRaisesRegex(errors.OperationalError,
                                    'target lacks p, k: make its schema'):
            list(transfer.copy(self.one, self.two))
        self.connect(self.two).executescript(_SCHEMA)
        with self.assertRaisesRegex(errors.OperationalError,
                                    'table p of .* has rows'):
            list(transfer.copy(self.one, self.two))

    def test_databases_are_found_by_name(self):
        database = naming.database(self.one)
        self.assertIn(self.name,
                      database.store.databases(database.settings))
