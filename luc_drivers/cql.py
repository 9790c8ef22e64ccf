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

"""CQL for the database layer and the matchmaker: one session per process.

::

    session = cql.session(cql.host_settings())
    rows = session.execute('SELECT … WHERE a = ?', (1,))
    results = session.execute_many([cql.Request(…), …])    # one round

Statements with parameters are prepared once and cached by their text, and
must name their keyspace.  Nothing is ever retried unless a request is marked
idempotent, or was certainly not sent; speculative execution is off.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import os
import socket
import struct
import threading
import time
from typing import Any

from luc_drivers import config
from luc_drivers import cqldriver
from luc_drivers import native

#: a parameter that leaves its column as it is
UNSET: Any = object()
#: requests in flight of one execute_many
WINDOW = 128
#: seconds for one change of the schema, which all nodes must take
_DDL_TIMEOUT = 60.0
#: seconds between attempts while no node is connected
_PAUSE = 0.2
#: what the driver raises for parameters of wrong number or type
_BUGS = (TypeError, ValueError, KeyError, AttributeError, struct.error)


class Error(Exception):
    """Base of all errors of this module."""


class Unavailable(Error):
    """Not connected, or too few replicas: nothing was executed."""


class Unknown(Error):
    """Sent, but the answer is missing or says so: may be executed or not,
    now or later."""


class Refused(Error):
    """The server refused the request for what it is: syntax, permission."""


@dataclasses.dataclass(frozen=True)
class CqlSettings:
    """Where and how to connect; the options of ``[cassandra]``.

    :ivar site: the datacenter whose nodes are talked to.
    """

    contact_points: tuple[str, ...] = ('127.0.0.1',)
    port: int = 9042
    site: str = 'site1'
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    tls: bool = False
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None
    connect_timeout: float = 10.0
    request_timeout: float = 10.0

    @property
    def where(self) -> str:
        """Return the contact points, for messages."""
        return ', '.join(f'{p}:{self.port}' for p in self.contact_points)


def host_settings() -> CqlSettings:
    """Return the settings of the host's file."""
    conf = config.load()
    return from_options(conf.cassandra, site=conf.site)


def from_options(options: Any, **more: Any) -> CqlSettings:
    """Return settings from any object with these attributes.

    A StoreSettings, or the ``[cassandra]`` group of the host's file.
    """
    names = [f.name for f in dataclasses.fields(CqlSettings)]
    values = {n: getattr(options, n) for n in names if n not in more}
    values['contact_points'] = tuple(values['contact_points'])
    return CqlSettings(**values, **more)


@dataclasses.dataclass(slots=True)
class Request:
    """One CQL request.

    :ivar params: None = sent as it is, not prepared (DDL).
    :ivar batch: instead of cql and params: (cql, params) of one unlogged
        batch.
    :ivar consistency: level, as CQL spells it.
    :ivar serial: level of the conditional part; None = not conditional.
    :ivar idempotent: may be sent again after a time-out.
    :ivar timeout: seconds; None = the settings' request_timeout.
    """

    cql: str = ''
    params: Sequence[Any] | None = ()
    batch: Sequence[tuple[str, Sequence[Any]]] | None = None
    consistency: str = 'LOCAL_QUORUM'
    serial: str | None = None
    idempotent: bool = False
    timeout: float | None = None


_sessions: 'dict[CqlSettings, Session]' = {}
_lock = native.lock()


def session(settings: CqlSettings) -> 'Session':
    """Return this process's session for these settings.

    It connects on first use.
    """
    with _lock:  # held for no I/O: a native one is right under eventlet, too
        found = _sessions.get(settings)
        if found is None:
            found = _sessions[settings] = Session(settings)
        return found


def close_all() -> None:
    """Close all sessions of this process (at its end, and in tests)."""
    with _lock:
        sessions = list(_sessions.values())
        _sessions.clear()
    for found in sessions:
        found.close()


def _after_fork() -> None:
    global _lock
    _lock = native.lock()
    inherited = list(_sessions.values())
    _sessions.clear()
    cqldriver.abandon([s._cluster for s in inherited] + inherited)


os.register_at_fork(after_in_child=_after_fork)


