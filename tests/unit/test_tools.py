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


"""Tools that the documentation is made with."""

import importlib.util
import json
import pathlib
import sys
from xml.etree import ElementTree

from oslotest import base

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _load(name):
    path = ROOT / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'luc_tools_{name}', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


matrix = _load('matrix')
figures = _load('figures')


class MatrixTest(base.BaseTestCase):

    def tree(self, files):
        root = pathlib.Path(self.create_tempfiles([('x', '')])[0]).parent
        for name, content in files.items():
            path = root / 'tests' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
        return root

    def test_row_per_suite(self):
        run = {'suite': 'nova-db', 'date': '2026-11-29T01:00:00Z',
               'commit': 'abc', 'versions': {'python': '3', 'nova': '34'},
               'skipped': 1}
        root = self.tree({
            'peers/results/a.json': {
                **run, 'backend': 'stock', 'passed': 9, 'failed': 2},
            'peers/results/b.json': {
                **run, 'backend': 'cassandra', 'passed': 8, 'failed': 3},
            'peers/results/functions.json': {'nova.db': ['f']}})
        self.assertEqual(
            ['   * - nova-db', '     - nova 34',
             '     - 9 / 2 / 1 (abc, 2026-11-29)', '     - not recorded',
             '     - 8 / 3 / 1 (abc, 2026-11-29)'],
            matrix.table(matrix.records(root)).splitlines()[-5:])

    def test_tempest(self):
        root = self.tree({'tempest/results/x.json': {
            'name': 'image', 'cloud': 'baseline', 'date': '2026-11-29',
            'environment': {'tempest': '47', 'computes': '2'},
            'tests': {'a': ['passed', 1.0, ''], 'b': ['failed', 1.0, 'x'],
                      'c': ['passed', 2.0, '']}}})
        found, = matrix.records(root)
        self.assertEqual(
            ('tempest image', 'stock', 'tempest 47', 2, 1, 0),
            (found.suite, found.backend, found.tested, found.passed,
             found.failed, found.skipped))

    def test_recorded_results_are_read(self):
        self.assertIn('placement-functional-db',
                      {one.suite for one in matrix.records()})


class FiguresTest(base.BaseTestCase):

    def test_labels_lie_in_their_figure(self):
        for name, draw in figures.FIGURES.items():
            svg = ElementTree.fromstring(draw().svg())
            width = float(svg.get('width'))
            for text in svg.iter('{http://www.w3.org/2000/svg}text'):
                # some 7 pixels a letter at this size
                half = len(text.text) * 7 / 2
                x = float(text.get('x'))
                left, right = ((x, x + 2 * half)
                               if text.get('text-anchor') == 'start'
                               else (x - half, x + half))
                self.assertTrue(-15 < left and right < width + 15,
                                f'{name}: {text.text}')
