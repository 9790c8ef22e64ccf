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

"""The Cassandra driver: imported late, and made to fit its process.

* It is imported at the first connection: `cassandra.cluster` chooses its
  event loop at import, and would import eventlet and numpy if they are there.
  nova in threading mode refuses to run once eventlet was imported; numpy
  would cost 12 MB in every process.
* Native threads get the libev event loop (C code, part of the wheel), else
  asyncore (until Python 3.11), else asyncio.  Where eventlet patched the
  program the eventlet one; then native threads can't use connections.
* A forked child abandons what it inherited: event loop, connections and
  clusters belong to threads that are not there any more.
"""

import functools
import logging
import os
import sys
import types
from typing import Any

from luc_drivers import native

LOG = logging.getLogger(__name__)

_EVENTLET_REACTOR = 'cassandra.io.eventletreactor'
_LIBEV_REACTOR = 'cassandra.io.libevreactor'
_CYTHON_DEPS = 'cassandra.cython_deps'

#: what a forked child must not finalise
_graveyard: list[Any] = []


def load() -> types.ModuleType:
    """Return the module `cassandra.cluster`, without what it drags in.

    Idempotent; to be called under a lock.
    """
    if 'cassandra.cluster' in sys.modules:
        return sys.modules['cassandra.cluster']
    if _CYTHON_DEPS not in sys.modules and 'numpy' not in sys.modules:
        sys.modules[_CYTHON_DEPS] = _without_numpy()
    blocked = not native.green() and _EVENTLET_REACTOR not in sys.modules
    if blocked:
        # None makes the import fail, which cassandra.cluster expects
        sys.modules[_EVENTLET_REACTOR] = None  # type: ignore[assignment]
    try:
        import cassandra.cluster
    finally:
        if blocked:
            del sys.modules[_EVENTLET_REACTOR]
    for name in ('cassandra.cluster', 'cassandra.connection',
                 'cassandra.pool'):
        logging.getLogger(name).addFilter(_told_by_us)
    return cassandra.cluster


def _without_numpy() -> types.ModuleType:
    module = types.ModuleType(_CYTHON_DEPS)
    try:
        import cassandra.row_parser  # noqa: F401
        module.HAVE_CYTHON = True  # type: ignore[attr-defined]
    except ImportError:
        module.HAVE_CYTHON = False  # type: ignore[attr-defined]
    module.HAVE_NUMPY = False  # type: ignore[attr-defined]
    return module


def _told_by_us(record: logging.LogRecord) -> bool:
    """Drop what is said better elsewhere, once.

    That is tracebacks of failures for which we raise one clear line, and a
    line every few seconds while a node is away.
    """
    if record.levelno >= logging.WARNING and (
            record.exc_info
            or str(record.msg).startswith('Error attempting to reconnect')):
        LOG.debug('%s', record.getMessage(), exc_info=record.exc_info)
        return False
    return True


@functools.cache
def connection_class() -> type:
    """Return the driver's connection class for this process.

    :raises ImportError: this driver has none that fits.
    """
    from cassandra import AuthenticationFailed
    from cassandra.connection import ConnectionException

    base: Any = _event_loop_class()

    class LucConnection(base):
        """The driver's, but a refused login is no reason to give up.

        A node that starts again refuses logins for a moment, since it can't
        read its roles yet; the driver would leave it alone for ever.
        """

        @classmethod
        def factory(cls, endpoint: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().factory(endpoint, *args, **kwargs)
            except AuthenticationFailed as exc:
                raise ConnectionException(str(exc), endpoint) from exc

    return LucConnection


def login_refused(exc: BaseException) -> bool:
    """Return whether an error of a connection says: wrong role or password.

    Not so when the node can't look the role up, at its start or without a
    quorum: that passes.
    """
    from cassandra import AuthenticationFailed
    # the driver's errors of a host may be texts, too
    cause = exc if isinstance(exc, AuthenticationFailed) else getattr(
        exc, '__cause__', None)
    return (isinstance(cause, AuthenticationFailed)
            and 'Unable to perform authentication' not in str(cause))


def _event_loop_class() -> type:
    if native.green():
        return _eventlet_class()
    from cassandra import DependencyException
    try:
        from cassandra.io.libevreactor import LibevConnection
        return LibevConnection
    except DependencyException:
        LOG.debug('the driver was built without libev')
    try:
        from cassandra.io.asyncorereactor import AsyncoreConnection
        return AsyncoreConnection
    except DependencyException:
        LOG.debug('this Python has no asyncore')
    from cassandra.io.asyncioreactor import AsyncioConnection
    return AsyncioConnection


@functools.cache
def _eventlet_class() -> type:
    from cassandra.io import eventletreactor

    class LucEventletConnection(eventletreactor.EventletConnection):
        """The driver's, but it leaves patching to the program."""

        @classmethod
        def initialize_reactor(cls) -> None:
            import eventlet
            from eventlet.green import threading
            if not cls._timers:
                cls._timers = eventletreactor.TimerManager()
                cls._new_timer = threading.Event()
                cls._timeout_watcher = eventlet.spawn(cls.service_timeouts)

    return LucEventletConnection


def abandon(clusters: list[Any]) -> None:
    """Forget inherited connections: first thing in a forked child.

    Nothing is closed properly: that would need locks and threads of the
    parent, and would tell the server things in the parent's name.

    :param clusters: the parent's Cluster objects.
    """
    _graveyard.extend(clusters)
    cluster_module = sys.modules.get('cassandra.cluster')
    if cluster_module is None:
        return
    # else they would be shut down at the child's exit
    for cluster in list(cluster_module._clusters_for_shutdown):
        cluster_module._discard_cluster_shutdown(cluster)
    libev = sys.modules.get(_LIBEV_REACTOR)
    loop = getattr(libev, '_global_loop', None)
    if loop is not None:
        _graveyard.append(loop)
        libev._global_loop = None  # type: ignore[union-attr]
        for connection in loop._live_conns:
            try:
                connection._socket.close()  # the child's copy only
            except OSError as exc:
                LOG.debug('closing an inherited socket: %s', exc)
    if sys.modules.get(_EVENTLET_REACTOR) is not None and native.green():
        _graveyard.append(_eventlet_class())
        _eventlet_class.cache_clear()


def ssl_context(ca_file: str | None, cert_file: str | None,
                key_file: str | None) -> Any:
    """Return a context that verifies the nodes' certificate and address.

    :raises OSError: a file can't be read; its name is in the error.
    """
    ssl = sys.modules.get('ssl') or __import__('ssl')
    for name in (ca_file, cert_file, key_file):
        if name is not None and not os.access(name, os.R_OK):
            raise OSError(f'{name}: not there or not readable')
    context = ssl.create_default_context(cafile=ca_file)
    if cert_file:
        context.load_cert_chain(cert_file, key_file)
    return context
