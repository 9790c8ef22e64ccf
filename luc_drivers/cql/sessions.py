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

"""Sessions: one per process and settings."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import os
import struct
import threading
import time
from typing import Any

from luc_drivers import cqldriver
from luc_drivers import native
from luc_drivers.cql import connection
from luc_drivers.cql import control as controls
from luc_drivers.cql import errors
from luc_drivers.cql import flight
from luc_drivers.cql import frames
from luc_drivers.cql.settings import CqlSettings

#: what encoding raises for parameters of wrong number or type
_BUGS = (TypeError, ValueError, KeyError, AttributeError, struct.error)
#: seconds for preparing a statement, however late it is
_LEAST = 1.0
#: requests that one time-out is for: more of them follow when these are
#: answered
PART = 2 * connection.WINDOW
#: longest time between attempts
_LONGEST = 1.0
_DEFAULT = 'LOCAL_QUORUM'
#: what says that nobody answers
_UNANSWERED = (errors.NotSent, errors.Unknown)


@dataclasses.dataclass(slots=True)
class Request:
    """One CQL request.

    :ivar params: None = sent as it is, not prepared (DDL).
    :ivar batch: instead of cql and params: (cql, params) of one unlogged
        batch.
    :ivar consistency: level, as CQL spells it.
    :ivar serial: level of the conditional part; None = not conditional.
    :ivar idempotent: may be sent again, or to two nodes.
    :ivar timeout: seconds; None = the settings' request_timeout.
    """

    cql: str = ''
    params: Sequence[Any] | None = ()
    batch: Sequence[tuple[str, Sequence[Any]]] | None = None
    consistency: str = _DEFAULT
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


def all_sessions() -> 'list[Session]':
    """Return this process's sessions."""
    with _lock:
        return list(_sessions.values())


def _after_fork() -> None:
    global _lock
    _lock = native.lock()
    inherited = list(_sessions.values())
    _sessions.clear()
    clusters = []
    for one in inherited:
        if one._control is not None:
            # the child's copies only: nothing is sent
            one._control.nodes.close()
            clusters.append(one._control.cluster)
    cqldriver.abandon([*clusters, *inherited])


os.register_at_fork(after_in_child=_after_fork)


