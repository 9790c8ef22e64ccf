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


"""Transactions over so many groups that locking them takes long.

Whoever watches a lock for ``lock_age`` takes its transaction for abandoned
(rule 28).  A large one is not done by then.  So it says that it is alive, by a
lease in its name, and goes on saying so while it locks one part of its groups
after the other; when its process dies, the lease ends soon.
"""

from collections.abc import Sequence
import logging

from luc_drivers.db import errors
from luc_drivers.db.store.base import Batch
from luc_drivers.db.store.base import IndexEntry
from luc_drivers.db.store.base import Lock
from luc_drivers.db.store.base import Outcome
from luc_drivers.db.store.base import Store
from luc_drivers.db.transaction.clock import micros

LOG = logging.getLogger(__name__)

#: groups that a transaction locks at once; with more it is a large one
AT_ONCE = 200
#: seconds of its lease, which is taken anew with each part
LEASE = 8


def holder(txid: bytes) -> str:
    """Return the name of a transaction's lease."""
    return 'transaction ' + txid.hex()


def prepare(store: Store, batches: Sequence[Batch],
            entries: Sequence[IndexEntry], txid: bytes) -> list[Outcome]:
    """Lock rows, and write index entries with the first of them.

    :returns: for each batch what came of it; after a refusal the others are
        not sent, which is as good.
    :raises StoreUnavailable: some may be locked.
    """
    if len(batches) > AT_ONCE:
        store.lease(holder(txid), LEASE)
    if entries:
        outcomes = store.write_both(
            batches[:AT_ONCE], entries, micros(txid))
    else:
        outcomes = store.write(batches[:AT_ONCE])
    for start in range(AT_ONCE, len(batches), AT_ONCE):
        if Outcome.REFUSED in outcomes:
            return outcomes + [Outcome.REFUSED] * (len(batches) - start)
        store.lease(holder(txid), LEASE)
        outcomes += store.write(batches[start:start + AT_ONCE])
    if len(batches) > AT_ONCE:
        # children of rows that are to go may still have to be looked for
        store.lease(holder(txid), LEASE)
    return outcomes


def is_alive(store: Store, lock: Lock) -> bool:
    """Tell whether a lock's transaction says that it is still at it."""
    if lock.groups <= AT_ONCE:
        return False
    try:
        return holder(lock.txid) in store.leases()
    except errors.StoreUnavailable as error:
        LOG.debug('Whether a transaction is alive is not known: %s', error)
        return True
