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

"""The catalog: numbers, log, leases, back-fill."""

import dataclasses

import fixtures
import testtools

from luc_drivers.db import errors
from luc_drivers.db.catalog import catalog
from luc_drivers.db.catalog import layout
from luc_drivers.db.catalog import log
from luc_drivers.db.catalog import reflect
from luc_drivers.db.catalog.schema import Guard
from luc_drivers.db.profiles import base as profiles
from luc_drivers.db.profiles import default
from luc_drivers.db.store.base import StoreSettings
from luc_drivers.db.store.embedded import EmbeddedStore

PARENT = ('CREATE TABLE parent (id INTEGER PRIMARY KEY, '
          'name VARCHAR(20) UNIQUE, deleted INTEGER)')
CHILD = ('CREATE TABLE child (id INTEGER PRIMARY KEY, '
         'parent_id INTEGER REFERENCES parent, a TEXT, b TEXT, UNIQUE (a, b))')


class Store(EmbeddedStore):
    """Counts what the catalog asks of it; can be out of reach."""

    def __init__(self):
        super().__init__(
            'test', StoreSettings(kind='embedded', fresh=True))
        self.prepare(['global', 'at_site1'])
        self.reads = 0
        self.down = False

    def catalog_read(self, after=0):
        if self.down:
            raise errors.StoreUnavailable('down')
        self.reads += 1
        return super().catalog_read(after)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class CatalogCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.store = Store()
        self.addCleanup(self.store.close)
        self.clock = Clock()
        self.slept = []
        self.catalog = self.process()

    def process(self, profile=default.PROFILE, fresh=False):
        return catalog.Catalog(self.store, profile, fresh, self.clock,
                               self.slept.append)

    def table(self, name):
        return self.catalog.current().tables[name]

    def ddl(self, *statements):
        for sql in statements:
            self.catalog.apply_ddl(sql)

    def paths(self, name):
        return {i.columns for i in self.table(name).indexes if i.entries}


class TestNumbers(CatalogCase):
    def test_columns_keep_their_numbers(self):
        self.ddl(PARENT)
        numbers = {c.name: c.number for c in self.table('parent').columns}
        own = self.table('parent').number
        self.ddl('ALTER TABLE parent RENAME COLUMN name TO title',
                 'ALTER TABLE parent RENAME TO "Older"',
                 'ALTER TABLE older DROP COLUMN deleted',
                 'ALTER TABLE older ADD COLUMN deleted TEXT')
        table = self.table('older')
        self.assertEqual('Older', table.name)
        self.assertEqual(own, table.number)
        self.assertEqual(numbers['name'], table.column('title').number)
        # a new column never gets the number of one that is gone
        self.assertNotIn(table.column('deleted').number, numbers.values())

    def test_dropped_tables_numbers_are_not_used_again(self):
        self.ddl(PARENT)
        old = self.table('parent')
        self.ddl('DROP TABLE parent', PARENT)
        new = self.table('parent')
        used = {old.number, *(i.number for i in old.indexes)}
        self.assertEqual(set(), used & {
            new.number, *(i.number for i in new.indexes)})

    def test_indexes_keep_their_numbers(self):
        self.ddl(PARENT, CHILD)
        before = {i.columns: i.number for i in self.table('child').indexes}
        self.ddl('CREATE INDEX more ON child (b)',
                 'ALTER TABLE child RENAME COLUMN a TO z')
        after = {i.columns: i.number for i in self.table('child').indexes}
        self.assertEqual(before['a', 'b'], after['z', 'b'])
        self.assertEqual(before[()], after[()])
        self.assertNotIn(after['b',], before.values())

    def test_references_follow_renames(self):
        self.ddl(PARENT, CHILD, 'ALTER TABLE parent RENAME TO p2',
                 'ALTER TABLE p2 RENAME COLUMN id TO ident')
        foreign = self.table('child').foreign_keys[0]
        self.assertEqual(('p2', ('ident',)),
                         (foreign.parent, foreign.parent_columns))
        self.assertEqual((('child', foreign),),
                         self.table('p2').referenced_by)

    def test_child_before_parent(self):
        self.ddl(CHILD)
        self.assertEqual(
            (), self.table('child').foreign_keys[0].parent_columns)
        self.ddl(PARENT)
        self.assertEqual(
            ('id',), self.table('child').foreign_keys[0].parent_columns)
        self.assertEqual('child', self.table('parent').referenced_by[0][0])
        self.ddl('DROP TABLE child')
        self.assertEqual((), self.table('parent').referenced_by)


