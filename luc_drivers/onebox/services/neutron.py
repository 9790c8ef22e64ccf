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

"""neutron: networks, without agents: ports are bound, nothing is plugged.

Three processes, as neutron 29 is meant to run: the API under uWSGI, the RPC
server and the periodic workers.
"""

import shutil
from types import ModuleType

from luc_drivers.onebox import commands
from luc_drivers.onebox import config
from luc_drivers.onebox import daemons
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.services import wsgi

#: entry point of luc_drivers.onebox.mechanism
MECHANISM_DRIVER = 'luc_no_agent'
#: physical network of the external network that bootstrap makes
PUBLIC = 'public'


def write_config(settings: onebox_settings.Settings,
                 backend: ModuleType) -> None:
    """Write neutron.conf and copy its paste file."""
    etc = settings.etc / 'neutron'
    etc.mkdir(parents=True, exist_ok=True)
    paste = etc / 'api-paste.ini'
    shutil.copy(settings.venv / 'etc' / 'neutron' / paste.name, paste)
    url = backend.transport_url(settings)
    config.write(etc / 'neutron.conf', {
        'DEFAULT': {
            'core_plugin': 'ml2',
            'service_plugins': 'router',
            'transport_url': url,
            'auth_strategy': 'keystone',
            'state_path': settings.folder / 'neutron',
            **config.logs(settings, 'neutron.log'),
            'api_paste_config': paste,
            'rpc_workers': settings.workers,
            # There are no agents that would report.
            'rpc_state_report_workers': 0,
            'dhcp_agent_notification': False,
            'notify_nova_on_port_status_changes': True,
            'notify_nova_on_port_data_changes': True,
        },
        'database': {'connection': backend.db_url(settings, 'neutron')},
        'ml2': {
            'type_drivers': 'local,flat,vlan',
            'project_network_types': 'local',
            'mechanism_drivers': MECHANISM_DRIVER,
            'extension_drivers': 'port_security',
        },
        'ml2_type_flat': {'flat_networks': PUBLIC},
        'oslo_concurrency': {'lock_path': settings.folder / 'lock'},
        'oslo_messaging_notifications': config.notifications(url),
        'quotas': {'quota_network': 1000, 'quota_subnet': 1000,
                   'quota_port': 5000},
        'keystone_authtoken': config.authtoken(settings, 'neutron'),
        'nova': config.credentials(settings, 'nova'),
        'placement': config.credentials(settings, 'placement'),
    })
    settings.folder.joinpath('neutron').mkdir(parents=True, exist_ok=True)


def set_up(settings: onebox_settings.Settings, backend: ModuleType,
           run: commands.Runner) -> None:
    """Make tables."""
    del backend
    run('neutron: tables', (
        settings.program('neutron-db-manage'), '--config-file',
        str(settings.etc / 'neutron' / 'neutron.conf'), 'upgrade', 'heads'),
        'neutron')


def api(settings: onebox_settings.Settings,
        backend: ModuleType) -> daemons.Daemon:
    """Return the network API."""
    return wsgi.api(
        settings, 'neutron', 'neutron.wsgi.api',
        {'OS_NEUTRON_CONFIG_DIR': str(settings.etc / 'neutron'),
         'OS_NEUTRON_CONFIG_FILES': 'neutron.conf',
         **backend.env(settings, 'neutron')}, 'neutron.log')


def workers(settings: onebox_settings.Settings,
            backend: ModuleType) -> list[daemons.Daemon]:
    """Return the RPC server and the periodic workers."""
    return [
        daemons.Daemon(
            name,
            (settings.program(program), '--config-file',
             str(settings.etc / 'neutron' / 'neutron.conf'), '--log-file',
             str(settings.logs / f'{name}.log')),
            env=backend.env(settings, name), log=f'{name}.log')
        for name, program in (('neutron-rpc', 'neutron-rpc-server'),
                              ('neutron-periodic',
                               'neutron-periodic-workers'))]
