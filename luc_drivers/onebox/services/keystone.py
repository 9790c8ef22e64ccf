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

"""keystone: identity."""

import grp
import os
import pwd
from types import ModuleType

from luc_drivers.onebox import commands
from luc_drivers.onebox import config
from luc_drivers.onebox import daemons
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.services import wsgi


def write_config(settings: onebox_settings.Settings,
                 backend: ModuleType) -> None:
    """Write keystone.conf."""
    etc = settings.etc / 'keystone'
    keys = settings.folder / 'keys'
    config.write(etc / 'keystone.conf', {
        'DEFAULT': {
            'public_endpoint': settings.url('keystone'),
            **config.logs(settings, 'keystone.log'),
        },
        'database': {'connection': backend.db_url(settings, 'keystone')},
        'token': {'provider': 'fernet'},
        # A cloud to try things on: by default each login costs 0.3 s of a
        # processor.
        'identity': {'password_hash_rounds': 4},
        'fernet_tokens': {'key_repository': keys / 'fernet'},
        'fernet_receipts': {'key_repository': keys / 'fernet'},
        'credential': {'key_repository': keys / 'credential'},
        'cache': config.cache(settings),
        'oslo_messaging_notifications':
            config.notifications(backend.transport_url(settings)),
        'oslo_policy': {'enforce_scope': True},
    })


def set_up(settings: onebox_settings.Settings, backend: ModuleType,
           run: commands.Runner) -> None:
    """Make tables, keys, and the administrator."""
    del backend
    manage = (settings.program('keystone-manage'), '--config-file',
              str(settings.etc / 'keystone' / 'keystone.conf'))
    for name in ('fernet', 'credential'):
        folder = settings.folder / 'keys' / name
        if folder.exists() and list(folder.iterdir()):
            continue
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        run(f'keystone: {name} keys', (*manage, f'{name}_setup',
                                       *_owner()), 'keystone')
    run('keystone: tables', (*manage, 'db_sync'), 'keystone')
    url = settings.url('keystone', '/v3')
    run('keystone: administrator', (
        *manage, 'bootstrap', '--bootstrap-password', settings.admin_password,
        '--bootstrap-public-url', url, '--bootstrap-internal-url', url,
        '--bootstrap-admin-url', url, '--bootstrap-region-id',
        settings.region), 'keystone')


def _owner() -> tuple[str, ...]:
    return ('--keystone-user', pwd.getpwuid(os.getuid()).pw_name,
            '--keystone-group', grp.getgrgid(os.getgid()).gr_name)


def daemon(settings: onebox_settings.Settings,
           backend: ModuleType) -> daemons.Daemon:
    """Return keystone's API."""
    return wsgi.api(
        settings, 'keystone', 'keystone.wsgi.api',
        {'OS_KEYSTONE_CONFIG_DIR': str(settings.etc / 'keystone'),
         **backend.env(settings, 'keystone')}, 'keystone.log', '/v3',
        # AuthContextMiddleware keeps a request's token in itself: with
        # threads, a request may be judged by another one's token.
        processes=2 * settings.workers, threads=1)
