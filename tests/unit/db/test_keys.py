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

import math
import unittest

import apsw
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from luc_drivers.db import keys

_BIG = 2 ** 53
#: numbers that are neighbours as values and as doubles
_neighbours = st.builds(
    lambda base, step: max(-2 ** 63, min(2 ** 63 - 1, base + step)),
    st.sampled_from([0, _BIG, -_BIG, 2 ** 62, 2 ** 63 - 1, -2 ** 63]),
    st.integers(-1100, 1100))
numbers = st.one_of(
    st.integers(-3, 3), st.integers(-2 ** 63, 2 ** 63 - 1), _neighbours,
    _neighbours.map(float), st.floats(allow_nan=False),
    st.sampled_from([0.0, -0.0, math.inf, -math.inf, 5e-324, 2.0 ** 63]))
texts = st.one_of(
    st.text(alphabet='\0\x01aA é\uffff\U0001F600', max_size=4),
    st.text(max_size=6, alphabet=st.characters(exclude_categories=['Cs'])))
blobs = st.one_of(
    st.binary(max_size=6),
    st.lists(st.sampled_from([0, 1, 0xfe, 0xff]), max_size=4).map(bytes))
values = st.one_of(st.none(), numbers, texts, blobs)
pairs = st.tuples(values, values)


class KeysOrderTest(unittest.TestCase):
    """The keys' order is SQLite's, found by asking SQLite."""

    def setUp(self):
        super().setUp()
        self.sqlite = apsw.Connection(':memory:')
        self.addCleanup(self.sqlite.close)
        self.sqlite.execute('CREATE TABLE t (n INTEGER PRIMARY KEY, a, b)')

    def _load(self, rows):
        self.sqlite.execute('DELETE FROM t')
        self.sqlite.executemany(
            'INSERT INTO t VALUES (?, ?, ?)',
            [(n, a, b) for n, (a, b) in enumerate(rows)])

    @settings(max_examples=400, deadline=None)
    @given(st.lists(pairs, max_size=25))
    def test_order_is_that_of_order_by(self, rows):
        self._load(rows)
        expected = [n for n, in self.sqlite.execute(
            'SELECT n FROM t ORDER BY a, b, n')]
        # equal tuples must have one key, or the creation order breaks
        found = sorted(range(len(rows)),
                       key=lambda n: (keys.encode(rows[n]), n))
        self.assertEqual(expected, found)
        found = sorted(range(len(rows)),
                       key=lambda n: (keys.encode_index(rows[n]), n))
        self.assertEqual(expected, found)

    @settings(max_examples=400, deadline=None)
    @given(values, values)
    def test_equality_is_sqlites(self, a, b):
        equal = self.sqlite.execute('SELECT ? IS ?', (a, b)).fetchone()[0]
        self.assertEqual(bool(equal), keys.encode((a,)) == keys.encode((b,)))

    @settings(max_examples=400, deadline=None)
    @given(st.lists(values, max_size=4))
    def test_decode_gives_equal_values(self, row):
        found = keys.decode(keys.encode(row))
        self.assertEqual(len(row), len(found))
        for a, b in zip(row, found):
            self.assertTrue(self.sqlite.execute(
                'SELECT ? IS ?', (a, b)).fetchone()[0], (a, b))

    def test_decode_refuses_what_is_no_key(self):
        for raw in (b'\x09', b'\x03abc', b'\x06' + bytes(32)):
            with self.assertRaises(ValueError):
                keys.decode(raw)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(pairs, max_size=25), values)
    def test_prefix_range_is_equality_on_the_first(self, rows, a):
        self._load(rows)
        lower, upper = keys.prefix_range(keys.encode((a,)))
        expected = [n for n, in self.sqlite.execute(
            'SELECT n FROM t WHERE a IS ? ORDER BY n', (a,))]
        self.assertEqual(expected, [
            n for n, row in enumerate(rows)
            if lower <= keys.encode(row) < upper])

    @settings(max_examples=300, deadline=None)
    @given(st.lists(pairs, max_size=25), values, values, st.booleans(),
           st.booleans(), st.sampled_from(['both', 'lower', 'upper']))
    def test_index_range_is_the_comparison(
            self, rows, low, high, low_in, high_in, which):
        if low is None or high is None:
            return  # a comparison with NULL holds for nothing
        self._load(rows)
        terms, parameters, bounds = [], [], {}
        if which != 'upper':
            terms.append('b >= ?' if low_in else 'b > ?')
            parameters.append(low)
            bounds['lower'] = (low, low_in)
        if which != 'lower':
            terms.append('b <= ?' if high_in else 'b < ?')
            parameters.append(high)
            bounds['upper'] = (high, high_in)
        expected = [n for n, in self.sqlite.execute(
            'SELECT n FROM t WHERE a IS 1 AND ' + ' AND '.join(terms) +
            ' ORDER BY n', parameters)]
        lower, upper = keys.index_range(keys.encode_index((1,)), **bounds)
        self.assertEqual(expected, [
            n for n, row in enumerate(rows)
            if lower <= keys.encode_index(row) < upper])

    @settings(max_examples=200, deadline=None)
    @given(texts, texts, st.sampled_from(['NOCASE', 'RTRIM', 'BINARY']))
    def test_fold_is_the_collations_equality(self, a, b, collation):
        if '\0' in a + b:
            return  # SQLite's NOCASE stops comparing at a NUL
        for other in (b, a.swapcase(), a + '  '):
            equal = self.sqlite.execute(
                f'SELECT ? = ? COLLATE {collation}', (a, other)).fetchone()[0]
            self.assertEqual(
                bool(equal),
                keys.fold(a, collation) == keys.fold(other, collation))


