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

"""The workloads' checkers find what must not be."""

import pathlib
import tempfile
import unittest

from tests.consistency import history
from tests.consistency.history import FAIL
from tests.consistency.history import OK
from tests.consistency.history import Operation
from tests.consistency.history import UNKNOWN
from tests.consistency.workloads import archive
from tests.consistency.workloads import bank
from tests.consistency.workloads import counters
from tests.consistency.workloads import families
from tests.consistency.workloads import indexes
from tests.consistency.workloads import inserts
from tests.consistency.workloads import moves
from tests.consistency.workloads import numbers
from tests.consistency.workloads import pairs
from tests.consistency.workloads import transactions


def done(name, asked, got=True, outcome=OK, start=0.0, end=1.0, why=''):
    return Operation('c', 'w', name, asked, outcome, got, why, start, end)


class CheckerTest(unittest.TestCase):

    def good(self, workload, operations, final):
        self.assertEqual([], workload.check(operations, final))

    def bad(self, words, workload, operations, final):
        found = workload.check(operations, final)
        self.assertTrue(any(words in line for line in found), found)

    def test_bank(self):
        one = {'id': 't', 'source': 'a1', 'target': 'b1', 'amount': 5}
        entry = ['t', 'a1', 'b1', 5]
        there = dict.fromkeys(bank.NAMES, bank.EACH)
        after = {**there, 'a1': 95, 'b1': 105}
        self.good(bank.Bank(), [done('transfer', one)],
                  {'balances': after, 'ledger': [entry]})
        self.good(bank.Bank(), [done('transfer', one, outcome=UNKNOWN)],
                  {'balances': there, 'ledger': []})
        self.bad('lost', bank.Bank(), [done('transfer', one)],
                 {'balances': there, 'ledger': []})
        self.bad('reported as failed', bank.Bank(),
                 [done('transfer', one, outcome=FAIL)],
                 {'balances': after, 'ledger': [entry]})
        self.bad('not what the ledger says', bank.Bank(),
                 [done('transfer', one)],
                 {'balances': {**after, 'b1': 100}, 'ledger': [entry]})
        self.bad('FOR UPDATE', bank.Bank(),
                 [done('locked', None, {**there, 'a1': 95})],
                 {'balances': there, 'ledger': []})
        self.bad('missed an account', bank.Bank(),
                 [done('read', None, {'a1': 100})],
                 {'balances': there, 'ledger': []})

    def test_counters(self):
        one = counters.Counters()
        win = done('claim', 1, {'seen': 0, 'won': True})
        good = {'counters': [[1, 1], [2, 0]], 'claims': [[1, 0]]}
        self.good(one, [win, done('bump', 1, {'seen': 0, 'won': False})],
                  good)
        self.bad('is at 1 after 2', one, [win, win], good)
        self.bad('two won', one, [win, win],
                 {**good, 'counters': [[1, 2], [2, 0]]})
        self.bad('claim is lost', one, [win], {**good, 'claims': []})
        self.bad('not atomic', one, [],
                 {'counters': [[1, 0], [2, 0]], 'claims': [[1, 0]]})

    def test_pairs(self):
        one = pairs.Pairs()

        def claim(*won, seen=(0, 0)):
            return done('claim', [1, 2], {'seen': seen, 'won': won})

        good = [[[1, 1], [2, 0]], [[1, 0], [2, 1]]]
        win = claim(True, True)
        self.good(one, [win, claim(False, True), claim(True, False)], good)
        self.good(one, [done('claim', [1, 2], outcome=UNKNOWN)], good)
        self.bad('is at 1 after 0', one, [], good)
        self.bad('is at 1 after 0', one, [claim(False, True)], good)
        self.bad('two won', one, [win, win],
                 [[[1, 2], [2, 0]], [[1, 0], [2, 2]]])
        for won in ((False, True), (True, False)):
            self.bad('nobody won', one, [win, claim(*won, seen=(1, 1))],
                     good)

    def test_inserts(self):
        one = inserts.Inserts()
        won = done('keys', {'name': 'n', 'owner': 'a'})
        lost = done('keys', {'name': 'n', 'owner': 'b'}, False)
        final = {'names': [], 'keys': [['n', 'a']]}
        self.good(one, [won, lost], final)
        self.bad('lost', one, [won, done(
            'keys', {'name': 'n', 'owner': 'b'})], final)
        self.bad('nobody inserted', one, [], final)
        self.bad('not inserted', one, [done(
            'keys', {'name': 'n', 'owner': 'a'}, outcome=FAIL)], final)
        self.bad('nobody won', one, [lost], {'names': [], 'keys': []})
        self.bad('twice', one, [won], {
            'names': [], 'keys': [['n', 'a'], ['n', 'a']]})

    def test_moves(self):
        one = moves.Moves()
        all_ = [[i] for i in moves.IDS]
        final = {'things': all_, 'books': all_}
        self.good(one, [done('read', {}, moves.IDS), done('move', {}, 1)],
                  final)
        self.bad('read saw', one, [done('read', {}, moves.IDS[1:])], final)
        self.bad('0 rows', one, [done('shelve', {}, 0)], final)
        self.bad('books at the end', one, [], {**final, 'books': all_[1:]})

    def test_numbers(self):
        one = numbers.Numbers()
        self.good(one, [done('one', {'token': 't'}, [4])], [[4, 't-0']])
        self.bad('was given to', one, [
            done('one', {'token': 't'}, [4]),
            done('one', {'token': 'u'}, [4])], [[4, 't-0']])
        self.bad('a drawn number', one, [done(
            'one', {'token': 't'}, None, FAIL, why='duplicate')], [])
        self.bad('failed, but there', one, [done(
            'one', {'token': 't'}, None, FAIL)], [[4, 't-0']])

    def test_families(self):
        one = families.Families()
        child = done('children', {'id': 'c', 'parent': 'p1'}, start=5.0)
        final = {'parents': [['p1', 'x']], 'children': [['c', 'p1']],
                 'twins': []}
        self.good(one, [child], final)
        self.bad('orphan', one, [child], {**final, 'parents': []})
        self.bad('lost', one, [child], {**final, 'children': []})
        self.good(one, [child, done('no children', {'parent': 'p1'}, [1, 0],
                                    start=5.0, end=6.0)],
                  {**final, 'children': []})
        self.bad('failed, but there', one, [done(
            'children', {'id': 'c', 'parent': 'p1'}, outcome=FAIL)], final)

    def test_indexes(self):
        one = indexes.Indexes()
        insert = done('insert', {'id': 'a', 'color': 'red'})
        final = {'all': {'a': 'red'},
                 'by color': {'red': ['a'], 'green': [], 'blue': []}}
        look = done('look', {'id': 'x', 'color': 'red'}, ['a'], start=2.0)
        self.good(one, [insert, look], final)
        self.bad('the index says', one, [insert], {
            **final, 'by color': {'red': [], 'green': [], 'blue': []}})
        self.bad('missed', one, [insert, done(
            'look', {'id': 'x', 'color': 'red'}, [], start=2.0)], final)
        self.bad('lost', one, [insert], {'all': {}, 'by color': {}})
        self.bad('failed, but there', one, [done(
            'insert', {'id': 'a', 'color': 'red'}, outcome=FAIL)], final)

    def test_archive(self):
        one = archive.Archive()
        insert = done('insert', 't')
        self.good(one, [insert], {'entries': [], 'shadow_entries': [[1, 't']]})
        self.bad('both tables', one, [insert], {
            'entries': [[1, 't']], 'shadow_entries': [[1, 't']]})
        self.bad('in no table', one, [insert], {
            'entries': [], 'shadow_entries': []})


class HistoryTest(unittest.TestCase):

    def test_a_killed_client(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'a.history')
            recorder = history.Recorder(path, 'c1')
            first = recorder.begin('bank', 'read', None)
            recorder.end(first, OK, {'a': 1})
            recorder.begin('bank', 'transfer', {'amount': 1})
            recorder.close()
            # it was killed while it wrote a line
            with open(path, 'a') as file:
                file.write('{"n": 3, "cli')
            one, two = history.read([path])
        self.assertEqual((OK, {'a': 1}), (one.outcome, one.got))
        self.assertLessEqual(one.start, one.end)
        self.assertEqual((UNKNOWN, float('inf')), (two.outcome, two.end))

    def test_as_jepsen_writes_it(self):
        asked = [['append', 'x', 1]]
        self.assertEqual(
            '{"process": 0, "type": "invoke", "value": [["append", "x", 1]]}'
            '\n'
            '{"process": 0, "type": "ok", "value": [["append", "x", 1]]}\n',
            transactions.jepsen([done('transaction', asked, asked)]))
