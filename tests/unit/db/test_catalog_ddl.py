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

"""DDL sequences: our schema is what SQLite's own PRAGMAs say."""

import apsw
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import testtools

from luc_drivers.db import errors
from luc_drivers.db.catalog import alter
from luc_drivers.db.catalog import catalog
from luc_drivers.db.catalog import sqltext
from luc_drivers.db.catalog.schema import Affinity
from luc_drivers.db.profiles import default
from luc_drivers.db.store.base import StoreSettings
from luc_drivers.db.store.embedded import EmbeddedStore

TABLES = st.sampled_from(['t', 'T2', '"odd name"'])
COLUMNS = st.sampled_from(['a', 'b', 'C', '"d e"', 'id'])
TYPES = st.sampled_from([
    '', 'INTEGER', 'VARCHAR(36)', 'TEXT', 'BOOLEAN', 'NUMERIC(10, 2)',
    'FLOAT', 'BLOB', 'DATETIME', 'INT'])
OPTIONS = st.sampled_from([
    '', ' NOT NULL', ' UNIQUE', " DEFAULT 'x, y'", ' DEFAULT 5 NOT NULL',
    ' COLLATE NOCASE', ' CHECK (1 IN (0, 1))', ' PRIMARY KEY',
    ' REFERENCES t (id) ON DELETE CASCADE', ' DEFAULT (1 + 2)',
    ' NULL DEFAULT NULL', ' REFERENCES T2'])


def definition():
    return st.builds('{} {}{}'.format, COLUMNS, TYPES, OPTIONS)


def some_columns():
    return st.lists(COLUMNS, min_size=1, max_size=3, unique=True).map(
        ', '.join)


TABLE_OPTIONS = st.sampled_from([
    '', ', UNIQUE (a, b)', ', CONSTRAINT uq UNIQUE (b)',
    ', PRIMARY KEY (a)', ', PRIMARY KEY (b, a)',
    ', FOREIGN KEY (a) REFERENCES T2 (id)',
    ', CONSTRAINT fk FOREIGN KEY (a, b) REFERENCES t (b, a)'])

STATEMENTS = st.one_of(
    st.builds('CREATE TABLE {}{} ({}{}){}'.format,
              st.sampled_from(['', 'IF NOT EXISTS ']), TABLES,
              st.lists(definition(), min_size=1, max_size=4).map(', '.join),
              TABLE_OPTIONS,
              st.sampled_from(['', '', '', ' WITHOUT ROWID'])),
    st.builds('DROP TABLE {}{}'.format,
              st.sampled_from(['', 'IF EXISTS ']), TABLES),
    st.builds('CREATE {}INDEX {} ON {} ({})'.format,
              st.sampled_from(['', 'UNIQUE ']),
              st.sampled_from(['i1', 'i2', 'i3']), TABLES, some_columns()),
    st.builds('DROP INDEX {}'.format, st.sampled_from(['i1', 'i2', 'i3'])),
    st.builds('ALTER TABLE {} RENAME TO {}'.format, TABLES, TABLES),
    st.builds('ALTER TABLE {} RENAME COLUMN {} TO {}'.format,
              TABLES, COLUMNS, COLUMNS),
    st.builds('ALTER TABLE {} ADD COLUMN {}'.format, TABLES, definition()),
    st.builds('ALTER TABLE {} DROP COLUMN {}'.format, TABLES, COLUMNS),
)


def stock_database():
    database = apsw.Connection(':memory:')
    database.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 1)
    return database


