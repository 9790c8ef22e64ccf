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

"""The checkers find what must not be, in histories made by hand."""

import unittest

from tests.consistency import dependencies
from tests.consistency.history import FAIL
from tests.consistency.history import OK
from tests.consistency.history import Operation
from tests.consistency.history import UNKNOWN


def done(asked, got=None, start=0.0, end=100.0, outcome=OK):
    """Return one transaction; all overlap unless times are given."""
    return Operation('c', 'w', 'transaction', asked, outcome,
                     got if got is not None else asked, '', start, end)


class AppendsTest(unittest.TestCase):

    def check(self, final, *operations):
        return dependencies.check_appends(operations, final)

    def finds(self, words, final, *operations):
        found = self.check(final, *operations)
        self.assertTrue(any(words in line for line in found), found)

    def test_a_good_history(self):
        self.assertEqual([], self.check(
            {'x': [1, 2], 'y': [3]},
            done([['r', 'x', []], ['append', 'x', 1], ['r', 'x', [1]]],
                 end=1.0),
            done([['append', 'x', 2], ['append', 'y', 3]], start=2.0,
                 end=3.0),
            done([['r', 'x', [1, 2]], ['r', 'y', [3]]], start=4.0),
            done([['append', 'y', 9]], outcome=FAIL)))

    def test_write_skew_is_allowed(self):
        self.assertEqual([], self.check(
            {'x': [1], 'y': [2]},
            done([['r', 'x', []], ['append', 'y', 2]]),
            done([['r', 'y', []], ['append', 'x', 1]])))

    def test_unknown_outcomes_may_be_there_or_not(self):
        one = done([['append', 'x', 1]], outcome=UNKNOWN)
        self.assertEqual([], self.check({'x': [1]}, one))
        self.assertEqual([], self.check({}, one))

    def test_lost(self):
        self.finds('acknowledged, but lost', {'x': []},
                   done([['append', 'x', 1]]))

    def test_aborted(self):
        self.finds('G1a', {'x': [1]},
                   done([['append', 'x', 1]], outcome=FAIL))

    def test_half(self):
        self.finds('half of a transaction', {'x': [1], 'y': []},
                   done([['append', 'x', 1], ['append', 'y', 2]],
                        outcome=UNKNOWN))

    def test_twice(self):
        self.finds('twice', {'x': [1, 1]}, done([['append', 'x', 1]]))

    def test_intermediate(self):
        self.finds('G1b', {'x': [1, 2]},
                   done([['append', 'x', 1], ['append', 'x', 2]]),
                   done([['r', 'x', [1]]]))

    def test_circular_information_flow(self):
        self.finds('G1c', {'x': [1], 'y': [2]},
                   done([['append', 'x', 1], ['r', 'y', [2]]]),
                   done([['append', 'y', 2], ['r', 'x', [1]]]))

    def test_dirty_writes(self):
        self.finds('G0', {'x': [1, 2], 'y': [4, 3]},
                   done([['append', 'x', 1], ['append', 'y', 3]]),
                   done([['append', 'x', 2], ['append', 'y', 4]]))

    def test_a_read_that_never_was(self):
        self.finds('never was', {'x': [1, 2]},
                   done([['append', 'x', 1]]), done([['append', 'x', 2]]),
                   done([['r', 'x', [2]]]))

    def test_a_lost_update(self):
        self.finds('lost update', {'x': [1, 2]},
                   done([['r', 'x', []], ['append', 'x', 1]]),
                   done([['r', 'x', []], ['append', 'x', 2]]))

    def test_a_stale_read(self):
        self.finds('misses what was acknowledged', {'x': [1]},
                   done([['append', 'x', 1]], end=1.0),
                   done([['r', 'x', []]], start=2.0))

    def test_reads_repeat(self):
        self.finds('does not repeat', {'x': [1]},
                   done([['append', 'x', 1]]),
                   done([['r', 'x', []], ['r', 'x', [1]]]))

    def test_own_appends_are_seen(self):
        self.finds('own appends', {'x': [1]},
                   done([['append', 'x', 1], ['r', 'x', []]]))


class RegistersTest(unittest.TestCase):

    def check(self, final, *operations):
        return dependencies.check_registers(operations, final)

    def finds(self, words, final, *operations):
        found = self.check(final, *operations)
        self.assertTrue(any(words in line for line in found), found)

    def test_a_good_history(self):
        self.assertEqual([], self.check(
            {'x': 2, 'y': None},
            done([['r', 'x', None], ['w', 'x', 1], ['r', 'x', 1]], end=1.0),
            done([['r', 'x', 1], ['w', 'x', 2]], start=2.0, end=3.0),
            done([['r', 'x', 2], ['r', 'y', None]], start=4.0)))

    def test_a_lost_update(self):
        self.finds('lost update', {'x': 2},
                   done([['r', 'x', None], ['w', 'x', 1]]),
                   done([['r', 'x', None], ['w', 'x', 2]]))

    def test_an_aborted_read(self):
        self.finds('G1a', {'x': None},
                   done([['r', 'x', None], ['w', 'x', 1]], outcome=FAIL),
                   done([['r', 'x', 1]]))

    def test_an_intermediate_read(self):
        self.finds('G1b', {'x': 2},
                   done([['r', 'x', None], ['w', 'x', 1], ['w', 'x', 2]]),
                   done([['r', 'x', 1]]))

    def test_out_of_nothing(self):
        self.finds('out of nothing', {'x': None}, done([['r', 'x', 7]]))
        self.finds('nobody wrote it', {'x': 7}, done([['r', 'x', None]]))

    def test_a_stale_read(self):
        self.finds('misses what was acknowledged', {'x': 2},
                   done([['r', 'x', None], ['w', 'x', 1]], end=1.0),
                   done([['r', 'x', 1], ['w', 'x', 2]], start=2.0, end=3.0),
                   done([['r', 'x', 1]], start=4.0))

    def test_circular_information_flow(self):
        self.finds('G1c', {'x': 1, 'y': 2},
                   done([['r', 'x', None], ['w', 'x', 1], ['r', 'y', 2]]),
                   done([['r', 'y', None], ['w', 'y', 2], ['r', 'x', 1]]))
