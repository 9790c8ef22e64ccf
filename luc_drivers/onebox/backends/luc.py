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

"""Our backend: databases in Cassandra or files, messages by ZeroMQ.

All processes of the cloud read the host's file ``etc/luc/luc.conf``, but
nova-compute reads ``etc/luc-compute/luc.conf``: it has no database and, in
Cassandra, a role for the bus's keyspace alone.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import time

from luc_drivers import config as luc_config
from luc_drivers import cql
from luc_drivers.messaging import admin
from luc_drivers.messaging import matchmaker
from luc_drivers.messaging import opts as messaging_opts
from luc_drivers.messaging.matchmaker import base
from luc_drivers.onebox import config
from luc_drivers.onebox import daemons
from luc_drivers.onebox import errors
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.testing import cassandra
from luc_drivers.testing import cqlping
from luc_drivers.testing import jars

_SERVICES_ROLE = 'luc_services'
_COMPUTE_ROLE = 'luc_compute'
#: seconds; see _wait_for_role
ROLE_TIMEOUT = 20.0


def db_url(settings: onebox_settings.Settings, database: str) -> str:
    """Return a database's connection URL; the rest is in the host's file."""
    del settings
    return f'sqlite+luc:///{database}'


def transport_url(settings: onebox_settings.Settings, vhost: str = '') -> str:
    """Return the transport URL of the top level ('') or of a cell."""
    del settings
    return f'zmq:///{vhost}'


def conf_path(settings: onebox_settings.Settings,
              service: str = '') -> pathlib.Path:
    """Return the host's file that a service reads."""
    name = 'luc-compute' if service.startswith('nova-compute') else 'luc'
    return settings.etc / name / 'luc.conf'


def env(settings: onebox_settings.Settings, service: str) -> dict[str, str]:
    """Return the environment of one service's processes."""
    return {'LUC_CONFIG': str(conf_path(settings, service))}


def write_config(settings: onebox_settings.Settings) -> None:
    """Write both host's files."""
    for service, plane, role, password in (
            ('', 'control', _SERVICES_ROLE, settings.store_password),
            ('nova-compute', 'agent', _COMPUTE_ROLE,
             settings.compute_password)):
        sections: dict[str, dict] = {
            'DEFAULT': {'site': settings.site,
                        'state_path': settings.folder / 'luc'},
            'bus': {'matchmaker': settings.store, 'plane': plane,
                    'bind': settings.host_ip,
                    # --host-ip is the user's word that it is a safe one.
                    'allow_insecure': True},
        }
        if not service:
            sections['database'] = {'store': settings.store}
        if settings.store == 'cassandra':
            host, port = endpoint(settings)
            sections['cassandra'] = {'contact_points': host, 'port': port}
            if _with_roles(settings):
                sections['cassandra'].update(username=role, password=password)
        config.write(conf_path(settings, service), sections)
    settings.folder.joinpath('luc').mkdir(parents=True, exist_ok=True)


def endpoint(settings: onebox_settings.Settings) -> cassandra.Endpoint:
    """Return where Cassandra is: the one named, or our own.

    :raises errors.OneboxError: the name is not host:port.
    """
    if not settings.cassandra:
        return _cluster(settings).endpoint
    host, _, port = settings.cassandra.partition(':')
    if not host or (port and not port.isdigit()):
        raise errors.OneboxError(
            f'--cassandra {settings.cassandra}: write it as host:port')
    return cassandra.Endpoint(host, int(port or 9042))


def _with_roles(settings: onebox_settings.Settings) -> bool:
    return not settings.cassandra or bool(settings.cassandra_user)


def _cluster(settings: onebox_settings.Settings) -> cassandra.Cluster:
    return cassandra.Cluster(
        settings.folder / 'cassandra', {settings.site: 1},
        cql_port=settings.port('cassandra'),
        storage_port=settings.port('cassandra-storage'), auth=True,
        heap_mb=settings.heap_mb, long_lived=settings.long_lived)


