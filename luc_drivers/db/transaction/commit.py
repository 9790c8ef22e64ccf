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

"""What a transaction commits, and whether it still may."""

from collections.abc import Sequence

from luc_drivers.db import errors
from luc_drivers.db.rows import RowChange
from luc_drivers.db.transaction import newer
from luc_drivers.db.transaction.statements import Transaction


def send(run: Transaction) -> None:
    """Commit a transaction's changes.

    :raises WriteConflict: it has read what the caller saw otherwise, and
        writes more than what is there already.
    :raises Refused: run it again: others came first, or the schema changed.
    """
    changes = run.written.changes()
    if run.conflict is not None and not _all_there(run, changes):
        raise run.conflict
    if not changes:
        return
    database = run.database
    if not newer.holds(run):
        raise errors.Refused('the schema has changed')
    for change in changes:
        table = change.table
        if change.old is None and change.new is not None and (
                table.rowid_column) and not change.generated:
            value = change.new[table.column(table.rowid_column).number]
            if value > 0:
                database.sequences.passed(table.number, value)
    database.written.update(c.table.number for c in changes)
    newest = run.loaded.newest
    database.committer.commit(
        run.schema, changes, (newest,) if newest else (),
        parents=run.parents(changes), check_references=run.enforce,
        holds=lambda: newer.holds(run))


def _all_there(run: Transaction, changes: Sequence[RowChange]) -> bool:
    """Tell whether rows are already as a transaction would write them, in
    tables where that is no conflict (Profile.same_writes).
    """
    allowed = run.database.catalog.profile.same_writes
    return all(
        change.table.name.lower() in allowed and change.old is not None
        and change.new == change.old.values
        for change in changes)
