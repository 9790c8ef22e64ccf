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

"""What database calls cost is read from logs."""

import pathlib
import tempfile

import testtools

from luc_drivers.onebox import bench
from luc_drivers.onebox import rounds

_PREFIX = ('2026-11-29 01:24:57.386 20677 DEBUG '
           f'{rounds.LOGGER} [req-1 - -] ')


class RoundsTest(testtools.TestCase):

    def test_shapes(self):
        for sql, expected in (
                ('SELECT a.x FROM agents AS a WHERE a.host = ? AND a.id IN '
                 '(?, ?) LIMIT ?', 'SELECT agents BY host, id'),
                ('SELECT anon.x FROM (SELECT i.x FROM instances AS i WHERE '
                 'i.deleted = 0) AS anon', 'SELECT instances BY deleted'),
                ('INSERT INTO "ports" (id) VALUES (?)', 'INSERT ports'),
                ('UPDATE services SET report_count=? WHERE services.id = ?',
                 'UPDATE services BY id'),
                ('DELETE FROM tags WHERE tags.tag IS NULL',
                 'DELETE tags BY tag'),
                ('SELECT count(*) FROM tags', 'SELECT tags'),
                ('COMMIT', 'COMMIT'), ('', '')):
            self.assertEqual(expected, rounds.shape(sql), sql)

    def test_read(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'nova-api.log')
            path.write_text(
                f'{_PREFIX}9 rounds, 9 requests: COMMIT\n')
            start = path.stat().st_size
            with open(path, 'a') as file:
                file.write(
                    f'{_PREFIX}1 rounds, 2 requests: SELECT x FROM t\n'
                    'another line: 5 rounds, 5 requests: SELECT\n'
                    f'{_PREFIX}3 rounds, 4 requests: SELECT x FROM t\n'
                    f'{_PREFIX}2 rounds, 2 requests: COMMIT\n')
            found = rounds.read([path], {path: start})
        self.assertEqual(
            [rounds.Call('nova-api: SELECT t', 2, 4, 6, 3),
             rounds.Call('nova-api: COMMIT', 1, 2, 2, 2)], found)
        lines = bench.calls_table(found, 1).splitlines()
        self.assertEqual(['2', '4', '2.0', '3', 'nova-api:', 'SELECT', 't'],
                         lines[1].split())
        self.assertEqual(['3', '6', '2.0', '3', 'all'], lines[2].split())
        self.assertEqual(3, len(lines))
