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


"""The dialect under test, and what SQLAlchemy's plug-in must know of it."""

from typing import Any
import uuid

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.testing import provision

from luc_drivers.db.dialect import LucDialect

_NAME_SPACE = uuid.uuid4().hex


class SharedDialect(LucDialect):
    """Ours, with one fresh name space for all engines of the process: the
    suite expects its engines on one URL to see the same tables.
    """

    supports_statement_cache = True

    def create_connect_args(self, url: sa.URL) -> Any:
        arguments, options = super().create_connect_args(url)
        options['private'] = _NAME_SPACE
        return arguments, options

    def _drop_at_end(self) -> None:
        """Other engines go on using it."""

    @classmethod
    def load_provisioning(cls) -> None:
        """Register the hooks below."""
        _register()


def _register() -> None:
    provision.temp_table_keyword_args.for_db('sqlite')(_temporary)
    provision.upsert.for_db('sqlite')(_upsert)
    provision.post_configure_testing_engine.for_db('sqlite')(_configure)
    provision.stop_test_class_outside_fixtures.for_db('sqlite')(_dispose)


def _temporary(config: Any, engine: sa.Engine) -> dict[str, Any]:
    return {'prefixes': ['TEMPORARY']}


def _dispose(config: Any, engine: sa.Engine, test_class: Any) -> None:
    engine.dispose()


def _configure(url: sa.URL, engine: sa.Engine, options: Any,
               scope: str) -> None:
    """Let SAVEPOINT tests begin transactions as the suite asks."""
    if not options.get('sqlite_savepoint'):
        return

    @event.listens_for(engine, 'connect')
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, 'begin')
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql('BEGIN')


def _upsert(config: Any, table: sa.Table, returning: Any, *,
            set_lambda: Any = None, sort_by_parameter_order: bool = False,
            index_elements: Any = None) -> Any:
    statement = insert(table)
    if set_lambda:
        statement = statement.on_conflict_do_update(
            set_=set_lambda(statement.excluded))
    else:
        statement = statement.on_conflict_do_nothing()
    return statement.returning(
        *returning, sort_by_parameter_order=sort_by_parameter_order)


def drop() -> None:
    """Drop the name space."""
    from luc_drivers.db import dbapi
    dbapi.drop_private(_NAME_SPACE)
