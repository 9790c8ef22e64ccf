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


"""Workers of the benchmarks: commands in, answers and errors out."""

import io
import json
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

from tests.bench import remote


class Subject:
    """What a worker does here."""

    def double(self, number):
        return {'twice': 2 * number}

    def fail(self):
        raise ValueError('no such thing')

    def end(self):
        raise SystemExit(0)


class RemoteTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = pathlib.Path(folder.name, 'log')
        self.worker = remote.Remote(
            'one', 'tests.unit.test_remote', (), {}, self.log)
        self.addCleanup(self.worker.process.stdout.close)
        self.addCleanup(self.worker.close)

    def test_answers(self):
        self.worker.begin('double', number=3)
        self.assertEqual({'twice': 6}, self.worker.result())
        with self.assertRaisesRegex(
                remote.Failed,
                rf'^one: ValueError: no such thing \(see {self.log}\)$'):
            self.worker.run('fail')
        self.assertIn('Traceback', self.log.read_text())
        # and goes on
        self.assertEqual({'twice': 2}, self.worker.run('double', number=1))

    def test_end(self):
        with self.assertRaisesRegex(remote.Failed, r'^one \(pid \d+\) ended'):
            self.worker.run('end')
        self.worker.close()
        self.assertEqual(0, self.worker.process.returncode)


class ObeyTest(unittest.TestCase):

    def test_until_the_lines_end(self):
        lines = iter([json.dumps({'do': 'double', 'number': 2}),
                      json.dumps({'do': 'nothing'}), ''])
        output = io.StringIO()
        with mock.patch('sys.stderr', io.StringIO()):
            remote.obey(Subject(), lambda: next(lines), output)
        first, second = map(json.loads, output.getvalue().splitlines())
        self.assertEqual({'twice': 4}, first)
        self.assertIn('AttributeError', second['error'])


if __name__ == '__main__':
    remote.obey(Subject(), sys.stdin.readline, sys.stdout)
