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

"""All workloads."""

from tests.consistency.workloads import archive
from tests.consistency.workloads import bank
from tests.consistency.workloads import base
from tests.consistency.workloads import counters
from tests.consistency.workloads import families
from tests.consistency.workloads import indexes
from tests.consistency.workloads import inserts
from tests.consistency.workloads import moves
from tests.consistency.workloads import numbers
from tests.consistency.workloads import pairs
from tests.consistency.workloads import transactions

WORKLOADS: dict[str, type[base.Workload]] = {
    one.name: one for one in (
        bank.Bank, transactions.Appends, transactions.Registers,
        inserts.Inserts, counters.Counters, pairs.Pairs, moves.Moves,
        numbers.Numbers, families.Families, archive.Archive,
        indexes.Indexes)}
