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


"""Fetches accesses, those of ordered slices page by page."""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses

from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.planner import limits
from luc_drivers.db.planner.plan import BoundAccess
from luc_drivers.db.planner.plan import RunQuery
from luc_drivers.db.rows import StoredRow
from luc_drivers.db.transaction.ahead import Ahead
from luc_drivers.db.transaction.reader import Reader


def fetch(reader: Reader, schema: Schema, accesses: Sequence[BoundAccess],
          ahead: Ahead | None, query: RunQuery
          ) -> Iterator[tuple[BoundAccess, list[StoredRow], bool]]:
    """Yield (access, rows found, whether these are all).

    The rows must be loaded before the next are asked for: the workspace
    decides whether another page is wanted.

    An old index entry is removed some seconds after the new one is there, so
    pages that took longer could miss a row that moved from one that was not
    read yet to one that was (rule 12): what they are of is read whole.

    :param query: asks the workspace.
    """
    begin = reader.clock.monotonic()
    wanted = [page for access in accesses for page in limits.split(access)]
    first = True
    while wanted:
        answers = reader.pages(schema, wanted, ahead=ahead)
        late = not first and not reader.is_quick(begin)
        further = []
        for access, (rows, boundary) in zip(wanted, answers):
            limit = access.limit
            if limit is None:
                yield access, rows, True
                continue
            if late:
                further.append(dataclasses.replace(access, limit=None))
                continue
            yield access, rows, boundary is None and not limit.marker
            if boundary is not None and not limits.enough(
                    access, boundary, query):
                further.append(limits.following(access, boundary))
        wanted, first = further, False
