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


"""A service whose database no profile knows, where cinder is installed."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import sqlalchemy as sa

from luc_drivers.db.profiles import registry
from luc_drivers.testing import shared

_PROGRAM = pathlib.Path(sys.executable).parent / 'cinder-manage'
#: unique names keep runs on one Cassandra apart
_NAME = f'cinder_{os.getpid()}'


@unittest.skipUnless(importlib.util.find_spec('cinder') and _PROGRAM.exists(),
                     'cinder is not installed')
class DerivedDefaultTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write_host_file(self, text):
        path = self.folder / 'luc.conf'
        path.write_text(f'[DEFAULT]\nstate_path = {self.folder}\n{text}')
        before = os.environ.get('LUC_CONFIG')
        os.environ['LUC_CONFIG'] = str(path)
        self.addCleanup(os.environ.pop if before is None
                        else os.environ.__setitem__, 'LUC_CONFIG', before)

    def manage(self, url, *words):
        """Run cinder-manage; return what it says."""
        path = self.folder / 'cinder.conf'
        path.write_text(
            f'[DEFAULT]\nstate_path = {self.folder}\n'
            f'transport_url = fake:/\n[database]\nconnection = {url}\n')
        done = subprocess.run(
            [_PROGRAM, '--config-file', path, *words], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        self.assertEqual(0, done.returncode, done.stdout)
        return done.stdout

    def schema(self, url):
        """Return {name: sorted lines} of a database's tables and indexes.

        alembic, copying a table, sorts unnamed constraints by chance.
        """
        engine = sa.create_engine(url)
        self.addCleanup(engine.dispose)
        with engine.connect() as connection:
            found = connection.exec_driver_sql(
                'SELECT name, sql FROM sqlite_master '
                "WHERE name NOT LIKE 'sqlite%'").fetchall()
        return {name: sorted(line.strip().rstrip(', ')
                             for line in sql.splitlines())
                for name, sql in found}

    def check(self, store):
        ours = f'sqlite+luc:///{_NAME}?store={store}'
        self.assertEqual('default', registry.find(_NAME).name)
        self.assertIn('Running upgrade', self.manage(ours, 'db', 'sync'))
        # nothing left to do
        self.assertNotIn('Running upgrade', self.manage(ours, 'db', 'sync'))
        stock = f'sqlite:///{self.folder}/stock.sqlite'
        self.manage(stock, 'db', 'sync')
        expected = self.schema(stock)
        self.assertGreater(len(expected), 50)
        self.assertEqual(expected, self.schema(ours))
        # reads and writes
        self.manage(ours, 'db', 'online_data_migrations')
        said = self.manage(ours, 'db', 'version')
        self.assertEqual(said.split()[-1],
                         self.manage(stock, 'db', 'version').split()[-1])

    def test_embedded(self):
        self.write_host_file('')
        self.check('embedded')

    def test_cassandra(self):
        server = shared.endpoint()
        self.write_host_file(f'[cassandra]\ncontact_points = {server.host}\n'
                             f'port = {server.port}\n')
        self.check('cassandra')