class KeysTest(unittest.TestCase):

    def test_unknown_collation(self):
        self.assertRaises(ValueError, keys.fold, 'a', 'GERMAN')

    def test_fold_leaves_other_classes(self):
        for value in (None, 1, 2.5, b'A '):
            self.assertIs(value, keys.fold(value, 'NOCASE'))
            self.assertIs(value, keys.fold(value, 'RTRIM'))

    def test_bool_is_a_number(self):
        self.assertEqual(keys.encode((1, 0)), keys.encode((True, False)))

    def test_nan_is_null(self):
        self.assertEqual(keys.encode((None,)), keys.encode((math.nan,)))

    def test_bad_values(self):
        for value in (2 ** 63, -2 ** 63 - 1):
            self.assertRaises(OverflowError, keys.encode, (value,))
        self.assertRaises(TypeError, keys.encode, (object(),))
        self.assertRaises(TypeError, keys.encode_index, ([],))

    def test_empty_tuple(self):
        self.assertEqual(b'', keys.encode(()))
        lower, upper = keys.prefix_range(b'')
        for value in (None, -math.inf, 'a', b'\xff' * 9):
            self.assertTrue(lower <= keys.encode((value,)) < upper)

    def test_long_keys_are_hashed(self):
        longest = 'a' * (keys.MAX_KEY - 2)
        self.assertEqual(keys.MAX_KEY, len(keys.encode((longest,))))
        one, two = keys.encode((longest + 'b',)), keys.encode((longest + 'c',))
        self.assertLess(len(one), 64)
        self.assertNotEqual(one, two)
        self.assertEqual(one, keys.encode((longest + 'b',)))

    def test_long_index_values_are_cut(self):
        for start in ('x', 'é', b'\0', b'\xff'):
            long = start * 5000
            one, two = keys.encode_index((long, 1)), keys.encode_index(
                (long + start, 1))
            self.assertLess(len(one), 2 * keys.MAX_INDEX_VALUE + 40)
            self.assertNotEqual(one, two)
            lower, upper = keys.prefix_range(keys.encode_index((long,)))
            self.assertTrue(lower <= one < upper)
            self.assertFalse(lower <= two < upper)

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(['a', b'\xff', b'\0']),
           st.integers(900, 1100), st.integers(900, 1100),
           st.sampled_from(['', 'a', 'b', 'z']),
           st.sampled_from(['', 'a', 'b', 'z']))
    def test_ranges_around_the_cut_are_supersets(self, unit, m, n, x, y):
        if isinstance(unit, bytes):
            x, y = x.encode(), y.encode()
        low, high = sorted((unit * m + x, unit * n + y))
        for inclusive in (True, False):
            start, end = keys.index_range(b'', lower=(low, inclusive))
            if inclusive or low != high:
                self.assertTrue(start <= keys.encode_index((high,)) < end)
            start, end = keys.index_range(b'', upper=(high, inclusive))
            if inclusive or low != high:
                self.assertTrue(start <= keys.encode_index((low,)) < end)
