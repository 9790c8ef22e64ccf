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

"""glance: images, kept as files."""

import shutil
from types import ModuleType

from luc_drivers.onebox import commands
from luc_drivers.onebox import config
from luc_drivers.onebox import daemons
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.services import wsgi


def write_config(settings: onebox_settings.Settings,
                 backend: ModuleType) -> None:
    """Write glance-api.conf and copy its paste file."""
    etc, data = settings.etc / 'glance', settings.folder / 'glance'
    etc.mkdir(parents=True, exist_ok=True)
    paste = etc / 'glance-api-paste.ini'
    shutil.copy(settings.venv / 'etc' / 'glance' / paste.name, paste)
    url = backend.transport_url(settings)
    config.write(etc / 'glance-api.conf', {
        'DEFAULT': {
            **config.logs(settings, 'glance.log'),
            # The second for imports to several stores and copies.
            'enabled_backends': 'fs:file,second:file',
            'transport_url': url,
            'worker_self_reference_url': settings.url('glance'),
            'bind_host': settings.host_ip,
            'workers': settings.workers,
            'image_cache_dir': data / 'cache',
        },
        'database': {'connection': backend.db_url(settings, 'glance')},
        'glance_store': {'default_backend': 'fs'},
        'fs': {'filesystem_store_datadir': data / 'images'},
        'second': {'filesystem_store_datadir': data / 'second'},
        'os_glance_staging_store':
            {'filesystem_store_datadir': data / 'staging'},
        'os_glance_tasks_store': {'filesystem_store_datadir': data / 'tasks'},
        'paste_deploy': {'flavor': 'keystone', 'config_file': paste},
        'oslo_concurrency': {'lock_path': settings.folder / 'lock'},
        'oslo_messaging_notifications': config.notifications(url),
        'keystone_authtoken': config.authtoken(settings, 'glance'),
    })
    for name in ('images', 'second', 'staging', 'tasks', 'cache'):
        data.joinpath(name).mkdir(parents=True, exist_ok=True)


def set_up(settings: onebox_settings.Settings, backend: ModuleType,
           run: commands.Runner) -> None:
    """Make tables and load the metadata definitions."""
    del backend
    manage = (settings.program('glance-manage'), '--config-file',
              str(settings.etc / 'glance' / 'glance-api.conf'))
    run('glance: tables', (*manage, 'db_sync'), 'glance')
    run('glance: metadata definitions', (
        *manage, 'db_load_metadefs',
        str(settings.venv / 'etc' / 'glance' / 'metadefs')), 'glance')


def daemon(settings: onebox_settings.Settings,
           backend: ModuleType) -> daemons.Daemon:
    """Return glance's API."""
    return wsgi.api(
        settings, 'glance', 'glance.wsgi.api',
        {'OS_GLANCE_CONFIG_DIR': str(settings.etc / 'glance'),
         **backend.env(settings, 'glance')}, 'glance.log')
