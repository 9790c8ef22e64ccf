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

"""Tempest's results, without Tempest: read, kept, compared, published."""

import datetime
import io
import pathlib
import re
import tempfile

import subunit
import testtools
from testtools import content

from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.tempest import results
from luc_drivers.onebox.tempest import runs
from luc_drivers.onebox.tempest import sets
from tests.tempest import __main__ as pages

_TRACE = """Traceback (most recent call last):
  File "/x/tempest/api/y.py", line 3, in test_bad
    self.assertEqual(1, 2)
    ^^^^^^^^^^^^^^^^^^^^^^
testtools.matchers._impl.MismatchError: 1 != 2
"""


def stream():
    """Return a subunit stream: passed, failed, skipped class, unfinished."""
    out = io.BytesIO()
    target = subunit.StreamResultToBytes(out)
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

    def test(name, status, details=None):
        target.status(name, 'inprogress', timestamp=start)
        for key, part in (details or {}).items():
            target.status(name, file_name=key, eof=True, timestamp=start,
                          mime_type='text/plain;charset=utf8',
                          file_bytes=b''.join(part.iter_bytes()))
        if status:
            target.status(name, status, timestamp=start
                          + datetime.timedelta(seconds=1.5))

    target.startTestRun()
    test('tempest.api.A.test_good[id-1,smoke]', 'success')
    test('tempest.api.A.test_bad[id-2]', 'fail',
         {'traceback': content.text_content(_TRACE)})
    test('setUpClass (tempest.api.B)', 'skip',
         {'reason': content.text_content('cinder is required')})
    test('tempest.api.A.test_hangs[id-3]', None)
    target.stopTestRun()
    return out.getvalue()


def run(**outcomes):
    return results.Run('compute', 'embedded', '2026-01-01 00:00', 9.5,
                       {'nova': '34.0.0'}, {
                           test: results.Outcome(*outcome)
                           for test, outcome in outcomes.items()})


class ParseTest(testtools.TestCase):

    def test_outcomes(self):
        found = results.parse(stream())
        self.assertEqual(
            {'tempest.api.A.test_good': results.Outcome('passed', 1.5),
             'tempest.api.A.test_bad': results.Outcome(
                 'failed', 1.5,
                 'testtools.matchers._impl.MismatchError: 1 != 2'),
             'setUpClass (tempest.api.B)': results.Outcome(
                 'skipped', 1.5, 'cinder is required'),
             'tempest.api.A.test_hangs': results.Outcome(
                 'failed', 0.0, 'did not end')}, found)


class CompareTest(testtools.TestCase):

    def test_only_what_the_baseline_passes_is_unexpected(self):
        one = run(a=('passed', 1.0), b=('failed', 1.0, 'x'),
                  c=('failed', 1.0, 'boom'), d=('skipped', 0.0, 'no'))
        expected = {'b': 'known', 'a': 'once', 'not run': 'z'}
        self.assertEqual(['c'], results.unexpected(one, expected))
        text = '\n'.join(results.report(one, expected))
        self.assertIn('FAILED b\n       expected: known', text)
        self.assertIn('FAILED c\n       boom', text)
        self.assertIn('PASSED a\n       although', text)
        self.assertIn('compute on embedded: 1 passed, 2 failed '
                      '(1 on the baseline, too), 1 skipped', text)

    def test_kept_and_read_again(self):
        one = run(a=('passed', 1.0), b=('failed', 2.0, 'x "y"'))
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name, 'results', 'one.json')
            results.save(one, path)
            self.assertEqual(one, results.load(path))


class SetsTest(testtools.TestCase):

    def test_each_line_has_a_reason(self):
        for pattern in sets.excluded():
            re.compile(pattern)
        for test in sets.expected():
            self.assertRegex(
                test, r'^(tempest\.[\w.]+|(setUp|tearDown)Class '
                r'\(tempest\.[\w.]+\))$')
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name, 'list.txt')
            path.write_text('# comment\n\na.b # because\n')
            self.assertEqual({'a.b': 'because'}, sets.read(path))
            path.write_text('a.b\n')
            error = self.assertRaises(ValueError, sets.read, path)
            self.assertIn('list.txt:1: no reason: a.b', str(error))

    def test_sets_are_apart(self):
        for name in ('identity.v3.test_x', 'image.v2.a', 'network.b',
                     'compute.servers.c'):
            test = f'tempest.api.{name}'
            self.assertEqual([name.partition('.')[0]], [
                key for key, regex in sets.SETS.items()
                if re.search(regex, test)])


    def test_selection(self):
        whole = sets.select(None, None)
        self.assertEqual(list(sets.SETS), [one.name for one in whole])
        self.assertEqual(('api/image', sets.SETS['image']),
                         (whole[1].folder, whole[1].regex))
        self.assertEqual([sets.Selection('x', 'x', 'test_discover')],
                         sets.select(None, 'x'))
        self.assertEqual([sets.Selection('compute: x', 'x', 'api/compute')],
                         sets.select(['compute'], 'x'))


class RunTest(testtools.TestCase):

    def test_without_tempest(self):
        if runs.util.find_spec('tempest') is not None:
            self.skipTest('Tempest is installed')
        settings = onebox_settings.load(pathlib.Path('/nowhere'), None, None)
        error = self.assertRaises(runs.errors.OneboxError, runs.prepare,
                                  settings)
        self.assertIn('onebox.sh tempest', str(error))


class PageTest(testtools.TestCase):

    def test_differences(self):
        stock = run(a=('passed', 1.0), b=('passed', 1.0),
                    c=('skipped', 0.0, 'x'))
        stock.cloud = 'baseline'
        ours = run(a=('passed', 1.0), b=('failed', 1.0, 'boom'))
        self.assertEqual(
            [('compute', 'embedded, ZeroMQ', '``b``', 'passed', 'failed'),
             ('compute', 'embedded, ZeroMQ', '``c``', 'skipped', 'not run')],
            list(pages.differences([stock, ours])))
        text = pages.page([stock, ours])
        self.assertIn('boom', text)
        self.assertIn('     - 1\n     - 1\n     - 0\n', text)

    def test_the_published_page_is_of_the_kept_results(self):
        self.assertEqual(pages.page(pages.load()), pages.PAGE.read_text())
