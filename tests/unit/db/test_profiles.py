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

"""Profiles: they fit the stock schemas, and store together what they say."""

import functools
import gzip
import json
import pathlib

import testtools

from luc_drivers.db import errors
from luc_drivers.db.catalog import catalog
from luc_drivers.db.catalog.schema import Guard
from luc_drivers.db.planner import explain
from luc_drivers.db.profiles import registry
from luc_drivers.db.store.base import StoreSettings
from luc_drivers.db.store.embedded import EmbeddedStore

NAMES = ('nova', 'nova_api', 'glance', 'keystone', 'placement', 'neutron')
SCHEMAS = pathlib.Path(__file__).parent / 'data' / 'schemas.json.gz'


@functools.cache
def stock():
    """Return the DDL that the services' syncs leave, by database."""
    with gzip.open(SCHEMAS, 'rt') as found:
        return json.load(found)


@functools.cache
def schema(database):
    """Return the schema of a database, its profile applied."""
    store = EmbeddedStore(
        database, StoreSettings(kind='embedded', fresh=True))
    made = catalog.Catalog(store, registry.find(database), fresh=True)
    for sql in stock()[database]:
        made.apply_ddl(sql)
    store.close()
    return made.current()


def tables(database):
    """Return the tables of a database, its profile applied."""
    return schema(database).tables


def reads(database, sql):
    """Return what a statement reads: (table, path, by), in order."""
    return [(row.table, row.path, row.by)
            for row in explain.explain(sql, schema(database)) if row.wave]


def declared(database, table):
    """Return the columns of the declared indexes and keys of a table."""
    store = EmbeddedStore(
        database, StoreSettings(kind='embedded', fresh=True))
    made = catalog.Catalog(
        store, registry.find(database, 'default'), fresh=True)
    for sql in stock()[database]:
        made.apply_ddl(sql)
    _, found = made.query('PRAGMA index_list("%s")' % table)
    columns = {
        tuple(r[2] for r in made.query('PRAGMA index_info("%s")' % i[1])[1])
        for i in found}
    store.close()
    return columns


class TestRegistry(testtools.TestCase):
    def test_by_name(self):
        for database, profile in (
                ('nova', 'nova'), ('nova_cell0', 'nova'),
                ('nova_cell1', 'nova'), ('nova_api', 'nova_api'),
                ('glance', 'glance'), ('keystone', 'keystone'),
                ('neutron_ml2', 'neutron'),
                ('placement', 'placement'), ('shop', 'default')):
            self.assertEqual(profile, registry.find(database).name)

    def test_by_parameter(self):
        self.assertEqual('nova', registry.find('shop', 'nova').name)
        self.assertEqual('default', registry.find('nova', 'default').name)
        error = self.assertRaises(
            errors.OperationalError, registry.find, 'nova', 'nowa')
        self.assertIn("no profile 'nowa' (URL parameter \"profile\"); "
                      'installed ones: default, glance,', str(error))


class TestRules(testtools.TestCase):
    """A rule that does not fit would be left out in silence."""

    def rules(self):
        for database in NAMES:
            profile = registry.find(database)
            for name, rule in profile.rules.items():
                self.assertIn(name, tables(database), database)
                yield database, rule, tables(database)[name]

    def test_columns_are_there(self):
        for database, rule, table in self.rules():
            for columns in (rule.by or (), rule.key, *rule.indexes,
                            *rule.without, *rule.buckets):
                for column in columns:
                    self.assertTrue(
                        table.has_column(column),
                        '%s.%s.%s' % (database, table.name, column))

    def test_grouping_and_key_are_used(self):
        for _, rule, table in self.rules():
            if rule.by is not None:
                self.assertEqual(rule.by, table.grouping.columns, table.name)
            if rule.group:
                self.assertEqual(rule.group, table.grouping.name)
            if rule.key:
                self.assertEqual(rule.key, table.key, table.name)

    def test_left_out_indexes_exist(self):
        for database, rule, table in self.rules():
            if rule.without:
                self.assertEqual(
                    set(), set(rule.without) - declared(database, table.name))

    def test_further_indexes_have_entries(self):
        for _, rule, table in self.rules():
            paths = {i.columns for i in table.indexes if i.entries}
            for columns in rule.indexes:
                self.assertIn(columns, paths, table.name)