class TestLayout(CatalogCase):
    def test_default(self):
        self.ddl(PARENT, CHILD)
        child = self.table('child')
        self.assertEqual(('id',), child.key)
        self.assertEqual(('id',), child.grouping.columns)
        self.assertEqual(child.number, child.grouping.name)
        guards = {i.unique_columns: i.guard for i in child.unique_keys}
        self.assertEqual({('id',): Guard.PARTITION, ('a', 'b'): Guard.OWN},
                         guards)
        self.assertEqual({('a', 'b'), ('parent_id',), ()},
                         self.paths('child'))
        self.assertEqual('id', child.rowid_column)

    def test_no_key_at_all(self):
        self.ddl('CREATE TABLE bare (a, b)')
        table = self.table('bare')
        self.assertEqual(((), ()), (table.key, table.grouping.columns))
        self.assertIsNone(table.scan_index)

    def test_member_of_a_group(self):
        self.catalog = self.process(profiles.Profile('p', {
            'child': profiles.member('family', 'parent_id')}))
        self.ddl(PARENT, CHILD)
        child = self.table('child')
        self.assertEqual(('family', ('parent_id',)),
                         (child.grouping.name, child.grouping.columns))
        guards = {i.unique_columns: i.guard for i in child.unique_keys}
        self.assertEqual(Guard.SEQUENCE, guards['id',])
        # the group gives access by parent_id; entries would be for nothing
        self.assertEqual({('id',), ('a', 'b'), ()}, self.paths('child'))

    def test_one_group(self):
        self.catalog = self.process(profiles.Profile('p', {
            'parent': profiles.reference('small')}))
        self.ddl(PARENT)
        parent = self.table('parent')
        self.assertEqual(('small', (), 'global'), (
            parent.grouping.name, parent.grouping.columns, parent.locality))
        self.assertEqual(set(), self.paths('parent'))
        self.assertEqual(
            {Guard.PARTITION, Guard.GROUP},
            {i.guard for i in parent.unique_keys})

    def test_other_storage_key(self):
        self.catalog = self.process(profiles.Profile('p', {
            'parent': profiles.member('g', 'name', key=('name',))}))
        self.ddl(PARENT)
        guards = {i.unique_columns: i.guard
                  for i in self.table('parent').unique_keys}
        self.assertEqual({('id',): Guard.SEQUENCE,
                          ('name',): Guard.PARTITION}, guards)

    def test_storage_key_must_be_unique(self):
        # a rule by a column that this release does not keep unique
        self.catalog = self.process(profiles.Profile('p', {
            'parent': profiles.Rule(key=('deleted',))}))
        self.ddl(PARENT)
        self.assertEqual(('id',), self.table('parent').key)

    def scans(self, name):
        """Return the orders of a table's scan indexes, the scan first."""
        table = self.table(name)
        found = [i for i in table.indexes if not i.columns]
        self.assertIs(found[0], table.scan_index)
        return [i.order for i in found]

    def test_scans_are_in_order(self):
        self.catalog = self.process(profiles.Profile('p', {
            't': profiles.Rule(orders=(('B', 'id'), ('missing',)))}))
        self.ddl('CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)',
                 'CREATE TABLE u (a TEXT, b INT, PRIMARY KEY (a, b))',
                 'CREATE TABLE folded (a TEXT COLLATE NOCASE PRIMARY KEY)',
                 'CREATE TABLE bare (a INT UNIQUE)')
        self.assertEqual([('id',), ('b', 'id')], self.scans('t'))
        self.assertEqual([('a', 'b')], self.scans('u'))
        self.assertEqual([()], self.scans('folded'))
        self.assertEqual([()], self.scans('bare'))
        # another process reads the same from the log
        other = self.process(profiles.Profile('p')).current()
        self.assertEqual(self.table('t').indexes, other.table('t').indexes)

    def test_columns_of_the_scan_stay(self):
        self.catalog = self.process(profiles.Profile('p', {
            't': profiles.Rule(by=('u',), key=('u',), orders=(('b',),))}))
        self.ddl('CREATE TABLE t (id INT, u TEXT NOT NULL UNIQUE, a, b, '
                 'CONSTRAINT k PRIMARY KEY (id))')
        table = self.table('t')
        self.assertEqual((('u',), [('id',), ('b',)]),
                         (table.key, self.scans('t')))
        # that of a further order goes with its column
        self.ddl('ALTER TABLE t DROP COLUMN b')
        self.assertEqual([('id',)], self.scans('t'))

    def test_layouts_from_before_there_was_an_order(self):
        before = layout.Layout(
            1, ((1, 'id', None), (2, 'a', None)), 3, 1, (1,), (1,),
            'at_site1', (layout.IndexLayout(2, 'scan', (), buckets=4),))
        packed = before.pack()
        self.assertEqual(9, len(packed[-1][0]))
        self.assertEqual(before, layout.Layout.unpack(packed))
        ordered = dataclasses.replace(before, indexes=(
            dataclasses.replace(before.indexes[0], order=(1,)),))
        self.assertEqual(ordered, layout.Layout.unpack(ordered.pack()))
        # rows have entries in the scan: it stays as it is
        numbers = iter(range(10, 20))
        twin = reflect.Twin()
        twin.run('CREATE TABLE t (id INTEGER PRIMARY KEY, a)')
        twin.run('CREATE INDEX ia ON t (a)')
        after = layout.update(before, twin.table('t'),
                              profiles.Profile('p'), numbers.__next__)
        self.assertEqual([()], [i.order for i in after.indexes
                                if not i.columns])

    def test_leading_columns_with_few_values(self):
        self.catalog = self.process(profiles.Profile('p'))
        self.ddl('CREATE TABLE t (id INTEGER PRIMARY KEY, deleted, a, b)',
                 'CREATE INDEX i1 ON t (deleted, a)',
                 'CREATE UNIQUE INDEX i2 ON t (deleted, b)',
                 'CREATE INDEX i3 ON t (deleted)')
        self.assertEqual({('a',), ('b',), ()}, self.paths('t'))
        self.assertIn(('deleted', 'b'), {
            i.unique_columns for i in self.table('t').unique_keys})

    def test_shorter_index_is_served_by_longer_one(self):
        self.ddl(PARENT, 'CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)',
                 'CREATE INDEX long ON t (a, b)')
        number = {i.columns: i.number for i in self.table('t').indexes}
        self.ddl('CREATE INDEX short ON t (a)')
        self.assertEqual({('a', 'b'), ()}, self.paths('t'))
        self.ddl('DROP INDEX long')
        self.assertEqual({('a',), ()}, self.paths('t'))
        self.assertNotIn(
            {i.columns: i.number for i in self.table('t').indexes}['a',],
            number.values())

    def test_layout_outlives_the_profile(self):
        self.catalog = self.process(profiles.Profile('p', {
            'child': profiles.member('family', 'parent_id')}))
        self.ddl(PARENT, CHILD)
        before = self.table('child')
        later = self.process()
        self.assertEqual(before, later.current().tables['child'])


