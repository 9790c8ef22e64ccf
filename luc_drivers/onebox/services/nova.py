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

"""nova: servers. One cell below the top level.

Four configurations: ``nova`` (top level: API, scheduler, super-conductor; API
database and cell0), ``nova-cell1`` (the cell's conductor), ``nova-compute``
(no database at all; a second one is ``nova-compute2``) and ``nova-manage``
(both levels' databases).
"""

import shutil
import socket
from types import ModuleType

from luc_drivers.onebox import commands
from luc_drivers.onebox import config
from luc_drivers.onebox import daemons
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.services import libvirt
from luc_drivers.onebox.services import wsgi

CELL = 'nova_cell1'
_DRIVERS = {'fake': 'fake.FakeDriverWithoutFakeNodes',
            'qemu': 'libvirt.LibvirtDriver'}
# DevStack's: placing by other servers of a group or near to a server, too.
_FILTERS = (
    'ComputeFilter', 'ComputeCapabilitiesFilter', 'ImagePropertiesFilter',
    'ServerGroupAntiAffinityFilter', 'ServerGroupAffinityFilter',
    'SameHostFilter', 'DifferentHostFilter')


def write_config(settings: onebox_settings.Settings,
                 backend: ModuleType) -> None:
    """Write each nova.conf."""
    top, cell = (backend.transport_url(settings),
                 backend.transport_url(settings, CELL))
    api_database = {'connection': backend.db_url(settings, 'nova_api')}
    cell_database = {'connection': backend.db_url(settings, CELL)}
    for name, url, databases in (
            ('nova', top, {
                'database': {
                    'connection': backend.db_url(settings, 'nova_cell0')},
                'api_database': api_database}),
            ('nova-cell1', cell, {'database': cell_database}),
            *[(name, cell, {}) for name in compute_names(settings)],
            ('nova-manage', cell, {'database': cell_database,
                                   'api_database': api_database})):
        sections = _sections(settings, name, url, top)
        sections.update(databases)
        sections['DEFAULT'].update(_host(settings, name))
        config.write(settings.etc / name / 'nova.conf', sections)
    paste = settings.etc / 'nova' / 'api-paste.ini'
    shutil.copy(settings.venv / 'etc' / 'nova' / paste.name, paste)


def compute_names(settings: onebox_settings.Settings) -> list[str]:
    """Return the names of the compute services' daemons."""
    return ['nova-compute', *[f'nova-compute{number}' for number in
                              range(2, settings.computes + 1)]]


def compute_host(name: str) -> str:
    """Return the host name that a compute service goes by."""
    number = name.removeprefix('nova-compute')
    return socket.gethostname() + (f'-{number}' if number else '')


def _host(settings: onebox_settings.Settings, name: str) -> dict:
    """Return the options by which one machine passes for several."""
    if not name.startswith('nova-compute'):
        return {'state_path': settings.folder / 'nova'}
    number = name.removeprefix('nova-compute')
    state = settings.folder / f'nova{number}'
    state.joinpath('instances').mkdir(parents=True, exist_ok=True)
    return {'state_path': state, 'host': compute_host(name)}


