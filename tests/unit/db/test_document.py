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

from hypothesis import given
from hypothesis import strategies as st

from luc_drivers.db import document

values = st.one_of(
    st.none(), st.integers(-2 ** 63, 2 ** 63 - 1), st.floats(allow_nan=False),
    st.text(alphabet=st.characters(exclude_categories=['Cs'])), st.binary())


class DocumentTest(unittest.TestCase):

    @given(st.dictionaries(st.integers(0, 300), values),
           st.integers(0, 2 ** 63 - 1))
    def test_round_trip(self, row, created):
        found, number = document.decode(document.encode(row, created))
        self.assertEqual(created, number)
        self.assertEqual(row, found)
        self.assertEqual([type(v) for v in row.values()],
                         [type(v) for v in found.values()])

    def test_classes_are_kept_apart(self):
        row = {1: 1, 2: 1.0, 3: '1', 4: b'1', 5: None, 6: math.inf, 7: -0.0}
        found, __ = document.decode(document.encode(row, 1))
        self.assertEqual(repr(row), repr(found))

    def test_other_classes_are_refused(self):
        for value in (True, [1], bytearray(b'a'), object()):
            self.assertRaises(TypeError, document.encode, {1: value}, 1)

    def test_too_large_integer(self):
        self.assertRaises(OverflowError, document.encode, {1: 2 ** 64}, 1)

    def test_later_versions_may_append(self):
        import msgpack
        longer = msgpack.packb([7, {1: 'a'}, 'new'])
        self.assertEqual(({1: 'a'}, 7), document.decode(longer))

    def test_garbage(self):
        for garbage in (b'', b'\xc1', b'\x93\x01'):
            self.assertRaises(ValueError, document.decode, garbage)
