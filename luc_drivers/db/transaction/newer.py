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

"""What a newer schema means to a transaction that is under way (rule 26)."""

from typing import TYPE_CHECKING

from luc_drivers.db.catalog.schema import is_readable
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.planner.plan import Plan

if TYPE_CHECKING:
    from luc_drivers.db.engine import Database
    from luc_drivers.db.transaction.statements import Transaction


def holds(run: 'Transaction') -> bool:
    """Tell whether the tables that a transaction used are as they were, so
    that it may write by what it knows.

    :raises StoreUnavailable: that has not been known for too long.
    """
    schema = run.database.catalog.current(write=True)
    return schema is run.schema or all(
        schema.tables.get(name) == run.schema.tables.get(name)
        for name in run.loaded.tables)


def serves(database: 'Database', schema: Schema, plan: Plan) -> bool:
    """Tell whether a transaction that began by a schema may still read by it
    what a statement needs, its checks of foreign keys included.
    """
    current = database.catalog.current()
    if current.version == schema.version:
        return True
    names = set(plan.tables)
    for table in filter(None, map(schema.table, plan.tables)):
        names.update(key.parent for key in table.foreign_keys)
        names.update(child for child, _ in table.referenced_by)
    return all(is_readable(table, current.table(table.name))
               for table in filter(None, map(schema.table, names)))
