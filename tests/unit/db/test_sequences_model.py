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

"""Sequences under random schedules (rule 24)."""

import unittest

from luc_drivers.db.transaction import sequences
from tests.unit.db import sequences_model


class Careless(sequences.Sequences):
    """Keeps a block that it could not be sure of."""

    def next(self, number):
        with self._lock:
            block = self._blocks.setdefault(number, sequences._Block())
            if block.next < block.end:
                value = block.next
            else:
                value = None
        if value is not None:
            # another thread may come in between
            self._store.scheduler.pause()
            block.next = value + 1
            return value
        return super().next(number)


class Forgetful(sequences.Sequences):
    """Does not move the sequence behind a given id."""

    def passed(self, number, value):
        pass


class SequencesModelTest(unittest.TestCase):

    def test_numbers_are_never_given_twice(self):
        report = sequences_model.explore(400)
        # it is only worth something if things did happen
        self.assertGreater(report.drawn, 4000, report)
        for what in ('given', 'crashes', 'lost', 'unavailable'):
            self.assertGreater(getattr(report, what), 100, report)

    def test_what_is_wrong_is_found(self):
        for kind in (Careless, Forgetful):
            with self.subTest(kind.__name__):
                self.assertRaises(
                    sequences_model.Violation, sequences_model.explore, 400,
                    kind=kind)