class TestLog(CatalogCase):
    def test_other_process_sees_it(self):
        other = self.process()
        other.current()
        self.ddl(PARENT)
        self.assertNotIn('parent', other.current().tables)
        self.clock.now += catalog.REFRESH
        self.assertEqual(self.catalog.current(), other.current())

    def test_reads_at_most_every_five_seconds(self):
        self.ddl(PARENT)
        self.store.reads = 0
        for _ in range(10):
            self.catalog.current()
            self.catalog.query('PRAGMA table_info(parent)')
        self.assertEqual(0, self.store.reads)
        self.clock.now += catalog.REFRESH
        self.catalog.current()
        self.assertEqual(1, self.store.reads)

    def test_writes_are_refused_with_an_old_catalog(self):
        self.ddl(PARENT)
        self.store.down = True
        self.clock.now += catalog.REFRESH
        self.assertIn('parent', self.catalog.current(write=True).tables)
        self.clock.now += catalog.STALE
        self.assertIn('parent', self.catalog.current().tables)
        self.assertRaises(errors.StoreUnavailable,
                          self.catalog.current, write=True)

    def test_store_out_of_reach_at_first(self):
        self.store.down = True
        self.assertRaises(errors.StoreUnavailable, self.catalog.current)

    def test_lost_race(self):
        other = self.process()
        other.current()
        self.ddl(PARENT)
        other.apply_ddl(CHILD)
        self.catalog.refresh()
        self.assertEqual({'parent', 'child'},
                         set(self.catalog.current().tables))
        self.assertEqual(other.current(), self.catalog.current())
        numbers = [n for t in other.current().tables.values()
                   for n in (t.number, *(i.number for i in t.indexes))]
        self.assertEqual(len(numbers), len(set(numbers)))

    def test_lost_race_for_the_same_table(self):
        other = self.process()
        other.current()
        self.ddl(PARENT)
        error = self.assertRaises(
            errors.OperationalError, other.apply_ddl, PARENT)
        self.assertEqual('table parent already exists', str(error))

    def test_table_that_another_process_has_made(self):
        other = self.process()
        other.current()
        self.ddl(PARENT)
        other.apply_ddl('CREATE INDEX i ON parent (deleted)')
        self.assertIn('deleted', str(other.current().statements))

    def test_snapshots(self):
        self.useFixture(fixtures.MockPatchObject(log, 'SNAPSHOT_EVERY', 5))
        other = self.process()
        other.current()
        for n in range(13):
            self.ddl('CREATE TABLE t%d (id INTEGER PRIMARY KEY, a UNIQUE)' % n)
        entries = self.store.catalog_read()
        self.assertEqual(15, len(entries))
        self.assertEqual(4, len(log.since_snapshot(entries)))
        late = self.process()
        self.assertEqual(self.catalog.current(), late.current())
        self.assertEqual(self.catalog.current(), other.refresh())
        late.apply_ddl('DROP TABLE t3')
        self.assertEqual(late.current(), self.catalog.refresh())

    def test_views_in_snapshots(self):
        self.useFixture(fixtures.MockPatchObject(log, 'SNAPSHOT_EVERY', 3))
        other = self.process()
        other.current()
        self.ddl('CREATE VIEW v (x) AS SELECT name FROM parent', PARENT,
                 'CREATE VIEW w AS SELECT x FROM v',
                 'ALTER TABLE parent RENAME TO elder')
        self.assertTrue(log.since_snapshot(
            self.store.catalog_read())[0][1].snapshot)
        late = self.process()
        self.assertEqual(self.catalog.current(), late.current())
        self.assertEqual(self.catalog.current(), other.refresh())
        self.assertEqual(['v', 'w'], list(late.current().views))
        view = late.current().views['v']
        self.assertEqual(('(x)', 'SELECT name FROM "elder"'),
                         (view.columns, view.query))
        late.apply_ddl('DROP VIEW v')
        self.assertEqual(['w'], list(self.catalog.refresh().views))

    def test_newer_format_is_refused(self):
        self.useFixture(fixtures.MockPatchObject(log, 'FORMAT', 2))
        self.ddl(PARENT)
        self.useFixture(fixtures.MockPatchObject(log, 'FORMAT', 1))
        error = self.assertRaises(
            errors.InternalError, self.process().current)
        self.assertIn('upgrade this host', str(error))

    def test_leases(self):
        self.catalog.current()
        self.assertEqual({self.catalog.holder}, self.store.leases())
        self.catalog.close()
        self.assertEqual(set(), self.store.leases())
        fresh = self.process(fresh=True)
        fresh.current()
        self.assertEqual(set(), self.store.leases())