class Pair(testtools.TestCase):
    """Our catalog and a stock database, side by side."""

    def make(self):
        store = EmbeddedStore(
            'test', StoreSettings(kind='embedded', fresh=True))
        store.prepare(['at_site1'])
        return store, catalog.Catalog(store, default.PROFILE, fresh=True)

    def compare(self, ours, stock):
        schema = ours.current()
        names = [n for n, in stock.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'")]
        self.assertEqual(set(names), {t.name for t in schema.tables.values()})
        for name in names:
            self.compare_table(schema.table(name), stock)
        taken = [n for t in schema.tables.values()
                 for n in (t.number, *(i.number for i in t.indexes))]
        self.assertEqual(len(taken), len(set(taken)))
        self.assertEqual(
            set(stock.execute('SELECT name, sql FROM sqlite_master '
                              'WHERE sql IS NOT NULL').fetchall()),
            {(name, sql) for _, name, _, sql in schema.statements})

    def compare_table(self, table, stock):
        quoted = sqltext.quote(table.name)
        info = stock.execute('PRAGMA table_xinfo(%s)' % quoted).fetchall()
        self.assertEqual(
            [(r[1], r[2], bool(r[3]), r[4]) for r in info],
            [(c.name, c.declared_type, c.not_null, c.default)
             for c in table.columns])
        self.assertEqual(
            tuple(r[1] for r in sorted(info, key=lambda r: r[5]) if r[5]),
            table.primary_key)
        uniques, paths = set(), set()
        for _, name, unique, _, _ in stock.execute(
                'PRAGMA index_list(%s)' % quoted).fetchall():
            columns = tuple(r[2] for r in stock.execute(
                'PRAGMA index_info(%s)' % sqltext.quote(name)))
            if None not in columns:  # an expression: SQLite's own affair
                (uniques if unique else paths).add(columns)
        if table.primary_key:
            uniques.add(table.primary_key)
        self.assertEqual(
            uniques, {i.unique_columns for i in table.unique_keys})
        foreign = {}
        for row in stock.execute('PRAGMA foreign_key_list(%s)' % quoted):
            foreign.setdefault(row[0], []).append((row[2], row[3], row[6]))
        self.assertEqual(
            sorted(sorted(v) for v in foreign.values()),
            sorted(sorted((f.parent, c, f.on_delete) for c in f.columns)
                   for f in table.foreign_keys))
        self.check_access(table, paths | uniques | {
            f.columns for f in table.foreign_keys})

    def check_access(self, table, paths):
        """Each declared path is an index's prefix, or the group gives it."""
        by = table.grouping.columns
        given = [i.columns for i in table.indexes if i.entries]
        for path in paths if by else ():
            self.assertTrue(
                set(path[:len(by)]) == set(by)
                or any(g[:len(path)] == path for g in given), (path, given))


class TestSequences(Pair):
    @settings(max_examples=150, deadline=None)
    @given(st.lists(STATEMENTS, max_size=14))
    def test_as_sqlite(self, statements):
        store, ours = self.make()
        stock = stock_database()
        try:
            for sql in statements:
                before = {t.number: {c.name: c.number for c in t.columns}
                          for t in ours.current().tables.values()}
                try:
                    ours.apply_ddl(sql)
                except errors.NotSupportedError:
                    # collations other than the column's: not in our power
                    continue
                except errors.Error as error:
                    raised = self.assertRaises(
                        apsw.Error, stock.execute, sql)
                    self.assertEqual(str(raised), str(error))
                    continue
                stock.execute(sql)
                for table in ours.current().tables.values():
                    if 'RENAME COLUMN' in sql or table.number not in before:
                        continue
                    old = before[table.number]
                    for column in table.columns:
                        self.assertEqual(
                            old.get(column.name, column.number),
                            column.number)
            self.compare(ours, stock)
            later = catalog.Catalog(store, default.PROFILE, fresh=True)
            self.assertEqual(ours.current(), later.current())
        finally:
            store.close()


class TestAlter(Pair):
    """ALTERs that SQLite does not know; the result is a table made anew."""

    TABLE = ('CREATE TABLE t (\n id INTEGER NOT NULL, -- one, two\n'
             " a VARCHAR(36) DEFAULT 'x' NOT NULL CONSTRAINT ck "
             "CHECK (a IN ('x', 'NOT NULL')),\n"
             ' b BOOLEAN REFERENCES p (id) ON DELETE SET NULL '
             'NOT DEFERRABLE,\n c NUMERIC(10, 2) DEFAULT -1 UNIQUE,\n'
             ' PRIMARY KEY (id), CONSTRAINT u1 UNIQUE (a, b),\n'
             ' CONSTRAINT fk FOREIGN KEY(b) REFERENCES p (id))')

    def altered(self, *statements, table=TABLE):
        store, ours = self.make()
        self.addCleanup(store.close)
        ours.apply_ddl('CREATE TABLE p (id INTEGER PRIMARY KEY)')
        ours.apply_ddl(table)
        ours.apply_ddl('CREATE INDEX i ON t (c, a)')
        for sql in statements:
            ours.apply_ddl(sql)
        stock = stock_database()
        for _, _, _, sql in ours.current().statements:
            stock.execute(sql)
        self.compare(ours, stock)
        later = catalog.Catalog(store, default.PROFILE, fresh=True)
        self.assertEqual(ours.current(), later.current())
        return ours.current().tables['t']

    def test_not_null(self):
        table = self.altered('ALTER TABLE t ALTER COLUMN a DROP NOT NULL',
                             'ALTER TABLE t ALTER COLUMN b SET NOT NULL')
        self.assertFalse(table.column('a').not_null)
        self.assertTrue(table.column('b').not_null)
        self.assertIn('CONSTRAINT ck CHECK', table.sql)
        self.assertIn('ON DELETE SET NULL NOT DEFERRABLE', table.sql)

    def test_default(self):
        table = self.altered(
            'ALTER TABLE t ALTER COLUMN a DROP DEFAULT',
            "ALTER TABLE t ALTER COLUMN b SET DEFAULT '0'",
            'ALTER TABLE t ALTER COLUMN c SET DEFAULT 1 + 1')
        self.assertEqual([None, None, "'0'", '1 + 1'],
                         [c.default for c in table.columns])

    def test_type(self):
        table = self.altered(
            'ALTER TABLE t ALTER COLUMN a TYPE VARCHAR(255)',
            'ALTER TABLE t ALTER COLUMN c SET DATA TYPE BIGINT')
        self.assertEqual('VARCHAR(255)', table.column('a').declared_type)
        self.assertIs(Affinity.INTEGER, table.column('c').affinity)
        self.assertEqual('-1', table.column('c').default)

    def test_constraints(self):
        table = self.altered(
            'ALTER TABLE t ADD CONSTRAINT "u 2" UNIQUE (c, b)',
            'ALTER TABLE t ADD FOREIGN KEY(c) REFERENCES p (id)',
            'ALTER TABLE t ADD CONSTRAINT positive CHECK (c > 0)',
            'ALTER TABLE t DROP CONSTRAINT u1',
            'ALTER TABLE t DROP CONSTRAINT fk',
            'ALTER TABLE t DROP CONSTRAINT CK')
        self.assertEqual({('id',), ('c',), ('c', 'b')},
                         {i.unique_columns for i in table.unique_keys})
        self.assertEqual([('b',), ('c',)], sorted(
            f.columns for f in table.foreign_keys))
        self.assertNotIn("'NOT NULL'", table.sql)
        self.assertIn('positive', table.sql)

    def test_unique_index_is_a_constraint_too(self):
        table = self.altered('CREATE UNIQUE INDEX u9 ON t (c, b)',
                             'ALTER TABLE t DROP CONSTRAINT u9')
        self.assertNotIn(('c', 'b'),
                         {i.unique_columns for i in table.unique_keys})

    def test_primary_key(self):
        table = self.altered(
            'ALTER TABLE t DROP PRIMARY KEY',
            'ALTER TABLE t ADD CONSTRAINT pk PRIMARY KEY (a, c)')
        self.assertEqual(('a', 'c'), table.primary_key)
        self.assertEqual(('a', 'c'), table.key)

    def test_refused(self):
        for message, sql in (
                ('no such constraint: nope (table t)',
                 'ALTER TABLE t DROP CONSTRAINT nope'),
                ('no such column: "nope"',
                 'ALTER TABLE t ALTER COLUMN nope SET NOT NULL'),
                ('near "WHAT": syntax error',
                 'ALTER TABLE t ALTER COLUMN a WHAT'),
                ('has more than one primary key',
                 'ALTER TABLE t ADD PRIMARY KEY (a)')):
            error = self.assertRaises(
                errors.OperationalError, self.altered, sql)
            self.assertIn(message, str(error))

    def test_whole_text_survives(self):
        text = alter.split(self.TABLE)
        database = stock_database()
        database.execute(text.text(text.texts()))
        other = stock_database()
        other.execute(self.TABLE)
        for pragma in ('table_xinfo', 'index_list', 'foreign_key_list'):
            self.assertEqual(
                *(d.execute('PRAGMA %s(t)' % pragma).fetchall()
                  for d in (database, other)))


class TestTokens(testtools.TestCase):
    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet='ab \'"`[]()-/*\n.,;5xé', max_size=30))
    def test_nothing_is_lost(self, text):
        found = sqltext.tokens(text)
        covered = ''.join(t.text for t in found)
        for token in found:
            self.assertEqual(token.text, text[token.start:token.end])
        self.assertLessEqual(len(covered), len(text))

    def test_kinds(self):
        kinds = [t.kind for t in sqltext.tokens(
            "x 'it''s' \"a\"\"b\" [c d] `e` 1.5e3 0xFF -- c\n"
            "/* d */ <= x'00'")]
        self.assertEqual(['word', 'string', 'quoted', 'quoted', 'quoted',
                          'number', 'number', 'mark', 'string'], kinds)

    def test_names(self):
        self.assertEqual(
            ['a"b', 'c d', 'e', "it's"],
            [t.name for t in sqltext.tokens("\"a\"\"b\" [c d] `e` 'it''s'")])