def start(settings: onebox_settings.Settings, environment: dict[str, str],
          progress: progress_module.Progress) -> None:
    """Start Cassandra, make the roles and the bus's keyspace.

    :raises errors.OneboxError: it can't be had, or refuses the role.
    """
    del environment
    if settings.store != 'cassandra':
        return
    try:
        if not settings.cassandra:
            jars.ensure(progress.say)
            with progress.step('Cassandra: starting'):
                _cluster(settings).start()
        _check_roles(settings, progress)
    except (cassandra.CassandraError, jars.JarsError, cql.Error,
            cqlping.NotReady) as exc:
        raise errors.OneboxError(f'Cassandra: {exc}') from None


def _check_roles(settings: onebox_settings.Settings,
                 progress: progress_module.Progress) -> None:
    host, port = endpoint(settings)
    try:
        if not _with_roles(settings):
            cqlping.ask(host, port, timeout=10.0)
        else:
            for role, password in (
                    (_SERVICES_ROLE, settings.store_password),
                    (_COMPUTE_ROLE, settings.compute_password)):
                cqlping.ask(host, port, role, password, timeout=10.0)
        return
    except cqlping.Refused:
        # Not made yet.
        with progress.step('Cassandra: roles and the keyspace of the bus'):
            _make_roles(settings)


def _make_roles(settings: onebox_settings.Settings) -> None:
    user, password = cassandra.SUPERUSER
    if settings.cassandra:
        user, password = settings.cassandra_user, settings.cassandra_password
    host, port = endpoint(settings)
    _wait_for_role(host, port, user, password)
    session = cql.session(cql.CqlSettings(
        contact_points=(host,), port=port, site=settings.site, username=user,
        password=password))
    for statement in (
            f'CREATE ROLE IF NOT EXISTS {_SERVICES_ROLE} WITH LOGIN = true '
            f"AND PASSWORD = '{settings.store_password}'",
            f'GRANT ALL PERMISSIONS ON ALL KEYSPACES TO {_SERVICES_ROLE}'):
        session.execute(statement, None)
    with host_file(settings):
        admin.create(messaging_opts.load(), [admin.Role(
            _COMPUTE_ROLE, settings.compute_password, 'agent')],
            user, password)
    for role, secret in ((_SERVICES_ROLE, settings.store_password),
                         (_COMPUTE_ROLE, settings.compute_password)):
        try:
            cqlping.ask(host, port, role, secret, timeout=10.0)
        except cqlping.Refused:
            # It is from another one-box, with another password.
            session.execute(f"ALTER ROLE {role} WITH PASSWORD = '{secret}'",
                            None)
    cql.close_all()


def _wait_for_role(host: str, port: int, user: str, password: str) -> None:
    """Wait until Cassandra accepts a role.

    A new cluster makes its default role some 10 s after it first answers.

    :raises errors.OneboxError: it is still refused after ROLE_TIMEOUT.
    """
    deadline = time.monotonic() + ROLE_TIMEOUT
    while True:
        try:
            cqlping.ask(host, port, user, password, timeout=10.0)
            return
        except cqlping.Refused as exc:
            if time.monotonic() > deadline:
                raise errors.OneboxError(
                    f'Cassandra at {host}:{port} refuses role {user}: {exc} '
                    '(--cassandra-user, --cassandra-password)') from None
        time.sleep(0.5)


@contextlib.contextmanager
def host_file(settings: onebox_settings.Settings) -> Iterator[None]:
    """Have this process use the cloud's host file for a while."""
    before = os.environ.get('LUC_CONFIG')
    os.environ['LUC_CONFIG'] = str(conf_path(settings))
    try:
        yield
    finally:
        if before is None:
            del os.environ['LUC_CONFIG']
        else:
            os.environ['LUC_CONFIG'] = before