class Session:
    """A connected session; get it from `session`.

    Thread-safe.  A process forked from this one must get its own.

    :ivar rounds: calls that sent something, of all threads.
    :ivar requests: CQL requests sent.
    """

    def __init__(self, settings: CqlSettings) -> None:
        self.settings = settings
        self.rounds = 0
        self.requests = 0
        self._cluster: Any = None
        self._session: Any = None
        self._closed = False
        self._prepared: dict[str, Any] = {}
        self._pid = os.getpid()
        # made here, not at import: after eventlet has patched, if it does
        self._connecting = threading.Lock()
        self._preparing = threading.Lock()

    # --- connecting

    def connect(self) -> Any:
        """Connect, once; return the driver's session.

        :raises Unavailable: not within connect_timeout, wrong password, no
            such site: the message says which setting to look at.
        """
        if self._pid != os.getpid():
            raise RuntimeError('a session of another process was used; get '
                               'one from cql.session()')
        if self._session is None:
            with self._connecting:
                if self._closed:
                    raise Unavailable('the session was closed')
                if self._session is None:
                    self._session = self._connect()
        return self._session

    def _connect(self) -> Any:
        settings = self.settings
        deadline = time.monotonic() + settings.connect_timeout
        cluster_module = cqldriver.load()
        while True:
            left = max(0.1, deadline - time.monotonic())
            cluster = self._make_cluster(cluster_module, left)
            try:
                found = cluster.connect()
            except Exception as exc:  # whatever it is, say where and why
                message, final = self._explain(cluster_module, cluster, exc)
                cluster.shutdown()
                # a server that is just starting refuses connections
                if not final and time.monotonic() + _PAUSE < deadline:
                    time.sleep(_PAUSE)
                    continue
                raise Unavailable(message) from exc
            self._cluster = cluster
            found.default_fetch_size = None
            return found

    def _make_cluster(self, module: Any, timeout: float) -> Any:
        from cassandra import auth
        from cassandra import policies
        settings = self.settings
        never = policies.FallthroughRetryPolicy()
        # all profiles are the same but for retries
        balancing = policies.TokenAwarePolicy(
            policies.DCAwareRoundRobinPolicy(local_dc=settings.site),
            shuffle_replicas=False)
        profile = module.ExecutionProfile(
            load_balancing_policy=balancing, retry_policy=never,
            request_timeout=settings.request_timeout,
            row_factory=_tuples)
        credentials = context = None
        if settings.username:
            credentials = auth.PlainTextAuthProvider(
                settings.username, settings.password or '')
        if settings.tls:
            try:
                context = cqldriver.ssl_context(
                    settings.tls_ca_file, settings.tls_cert_file,
                    settings.tls_key_file)
            except OSError as exc:
                raise Unavailable(
                    f'{exc} ([cassandra] tls_ca_file, tls_cert_file and '
                    'tls_key_file)') from exc
        each = timeout / len(settings.contact_points)
        try:
            return module.Cluster(
                settings.contact_points, settings.port,
                auth_provider=credentials, ssl_context=context,
                execution_profiles={module.EXEC_PROFILE_DEFAULT: profile},
                connection_class=cqldriver.connection_class(),
                # v4: frames without a checksum in Python; v5 offers nothing
                # that we need
                protocol_version=4, compression=False,
                # the driver writes in pieces of 4 KiB; Nagle's algorithm
                # would hold the second one back for 40 ms
                sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
                connect_timeout=each, control_connection_timeout=each,
                reconnection_policy=policies.ExponentialReconnectionPolicy(
                    # for ever: the driver's default ends after 64 attempts
                    0.5, 4.0, max_attempts=None),
                # others' DDL: the databases' catalogs tell, not the driver
                schema_event_refresh_window=-1,
                monitor_reporting_enabled=False)
        except module.UnresolvableContactPoints as exc:
            raise Unavailable(
                f'no contact point of Cassandra can be resolved: '
                f'{settings.where} ([cassandra] contact_points or the hosts '
                'in the connection URL)') from exc

    def _explain(self, module: Any, cluster: Any,
                 exc: Exception) -> tuple[str, bool]:
        """Return (one clear message, whether trying again is pointless)."""
        from cassandra import AuthenticationFailed
        settings = self.settings
        where = f'Cassandra at {settings.where}'
        causes = [exc]
        if isinstance(exc, module.NoHostAvailable):
            causes = _causes(exc) or [exc]
        for cause in causes:
            if isinstance(cause, AuthenticationFailed):
                who = (f'user {settings.username!r} and its password'
                       if settings.username else 'a connection without a user')
                return (f'{where} refuses {who} ([cassandra] username and '
                        f'password, or user:password@ in the URL): {cause}',
                        True)
        sites = sorted({h.datacenter for h in cluster.metadata.all_hosts()
                        if h.datacenter})
        if sites and settings.site not in sites:
            return (f'{where} has no datacenter {settings.site!r}, only '
                    f'{", ".join(sites)} ([DEFAULT] site in luc.conf)', True)
        reasons = sorted({str(c) or type(c).__name__ for c in causes})
        return (f'{where} does not answer ([cassandra] contact_points, port, '
                f'or the hosts in the URL; waited {settings.connect_timeout:g}'
                f' s, connect_timeout): {"; ".join(reasons)}', False)

    def close(self) -> None:
        """Close the connections; the session can't be used any more."""
        with self._connecting:
            self._closed = True
            if self._cluster is not None and self._pid == os.getpid():
                self._cluster.shutdown()
            self._session = self._cluster = None

    @property
    def sites(self) -> set[str]:
        """Return the datacenters that the cluster has."""
        self.connect()
        return {h.datacenter for h in self._cluster.metadata.all_hosts()}

    # --- schema

    def ddl(self, statements: Sequence[str]) -> None:
        """Run CREATE … IF NOT EXISTS statements one after the other.

        All processes send theirs to one and the same node, since two nodes
        that create one table at a time can give it two ids.

        :raises Unavailable, Unknown, Refused: see there.
        """
        driver = self.connect()
        hosts = [h for h in self._cluster.metadata.all_hosts()
                 if h.is_up and h.datacenter == self.settings.site]
        first = min(hosts, key=lambda h: str(h.host_id), default=None)
        self.rounds += len(statements)
        self.requests += len(statements)
        try:
            for statement in statements:
                driver.execute(statement, timeout=_DDL_TIMEOUT, host=first)
            # IF NOT EXISTS on what another process is just making
            self._cluster.control_connection.wait_for_schema_agreement()
        except Exception as exc:
            raise self._error(exc) from exc

    def learn(self, keyspaces: Iterable[str]) -> None:
        """Have the driver know where replicas of these keyspaces are.

        It knows those that were there when it connected, or made by `ddl`.
        """
        self.connect()
        for keyspace in set(keyspaces) - set(self._cluster.metadata.keyspaces):
            try:
                self._cluster.refresh_keyspace_metadata(keyspace)
            except Exception as exc:
                raise self._error(exc) from exc

    # --- requests

    def execute(self, cql: str, params: Sequence[Any] | None = (),
                consistency: str = 'LOCAL_QUORUM',
                serial_consistency: str | None = None,
                timeout: float | None = None,
                idempotent: bool = False) -> list[tuple]:
        """Run one statement; return all its rows.

        :param params: for the ?s; None = don't prepare it (DDL).
        :raises Unavailable, Unknown, Refused: see there.
        """
        result, = self.execute_many([Request(
            cql, params, None, consistency, serial_consistency, idempotent,
            timeout)])
        if isinstance(result, Error):
            raise result
        return result

    def execute_many(self, requests: Sequence[Request],
                     ) -> 'list[list[tuple] | Error]':
        """Run requests in parallel: one round.

        :returns: for each, in order, its rows or the error that it met
            (returned, not raised).
        :raises Unavailable: there is no connection, nothing was sent.
        """
        if not requests:
            return []
        self.connect()
        self.rounds += 1
        results: list[Any] = [None] * len(requests)
        todo = list(range(len(requests)))
        deadline = time.monotonic() + max(
            r.timeout or self.settings.request_timeout for r in requests)
        tries: dict[int, int] = {}
        while True:
            again = []
            for number, result in self._send(requests, todo):
                results[number] = result
                if isinstance(result, _NotSent):
                    again.append(number)
                elif (isinstance(result, Unknown | Unavailable)
                      and requests[number].idempotent
                      and tries.setdefault(number, 0) < 1):
                    tries[number] += 1
                    again.append(number)
            if not again or time.monotonic() + _PAUSE > deadline:
                return results
            # nodes are marked down for moments, and restart in seconds
            time.sleep(_PAUSE)
            todo = again

    def _send(self, requests: Sequence[Request], todo: Sequence[int],
              ) -> Iterable[tuple[int, Any]]:
        """Send some of the requests; yield (number, rows or error)."""
        self.requests += len(todo)
        window: list[tuple[int, Any]] = []
        at = 0
        for number in todo:
            if len(window) - at >= WINDOW:
                yield window[at][0], self._wait(window[at][1])
                at += 1
            try:
                window.append((number, self._start(requests[number])))
            except Error as exc:
                window.append((number, exc))
            except Exception as exc:  # preparing met an error of the driver
                window.append((number, self._error(exc)))
        for number, future in window[at:]:
            yield number, self._wait(future)

    def _start(self, request: Request) -> Any:
        from cassandra import ConsistencyLevel
        from cassandra import query
        statement: Any
        params = None
        if request.batch is not None:
            statement = query.BatchStatement(query.BatchType.UNLOGGED)
            for cql, values in request.batch:
                statement.add(self._prepare(cql), _unset(values))
        elif request.params is None:
            statement = query.SimpleStatement(request.cql)
        else:
            statement = self._prepare(request.cql).bind(
                _unset(request.params))
        levels = ConsistencyLevel.name_to_value
        statement.consistency_level = levels[request.consistency]
        if request.serial is not None:
            statement.serial_consistency_level = levels[request.serial]
        if request.timeout is None:
            return self._session.execute_async(statement, params)
        return self._session.execute_async(statement, params,
                                           timeout=request.timeout)

    def _prepare(self, cql: str) -> Any:
        found = self._prepared.get(cql)
        if found is None:
            with self._preparing:
                found = self._prepared.get(cql)
                if found is None:
                    found = self._session.prepare(cql)
                    self._prepared[cql] = found
        return found

    def _wait(self, future: Any) -> Any:
        if isinstance(future, Error):
            return future
        try:
            return future.result().all()
        except Exception as exc:
            return self._error(exc)

    def _error(self, exc: Exception) -> Error:
        """Say what a driver's exception means for the request."""
        import cassandra
        from cassandra import cluster
        from cassandra import protocol
        settings = self.settings
        where = f'Cassandra at {settings.where}: '
        if isinstance(exc, cluster.NoHostAvailable):
            # raised before anything was written to a socket
            reasons = sorted({str(e) or type(e).__name__
                              for e in _causes(exc)})
            return _NotSent(
                f'{where}no node of site {settings.site!r} is connected '
                f'({"; ".join(reasons)})')
        if isinstance(exc, cassandra.Unavailable):
            level = exc.consistency
            text = (f'{where}{exc.alive_replicas} of '
                    f'{exc.required_replicas} replicas are there for '
                    f'{cassandra.ConsistencyLevel.value_to_name.get(level)}')
            # of a conditional write: with the serial level it was not begun;
            # with the other one its commit is under way
            return _TooFew(text, level)
        if isinstance(exc, cassandra.AuthenticationFailed |
                      cassandra.RequestValidationException |
                      protocol.RequestValidationException):
            return Refused(where + str(exc))
        if isinstance(exc, cassandra.OperationTimedOut):
            return Unknown(f'{where}no answer for {settings.request_timeout:g}'
                           ' s ([cassandra] request_timeout)')
        if isinstance(exc, _BUGS):
            raise exc
        return Unknown(f'{where}{type(exc).__name__}: {exc}')


