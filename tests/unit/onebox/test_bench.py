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

"""What a one-box benchmark writes down."""

import json
import pathlib
import tempfile
import types
import unittest
from unittest import mock

from luc_drivers.onebox import bench
from luc_drivers.onebox import boot
from luc_drivers.onebox import daemons


class BenchTest(unittest.TestCase):

    RESULT = {
        'cloud': 'cassandra', 'one_boot': [3.0, 1.0, 2.0],
        'one_delete': [0.5],
        'parallel': [
            {'count': count, 'active': count - 1, 'boot_wall': 9.0,
             'boot_median': 5.0, 'boot_max': 9.0, 'delete_wall': 4.0,
             'delete_median': 3.0} for count in (20, 100)]}

    def test_table(self):
        one = bench.with_daemons(self.RESULT, [
            daemons.State('glance', 7, 1, 90.0, 80.0, 30.0)], [
            daemons.State('glance', 7, 2, 100.4, 80.0, 42.5),
            daemons.State('gone', None, 0, 0.0, 0.0, 0.0),
            daemons.State('nova', 8, 1, 50.0, 40.0, 1.25)])
        text = bench.table([one, dict(self.RESULT, cloud='baseline',
                                      parallel=self.RESULT['parallel'][:1])])
        self.assertRegex(text, r'boots at once +20 +20')
        self.assertRegex(text, r'boots at once +100 +-')
        self.assertRegex(text, r'of them ACTIVE +99 +-')
        self.assertRegex(text, r'one boot, median s +2\.00 +2\.00')
        self.assertRegex(text, r'MB glance +100/80 +-')
        self.assertRegex(text, r'MB all +150/120 +0/0')
        self.assertRegex(text, r'CPU s glance +12\.5 +-')
        self.assertRegex(text, r'CPU s all +13\.8 +0\.0')
        self.assertNotIn('gone', text)

    def test_kept_as_lines(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'a', 'b.jsonl')
            bench.keep(self.RESULT, path)
            bench.keep(self.RESULT, path)
            self.assertEqual([self.RESULT] * 2, [
                json.loads(line) for line in path.read_text().splitlines()])

    def test_ratios_are_of_the_medians_of_all_rounds(self):
        def result(cloud, one, wall, cpu):
            return {'cloud': cloud, 'one_boot': [one], 'cpu': {'a': cpu},
                    'parallel': [{'count': 20, 'boot_wall': wall}]}

        text = '\n'.join(bench.ratios([
            result('cassandra', 3.0, 40.0, 90.0),
            result('baseline', 2.0, 20.0, 60.0),
            result('cassandra', 1.0, 30.0, 10.0),
            result('baseline', 2.0, 25.0, 50.0),
            result('cassandra', 4.0, 36.0, 88.0),
            result('baseline', 9.0, 24.0, 44.0)]))
        self.assertIn('one boot, s: cassandra 3.00, baseline 2.00, '
                      'ratio 1.50', text)
        self.assertIn('20 boots at once, until the last, s: cassandra '
                      '36.00, baseline 24.00, ratio 1.50', text)
        self.assertIn('CPU of all, s: cassandra 88.00, baseline 50.00, '
                      'ratio 1.76', text)
        self.assertEqual([], bench.ratios([
            result('cassandra', 3.0, 40.0, 90.0)] * 2))


class InTurnTest(unittest.TestCase):
    """Two clouds; what runs and what it takes is played."""

    def setUp(self):
        self.said = []
        self.booted = []
        self.timeouts = set()
        self.cpu = {'cassandra': 100.0, 'baseline': 50.0}
        for target, name, played in (
                (boot, 'boot_many', self.boot_many),
                (boot, 'delete_many', lambda settings, servers, timeout: (
                    [1.0] * len(servers), 1.0)),
                (bench.clouds, 'status', self.status),
                (bench, '_busy_elsewhere', lambda: sum(
                    self.cpu.values()) * 1.5)):
            patch = mock.patch.object(target, name, played)
            patch.start()
            self.addCleanup(patch.stop)
        progress = mock.MagicMock()
        self.chosen = [types.SimpleNamespace(
            settings=types.SimpleNamespace(
                variant=name, long_lived=name == 'cassandra'),
            progress=progress) for name in ('cassandra', 'baseline')]

    def boot_many(self, settings, count, prefix, timeout):
        """Each boot takes 2 s, and the other cloud an eighth of it."""
        self.timeouts.add(timeout)
        self.booted.append((settings.variant, count, prefix))
        for name in self.cpu:
            self.cpu[name] += count * (
                2.0 if name == settings.variant else 0.25)
        return [boot.Boot(f'{prefix}{at}', str(at), 'ACTIVE', 3.0)
                for at in range(count)], 4.0

    def status(self, cloud):
        name = cloud.settings.variant
        return [daemons.State('server', 7, 1, 9.0, 8.0, self.cpu[name])]

    def test_warm_first_and_then_in_turn(self):
        kept = []
        results = bench.in_turn(self.chosen, (5, 3), 2, 2, 1, kept.append,
                                timeout=77.0)
        self.assertEqual({77.0}, self.timeouts)
        warm = [('cassandra', 3, 'warm-3-'), ('baseline', 3, 'warm-3-')]
        self.assertEqual(warm, self.booted[:2])
        one_round = [(name, count, prefix)
                     for name in ('cassandra', 'baseline')
                     for count, prefix in (
                         (1, 'bench-one0-'), (1, 'bench-one1-'),
                         (5, 'bench-5-'), (3, 'bench-3-'))]
        self.assertEqual(one_round * 2, self.booted[2:])
        self.assertEqual(results, kept)
        self.assertEqual(['cassandra', 'baseline'] * 2,
                         [one['cloud'] for one in results])
        self.assertEqual([True, False], [
            one['long_lived'] for one in results[:2]])

    def test_processor_time_is_told_apart(self):
        for result in bench.in_turn(self.chosen, (5, 3), 2, 1, 1,
                                    lambda result: None):
            self.assertEqual({'server': 20.0}, result['cpu'])
            self.assertEqual(2.5, result['others_cpu'])
            self.assertEqual(11.25, result['else_cpu'])
