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

"""oslo.db: which of its exceptions our errors become.

Ours are worded as sqlite3's and the dialect's name is sqlite, so oslo.db's
own filters recognise duplicates, broken references and missing tables.  Lost
connections it learns from the dialect (``is_disconnect``).  Left is the one
error that stock SQLite does not have: a conflict between transactions.
"""

import sys
import threading
from typing import Any

from luc_drivers.db import errors

_MODULE = 'oslo_db.sqlalchemy.exc_filters'
_lock = threading.Lock()
_installed = False


def install() -> bool:
    """Register our filter with oslo.db, once, if the process uses oslo.db.

    Other drivers never raise our classes: they are not concerned.

    :returns: whether it is registered now.
    """
    global _installed
    module = sys.modules.get(_MODULE)
    if _installed or module is None:
        return _installed
    with _lock:
        if not _installed:
            from oslo_db import exception

            def deadlock(error: Any, match: Any, engine_name: str,
                         is_disconnect: bool) -> None:
                raise exception.DBDeadlock(error)

            module.filters('sqlite', errors.WriteConflict, r'.*')(deadlock)
            _installed = True
    return True
