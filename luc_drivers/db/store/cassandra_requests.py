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

"""The requests that the Cassandra store sends, and who gets their rows.

Reads of one shape share a request, up to a limit: a request costs the client
more than a row does.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
import uuid

from luc_drivers import cql
from luc_drivers.db.store import base
from luc_drivers.db.store import cassandra_schema as schema
from luc_drivers.db.store import codec
from luc_drivers.db.store.base import Expect
from luc_drivers.db.store.cassandra_texts import Statements

#: partitions that one request reads at most: more would burden one
#: coordinator, fewer cost the client more (0.2 ms of CPU a request)
GROUPED = 24
#: partitions, and bytes, that one batch of index entries writes: half of what
#: batch_size_warn_threshold, and all that
#: unlogged_batch_across_partitions_warn_threshold lets pass
PARTITIONS, BATCH_BYTES = 10, 2560
#: above every ``rest``, which starts with a type code of keys.py or is a
#: transaction's id
_ABOVE = b'\xff' * 17
#: primary keys that one request lists at most
LISTED = 1000

#: requests, each with the locality that it goes to
Requests = list[tuple[str, cql.Request]]


class Requester:
    """Makes requests for one database.

    ``settings.fresh``: for a name space of its own, under a name that nobody
    else has, in the keyspace that all fresh ones share.
    """

    def __init__(self, database: str, settings: base.StoreSettings) -> None:
        self.database = database
        self.settings = settings
        self._texts: dict[str, Statements] = {}
        self.renew()

    def renew(self) -> None:
        """Take another name, if it is a fresh name space's."""
        self._name = self.database
        if self.settings.fresh:
            self._name = f'{self.database}.{uuid.uuid4().hex}'

    def keyspace(self, locality: str) -> str:
        """Return the keyspace of a locality."""
        if self.settings.fresh:
            return schema.FRESH
        return schema.keyspace_name(
            self.settings.keyspace_template, self.database, locality)

    def db(self, locality: str) -> str:
        """Return the database's name in the keys of a locality."""
        if self.settings.fresh:
            return f'{self._name}.{locality}'
        return self._name

    def texts(self, locality: str) -> Statements:
        """Return the CQL texts of a locality."""
        found = self._texts.get(locality)
        if found is None:
            found = Statements(self.keyspace(locality))
            self._texts[locality] = found
        return found

    def row_requests(self, reads: Sequence[base.GroupRead], serial: bool
                     ) -> tuple[Requests, list[list[int]]]:
        """Return requests, and for each the numbers of its reads."""
        shapes: dict[Any, list[int]] = {}
        for number, read in enumerate(reads):
            if read.pks is not None and len(read.tables) != 1:
                raise ValueError('pks need exactly one table')
            # a serial read is of one partition, by CQL's rules; and the
            # requests' groups and primary keys are multiplied
            alone = serial or len(read.pks or ()) > 4
            shapes.setdefault(
                (read.group.locality, read.tables, read.pks is None,
                 number if alone else -1), []).append(number)
        requests, targets = [], []
        for (locality, tables, all_pks, __), numbers in shapes.items():
            for chunk in batched(numbers, GROUPED):
                for some in _parts([reads[n] for n in chunk]):
                    requests.append((locality, self._read_request(
                        locality, tables, all_pks, some, serial)))
                    targets.append(chunk)
        return requests, targets

    def _read_request(self, locality: str, tables: tuple[int, ...],
                      all_pks: bool, reads: list[base.GroupRead],
                      serial: bool) -> cql.Request:
        groups = list({r.group.key: None for r in reads})
        several = len(groups) > 1
        text = self.texts(locality).read[several, bool(tables), not all_pks]
        params: list[Any] = [self.db(locality),
                             groups if several else groups[0]]
        if tables:
            params.append(sorted(set(tables)))
        if not all_pks:
            params.append(list({pk: None for r in reads
                                for pk in r.pks or ()}))
        return cql.Request(
            text, params, idempotent=True,
            consistency='SERIAL' if serial else schema.level(locality))

    def write_statement(self, group: base.Group, write: base.RowWrite,
                        ) -> tuple[str, list[Any]]:
        """Return the text and the parameters of a write."""
        kind = codec.write_kind(write)
        text = self.texts(group.locality).write[write.expect, kind]
        values: list[Any] = []
        if kind != 'erase':
            # not set: the table's default, which is none but for fresh ones
            values.append(cql.UNSET if write.ttl is None else write.ttl)
        if kind == 'state':
            values += (write.version, write.document,
                       codec.pack_ids(write.history),
                       # only a tombstone's is looked at: no need to clear it
                       write.moved_to if write.document is None
                       else cql.UNSET)
        elif write.prepare is not None:
            values += (write.prepare.txid, codec.pack_lock(write.prepare))
        values += (self.db(group.locality), group.key, write.key.table,
                   write.key.pk)
        if write.expect is not Expect.ABSENT:
            values.append(write.expected)
        return text, values

    def fill(self, batch: base.Batch, timestamp: int
             ) -> tuple[str, cql.Request]:
        """Return what writes new rows of a group without conditions."""
        locality = batch.group.locality
        text = self.texts(locality).fill
        return locality, cql.Request(
            batch=[(text, (
                timestamp, w.version, w.document,
                codec.pack_ids(w.history), self.db(locality),
                batch.group.key, w.key.table, w.key.pk))
                for w in batch.writes],
            consistency=schema.level(locality), idempotent=True)

    def index_requests(self, reads: Sequence[base.IndexRead]) -> tuple[
            Requests, list[list[int]]]:
        """Return requests, and for each the numbers of its reads."""
        shapes: dict[Any, list[int]] = {}
        requests: Requests = []
        targets: list[list[int]] = []
        for number, read in enumerate(reads):
            if read.limit is not None:
                some = self._index_parts(read)
                requests += some
                targets += [[number]] * len(some)
                continue
            shapes.setdefault(
                (read.locality, read.table, read.index, read.buckets,
                 read.lower, read.upper), []).append(number)
        for shape, numbers in shapes.items():
            locality, table, index, buckets, lower, upper = shape
            text = self.texts(locality).read_index[
                lower is not None, upper is not None]
            bounds = [b for b in (lower, upper) if b is not None]
            size = max(1, GROUPED // buckets)
            for chunk in batched(numbers, size):
                firsts = list({reads[n].first: None for n in chunk})
                requests.append((locality, cql.Request(
                    text, [self.db(locality), table, index, firsts,
                           list(range(buckets)), *bounds],
                    consistency=schema.level(locality), idempotent=True)))
                targets.append(chunk)
        return requests, targets

    def _index_parts(self, read: base.IndexRead) -> Requests:
        """Return one request for each bucket of a limited read: CQL does
        not order the rows of several partitions while it pages."""
        text = self.texts(read.locality).read_some[read.descending]
        upper = _ABOVE if read.upper is None else read.upper
        return [(read.locality, cql.Request(
            text, [self.db(read.locality), read.table, read.index,
                   read.first, bucket, read.lower or b'', upper, read.limit],
            consistency=schema.level(read.locality), idempotent=True))
            for bucket in range(read.buckets)]

    def index_writes(self, entries: Iterable[base.IndexEntry],
                     statement: Callable[[Statements, tuple], tuple]
                     ) -> Requests:
        """Return requests: few of several entries each, since a request
        costs a node more than an entry.

        :param statement: (texts, key) -> (text, parameters).
        """
        partitions: dict[tuple[str, tuple], list[tuple[str, tuple]]] = {}
        for e in entries:
            key = (self.db(e.locality), e.table, e.index, e.first, e.bucket,
                   e.rest, e.ref)
            partitions.setdefault((e.locality, key[:5]), []).append(
                statement(self.texts(e.locality), key))
        small: dict[str, list[list[tuple[str, tuple]]]] = {}
        batches = []
        for (locality, __), statements in partitions.items():
            if len(statements) < PARTITIONS:
                small.setdefault(locality, []).append(statements)
            else:
                batches += [(locality, chunk)
                            for chunk in batched(statements, 100)]
        for locality, found in small.items():
            batches += [(locality, chunk) for chunk in _together(found)]
        requests: Requests = []
        for locality, chunk in batches:
            request = cql.Request(consistency=schema.level(locality),
                                  idempotent=True)
            if len(chunk) == 1:
                request.cql, request.params = chunk[0]
            else:
                request.batch = chunk
            requests.append((locality, request))
        return requests


def _together(partitions: Iterable[list[tuple[str, tuple]]]
              ) -> Iterable[list[tuple[str, tuple]]]:
    """Yield batches of the statements of several partitions, below what
    Cassandra warns of."""
    batch: list[tuple[str, tuple]] = []
    count = size = 0
    for statements in partitions:
        more = sum(_size(params) for _, params in statements)
        if batch and (count == PARTITIONS or size + more > BATCH_BYTES):
            yield batch
            batch, count, size = [], 0, 0
        batch = batch + statements
        count += 1
        size += more
    if batch:
        yield batch


def _size(params: Iterable[Any]) -> int:
    return sum(len(p) if isinstance(p, (bytes, str)) else 8 for p in params)


def batched(items: Sequence[Any], size: int) -> Iterable[list[Any]]:
    """Yield lists of at most ``size`` of the items, in order."""
    for at in range(0, len(items), size):
        yield list(items[at:at + size])


def _parts(reads: list[base.GroupRead]) -> Iterable[list[base.GroupRead]]:
    """Yield reads that one request can carry: a long list of primary keys
    is cut."""
    if len(reads) > 1 or len(reads[0].pks or ()) <= LISTED:
        yield reads
        return
    read, = reads
    for pks in batched(sorted(set(read.pks or ())), LISTED):
        yield [read._replace(pks=tuple(pks))]


def deal(chunk: Sequence[int], reads: Sequence[base.GroupRead],
         rows: list[tuple], results: list[list[base.Row]]) -> None:
    """Give each read of a request its rows."""
    by_group: dict[bytes, list[base.Row]] = {}
    one = reads[chunk[0]].group.key
    for row in rows:
        group, values = (row[0], row[1:]) if len(row) == 9 else (one, row)
        by_group.setdefault(group, []).append(_row(*values))
    for number in chunk:
        read = reads[number]
        found = by_group.get(read.group.key, [])
        if read.pks is not None:
            wanted = set(read.pks)
            found = [r for r in found if r.key.pk in wanted]
        results[number] = results[number] + found


def deal_index(chunk: Sequence[int], reads: Sequence[base.IndexRead],
               rows: list[tuple],
               results: list[list[tuple[bytes, bytes]]]) -> None:
    """Give each read of a request its (rest, ref) pairs."""
    by_first: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for first, rest, ref in rows:
        by_first.setdefault(first, []).append((rest, ref))
    for number in chunk:
        # buckets come one after the other, or in a request each
        results[number] = reads[number].cut(
            [*results[number], *by_first.get(reads[number].first, ())])


def _row(tbl: int, pk: bytes, ver: bytes | None, doc: bytes | None,
         hist: bytes | None, moved: bytes | None, lock_tx: bytes | None,
         lock: bytes | None) -> base.Row:
    return base.Row(
        base.RowKey(tbl, pk), ver, doc, codec.unpack_ids(hist),
        None if lock_tx is None else codec.unpack_lock(lock_tx, lock or b''),
        moved if doc is None else None)
