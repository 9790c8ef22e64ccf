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

"""A store around another one: what tests' stores change, and nothing else."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

from luc_drivers.db.store import base


class StoreWrapper(base.Store):
    """Passes everything on to ``inner``; subclasses override what differs.

    `read_both` is left to the base class: it comes to `read` and
    `read_index`, which subclasses override.
    """

    def __init__(self, inner: base.Store) -> None:
        super().__init__(inner.database, inner.settings)
        self.inner = inner

    def prepare(self, localities: Sequence[str]) -> None:
        self.inner.prepare(localities)

    def drop(self) -> None:
        self.inner.drop()

    def read(self, reads: Sequence[base.GroupRead],
             serial: bool = False) -> list[list[base.Row]]:
        return self.inner.read(reads, serial)

    def write(self, batches: Sequence[base.Batch]) -> list[base.Outcome]:
        return self.inner.write(batches)

    def read_index(self, reads: Sequence[base.IndexRead]) -> list[
            list[tuple[bytes, bytes]]]:
        return self.inner.read_index(reads)

    def put_index(self, entries: Iterable[base.IndexEntry],
                  timestamp: int) -> None:
        self.inner.put_index(entries, timestamp)

    def remove_index(self, entries: Iterable[base.IndexEntry],
                     timestamp: int) -> None:
        self.inner.remove_index(entries, timestamp)

    def catalog_read(self, after: int = 0) -> list[tuple[int, bytes]]:
        return self.inner.catalog_read(after)

    def catalog_append(self, version: int, entry: bytes) -> bool:
        return self.inner.catalog_append(version, entry)

    def lease(self, holder: str, seconds: int) -> None:
        self.inner.lease(holder, seconds)

    def leases(self) -> set[str]:
        return self.inner.leases()

    def claim(self, sequence: str, count: int) -> int:
        return self.inner.claim(sequence, count)

    def advance(self, sequence: str, floor: int) -> None:
        self.inner.advance(sequence, floor)

    @classmethod
    def databases(cls, settings: base.StoreSettings) -> list[str]:
        # a wrapper stands in no folder or cluster of its own
        return []

    def group_keys(self, locality: str) -> Iterator[bytes]:
        return self.inner.group_keys(locality)

    def index_partitions(self, locality: str
                         ) -> Iterator[base.IndexPartition]:
        return self.inner.index_partitions(locality)

    def sizes(self, localities: Sequence[str]) -> list[base.Size]:
        return self.inner.sizes(localities)