class _NotSent(Unavailable):
    """No node was connected."""


class _TooFew(Unavailable):
    """Too few replicas for ``level``."""

    def __init__(self, message: str, level: int) -> None:
        super().__init__(message)
        self.level = level


def _unset(values: Sequence[Any]) -> Sequence[Any]:
    """Put the driver's own mark in place of UNSET."""
    from cassandra import query
    return [query.UNSET_VALUE if v is UNSET else v for v in values]


def not_begun(error: Error) -> bool:
    """Tell whether a conditional write that met this error had no effect
    and never will have.

    True also for what the server refused.  With paxos_variant v2, which the
    layer requires, a coordinator that lacks replicas for the serial level
    has proposed nothing that others may finish.
    """
    if isinstance(error, _TooFew):
        from cassandra import ConsistencyLevel
        return error.level in (ConsistencyLevel.SERIAL,
                               ConsistencyLevel.LOCAL_SERIAL)
    return isinstance(error, Unavailable | Refused)


def _causes(exc: Any) -> list[Exception]:
    """Return what a NoHostAvailable collected: a dict, or a list."""
    errors = exc.errors
    return list(errors.values() if isinstance(errors, dict) else errors)


def _tuples(names: Any, rows: Any) -> Any:
    """The driver's row factory: plain tuples."""
    del names
    return rows