class TestTables(testtools.TestCase):
    def test_an_instance_is_one_group(self):
        for name in ('instance_extra', 'instance_info_caches',
                     'instance_metadata', 'instance_system_metadata',
                     'instance_faults', 'block_device_mapping',
                     'instance_actions', 'virtual_interfaces', 'migrations',
                     'security_group_instance_association'):
            grouping = tables('nova')[name].grouping
            self.assertEqual(('instance', ('instance_uuid',)),
                             (grouping.name, grouping.columns))
        instances = tables('nova')['instances']
        self.assertEqual(('instance', ('uuid',)), (
            instances.grouping.name, instances.grouping.columns))
        # a boot writes no unique row outside the group
        self.assertEqual({Guard.PARTITION, Guard.SEQUENCE},
                         {i.guard for i in instances.unique_keys})

    def test_heartbeats_are_groups_of_their_own(self):
        for name in ('services', 'compute_nodes'):
            table = tables('nova')[name]
            self.assertEqual((table.number, ('id',)), (
                table.grouping.name, table.grouping.columns))
            # what a heartbeat changes is in no index and no unique key
            touched = {'updated_at', 'report_count', 'last_seen_up', 'stats',
                       'memory_mb_used', 'running_vms', 'free_ram_mb'}
            for index in table.indexes:
                self.assertEqual(set(), touched & {
                    *index.columns, *index.unique_columns})

    def test_saving_an_instance_changes_few_entries(self):
        touched = {'updated_at', 'task_state', 'vm_state', 'power_state',
                   'progress', 'display_name'}
        for index in tables('nova')['instances'].indexes:
            self.assertEqual(set(), touched & set(index.columns))

    def test_reference_tables_are_one_group(self):
        for database, names in (
                ('nova_api', ('flavors', 'flavor_extra_specs',
                              'cell_mappings', 'aggregates')),
                ('placement', ('resource_classes', 'traits')),
                ('keystone', ('role', 'service', 'endpoint', 'region'))):
            for name in names:
                table = tables(database)[name]
                self.assertEqual(((), 'global', None), (
                    table.grouping.columns, table.locality,
                    table.scan_index))
                self.assertFalse(any(i.entries for i in table.indexes))

    def test_everything_else_can_be_scanned(self):
        for database in NAMES:
            for table in tables(database).values():
                if table.grouping.columns:
                    self.assertTrue(table.scan_index.public, table.name)
                    self.assertEqual(4, table.scan_index.buckets)

    def test_no_index_starts_with_few_values(self):
        for database in ('nova', 'nova_api', 'glance', 'placement'):
            for table in tables(database).values():
                for index in table.indexes:
                    if index.entries:
                        self.assertNotEqual(
                            'deleted', (*index.columns, '')[0], table.name)

    def test_few_values_serve_where_nothing_else_does(self):
        """The parts of glance's list of what a project sees: not all images,
        nor all that are active, nor all that may be shared."""
        conditions = ('images.deleted = 0 AND images.status IN '
                      '(?, ?, ?, ?, ?, ?, ?, ?)')
        visible = ('images', 'index', 'visibility_image_idx (visibility)')
        self.assertEqual([visible], reads(
            'glance', f'SELECT * FROM images WHERE {conditions} AND '
            '(images.visibility = ? OR images.visibility = ?)'))
        self.assertEqual(
            [('images', 'index', 'owner_image_idx (owner)')], reads(
                'glance', f'SELECT * FROM images WHERE {conditions} AND '
                'images.owner = ?'))
        self.assertEqual(
            [('image_members', 'index', 'luc_member (member)'),
             ('images', 'row', 'id')], reads(
                'glance', 'SELECT * FROM images JOIN image_members ON '
                'images.id = image_members.image_id WHERE '
                f'{conditions} AND images.visibility = ? AND '
                'image_members.member = ? AND image_members.status = ?'))

    def test_services_of_a_page_of_servers(self):
        """Not those of all hosts, however many there are."""
        self.assertIn(
            ('services', 'index', 'sqlite_autoindex_services_2 '
             '(host, binary)'), reads(
                'nova', 'SELECT * FROM (SELECT host FROM instances WHERE '
                'project_id = ? AND deleted = ? ORDER BY created_at DESC, '
                'uuid DESC LIMIT ?) AS page LEFT JOIN '
                'services ON page.host = services.host AND '
                'services.binary = ?'))

    def test_keystone_is_everywhere(self):
        self.assertEqual({'global'}, {
            t.locality for t in tables('keystone').values()})

    def test_a_claim_is_one_group(self):
        for name in ('inventories', 'allocations', 'resource_provider_traits',
                     'resource_provider_aggregates'):
            grouping = tables('placement')[name].grouping
            self.assertEqual(('provider', ('resource_provider_id',)),
                             (grouping.name, grouping.columns))
        self.assertEqual(
            'provider',
            tables('placement')['resource_providers'].grouping.name)
