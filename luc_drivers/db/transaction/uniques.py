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

"""Unique rows: the rows beside the rows that keep unique keys unique.

Where a unique key's equal values don't share a row key anyway, a row of its
own stands for each value: its key is the value, its document the reference
of its owner.  It is inserted, and removed, by the same transaction as its
owner's value, so two owners of one value can't both commit.
"""

from collections.abc import Mapping
from typing import Any

from luc_drivers.db.catalog import address
from luc_drivers.db.catalog.schema import Guard
from luc_drivers.db.catalog.schema import Table
from luc_drivers.db.rows import Address
from luc_drivers.db.transaction.resolve import Place


def owned(table: Table, values: Mapping[int, Any], where: Address,
          generated: bool = False) -> dict[Place, bytes]:
    """Return the unique rows that a row has: their places and documents.

    :param generated: its id was drawn from the sequence, which needs no
        unique row. (For a row that is there already nobody knows: then the
        place is told, though there may be nothing.)
    """
    found: dict[Place, bytes] = {}
    ref = b''
    for index in table.indexes:
        if index.guard is None or index.guard is Guard.PARTITION:
            continue
        if index.guard is Guard.SEQUENCE and generated:
            continue
        place = address.unique_address(table, index, values, where)
        if place is not None:
            ref = ref or address.encode_ref(where.group.key, where.key.pk)
            found[place.group, place.key] = ref
    return found
