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

"""What a cloud is made of: folders, ports, passwords, backend.

A cloud's settings are chosen by its first ``up`` and kept in its folder, so
that later commands need no options.
"""

import dataclasses
import json
import os
import pathlib
import secrets
import sys
from typing import Any

from luc_drivers.onebox import errors

#: ours; MariaDB and RabbitMQ; one half of each
BACKENDS = ('luc', 'baseline', 'database-only', 'messaging-only')
STORES = ('cassandra', 'embedded')
VIRTS = ('fake', 'qemu')

#: Ports of a cloud, before its offset is added.
PORTS = {
    'keystone': 5000,
    'placement': 8778,
    'glance': 9292,
    'nova-api': 8774,
    'neutron': 9696,
    'memcached': 11211,
    'cassandra': 9042,
    'cassandra-storage': 7000,
    'mariadb': 3306,
    'rabbitmq': 5672,
    'rabbitmq-dist': 25672,
    'epmd': 4369,
}
# So that several backends' clouds can run at the same time.
_DEFAULT_OFFSET = {'luc': 0, 'database-only': 10000, 'baseline': 20000,
                   'messaging-only': 30000}

DATABASES = ('keystone', 'placement', 'glance', 'neutron', 'nova_api',
             'nova_cell0', 'nova_cell1')


def default_state() -> pathlib.Path:
    """Return the folder of all clouds: $LUC_ONEBOX_STATE or in the home."""
    named = os.environ.get('LUC_ONEBOX_STATE')
    return pathlib.Path(named or os.path.expanduser('~/.luc-onebox'))


@dataclasses.dataclass(frozen=True)
class Settings:
    """One cloud.

    :ivar state: folder of all clouds.
    :ivar venv: virtual environment that holds the services.
    :ivar backend: ``luc`` (ours), ``baseline`` (MariaDB, RabbitMQ),
        ``database-only`` (ours with RabbitMQ), ``messaging-only`` (ours with
        MariaDB).
    :ivar store: ``cassandra`` or ``embedded``; of no meaning to baseline.
    :ivar port_offset: added to every port.
    :ivar host_ip: address that the services listen on.
    :ivar workers: processes of each API, of conductor and scheduler.
    :ivar computes: how many nova-compute there are, each a host by itself.
    :ivar virt: what a server is: ``fake`` (nothing), ``qemu`` (a virtual
        machine, emulated by software under libvirt).
    :ivar cassandra: ``host:port`` of an existing Cassandra, else our own is
        started.
    :ivar heap_mb: Java heap of our own Cassandra.
    :ivar long_lived: our own Cassandra compiles what is hot a second time.
    :ivar trace: services log what each of their database calls costs.
    """

    state: pathlib.Path
    venv: pathlib.Path
    backend: str = 'luc'
    store: str = 'cassandra'
    port_offset: int = 0
    host_ip: str = '127.0.0.1'
    region: str = 'RegionOne'
    site: str = 'site1'
    workers: int = 1
    computes: int = 1
    virt: str = 'fake'
    cassandra: str = ''
    cassandra_user: str = ''
    cassandra_password: str = ''
    heap_mb: int = 1024
    long_lived: bool = False
    trace: bool = False
    admin_password: str = ''
    service_password: str = ''
    store_password: str = ''
    compute_password: str = ''

    @property
    def variant(self) -> str:
        """Return the cloud's name: each has a folder of its own."""
        if self.backend in ('luc', 'baseline'):
            return self.store if self.backend == 'luc' else self.backend
        return f'{self.backend}-{self.store}'

    @property
    def folder(self) -> pathlib.Path:
        """Return the cloud's folder."""
        return self.state / self.variant

    @property
    def etc(self) -> pathlib.Path:
        return self.folder / 'etc'

    @property
    def logs(self) -> pathlib.Path:
        return self.folder / 'logs'

    @property
    def openrc(self) -> pathlib.Path:
        return self.folder / 'openrc'

    def port(self, name: str) -> int:
        """Return a service's port."""
        return PORTS[name] + self.port_offset

    def url(self, name: str, path: str = '') -> str:
        """Return the URL of one of the HTTP services."""
        return f'http://{self.host_ip}:{self.port(name)}{path}'

    def program(self, name: str) -> str:
        """Return the path of a program of the virtual environment."""
        return str(self.venv / 'bin' / name)


_SAVED = ('port_offset', 'host_ip', 'region', 'site', 'workers', 'computes',
          'virt', 'cassandra', 'cassandra_user', 'cassandra_password',
          'heap_mb', 'long_lived', 'trace',
          'admin_password', 'service_password', 'store_password',
          'compute_password')


def load(state: pathlib.Path, backend: str | None, store: str | None,
         venv: pathlib.Path | None = None,
         given: dict[str, Any] | None = None) -> Settings:
    """Return the settings of a cloud: given ones, else saved, else defaults.

    :param backend: None: that of the last cloud that was brought up.
    :param store: likewise.
    :param given: fields named on the command line; None values are not.
    :raises errors.OneboxError: the saved settings can't be read.
    """
    current = _current(state)
    if backend is None:
        backend = 'luc' if store else current.get('backend', 'luc')
    if store is None:
        store = current.get('store') if backend == current.get('backend') \
            else None
    base = Settings(state=state, venv=venv or pathlib.Path(sys.prefix),
                    backend=backend, store=store or 'cassandra',
                    port_offset=_DEFAULT_OFFSET[backend])
    fields = {name: value for name, value in _read(
        base.folder / 'settings.json').items() if name in _SAVED}
    fields.update({name: value for name, value in (given or {}).items()
                   if value is not None})
    return dataclasses.replace(base, **fields)


def with_passwords(settings: Settings) -> Settings:
    """Return the settings with the passwords that are not chosen yet."""
    names = ('admin_password', 'service_password', 'store_password',
             'compute_password')
    chosen: dict[str, Any] = {
        name: getattr(settings, name) or secrets.token_hex(8)
        for name in names}
    return dataclasses.replace(settings, **chosen)


def save(settings: Settings) -> None:
    """Keep a cloud's settings, readable by its owner only."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    content = {name: getattr(settings, name) for name in _SAVED}
    write_private(settings.folder / 'settings.json',
                  json.dumps(content, indent=1) + '\n')
    write_private(settings.state / 'current.json', json.dumps(
        {'backend': settings.backend, 'store': settings.store}) + '\n')


def forget(settings: Settings) -> None:
    """Have commands that name no cloud no longer mean this one."""
    current = _current(settings.state)
    if (current.get('backend'), current.get('store')) == (
            settings.backend, settings.store):
        (settings.state / 'current.json').unlink()


def write_private(path: pathlib.Path, text: str) -> None:
    """Write a file that holds passwords: mode 0600 from the start."""
    aside = path.with_name(path.name + '.new')
    aside.unlink(missing_ok=True)
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600),
              'w') as file:
        file.write(text)
    aside.replace(path)


def _current(state: pathlib.Path) -> dict[str, str]:
    return _read(state / 'current.json')


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise errors.OneboxError(
            f'{path} can\'t be read ({exc}): remove the folder '
            f'{path.parent}, or name another by --state') from None