class Session:
    """A connected session; get it from `session`.

    Thread-safe.  A process forked from this one must get its own.

    :ivar rounds: calls that sent something, of all threads.
    :ivar requests: CQL requests sent.
    :ivar bytes_sent: by requests, and
    :ivar bytes_received: by their answers.
    """

    def __init__(self, settings: CqlSettings) -> None:
        self.settings = settings
        self.rounds = 0
        self.requests = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self._control: controls.Control | None = None
        self._closed = False
        self._prepared: dict[str, frames.Statement] = {}
        self._pid = os.getpid()
        self._last = 0
        # made here, not at import: after eventlet has patched, if it does
        self._connecting = threading.Lock()
        self._preparing = threading.Lock()

    # --- connecting

    def connect(self) -> controls.Control:
        """Connect, once.

        :raises Unavailable: see `control.Control`.
        """
        if self._pid != os.getpid():
            raise RuntimeError('a session of another process was used; get '
                               'one from cql.session()')
        if self._control is None:
            with self._connecting:
                if self._closed:
                    raise errors.Unavailable('the session was closed')
                if self._control is None:
                    self._control = controls.Control(self.settings)
        return self._control

    @property
    def connected(self) -> bool:
        """Whether it has connected, be it that connections were lost since.
        """
        return self._control is not None

    def close(self) -> None:
        """Close the connections; the session can't be used any more."""
        with self._connecting:
            self._closed = True
            if self._control is not None and self._pid == os.getpid():
                self._control.close()
            self._control = None

    @property
    def sites(self) -> set[str]:
        """The datacenters that the cluster has."""
        return self.connect().sites

    # --- schema

    def ddl(self, statements: Sequence[str]) -> None:
        """Run CREATE … IF NOT EXISTS statements one after the other.

        :raises Unavailable, Unknown, Refused: see there.
        """
        control = self.connect()
        self.rounds += len(statements)
        self.requests += len(statements)
        try:
            control.ddl(statements)
        except Exception as exc:
            raise self._error(exc) from exc

    def learn(self, keyspaces: Iterable[str]) -> None:
        """Find out where the replicas of these keyspaces are."""
        control = self.connect()
        try:
            control.learn(keyspaces)
        except Exception as exc:
            raise self._error(exc) from exc

    # --- requests

    def execute(self, cql: str, params: Sequence[Any] | None = (),
                consistency: str = _DEFAULT,
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
        if isinstance(result, errors.Error):
            raise result
        return result

    def execute_many(self, requests: Sequence[Request],
                     ) -> 'list[list[tuple] | errors.Error]':
        """Run requests in parallel: one round.

        A time-out is for what a node can be expected to answer in that time:
        each PART of very many requests has its own. After one without any
        answer the rest is not sent.

        :returns: for each, in order, its rows or the error that it met
            (returned, not raised).
        :raises Unavailable: there is no connection, nothing was sent.
        """
        if not requests:
            return []
        control = self.connect()
        self.rounds += 1
        results: list[Any] = [None] * len(requests)
        failure: errors.Error | None = None
        for start in range(0, len(requests), PART):
            part = range(start, min(start + PART, len(requests)))
            if failure is None:
                self._run(control, requests, part, results)
                if all(isinstance(results[n], _UNANSWERED) for n in part):
                    failure = results[part[-1]]
            else:
                for number in part:
                    results[number] = errors.NotSent(str(failure))
        return results

    def _run(self, control: controls.Control, requests: Sequence[Request],
             part: Sequence[int], results: list[Any]) -> None:
        """Send some of the requests, and again what may be sent again."""
        todo = list(part)
        timeout = max(requests[n].timeout or self.settings.request_timeout
                      for n in todo)
        deadline = time.monotonic() + timeout
        for pause in _pauses():
            self.requests += len(todo)
            again, wait = [], False
            for number, result in self._send(
                    control, requests, todo, deadline, timeout):
                results[number] = result
                if _again(requests[number], result):
                    again.append(number)
                    # a lost connection: another node is asked at once
                    wait = wait or pause > controls.PAUSE or not isinstance(
                        result, errors.Unknown)
            if not again or time.monotonic() + pause > deadline:
                break
            if wait:
                # nodes are marked down for moments, and restart in seconds
                time.sleep(pause)
            todo = again

    def _send(self, control: controls.Control, requests: Sequence[Request],
              todo: Sequence[int], deadline: float, timeout: float
              ) -> Iterable[tuple[int, Any]]:
        """Send some of the requests; yield (number, rows or error)."""
        queues: dict[Any, list[connection.Job]] = {}
        for number in todo:
            request = requests[number]
            try:
                job, places = self._job(control, number, request, deadline)
            except errors.Error as exc:
                yield number, exc
                continue
            queues.setdefault(
                (tuple(places), request.idempotent), []).append(job)
        delay = self.settings.speculative_delay or None
        while queues:
            flying = []
            for key in list(queues):
                places, idempotent = key
                one = flight.Flight(
                    control.nodes, places, _window(queues[key]), deadline,
                    delay if idempotent else None)
                if not queues[key]:
                    del queues[key]
                one.send()
                flying.append(one)
            for one in flying:
                one.land()
                self.bytes_sent += one.sent
                self.bytes_received += one.received
                for job in one.jobs:
                    yield job.number, self._result(job, one.failure, timeout)

    def _result(self, job: connection.Job, failure: Exception | None,
                timeout: float) -> Any:
        answer = job.answer
        if type(answer) is list:
            return answer
        if answer is not None:
            return self._error(answer.to_exception())
        where = f'Cassandra at {self.settings.where}: '
        if not job.sent:
            return errors.NotSent(
                f'{where}no node of site {self.settings.site!r} is '
                f'connected ({failure})')
        if isinstance(failure, connection.Lost) and failure.timeout:
            return errors.Unknown(
                f'{where}no answer for {timeout:g} s ([cassandra] '
                f'request_timeout): {failure}')
        return errors.Unknown(f'{where}{failure}')

    def _job(self, control: controls.Control, number: int, request: Request,
             deadline: float) -> tuple[connection.Job, Sequence[Any]]:
        """Return a request's job and the nodes to ask."""
        from cassandra import ConsistencyLevel
        levels = ConsistencyLevel.name_to_value
        level = levels[request.consistency]
        serial = None if request.serial is None else levels[request.serial]
        now = self._last = max(time.time_ns() // 1000, self._last + 1)
        if request.batch is not None:
            bound = []
            for cql, params in request.batch:
                statement = self._prepare(control, cql, deadline)
                bound.append((statement, statement.bind(params)))
            statement, values = bound[0]
            job = connection.Job(
                number, frames.BATCH,
                frames.batch(bound, level, serial, now),
                [s for s, _ in bound])
        elif request.params is None:
            return connection.Job(
                number, frames.QUERY,
                frames.query(request.cql, level, serial, now), ()
            ), control.nodes.choose(None, (), request.idempotent)
        else:
            statement = self._prepare(control, request.cql, deadline)
            values = statement.bind(request.params)
            job = connection.Job(
                number, frames.EXECUTE,
                frames.execute(statement, values, level, serial, now),
                (statement,), statement.parse)
        return job, control.nodes.choose(
            statement, values, request.idempotent)

    def _prepare(self, control: controls.Control, cql: str, deadline: float
                 ) -> frames.Statement:
        """Return a statement, prepared on one node.

        The others say that they don't know it when they are asked first, and
        are told then.

        :raises NotSent, Refused: see there.
        """
        found = self._prepared.get(cql)
        if found is not None:
            return found
        with self._preparing:
            if cql not in self._prepared:
                job = connection.Job(
                    0, frames.PREPARE, frames.prepare(cql), (), cql=cql)
                one = flight.Flight(
                    control.nodes, control.nodes.choose(None, ()), [job],
                    max(deadline, time.monotonic() + _LEAST),
                    self.settings.speculative_delay or None)
                one.send()
                one.land()
                result = self._result(
                    job, one.failure, self.settings.request_timeout)
                if isinstance(result, errors.Unknown):
                    # what it was for was not sent
                    raise errors.NotSent(str(result))
                if isinstance(result, errors.Error):
                    raise result
                self._prepared[cql], = result
            return self._prepared[cql]

    def _error(self, exc: Exception) -> errors.Error:
        """Say what a driver's exception means for the request."""
        if isinstance(exc, _BUGS):
            raise exc
        settings = self.settings
        return errors.from_driver(
            exc, settings.where, settings.site, settings.request_timeout)


def _pauses() -> Iterator[float]:
    """Yield the seconds to wait before a request is sent again."""
    pause = controls.PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST)


def _again(request: Request, result: Any) -> bool:
    """Tell whether to send a request again, which had this result."""
    if isinstance(result, errors.NotSent):
        return True
    if isinstance(result, errors.Refused) or not isinstance(
            result, errors.Error):
        return False
    return request.idempotent or (
        request.serial is not None and errors.not_begun(result))


def _window(queue: list[connection.Job]) -> list[connection.Job]:
    """Take what may fly at once from a queue."""
    size = count = 0
    for job in queue:
        size += len(job.body)
        if count == connection.WINDOW or (
                count and size > connection.WINDOW_BYTES):
            break
        count += 1
    window = queue[:count]
    del queue[:count]
    return window
