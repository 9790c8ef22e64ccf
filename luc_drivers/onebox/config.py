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

"""oslo.config files from dictionaries, and what all services share."""

from collections.abc import Mapping
import pathlib

from oslo_log import log

from luc_drivers.onebox import rounds
from luc_drivers.onebox import settings as onebox_settings

#: {section: {option: value}}
Sections = Mapping[str, Mapping[str, object]]


def render(sections: Sections) -> str:
    """Return the text of an oslo.config file."""
    lines = ['# Written by onebox; changes are overwritten by its next "up".']
    for section, options in sections.items():
        lines.append(f'\n[{section}]')
        for name, value in options.items():
            if isinstance(value, bool):
                value = str(value).lower()
            lines.append(f'{name} = {value}')
    return '\n'.join(lines) + '\n'


def write(path: pathlib.Path, sections: Sections) -> None:
    """Write one file (it holds passwords: for its owner only)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onebox_settings.write_private(path, render(sections))


def logs(settings: onebox_settings.Settings, log_file: str = '') -> dict:
    """Return options of [DEFAULT] on logs.

    :param log_file: name in the cloud's folder of logs; '' = named elsewhere.
    """
    found: dict[str, object] = {'use_stderr': False}
    if log_file:
        found['log_file'] = settings.logs / log_file
    if settings.trace:
        found['default_log_levels'] = ','.join(
            [*log.get_default_log_levels(), f'{rounds.LOGGER}=DEBUG'])
    return found


def credentials(settings: onebox_settings.Settings, user: str) -> dict:
    """Return the options with which one service logs in to others."""
    return {
        'auth_url': settings.url('keystone', '/v3'),
        'auth_type': 'password',
        'project_domain_id': 'default',
        'user_domain_id': 'default',
        'project_name': 'service',
        'username': user,
        'password': settings.service_password,
        'region_name': settings.region,
    }


def authtoken(settings: onebox_settings.Settings, user: str) -> dict:
    """Return the section [keystone_authtoken]."""
    return {
        **credentials(settings, user),
        'www_authenticate_uri': settings.url('keystone'),
        'memcached_servers': memcached(settings),
        'service_token_roles': 'service',
        'service_token_roles_required': True,
    }


def cache(settings: onebox_settings.Settings) -> dict:
    """Return the section [cache] of keystone and nova."""
    return {
        'enabled': True,
        'backend': 'dogpile.cache.pymemcache',
        'memcache_servers': memcached(settings),
    }


def memcached(settings: onebox_settings.Settings) -> str:
    """Return the address of the cloud's memcached."""
    return f'127.0.0.1:{settings.port("memcached")}'


def notifications(url: str) -> dict:
    """Return the section [oslo_messaging_notifications]."""
    return {'driver': 'messagingv2', 'transport_url': url}
