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

"""The baseline backend: MariaDB and RabbitMQ from Debian's packages.

Both run on data and ports of the cloud's own and as the calling user, so that
servers which the machine runs already are left alone.
"""

import getpass
import pathlib
import shutil
import subprocess

from luc_drivers.onebox import daemons
from luc_drivers.onebox import errors
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import settings as onebox_settings

_RABBIT_HOME = '/usr/lib/rabbitmq/bin'
_NODE = 'luc-onebox@localhost'


def db_url(settings: onebox_settings.Settings, database: str) -> str:
    """Return a database's connection URL."""
    return (f'mysql+pymysql://os:{settings.store_password}@127.0.0.1:'
            f'{settings.port("mariadb")}/{database}?charset=utf8')


def transport_url(settings: onebox_settings.Settings, vhost: str = '') -> str:
    """Return the transport URL of the top level ('') or of a cell."""
    return (f'rabbit://os:{settings.store_password}@127.0.0.1:'
            f'{settings.port("rabbitmq")}/{vhost}')


def env(settings: onebox_settings.Settings, service: str) -> dict[str, str]:
    """Return the environment of one service's processes: nothing special."""
    del settings, service
    return {}


def write_config(settings: onebox_settings.Settings) -> None:
    """Write RabbitMQ's files."""
    folder = settings.folder / 'rabbitmq'
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath('rabbitmq.conf').write_text(
        f'listeners.tcp.1 = 127.0.0.1:{settings.port("rabbitmq")}\n'
        'log.console = true\nlog.file = false\n')
    folder.joinpath('enabled_plugins').write_text('[].\n')


def _socket(settings: onebox_settings.Settings) -> pathlib.Path:
    # Next to the data it would be too long for a socket's path (107 bytes)
    # if the state folder is deep.
    return settings.folder / 'mariadb' / 's.sock'


def _rabbit_env(settings: onebox_settings.Settings) -> dict[str, str]:
    folder = settings.folder / 'rabbitmq'
    return {
        'HOME': str(folder),
        'RABBITMQ_NODENAME': _NODE,
        'RABBITMQ_CONFIG_FILE': str(folder / 'rabbitmq.conf'),
        'RABBITMQ_ENABLED_PLUGINS_FILE': str(folder / 'enabled_plugins'),
        'RABBITMQ_CONF_ENV_FILE': str(folder / 'none'),
        'RABBITMQ_MNESIA_BASE': str(folder / 'mnesia'),
        'RABBITMQ_LOG_BASE': str(folder / 'log'),
        'RABBITMQ_PID_FILE': str(folder / 'pid'),
        'RABBITMQ_DIST_PORT': str(settings.port('rabbitmq-dist')),
        'ERL_EPMD_ADDRESS': '127.0.0.1',
        'ERL_EPMD_PORT': str(settings.port('epmd')),
    }


def servers(settings: onebox_settings.Settings) -> list[daemons.Daemon]:
    """Return MariaDB and RabbitMQ, or the one that the cloud uses."""
    data = settings.folder / 'mariadb'
    mariadb = [
        shutil.which('mariadbd', path='/usr/sbin:/usr/bin') or 'mariadbd',
        '--no-defaults', f'--user={getpass.getuser()}',
        f'--datadir={data}/data',
        f'--socket={_socket(settings)}', f'--pid-file={data}/pid',
        '--bind-address=127.0.0.1', f'--port={settings.port("mariadb")}',
        '--max-connections=1024', '--skip-name-resolve',
        '--character-set-server=utf8mb4']
    unused = {'database-only': 'mariadb', 'messaging-only': 'rabbitmq'}.get(
        settings.backend)
    return [server for server in (
        daemons.Daemon(
            'mariadb', tuple(mariadb),
            port=settings.port('mariadb'), stop_timeout=30.0,
            ready=lambda: _run(_client(settings, 'SELECT 1')) is None),
        daemons.Daemon(
            'rabbitmq',
            (f'{_RABBIT_HOME}/rabbitmq-server',),
            env=_rabbit_env(settings), port=settings.port('rabbitmq'),
            stop_timeout=30.0,
            ready=lambda: _run(_rabbitctl(
                settings, 'await_startup', '--timeout', '2')) is None),
    ) if server.name != unused]


def _client(settings: onebox_settings.Settings, sql: str) -> list[str]:
    return ['mariadb', '--no-defaults', f'--socket={_socket(settings)}',
            '-e', sql]


def _rabbitctl(settings: onebox_settings.Settings, *words: str) -> list[str]:
    names = [f'{name}={value}'
             for name, value in _rabbit_env(settings).items()]
    return ['env', *names, f'{_RABBIT_HOME}/rabbitmqctl', '-q', *words]


