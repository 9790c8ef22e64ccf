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

"""All protocol tests; mixed into test cases that give a store."""

from tests.unit.db.protocol import every_step
from tests.unit.db.protocol import foreign_keys
from tests.unit.db.protocol import index_entries
from tests.unit.db.protocol import one_group
from tests.unit.db.protocol import reading
from tests.unit.db.protocol import several_groups
from tests.unit.db.protocol import tombstones
from tests.unit.db.protocol import unique_rows
from tests.unit.db.protocol import unknown_outcomes


class ProtocolContract(every_step.EveryStep,
                       foreign_keys.ForeignKeys,
                       index_entries.IndexEntries,
                       one_group.OneGroup,
                       reading.Reading,
                       several_groups.SeveralGroups,
                       tombstones.Tombstones,
                       unique_rows.UniqueRows,
                       unknown_outcomes.UnknownOutcomes):
    """``self.store`` must be prepared when ``setUp`` comes here."""
