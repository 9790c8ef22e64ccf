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

import contextlib
import datetime
import io
import pathlib
import re
import tempfile
from unittest import mock

import subunit
import testtools
from testtools import content

from luc_drivers.onebox import progress
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

    def test_failed_ones_run_again(self):
        first = run(**{'t.A.a': ('passed', 1.0), 't.A.b': ('failed', 1.0, 'x'),
                       't.A.bb': ('failed', 1.0, 'x'),
                       'setUpClass (t.B)': ('failed', 0.0, 'y')})
        regex = re.compile(results.pattern(first.of('failed')))
        self.assertEqual(
            ['t.A.b[id-1]', 't.A.b', 't.B.c[id-2]'],
            [test for test in ('t.A.a[id-0]', 't.A.b[id-1]', 't.A.b',
                               't.A.bc', 't.B.c[id-2]', 't.BB.c', 'x.t.A.b')
             if regex.search(test)])
        later = run(**{'t.A.b': ('passed', 2.0),
                       't.A.bb': ('failed', 1.0, 'z'),
                       't.B.c': ('passed', 3.0)})
        later.date = 'later'
        merged = results.merge(first, later)
        self.assertEqual(
            {'t.A.a': 'passed', 't.A.b': 'passed', 't.A.bb': 'failed',
             't.B.c': 'passed'},
            {test: one.status for test, one in merged.tests.items()})
        self.assertEqual('z', merged.tests['t.A.bb'].reason)
        self.assertEqual(first.date, merged.date)
        self.assertEqual(['t.A.b', 't.A.bb', 't.B.c'], merged.again)

    def test_kept_and_read_again(self):
        one = run(a=('passed', 1.0), b=('failed', 2.0, 'x "y"'))
        one.again = ['b']
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

    def judge(self, keep, found, again):
        """Run the set compute; return (status, regex that was run)."""
        settings = onebox_settings.load(pathlib.Path('/nowhere'), None, None)
        with (mock.patch.object(runs, 'prepare'),
              mock.patch.object(runs, 'run', return_value=found) as ran,
              contextlib.redirect_stdout(io.StringIO())):
            status = runs.judge(
                settings, progress.Progress(io.StringIO()),
                sets.select(['compute'], None), 2, keep, again)
        return status, ran.call_args and ran.call_args.args[2].regex

    def test_again(self):
        with tempfile.TemporaryDirectory() as name:
            keep = pathlib.Path(name)
            path = keep / 'cassandra-compute.json'
            error = self.assertRaises(runs.errors.OneboxError, self.judge,
                                      keep, None, True)
            self.assertIn(f'no results in {path}', str(error))
            whole = run(a=('passed', 1.0), b=('failed', 2.0, 'x'))
            self.assertEqual((1, sets.SETS['compute']),
                             self.judge(keep, whole, False))
            status, regex = self.judge(keep, run(b=('passed', 1.0)), True)
            self.assertEqual((0, results.pattern(['b'])), (status, regex))
            kept = results.load(path)
            self.assertEqual((['a', 'b'], ['b']),
                             (kept.of('passed'), kept.again))
            self.assertEqual((0, None), self.judge(keep, None, True))

    def test_commit(self):
        self.assertRegex(runs.commit(), r'^([0-9a-f]{7,}\+?)?$')

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