def _run(command: list[str]) -> str | None:
    """Run a command; return None, or what it said when it failed."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, cwd='/', timeout=120)
    return (done.stdout.strip() or 'failed') if done.returncode else None


def _check(command: list[str], what: str) -> None:
    said = _run(command)
    if said is not None:
        raise errors.OneboxError(f'{what}: {said.splitlines()[-1][:300]}')


def start(settings: onebox_settings.Settings, environment: dict[str, str],
          progress: progress_module.Progress) -> None:
    """Start both servers, make accounts, databases and virtual hosts.

    :raises errors.OneboxError: a package is missing, or a server fails.
    """
    started = servers(settings)
    used = {server.name for server in started}
    for server, program in (('mariadb', 'mariadbd'),
                            ('mariadb', 'mariadb-install-db'),
                            ('rabbitmq', 'rabbitmqctl')):
        if server in used and shutil.which(
                program, path='/usr/sbin:/usr/bin:/sbin:/bin') is None:
            raise errors.OneboxError(
                f'{program} is missing: apt-get install {server}-server')
    with progress.step(f'{" and ".join(sorted(used))}: starting'):
        if 'mariadb' in used:
            _install_mariadb(settings)
        for one in started:
            daemons.start(settings, one, environment)
        daemons.wait(settings, started)
    if 'mariadb' in used:
        _make_databases(settings)
    if 'rabbitmq' in used:
        _make_accounts(settings)


def _install_mariadb(settings: onebox_settings.Settings) -> None:
    data = settings.folder / 'mariadb'
    if not (data / 'data' / 'mysql').exists():
        data.mkdir(parents=True, exist_ok=True)
        _check(['mariadb-install-db', '--no-defaults',
                f'--user={getpass.getuser()}', f'--datadir={data}/data',
                '--skip-test-db',
                '--auth-root-authentication-method=normal'],
               'mariadb-install-db')


def _make_databases(settings: onebox_settings.Settings) -> None:
    statements = [
        "CREATE OR REPLACE USER os@'127.0.0.1' IDENTIFIED BY "
        f"'{settings.store_password}'",
        "GRANT ALL ON *.* TO os@'127.0.0.1'",
        *[f'CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8'
          for name in onebox_settings.DATABASES]]
    _check(_client(settings, '; '.join(statements)), 'MariaDB')


def _make_accounts(settings: onebox_settings.Settings) -> None:
    password = settings.store_password
    if settings.folder.joinpath('rabbitmq', 'accounts').exists():
        return
    if _run(_rabbitctl(settings, 'add_user', 'os', password)) is not None:
        _check(_rabbitctl(settings, 'change_password', 'os', password),
               'RabbitMQ')
    for vhost in ('/', 'nova_cell1'):
        _run(_rabbitctl(settings, 'add_vhost', vhost))
        _check(_rabbitctl(settings, 'set_permissions', '-p', vhost, 'os',
                          '.*', '.*', '.*'), 'RabbitMQ')
    settings.folder.joinpath('rabbitmq', 'accounts').touch()


def stop(settings: onebox_settings.Settings,
         progress: progress_module.Progress) -> None:
    """Stop both servers."""
    daemons.stop(settings, servers(settings), progress)
    # Erlang's port mapper, which rabbitmq-server leaves behind.
    if daemons.listens('127.0.0.1', settings.port('epmd')):
        _run(['epmd', '-port', str(settings.port('epmd')), '-kill'])


def names(settings: onebox_settings.Settings) -> list[str]:
    """Return the names of the backend's own servers."""
    return [server.name for server in servers(settings)]


def logs(settings: onebox_settings.Settings, name: str) -> list[pathlib.Path]:
    """Return the log files of one of the servers."""
    return [settings.logs / f'{name}.out']


def kill(settings: onebox_settings.Settings, name: str) -> None:
    """``kill -9`` one of the servers."""
    for server in servers(settings):
        if server.name == name:
            daemons.kill(settings, server)


def status(settings: onebox_settings.Settings) -> list[daemons.State]:
    """Return how the servers are found."""
    return daemons.status(settings, servers(settings))


def describe(settings: onebox_settings.Settings) -> list[str]:
    """Return lines that show where databases and messages are."""
    return databases(settings) + endpoints(settings)


def databases(settings: onebox_settings.Settings) -> list[str]:
    """Return lines that show where databases are."""
    return ['databases: MariaDB on port %d: %s' % (
        settings.port('mariadb'), ', '.join(onebox_settings.DATABASES))]


def endpoints(settings: onebox_settings.Settings) -> list[str]:
    """Return lines that show where messages are."""
    return [f'messages: RabbitMQ on port {settings.port("rabbitmq")}']
