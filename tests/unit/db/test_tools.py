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

"""``luc db``'s tools on the embedded store, and its commands."""

import contextlib
import io
import json
import os
import tempfile
from unittest import mock

import testtools

from luc_drivers.cmd import shell
from luc_drivers.db.store import embedded
from luc_drivers.db.tools import naming
from luc_drivers.db.transaction import fill
from tests.unit.db import tools_contract


class EmbeddedCheckTest(tools_contract.CheckTests, testtools.TestCase):

    def options(self):
        return {'store': 'embedded'}


class EmbeddedTransferTest(tools_contract.TransferTests, testtools.TestCase):

    def url(self, name):
        return f'sqlite+luc:///{name}?store=embedded&path={self.folder}'


class FillTest(EmbeddedTransferTest):
    """The same where rows are written past the commit protocol."""

    def setUp(self):
        patch = mock.patch.object(embedded.EmbeddedStore, 'fills', True)
        patch.start()
        self.addCleanup(patch.stop)
        super().setUp()

    def test_waits_and_what_is_filled(self):
        """Only new rows, without foreign keys, are; and clocks may differ.
        """
        one = self.connect(self.two)
        one.execute('CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v)')
        database, waits = one.database, []
        with mock.patch.object(database.clock, 'sleep', waits.append), \
                mock.patch.object(database.store, 'fill',
                                  wraps=database.store.fill) as filled:
            with fill.filling(database):
                one.execute("INSERT INTO t VALUES (1, 'a')")
            self.assertEqual(([], 0), (waits, filled.call_count))
            one.execute('PRAGMA foreign_keys = OFF')
            with fill.filling(database):
                one.execute("INSERT INTO t VALUES (2, 'b')")
                one.execute("INSERT INTO t VALUES (3, 'c')")
                one.execute("UPDATE t SET v = 'd' WHERE id = 2")
                self.assertEqual([0.2], waits)
            self.assertEqual(([0.2, 0.2], 2), (waits, filled.call_count))
        self.assertEqual([(1, 'a'), (2, 'd'), (3, 'c')],
                         one.execute('SELECT * FROM t').fetchall())


class CommandsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        conf = os.path.join(folder.name, 'luc.conf')
        with open(conf, 'w') as file:
            file.write(f'[DEFAULT]\nstate_path = {folder.name}\n'
                       '[database]\nstore = embedded\n')
        patch = mock.patch.dict(os.environ, LUC_CONFIG=conf)
        patch.start()
        self.addCleanup(patch.stop)
        self.folder = folder.name
        self.luc('sql', 'shop', '--write', '-e',
                 "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT);"
                 "INSERT INTO t (b) VALUES ('x'), ('y')")

    def luc(self, *arguments, fails=False):
        """Run ``luc db …``; return what it wrote."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), \
                contextlib.redirect_stderr(err):
            app = shell.Shell()
            # cliff takes the streams as they are when it is made
            app.stdout, app.stderr = out, err
            status = app.run(['db', *arguments])
        self.assertEqual(fails, bool(status), err.getvalue())
        return err.getvalue() if fails else out.getvalue()

    def test_status(self):
        row, = json.loads(self.luc('status', '-f', 'json'))
        self.assertEqual(('shop', 1), (row['database'], row['tables']))
        self.assertGreater(row['size'], 0)
        self.assertEqual(2, len(json.loads(
            self.luc('status', 'shop', '-f', 'json'))))

    def test_sql(self):
        self.assertEqual(
            [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}],
            json.loads(self.luc('sql', 'shop', '-e', 'SELECT * FROM t',
                                '--format', 'json')))
        self.assertIn('2 rows', self.luc('sql', 'shop', '-e',
                                         'SELECT a AS b, b FROM t'))
        self.assertIn('say --write', self.luc(
            'sql', 'shop', '-e', 'DELETE FROM t', fails=True))
        self.assertIn('say --write', self.luc(
            'sql', 'shop', '-e', 'DROP TABLE t', fails=True))
        self.assertIn('no such table: u', self.luc(
            'sql', 'shop', '-e', 'SELECT * FROM u', fails=True))

    def test_explain(self):
        row, *_ = json.loads(self.luc(
            'explain', 'shop', 'SELECT * FROM t WHERE a = ?', '-f', 'json'))
        self.assertEqual(('t', 'row'), (row['table'], row['path']))

    def test_check_and_repair(self):
        self.assertEqual([], json.loads(self.luc('check', 'shop',
                                                 '-f', 'json')))
        database = naming.database('shop')
        entry_of = tools_contract.CheckTests
        self.database, self.store = database, database.store
        entry = entry_of.entry(self, 't', 'scan')
        database.store.remove_index([entry], database.clock.now())
        row, = json.loads(self.luc_failing('check', 'shop', '-f', 'json'))
        self.assertEqual(('missing index entry', 'wrong answers'),
                         (row['problem'], row['harm']))
        row, = json.loads(self.luc('repair', 'shop', '-f', 'json'))
        self.assertEqual('yes', row['mended'])
        self.luc('check', 'shop')

    entries = tools_contract.CheckTests.entries

    def luc_failing(self, *arguments):
        """Return what a command wrote that ends with 1."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            app = shell.Shell()
            app.stdout = out
            self.assertEqual(1, app.run(['db', *arguments]))
        return out.getvalue()

    def test_dump_and_load(self):
        path = os.path.join(self.folder, 'dump.sql')
        self.luc('dump', 'shop', '--output', path)
        # a dump holds secrets
        self.assertEqual(0o600, os.stat(path).st_mode & 0o777)
        self.assertIn('is there already', self.luc(
            'dump', 'shop', '--output', path, fails=True))
        self.assertIn('2 rows written', self.luc('load', 'copy', path))
        self.assertIn('2 rows', self.luc('sql', 'copy', '-e',
                                         'SELECT * FROM t'))
        self.assertNotIn('CREATE', self.luc('dump', 'shop', '--data-only'))

    def test_copy(self):
        self.luc('sql', 'copy', '--write', '-e',
                 'CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)')
        row, = json.loads(self.luc('copy', 'shop', 'copy', '-f', 'json'))
        self.assertEqual({'table': 't', 'source': 2, 'target': 2}, row)

    def test_not_a_database(self):
        self.assertIn('neither the name', self.luc(
            'check', '://', fails=True))
        self.assertIn('is no sqlite+luc database', self.luc(
            'check', 'sqlite:///x', fails=True))
