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

"""The SQLAlchemy dialect ``sqlite+luc``.

SQL is SQLite's; everything below ``dbapi.connect`` is ours.  The dialect's
name has to be sqlite (types' variants, the services' migrations and oslo.db
ask for it), its driver is luc.
"""

from collections.abc import Callable
import hashlib
import os
from typing import Any
import uuid
import weakref

from oslo_utils import strutils
from sqlalchemy import exc
from sqlalchemy import pool
from sqlalchemy import util
from sqlalchemy.dialects.sqlite import base
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.engine import reflection
from sqlalchemy.engine import URL

from luc_drivers.db import alembic
from luc_drivers.db import errors
from luc_drivers.db import filters
from luc_drivers.db.catalog import alter
from luc_drivers.db.profiles import registry as profiles

#: what the planner reads where other databases have FOR UPDATE (rule 21)
LOCK = '/*luc:lock*/'

#: all URL parameters; those of sqlite3 that have no meaning here are
#: accepted, because oslo.db and the services pass them
PARAMETERS = frozenset((
    'store', 'path', 'fresh', 'keyspace_template', 'profile',
    'foreign_keys', 'timeout', 'isolation_level', 'detect_types',
    'check_same_thread', 'cached_statements'))

#: those that take words
_CHOICES = {
    'foreign_keys': ('on', 'off', '1', '0', 'yes', 'no', 'true', 'false'),
    'isolation_level': ('', 'deferred', 'immediate', 'exclusive')}


class LucCompiler(base.SQLiteCompiler):
    """Compiles SELECT ... FOR UPDATE to a mark that the planner reads."""

    def for_update_clause(self, select: Any, **kw: Any) -> str:
        return ' ' + LOCK


class LucDDLCompiler(base.SQLiteDDLCompiler):
    """Gives autoincrement keys the one type that SQLite numbers: INTEGER.

    Models that know SQLite say so themselves (``with_variant``); migrations
    written for MySQL alone do not.
    """

    def get_column_specification(self, column: Any, **kw: Any) -> str:
        text = super().get_column_specification(column, **kw)
        if (column.table is None
                or column.table._autoincrement_column is not column):
            return text
        words = text.split(' ', 2)
        if words[1].upper() in ('BIGINT', 'SMALLINT'):
            words[1] = 'INTEGER'
        return ' '.join(words)


class LucExecutionContext(base.SQLiteExecutionContext):
    """Looks at a change's row count only if the caller does.

    SQLAlchemy reads the count of each UPDATE and DELETE at once, as other
    drivers lose it; ours then could not tell which are of interest, and a
    conflict that changes a count that was seen is an error.
    """

    _later = False

    def post_exec(self) -> None:
        super().post_exec()
        if self._rowcount is None and self.cursor.description is None:
            # any number keeps SQLAlchemy from reading it now
            self._rowcount = -1
            self._later = True

    @property
    def rowcount(self) -> int:
        return self.cursor.rowcount if self._later else super().rowcount


