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

"""The PEP 249 driver: what the sqlite3 module's users touch, on our stores.

``connect()`` is cheap: what costs is shared per process (engine.py).  A
connection may be used by several threads, one at a time, and in a child
after a fork, where it is a new one.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import datetime
import functools
import os
import threading
import time
from typing import Any

import apsw

from luc_drivers import config
from luc_drivers.db import engine
from luc_drivers.db import script
from luc_drivers.db.errors import DatabaseError
from luc_drivers.db.errors import DataError
from luc_drivers.db.errors import Error
from luc_drivers.db.errors import IntegrityError
from luc_drivers.db.errors import InterfaceError
from luc_drivers.db.errors import InternalError
from luc_drivers.db.errors import NotSupportedError
from luc_drivers.db.errors import OperationalError
from luc_drivers.db.errors import ProgrammingError
from luc_drivers.db.errors import Warning  # noqa: A004
from luc_drivers.db.planner.plan import Kind
from luc_drivers.db.planner.plan import Parameters
from luc_drivers.db.store import settings as store_settings
from luc_drivers.db.store.base import StoreSettings
from luc_drivers.db.transaction import pragmas
from luc_drivers.db.transaction.session import Session
from luc_drivers.db.workspace.workspace import Outcome

__all__ = (
    'Binary', 'Connection', 'Cursor', 'DataError', 'DatabaseError', 'Date',
    'DateFromTicks', 'Error', 'IntegrityError', 'InterfaceError',
    'InternalError', 'NotSupportedError', 'OperationalError',
    'ProgrammingError', 'Row', 'Time', 'TimeFromTicks', 'Timestamp',
    'TimestampFromTicks', 'Warning', 'apilevel', 'connect', 'drop_private',
    'paramstyle', 'sqlite_version', 'sqlite_version_info', 'threadsafety')

apilevel = '2.0'
#: threads may share the module and connections
threadsafety = 3
paramstyle = 'qmark'
sqlite_version = apsw.sqlite_lib_version()
sqlite_version_info = tuple(int(n) for n in sqlite_version.split('.'))
version = '2.6.0'
version_info = (2, 6, 0)

#: accepted, without effect: values come back as SQLite has them
PARSE_DECLTYPES = 1
PARSE_COLNAMES = 2
LEGACY_TRANSACTION_CONTROL = -1
SQLITE_OK = 0

Binary = memoryview
Date = datetime.date
Time = datetime.time
Timestamp = datetime.datetime
STRING, BINARY, NUMBER, DATETIME, ROWID = str, bytes, float, str, int

drop_private = engine.drop_private

_PLAIN = frozenset((int, float, str, bytes, type(None)))
_DML = (Kind.INSERT, Kind.UPDATE, Kind.DELETE)
_LEVELS = ('', 'DEFERRED', 'IMMEDIATE', 'EXCLUSIVE')


def DateFromTicks(ticks: float) -> datetime.date:  # noqa: N802
    """PEP 249: the date of seconds since the epoch."""
    return Date(*time.localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> datetime.time:  # noqa: N802
    """PEP 249: the time of seconds since the epoch."""
    return Time(*time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> datetime.datetime:  # noqa: N802
    """PEP 249: date and time of seconds since the epoch."""
    return Timestamp(*time.localtime(ticks)[:6])


def _adapt(value: Any, place: Any) -> Any:
    """Return a parameter as one of SQLite's classes, as sqlite3 does."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(' ')
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    conform = getattr(value, '__conform__', None)
    if conform is not None:
        return _adapt(conform(None), place)
    raise ProgrammingError(
        f"Error binding parameter {place}: type '{type(value).__name__}' is "
        'not supported')


def adapt(parameters: Parameters) -> Parameters:
    """Return parameters with values that SQLite knows."""
    if isinstance(parameters, Mapping):
        return {name: value if type(value) in _PLAIN
                else _adapt(value, f':{name}')
                for name, value in parameters.items()}
    if not isinstance(parameters, (tuple, list)):
        parameters = tuple(parameters)
    for value in parameters:
        if type(value) not in _PLAIN:
            return tuple(
                v if type(v) in _PLAIN else _adapt(v, n)
                for n, v in enumerate(parameters, 1))
    return tuple(parameters)


class Row:
    """A result row by position and by column name (row_factory)."""

    __slots__ = ('_names', '_values')

    def __init__(self, cursor: 'Cursor', values: tuple[Any, ...]) -> None:
        self._names = [d[0] for d in cursor.description or ()]
        self._values = values

    def keys(self) -> list[str]:
        """Return the columns' names."""
        return list(self._names)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            for name, value in zip(self._names, self._values):
                if name.lower() == key.lower():
                    return value
            raise IndexError('No item with that key')
        return self._values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash((tuple(self._names), self._values))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Row):
            return NotImplemented
        return (self._names, self._values) == (other._names, other._values)


