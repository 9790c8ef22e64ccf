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


"""What runs and records other people's suites."""

import json
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
from unittest import mock

import fixtures
import sqlalchemy as sa
from sqlalchemy.dialects import registry as sa_registry
import testtools

from luc_drivers.db.catalog import catalog
from tests.compliance import __main__ as compliance
from tests.peers import calls
from tests.peers import ldap_stand_in
from tests.peers import results
from tests.peers import slices
from tests.peers import suites

ROOT = pathlib.Path(__file__).resolve().parents[3]

_API = '''
def instance_get(connection):
    def inner():
        return connection.exec_driver_sql('SELECT 1').scalar()
    return inner()

def _private(connection):
    return instance_get(connection)

def never(connection):
    pass
'''
_OBJECT = '''
class Flavor:
    @staticmethod
    @api_db_api.context_manager.writer
    def _create(context):
        pass

    def other(self):
        pass
'''


class CallsTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.packages = pathlib.Path(folder.name)
        for name, text in (('nova/db/main/api.py', _API),
                           ('nova/objects/flavor.py', _OBJECT)):
            path = self.packages / name
            path.parent.mkdir(parents=True)
            path.write_text(text)

    def test_functions(self):
        self.assertEqual(
            {'nova.db.main.api': ['instance_get', 'never'],
             'nova.objects.flavor': ['Flavor._create']},
            calls.functions(self.packages))

    def test_who_sent_a_statement(self):
        seen = calls.Calls()
        engine = sa.create_engine('sqlite://')
        sa.event.listen(engine, 'before_cursor_execute', seen.note)
        names = runpy.run_path(str(self.packages / 'nova/db/main/api.py'))
        with engine.connect() as connection:
            names['never'](connection)
            self.assertEqual(set(), seen.names)
            names['_private'](connection)
        self.assertEqual(
            {'nova.db.main.api:_private', 'nova.db.main.api:instance_get',
             'nova.db.main.api:instance_get.<locals>.inner'}, seen.names)

    def test_table(self):
        tool = runpy.run_path(str(ROOT / 'tools' / 'functions.py'))
        folder = self.packages / 'results'
        (folder / 'calls').mkdir(parents=True)
        (folder / 'functions.json').write_text(json.dumps(
            {'nova.db.main.api': ['instance_get', 'never']}))
        (folder / 'calls' / 'nova-unit-db-cassandra.json').write_text(
            json.dumps(['nova.db.main.api:instance_get.<locals>.inner']))
        listed, seen = tool['recorded'](folder)
        made = tool['table'](
            'nova.db.main.api', listed['nova.db.main.api'], seen)
        self.assertIn('Of 2 functions 0 sent statements to the embedded '
                      'store, 1 to Cassandra.', made)
        self.assertIn('   * - ``instance_get``\n     -\n     - nova-unit-db\n'
                      '   * - ``never``\n     -\n     -\n', made)


class StandInTestCase(testtools.TestCase):

    def test_databases_are_stored_as_in_a_cloud(self):
        sa_registry.register('peers_stand_in', 'tests.peers.stand_in',
                             'StandIn')
        self.useFixture(fixtures.EnvironmentVariable(
            'LUC_PEERS_STORE', 'embedded'))
        for suite in suites.SUITES.values():
            self.useFixture(fixtures.EnvironmentVariable(
                'LUC_PEERS_PROFILE', suite.profile))
            with mock.patch.object(
                    catalog.Catalog, '__init__', autospec=True,
                    side_effect=catalog.Catalog.__init__) as made:
                engine = sa.create_engine('peers_stand_in://')
                engine.connect().close()
            engine.dispose()
            profile = made.call_args.args[2]
            self.assertEqual(suite.profile or 'default', profile.name)
            self.assertEqual(profile.named_constraints,
                             engine.dialect._named_constraints)


class RecordsTestCase(testtools.TestCase):

    def test_same_as_stock(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.patch(results, 'FOLDER', pathlib.Path(folder.name))
        self.assertIsNone(results.same_as_stock('s', (1, 2, 3)))
        results.path('s', 'stock').write_text(json.dumps(
            {'passed': 1, 'failed': 2, 'skipped': 3}))
        self.assertTrue(results.same_as_stock('s', (1, 2, 3)))
        self.assertFalse(results.same_as_stock('s', (2, 1, 3)))

    def test_what_is_worse_than_stock(self):
        stock = {'a': ('passed', ''), 'b': ('passed', ''),
                 'c': ('failed', ''), 'd': ('passed', '')}
        found = {'a': ('passed', ''), 'b': ('skipped', 'why'),
                 'c': ('failed', ''), 'd': ('failed', 'why')}
        self.assertEqual(['b', 'd'], compliance.worse(found, stock))

    def test_every_exclusion_has_its_reason(self):
        reasons = json.loads(
            (ROOT / 'tests/compliance/results/stock.json').read_text())[
                'reasons']
        self.assertEqual([], [
            reason for reason in reasons if 'marked as skip' in reason])


class LdapStandInTestCase(testtools.TestCase):

    def test_names_are_exceptions(self):
        before = dict(sys.modules)
        self.addCleanup(self._restore, before)
        ldap_stand_in.install()
        import ldap
        import ldap.filter
        self.assertTrue(issubclass(ldap.NO_SUCH_OBJECT, Exception))
        self.assertIs(ldap.NO_SUCH_OBJECT, ldap.NO_SUCH_OBJECT)
        self.assertIs(sys.modules['ldap.filter'], ldap.filter)
        # keystone's tests patch a method of this one, and import that.
        self.assertTrue(issubclass(ldap.ldapobject.LDAPObject, Exception))
        import ldap.modlist
        self.assertIs(sys.modules['ldap.modlist'], ldap.modlist)

    def _restore(self, before):
        for name in set(sys.modules) - set(before):
            if name.partition('.')[0] in ('ldap', 'ldappool'):
                del sys.modules[name]


class SlicesTestCase(testtools.TestCase):

    SUITE = '''
import os
import unittest

class Test(unittest.TestCase):
    def test_done(self):
        self.fail('it was run before')
    def test_bad(self):
        self.fail('x')
    def test_dies(self):
        os._exit(1)
    def test_good(self):
        pass
    def test_not(self):
        self.skipTest('x')
'''

    def test_go_on(self):
        """What ended is not run again, whatever became of the rest."""
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        folder = pathlib.Path(made.name)
        (folder / 'suite').mkdir()
        (folder / 'suite' / '__init__.py').touch()
        (folder / 'suite' / 'test_it.py').write_text(self.SUITE)
        slices.Progress(folder).add(
            {'suite.test_it.Test.test_done': 'success'}, 5.0)
        path = f'{sys.prefix}/bin:' + os.environ['PATH']
        self.useFixture(fixtures.EnvironmentVariable('PATH', path))
        self.useFixture(fixtures.MockPatchObject(slices, '_SIZE', 2))
        subprocess.run(['stestr', 'init'], cwd=folder, check=True)
        with mock.patch('builtins.print'):
            found = slices.run(
                ['stestr', '--test-path', str(folder / 'suite'),
                 '--top-dir', str(folder)], ['--serial'], None, folder,
                dict(os.environ))
        self.assertEqual(
            {'done': 'success', 'bad': 'fail', 'dies': 'fail',
             'good': 'success', 'not': 'skip'},
            {name.rpartition('_')[2]: status
             for name, status in found.found.items()})
        self.assertGreater(found.wall, 5.0)
        self.assertEqual(found.found, slices.Progress(folder).found)