class LucDialect(pysqlite.SQLiteDialect_pysqlite):
    """SQLite's dialect over our driver."""

    driver = 'luc'
    supports_statement_cache = True
    execution_ctx_cls = LucExecutionContext
    statement_compiler = LucCompiler
    ddl_compiler = LucDDLCompiler

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._named_constraints = False
        # each engine has a dialect of its own: the name space of fresh=1
        self._private = uuid.uuid4().hex
        filters.install()
        alembic.install()

    @classmethod
    def import_dbapi(cls) -> Any:
        from luc_drivers.db import dbapi
        return dbapi

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        # as pysqlite for files; oslo.db then takes NullPool
        return pool.QueuePool

    def create_connect_args(self, url: URL) -> Any:
        """Return the arguments of dbapi.connect.

        :raises ArgumentError: the URL names no database, or a parameter
            that does not exist.
        """
        shown = url.render_as_string(hide_password=True)
        if not url.database:
            raise exc.ArgumentError(
                'connection URL %s names no database; the form is '
                'sqlite+luc://[user:password@][host,host[:port]]/DATABASE'
                '[?store=embedded]' % shown)
        query = self._parameters(url, shown)
        try:
            profile = profiles.find(url.database, query.get('profile'))
        except errors.Error as error:
            raise exc.ArgumentError(
                f'connection URL {shown}: {error}') from error
        self._named_constraints = profile.named_constraints
        options: dict[str, Any] = dict(
            query, url=shown, username=url.username, password=url.password,
            host=url.host, port=url.port)
        if _flag(query.get('fresh', '')):
            options['private'] = self._private
            self._drop_at_end()
        return [url.database], options

    def _parameters(self, url: URL, shown: str) -> dict[str, str]:
        unknown = sorted(set(url.query) - PARAMETERS)
        if unknown:
            raise exc.ArgumentError(
                'connection URL %s: no such parameter: %s; there are: %s' % (
                    shown, ', '.join(unknown), ', '.join(sorted(PARAMETERS))))
        # of a parameter given twice the last one counts
        query = {name: value if isinstance(value, str) else value[-1]
                 for name, value in url.query.items()}
        for name, allowed in _CHOICES.items():
            if query.get(name, allowed[0]).lower() not in allowed:
                raise exc.ArgumentError(
                    'connection URL %s: %s=%s: it must be one of %s' % (
                        shown, name, query[name],
                        ', '.join(filter(None, allowed))))
        return query

    def _drop_at_end(self) -> None:
        """Drop the private name space when the engine is gone."""
        drop: Callable[[str], None] | None = getattr(
            self.dbapi, 'drop_private', None)
        if drop is not None:
            weakref.finalize(self, drop, self._private)

    # --- isolation

    # what transactions promise (see the documentation of the database
    # layer); READ UNCOMMITTED is accepted, and gives the same
    _isolation_lookup = util.immutabledict(
        {'READ COMMITTED': 0, 'READ UNCOMMITTED': 1, 'AUTOCOMMIT': None})

    def set_isolation_level(self, dbapi_connection: Any,
                            level: Any) -> None:
        """Set a connection's level: one of the three above."""
        autocommit = level == 'AUTOCOMMIT'
        dbapi_connection.isolation_level = None if autocommit else ''
        dbapi_connection.read_uncommitted = level == 'READ UNCOMMITTED'

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        """Return a connection's level."""
        if dbapi_connection.read_uncommitted:
            return 'READ UNCOMMITTED'
        return 'READ COMMITTED'

    # --- reflection

    @reflection.cache
    def get_pk_constraint(self, connection: Any, table_name: str,
                          schema: str | None = None, **kw: Any) -> Any:
        found = super().get_pk_constraint(
            connection, table_name, schema, **kw)
        return self._named([found], table_name, 'PRIMARY')[0]

    @reflection.cache
    def get_foreign_keys(self, connection: Any, table_name: str,
                         schema: str | None = None, **kw: Any) -> Any:
        return self._named(super().get_foreign_keys(
            connection, table_name, schema, **kw), table_name, 'FOREIGN')

    @reflection.cache
    def get_unique_constraints(self, connection: Any, table_name: str,
                               schema: str | None = None, **kw: Any) -> Any:
        return self._named(super().get_unique_constraints(
            connection, table_name, schema, **kw), table_name, 'UNIQUE')

    def _named(self, constraints: Any, table: str, kind: str) -> Any:
        """Give unnamed constraints their names, if the profile asks."""
        if not self._named_constraints:
            return constraints
        return [
            dict(c, name=c.get('name') or alter.auto_name(
                table, kind, columns)) if columns else c
            for c in constraints
            for columns in [c.get('constrained_columns')
                            or c.get('column_names')]]

    def on_connect(self) -> Callable[[Any], None]:
        """Return what sets up a connection: functions regexp and floor."""
        connect = super().on_connect()

        def set_up(connection: Any) -> None:
            # the process may have imported them since
            filters.install()
            alembic.install()
            connect(connection)

        return set_up

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Tell whether an error means that the connection is of no use."""
        return isinstance(e, errors.StoreUnavailable) or (
            super().is_disconnect(e, connection, cursor))


class StandInDialect(LucDialect):
    """For tests: stands in for stock SQLite at plain ``sqlite:`` URLs.

    Registered for ``sqlite`` and ``sqlite.pysqlite`` it gives each in-memory
    engine a private database of its own, and each file one that all engines
    on that file share while the process lives.
    """

    supports_statement_cache = True

    def create_connect_args(self, url: URL) -> Any:
        name = url.database or ':memory:'
        options: dict[str, Any] = {
            'url': url.render_as_string(), 'store': 'embedded',
            'fresh': '1', 'foreign_keys': 'off'}
        if name == ':memory:' or url.query.get('mode') == 'memory':
            options['private'] = self._private
            self._drop_at_end()
            return ['memory'], options
        path = os.path.abspath(name)
        options['private'] = hashlib.sha256(path.encode()).hexdigest()[:32]
        return [os.path.splitext(os.path.basename(path))[0]], options


def _flag(text: str) -> bool:
    return strutils.bool_from_string(text)