class Cursor:
    """PEP 249's cursor. Results are whole in memory when it returns."""

    def __init__(self, connection: 'Connection') -> None:
        self.connection = connection
        self.description: tuple[tuple[Any, ...], ...] | None = None
        self._counts: Outcome | None = None
        self.lastrowid: int | None = None
        self.arraysize = 1
        self.row_factory: Callable[..., Any] | None = connection.row_factory
        self._rows: Sequence[tuple[Any, ...]] = ()
        self._next = 0
        self._closed = False

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed; -1 if it changes none.

        Whoever has looked at it is told of a conflict that changes it.
        """
        return -1 if self._counts is None else self._counts.count()

    def _check(self) -> None:
        if self._closed:
            raise ProgrammingError('Cannot operate on a closed cursor.')
        self.connection._check()

    def execute(self, sql: str, parameters: Parameters = (), /) -> 'Cursor':
        """Run one statement; return this cursor."""
        self._check()
        self._clear()
        plan, outcome = self.connection._execute(sql, adapt(parameters))
        if outcome.columns is not None:
            self.description = tuple(
                (name, None, None, None, None, None, None)
                for name in outcome.columns)
        self._rows = outcome.rows
        if plan.kind in _DML:
            self._counts = outcome
        if plan.kind is Kind.INSERT and outcome.last_id is not None:
            self.lastrowid = outcome.last_id
        return self

    def executemany(self, sql: str, sets: Iterable[Parameters], /
                    ) -> 'Cursor':
        """Run a writing statement once per set of parameters."""
        self._check()
        self._clear()
        _, outcome = self.connection._execute_many(
            sql, [adapt(one) for one in sets])
        self._counts = outcome
        return self

    def executescript(self, sql: str, /) -> 'Cursor':
        """Run several statements, separated by semicolons."""
        self._check()
        self._clear()
        self.connection._execute_script(sql)
        return self

    def _clear(self) -> None:
        self.description = None
        self._counts = None
        self._rows = ()
        self._next = 0

    def _made(self, values: tuple[Any, ...]) -> Any:
        factory = self.row_factory
        return values if factory is None else factory(self, values)

    def fetchone(self) -> Any:
        """Return the next row; None if there is none."""
        self._check()
        if self._next >= len(self._rows):
            return None
        self._next += 1
        return self._made(self._rows[self._next - 1])

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next ``size`` rows, or those that are left."""
        self._check()
        start = self._next
        self._next = min(start + (self.arraysize if size is None else size),
                         len(self._rows))
        return [self._made(row) for row in self._rows[start:self._next]]

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        self._check()
        start, self._next = self._next, len(self._rows)
        return [self._made(row) for row in self._rows[start:]]

    def __iter__(self) -> 'Cursor':
        return self

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def setinputsizes(self, sizes: Any, /) -> None:
        """PEP 249: no effect."""

    def setoutputsize(self, size: Any, column: Any = None, /) -> None:
        """PEP 249: no effect."""

    def close(self) -> None:
        """Free the rows; counts and description stay, as sqlite3's do."""
        self._rows = ()
        self._closed = True


