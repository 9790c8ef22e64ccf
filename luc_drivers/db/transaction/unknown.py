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

"""Statements about tables or columns that are not there."""

from typing import TYPE_CHECKING

from luc_drivers.db import errors

if TYPE_CHECKING:
    from luc_drivers.db.engine import Database

#: SQLite's words when its tables are not what a statement expects
_NO_TABLE = 'no such table: '
_UNKNOWN = ('no such table', 'no such column', 'has no column named')


def is_unknown(error: Exception) -> bool:
    """Tell whether an error is about a table or column: a newer schema may
    have it.
    """
    text = str(error)
    return any(words in text for words in _UNKNOWN)


def worded(exc: errors.Error, database: 'Database') -> errors.Error:
    """Return an error that says so where a database was never synced."""
    text = str(exc)
    if _NO_TABLE not in text or database.settings.fresh or (
            database.catalog.current().tables):
        return exc
    return errors.OperationalError(
        "database %s has no tables (connection %s): run the service's "
        '"db sync" command first: %s' % (
            database.name, database.settings.url, text))
