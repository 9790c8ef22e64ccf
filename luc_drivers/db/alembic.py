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

"""alembic: real ALTERs where stock SQLite has none.

alembic picks its implementation by the dialect's name, which is sqlite for
us too.  So we put in its place one that looks at the driver: engines of
stock SQLite get the implementation that was there before.

Batch mode (copy, drop, rename) works as on stock SQLite, and migrations that
use it go on using it; a plain ``op.alter_column``, ``op.create_foreign_key``
or ``op.drop_constraint``, which stock SQLite refuses, changes the catalog.
"""

import sys
import threading
from typing import Any

_lock = threading.Lock()
_installed = False


def install() -> bool:
    """Register with alembic, once, if the process has imported it.

    :returns: whether it is registered now.
    """
    global _installed
    if _installed or 'alembic.ddl.sqlite' not in sys.modules:
        return _installed
    with _lock:
        if not _installed:
            _register()
            _installed = True
    return True


def setup(plugin: Any) -> None:
    """Register with alembic: entry point of the group ``alembic.plugins``
    (alembic 1.18 and later call it when they are imported)."""
    global _installed
    with _lock:
        if not _installed:
            _register()
            _installed = True


def _register() -> None:
    from alembic.ddl import impl
    from alembic.ddl import sqlite

    registry: dict[str, type] = impl._impls
    stock = registry['sqlite']

    # no class attribute __dialect__ here: its presence would register them
    class LucImpl(sqlite.SQLiteImpl):
        """Sends the ALTERs that our catalog understands."""

        def add_constraint(self, const: Any, **kw: Any) -> None:
            if const._create_rule is not None:
                # the CHECK of a Boolean or Enum type: stock SQLite's
                # implementation leaves it out as well
                sqlite.SQLiteImpl.add_constraint(self, const, **kw)
            else:
                impl.DefaultImpl.add_constraint(self, const, **kw)

        def drop_constraint(self, const: Any, **kw: Any) -> None:
            impl.DefaultImpl.drop_constraint(self, const, **kw)

        def alter_column(self, table_name: str, column_name: str, *,
                         comment: Any = False, autoincrement: Any = None,
                         existing_autoincrement: Any = None,
                         **kw: Any) -> None:
            # SQLite has neither comments nor a choice of autoincrement
            impl.DefaultImpl.alter_column(
                self, table_name, column_name, **kw)

    class ByDriver(stock):  # type: ignore[valid-type,misc]
        """Looks like the stock implementation; makes the right one."""

        def __new__(cls, dialect: Any, *args: Any, **kw: Any) -> Any:
            chosen = LucImpl if dialect.driver == 'luc' else stock
            return chosen(dialect, *args, **kw)

    registry['sqlite'] = ByDriver