def stop(settings: onebox_settings.Settings,
         progress: progress_module.Progress) -> None:
    """Stop our own Cassandra; one that was named goes on."""
    del progress
    if settings.store == 'cassandra' and not settings.cassandra:
        _cluster(settings).stop()


def kill(settings: onebox_settings.Settings, name: str) -> None:
    """``kill -9`` Cassandra."""
    if name in names(settings):
        _cluster(settings).kill(1)


def names(settings: onebox_settings.Settings) -> list[str]:
    """Return the names of the backend's own servers."""
    own = settings.store == 'cassandra' and not settings.cassandra
    return ['cassandra'] if own else []


def logs(settings: onebox_settings.Settings, name: str) -> list[pathlib.Path]:
    """Return the log files of one of the servers."""
    del name
    return [node.log_file for node in _cluster(settings).nodes]


def status(settings: onebox_settings.Settings) -> list[daemons.State]:
    """Return how the servers are found."""
    if not names(settings):
        return []
    node = _cluster(settings).nodes[0]
    pid = cassandra.find_pid(node)
    return [daemons.state('cassandra', pid, [pid] if pid else [])]


def describe(settings: onebox_settings.Settings) -> list[str]:
    """Return lines that show where databases and messages are.

    Read from the store itself, not from the configuration.
    """
    return databases(settings) + endpoints(settings)


def databases(settings: onebox_settings.Settings) -> list[str]:
    """Return lines that show where databases are, read from the store."""
    with host_file(settings):
        luc_config.load()
        return (_cassandra_databases(settings)
                if settings.store == 'cassandra'
                else _embedded_databases(settings))


def _cassandra_databases(settings: onebox_settings.Settings) -> list[str]:
    session = cql.session(cql.host_settings())
    try:
        names = sorted(row[0] for row in session.execute(
            'SELECT keyspace_name FROM system_schema.keyspaces', None))
    except cql.Error as exc:
        raise errors.OneboxError(f'Cassandra: {exc}') from None
    host, port = endpoint(settings)
    lines = [f'databases in Cassandra at {host}:{port}:']
    for database in onebox_settings.DATABASES:
        found = [name for name in names
                 if name in (f'{database}_global',
                             f'{database}_at_{settings.site}')]
        lines.append(f'  {database:<12} keyspaces '
                     f'{", ".join(found) or "NONE"}')
    bus = [name for name in names if name.startswith('luc_bus_')]
    lines.append(f'  {"(bus)":<12} keyspaces {", ".join(bus) or "NONE"}')
    return lines


def _embedded_databases(settings: onebox_settings.Settings) -> list[str]:
    folder = settings.folder / 'luc' / 'databases'
    lines = [f'databases in files, in {folder}:']
    for database in onebox_settings.DATABASES:
        found = sorted(path for path in folder.glob(f'{database}.*')
                       if not path.name.endswith(('-wal', '-shm', '-lock')))
        lines.append(f'  {database:<12} ' + (', '.join(
            f'{path.name} ({path.stat().st_size >> 10} kB)'
            for path in found) or 'NONE'))
    return lines


def endpoints(settings: onebox_settings.Settings) -> list[str]:
    """Return lines that show who is on the bus, and for which topics."""
    with host_file(settings):
        registry = matchmaker.load(messaging_opts.load({}))
        return _endpoints(registry)


def _endpoints(registry: base.Matchmaker) -> list[str]:
    topics: dict[str, set[str]] = {}
    for sub in registry.subscriptions():
        topics.setdefault(sub.instance, set()).add(
            f'{sub.namespace or "/"}:{sub.topic}')
    lines = ['services on the ZeroMQ transport (name space:topic):']
    for end in sorted(registry.endpoints(),
                      key=lambda e: (e.program, e.started)):
        age = f', {time.time() - end.started:.0f} s' if end.started else ''
        lines.append(f'  {end.program:<16} {" ".join(end.addresses)}  pid '
                     f'{end.pid} ({end.state}{age})  '
                     f'{" ".join(sorted(topics.get(end.instance, set())))}')
    return lines