def _sections(settings: onebox_settings.Settings, name: str, url: str,
              notify_url: str) -> dict:
    client = config.credentials(settings, 'nova')
    return {
        'DEFAULT': {
            'my_ip': settings.host_ip,
            'transport_url': url,
            'compute_driver': _DRIVERS[settings.virt],
            **config.logs(settings),
            'log_dir': settings.logs,
            # Of the API; others name theirs on the command line.
            'log_file': f'{"nova-api" if name == "nova" else name}.log',
            'osapi_compute_workers': settings.workers,
            'enabled_apis': 'osapi_compute',
            'allow_resize_to_same_host': True,
            # A port is up as soon as it is bound: nothing to wait for.
            'vif_plugging_is_fatal': False,
            'vif_plugging_timeout': 0,
        },
        'libvirt': {
            'virt_type': 'qemu', 'cpu_mode': 'none',
            'connection_uri': libvirt.uri(settings)},
        # nova-compute runs as the calling user: there is no sudo to use.
        'nova_sys_admin': {'helper_command': (
            f'{settings.program("privsep-helper")} --config-file '
            f'{settings.etc / name / "nova.conf"}')},
        'vnc': {'enabled': False},
        'spice': {'enabled': False},
        'conductor': {'workers': settings.workers},
        'scheduler': {'workers': settings.workers,
                      'discover_hosts_in_cells_interval': 30},
        # A cell's conductor knows no API database to look a group up in.
        'workarounds': {'disable_group_policy_check_upcall': True},
        'filter_scheduler': {'enabled_filters': ','.join(_FILTERS)},
        'oslo_concurrency': {'lock_path': settings.folder / 'lock'},
        'oslo_messaging_notifications': config.notifications(notify_url),
        'cache': config.cache(settings),
        'quota': {'driver': 'nova.quota.DbQuotaDriver', 'instances': 1000,
                  'cores': 2000, 'ram': 5120000},
        'keystone_authtoken': config.authtoken(settings, 'nova'),
        'placement': config.credentials(settings, 'placement'),
        'glance': client,
        'service_user': {**client, 'send_service_user_token': True},
        'neutron': {**config.credentials(settings, 'neutron'),
                    'default_floating_pool': 'public'},
        'cinder': client,
    }


def set_up(settings: onebox_settings.Settings, backend: ModuleType,
           run: commands.Runner) -> None:
    """Make tables and the cells' mappings."""
    conf = settings.etc / 'nova-manage' / 'nova.conf'
    manage = (settings.program('nova-manage'), '--config-file', str(conf))
    run('nova: API tables', (*manage, 'api_db', 'sync'), 'nova-manage')
    run('nova: cell0', (*manage, 'cell_v2', 'map_cell0',
                        '--database_connection',
                        backend.db_url(settings, 'nova_cell0')),
        'nova-manage')
    # 2: this cell is there already.
    run('nova: cell1', (*manage, 'cell_v2', 'create_cell', '--name', 'cell1'),
        'nova-manage', accepted=(0, 2))
    run('nova: tables of both cells', (*manage, 'db', 'sync'), 'nova-manage')


def discover_hosts(settings: onebox_settings.Settings,
                   run: commands.Runner) -> None:
    """Map compute hosts to the cell."""
    run('nova: compute hosts of the cell', (
        settings.program('nova-manage'), '--config-file',
        str(settings.etc / 'nova-manage' / 'nova.conf'), 'cell_v2',
        'discover_hosts'), 'nova-manage')


def controllers(settings: onebox_settings.Settings,
                backend: ModuleType) -> list[daemons.Daemon]:
    """Return conductors and scheduler; they register, nothing is asked."""
    return [
        _daemon(settings, backend, 'nova-conductor', 'nova-conductor', 'nova'),
        _daemon(settings, backend, 'nova-conductor-cell1', 'nova-conductor',
                'nova-cell1'),
        _daemon(settings, backend, 'nova-scheduler', 'nova-scheduler',
                'nova')]


def api(settings: onebox_settings.Settings,
        backend: ModuleType) -> daemons.Daemon:
    """Return the compute API."""
    return wsgi.api(
        settings, 'nova-api', 'nova.wsgi.osapi_compute',
        {'OS_NOVA_CONFIG_DIR': str(settings.etc / 'nova'),
         **backend.env(settings, 'nova-api')}, 'nova-api.log')


def computes(settings: onebox_settings.Settings,
             backend: ModuleType) -> list[daemons.Daemon]:
    """Return each nova-compute."""
    return [_daemon(settings, backend, name, 'nova-compute', name)
            for name in compute_names(settings)]


def _daemon(settings: onebox_settings.Settings, backend: ModuleType,
            name: str, program: str, conf: str) -> daemons.Daemon:
    return daemons.Daemon(
        name,
        (settings.program(program), '--config-file',
         str(settings.etc / conf / 'nova.conf'), '--log-file',
         str(settings.logs / f'{name}.log')),
        env=backend.env(settings, name), log=f'{name}.log')