class Connection:
    """PEP 249's connection, with sqlite3's additions.

    :param make: returns the database of the process that asks.
    :ivar isolation_level: None: only BEGIN begins a transaction; else a
        statement that writes does, too.
    """

    Warning = Warning
    Error = Error
    InterfaceError = InterfaceError
    DatabaseError = DatabaseError
    DataError = DataError
    OperationalError = OperationalError
    IntegrityError = IntegrityError
    InternalError = InternalError
    ProgrammingError = ProgrammingError
    NotSupportedError = NotSupportedError

    def __init__(self, make: Callable[[], engine.Database],
                 foreign_keys: bool = True,
                 isolation_level: str | None = '') -> None:
        self.row_factory: Callable[..., Any] | None = None
        self.text_factory: Any = str
        #: without effect: nobody sees what is not committed
        self.read_uncommitted = False
        self._isolation_level = isolation_level
        self._make = make
        self._foreign_keys = foreign_keys
        self._functions: dict[tuple[str, int], Callable[..., Any]] = {}
        self._lock = threading.RLock()
        self._pid = -1
        self._closed = False
        self._session: Session
        self._begin_session()

    def _begin_session(self) -> None:
        self._pid = os.getpid()
        self._session = Session(self._make(), self._foreign_keys)
        self._session.functions = self._functions

    def _check(self) -> None:
        if self._closed:
            raise ProgrammingError('Cannot operate on a closed database.')

    @property
    def database(self) -> engine.Database:
        """This process's object for the database; of this driver alone."""
        return self._make()

    def _here(self) -> Session:
        """Return the session of this process."""
        self._check()
        if self._pid != os.getpid():
            # what the parent had open stays the parent's
            self._lock = threading.RLock()
            self._begin_session()
        return self._session

    def _execute(self, sql: str, parameters: Parameters) -> Any:
        session = self._here()
        with self._lock:
            return session.execute(
                sql, parameters, self._isolation_level is not None)

    def _execute_many(self, sql: str, sets: list[Parameters]) -> Any:
        session = self._here()
        with self._lock:
            return session.execute_many(
                sql, sets, self._isolation_level is not None)

    def _execute_script(self, sql: str) -> None:
        session = self._here()
        with self._lock:
            session.commit()
            for statement in script.split(sql):
                session.execute(statement)

    # --- PEP 249

    def cursor(self, factory: type[Cursor] = Cursor) -> Cursor:
        """Return a new cursor."""
        self._check()
        return factory(self)

    def commit(self) -> None:
        """Commit the open transaction, if there is one."""
        session = self._here()
        with self._lock:
            session.commit()

    def rollback(self) -> None:
        """Roll the open transaction back, if there is one."""
        session = self._here()
        with self._lock:
            session.rollback()

    def close(self) -> None:
        """Roll back and close."""
        if self._closed:
            return
        if self._pid == os.getpid():
            with self._lock:
                self._session.close()
        self._closed = True

    # --- as sqlite3 has it

    def execute(self, sql: str, parameters: Parameters = (), /) -> Cursor:
        """Run a statement on a new cursor, and return that."""
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, sets: Iterable[Parameters], /) -> Cursor:
        """Run a statement many times on a new cursor, and return that."""
        return self.cursor().executemany(sql, sets)

    def executescript(self, sql: str, /) -> Cursor:
        """Run several statements on a new cursor, and return that."""
        return self.cursor().executescript(sql)

    def iterdump(self) -> Iterator[str]:
        """Yield the statements that make this database anew."""
        return script.dump(self)

    def create_function(self, name: str, narg: int,
                        func: Callable[..., Any] | None, *,
                        deterministic: bool = False) -> None:
        """Define an SQL function for this connection; None removes it."""
        del deterministic
        key = (name.lower(), narg)
        if func is None:
            self._functions.pop(key, None)
        else:
            self._functions[key] = func

    @property
    def isolation_level(self) -> str | None:
        """As sqlite3's: None = no implicit BEGIN."""
        return self._isolation_level

    @isolation_level.setter
    def isolation_level(self, level: str | None) -> None:
        if level is None:
            # sqlite3 commits, too
            if not self._closed:
                self.commit()
        elif level.upper() not in _LEVELS:
            raise ValueError(
                'isolation_level string must be "", "DEFERRED", "IMMEDIATE", '
                'or "EXCLUSIVE"')
        self._isolation_level = level

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._here().in_transaction

    @property
    def total_changes(self) -> int:
        """Rows changed since the connection was made."""
        return self._here().total_changes

    def interrupt(self) -> None:
        """No effect: statements are short."""
        self._check()

    def __enter__(self) -> 'Connection':
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is None:
            self.commit()
        else:
            self.rollback()


@functools.lru_cache(maxsize=256)
def _settings(path: str, username: str | None, password: str | None,
              host: str | None, port: int | str | None,
              query: tuple[tuple[str, str], ...], url: str) -> StoreSettings:
    del path
    return store_settings.resolve(
        username=username, password=password, hosts=host, port=port,
        query=dict(query), url=url)


def connect(database: str, url: str = '', username: str | None = None,
            password: str | None = None, host: str | None = None,
            port: int | str | None = None, private: str | None = None,
            profile: str | None = None, foreign_keys: str = 'on',
            isolation_level: str | None = '', **options: Any) -> Connection:
    """Return a connection to a database.

    :param database: its name.
    :param url: the connection URL without its password, for messages.
    :param host: contact points, "host1,host2[:port]".
    :param private: id of the engine that a fresh database belongs to.
    :param foreign_keys: 'on' or 'off': whether they are checked.
    :param options: the URL's parameters (see store/settings.py); sqlite3's
        (check_same_thread, timeout, detect_types, cached_statements, uri)
        are accepted without effect.
    :raises OperationalError: a setting makes no sense; the message names it.
    """
    query = {name: str(value) for name, value in options.items()
             if name in store_settings.PARAMETERS and value is not None}
    settings = _settings(
        config.path(), username, password, host, port,
        tuple(sorted(query.items())), url)
    return Connection(
        lambda: engine.database(database, settings, profile, private),
        pragmas.flag(str(foreign_keys)), isolation_level)
