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

"""`past_bugs_services` on both stores, where the services are installed.

They are by ``pip install -r tests/peers/requirements.txt``.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from luc_drivers import cql
from luc_drivers.db.store import base
from luc_drivers.testing import shared

_ROOT = pathlib.Path(__file__).resolve().parents[3]
_MISSING = [name for name in ('nova', 'placement')
            if importlib.util.find_spec(name) is None]


@unittest.skipIf(_MISSING, f'not installed: {", ".join(_MISSING)}')
class ServicesTest(unittest.TestCase):

    def check(self, url):
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m',
             'tests.functional.db.past_bugs_services', url], cwd=_ROOT,
            text=True, capture_output=True, timeout=900)
        self.assertEqual(0, done.returncode, done.stderr[-4000:])
        found = {}
        for line in done.stdout.splitlines():
            if line.startswith('{"check_'):
                found.update(json.loads(line))
        self.assertEqual(8, len(found), found)
        for name, error in found.items():
            with self.subTest(name):
                self.assertIsNone(error, error)

    def test_embedded(self):
        with tempfile.TemporaryDirectory() as folder:
            self.check('sqlite+luc:///{name}?store=embedded&path=' + folder)

    def test_cassandra(self):
        host, port = shared.endpoint()
        template = f'luctestpb{os.getpid()}_{{locality}}'
        session = cql.session(cql.from_options(base.StoreSettings(
            contact_points=(host,), port=port)))
        for locality in ('global', 'at_site1'):
            self.addCleanup(session.ddl, [
                'DROP KEYSPACE IF EXISTS '
                + template.format(locality=locality)])
        self.check(f'sqlite+luc://{host}:{port}/{{name}}?keyspace_template='
                   + template.replace('{', '{{').replace('}', '}}'))
