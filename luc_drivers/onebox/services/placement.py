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

"""placement: what resources there are and who holds them."""

from types import ModuleType

from luc_drivers.onebox import commands
from luc_drivers.onebox import config
from luc_drivers.onebox import daemons
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.services import wsgi


def write_config(settings: onebox_settings.Settings,
                 backend: ModuleType) -> None:
    """Write placement.conf."""
    config.write(settings.etc / 'placement' / 'placement.conf', {
        'DEFAULT': config.logs(settings, 'placement.log'),
        'api': {'auth_strategy': 'keystone'},
        'placement_database':
            {'connection': backend.db_url(settings, 'placement')},
        'keystone_authtoken': config.authtoken(settings, 'placement'),
    })


def set_up(settings: onebox_settings.Settings, backend: ModuleType,
           run: commands.Runner) -> None:
    """Make tables."""
    del backend
    run('placement: tables', (
        settings.program('placement-manage'), '--config-dir',
        str(settings.etc / 'placement'), 'db', 'sync'), 'placement')


def daemon(settings: onebox_settings.Settings,
           backend: ModuleType) -> daemons.Daemon:
    """Return placement's API."""
    return wsgi.api(
        settings, 'placement', 'placement.wsgi.api',
        {'OS_PLACEMENT_CONFIG_DIR': str(settings.etc / 'placement'),
         **backend.env(settings, 'placement')}, 'placement.log')
