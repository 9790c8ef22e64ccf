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

"""What can go wrong with a request, in three kinds."""

from typing import Any


class Error(Exception):
    """Base of all errors of this package."""


class Unavailable(Error):
    """Not connected, or too few replicas: nothing was executed."""


class Unknown(Error):
    """Sent, but the answer is missing or says so: may be executed or not,
    now or later."""


class Refused(Error):
    """The server refused the request for what it is: syntax, permission."""


class NotSent(Unavailable):
    """No node was connected."""


class TooFew(Unavailable):
    """Too few replicas for ``level``."""

    def __init__(self, message: str, level: int) -> None:
        super().__init__(message)
        self.level = level


def not_begun(error: Error) -> bool:
    """Tell whether a conditional write that met this error had no effect
    and never will have.

    True also for what the server refused.  With paxos_variant v2, which the
    layer requires, a coordinator that lacks replicas for the serial level
    has proposed nothing that others may finish.
    """
    if isinstance(error, TooFew):
        from cassandra import ConsistencyLevel
        return error.level in (ConsistencyLevel.SERIAL,
                               ConsistencyLevel.LOCAL_SERIAL)
    return isinstance(error, Unavailable | Refused)


def causes(exc: Any) -> list[Exception]:
    """Return what a driver's NoHostAvailable collected: a dict, or a list.
    """
    errors = exc.errors
    return list(errors.values() if isinstance(errors, dict) else errors)


def reasons(exceptions: Any) -> str:
    """Return the texts of exceptions, each once."""
    return '; '.join(sorted({str(e) or type(e).__name__
                             for e in exceptions}))


def from_driver(exc: Any, where: str, site: str, timeout: float) -> Error:
    """Return what an exception of the driver's means for the request.

    :param where: the contact points, for messages.
    """
    import cassandra
    from cassandra import cluster
    from cassandra import protocol
    where = f'Cassandra at {where}: '
    if isinstance(exc, cluster.NoHostAvailable):
        # raised before anything was written to a socket
        return NotSent(f'{where}no node of site {site!r} is connected '
                       f'({reasons(causes(exc))})')
    if isinstance(exc, cassandra.Unavailable):
        level = exc.consistency
        # of a conditional write: with the serial level it was not begun;
        # with the other one its commit is under way
        return TooFew(
            f'{where}{exc.alive_replicas} of {exc.required_replicas} '
            'replicas are there for '
            f'{cassandra.ConsistencyLevel.value_to_name.get(level)}', level)
    if isinstance(exc, cassandra.AuthenticationFailed |
                  cassandra.RequestValidationException |
                  protocol.RequestValidationException):
        return Refused(where + str(exc))
    if isinstance(exc, cassandra.OperationTimedOut):
        return Unknown(f'{where}no answer for {timeout:g} s ([cassandra] '
                       'request_timeout)')
    return Unknown(f'{where}{type(exc).__name__}: {exc}')