class TestStatements(CatalogCase):
    def refused(self, error, message, sql):
        self.assertIn(message, str(self.assertRaises(
            error, self.catalog.apply_ddl, sql)))

    def test_no_effect(self):
        self.ddl(PARENT)
        version = self.catalog.current().version
        self.ddl('CREATE TABLE IF NOT EXISTS parent (x)',
                 'DROP TABLE IF EXISTS nobody', 'DROP INDEX IF EXISTS i',
                 'ANALYZE')
        self.assertEqual(version, self.catalog.current().version)

    def test_refused(self):
        self.ddl(PARENT)
        for sql in ('CREATE TABLE x AS SELECT * FROM parent',
                    'CREATE TEMP TABLE x (a)',
                    'CREATE TRIGGER x AFTER DELETE ON parent BEGIN SELECT 1;'
                    ' END',
                    'CREATE VIRTUAL TABLE x USING fts5(a)',
                    'CREATE UNIQUE INDEX x ON parent (name) WHERE deleted'):
            self.refused(errors.NotSupportedError,
                         'not supported by sqlite+luc databases', sql)
        self.assertEqual(['parent'], list(self.catalog.current().tables))

    def test_errors_are_worded_as_sqlite_does(self):
        self.ddl(PARENT)
        for message, sql in (
                ('table parent already exists', PARENT),
                ('no such table: nobody', 'DROP TABLE nobody'),
                ('no such table: nobody',
                 'ALTER TABLE nobody ADD COLUMN x INTEGER'),
                ('no such index: i', 'DROP INDEX i'),
                ('no such table: main.nobody', 'CREATE INDEX i ON nobody (a)'),
                ('duplicate column name: name',
                 'ALTER TABLE parent ADD COLUMN name TEXT'),
                ('near "TABEL": syntax error', 'CREATE TABEL x (a)'),
                ('incomplete input', 'CREATE TABLE x (a'),
                ('incomplete input', 'ALTER TABLE parent ADD')):
            self.refused(errors.OperationalError, message, sql)

    def test_query(self):
        self.ddl(PARENT)
        description, rows = self.catalog.query('PRAGMA table_info("parent")')
        self.assertEqual(['cid', 'name', 'type', 'notnull', 'dflt_value',
                          'pk'], [d[0] for d in description])
        self.assertEqual((1, 'name', 'VARCHAR(20)', 0, None, 0), rows[1])
        self.assertEqual([(PARENT,)], self.catalog.query(
            'SELECT sql FROM sqlite_master WHERE name = ?', ('parent',))[1])
        for sql in ('PRAGMA synchronous = OFF', 'ANALYZE',
                    '/* why */ PRAGMA main.journal_mode=WAL'):
            self.assertEqual(((), []), self.catalog.query(sql))
        # an empty answer has columns, too
        description, rows = self.catalog.query('PRAGMA table_info("nobody")')
        self.assertEqual((6, []), (len(description), rows))

    def test_initial_values(self):
        self.ddl(PARENT,
                 "ALTER TABLE parent ADD COLUMN n INTEGER DEFAULT '7'",
                 "ALTER TABLE parent ADD COLUMN s VARCHAR(3) DEFAULT 'x'")
        table = self.table('parent')
        self.assertEqual((7, 'x', None), tuple(
            table.column(c).initial for c in ('n', 's', 'name')))
        self.assertEqual(table, self.process().current().tables['parent'])

