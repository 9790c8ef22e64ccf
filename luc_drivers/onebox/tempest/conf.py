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

"""Write tempest.conf from what the running cloud says of itself."""

import pathlib
from typing import Any

from luc_drivers.onebox import bootstrap
from luc_drivers.onebox import config
from luc_drivers.onebox import errors
from luc_drivers.onebox import settings as onebox_settings

# Seconds until Tempest gives up waiting for a status.
_BUILD_TIMEOUT = 120


def write(settings: onebox_settings.Settings, folder: pathlib.Path) -> None:
    """Write ``tempest.conf`` for a running cloud.

    :param folder: where the file and Tempest's locks and log go.
    :raises errors.OneboxError: the cloud doesn't answer, or lacks an image,
        a flavor or the external network.
    """
    client = bootstrap.Cloud(settings)
    config.write(folder / 'tempest.conf', {
        'DEFAULT': {'log_file': folder / 'tempest.log', 'debug': True},
        'oslo_concurrency': {'lock_path': folder / 'lock'},
        **_identity(settings),
        **_compute(settings, client),
        **_image(settings),
        **_network(settings, client),
    })


def _identity(settings: onebox_settings.Settings) -> dict[str, dict]:
    return {
        'auth': {
            'use_dynamic_credentials': True,
            'create_isolated_networks': True,
            'admin_username': 'admin',
            'admin_password': settings.admin_password,
            'admin_project_name': 'admin',
            'admin_domain_name': 'Default',
        },
        'identity': {
            'uri_v3': settings.url('keystone', '/v3'),
            'auth_version': 'v3',
            'region': settings.region,
        },
        'service_available': {
            'nova': True, 'glance': True, 'neutron': True, 'cinder': False,
            'swift': False, 'horizon': False},
        'enforce_scope': {'keystone': True, 'nova': True},
    }


def _compute(settings: onebox_settings.Settings,
             client: bootstrap.Cloud) -> dict[str, dict]:
    images = {image['name']: image['id'] for image in
              client.request('image', 'GET', '/v2/images')['images']}
    missing = [name for name in bootstrap.IMAGES if name not in images]
    if missing:
        raise errors.OneboxError(
            f'image {missing[0]} is missing: run onebox.sh up')
    hosts = client.compute(
        'GET', '/os-services?binary=nova-compute')['services']
    several = sum(host['state'] == 'up' for host in hosts) > 1
    return {
        'compute': {
            'image_ref': images[bootstrap.IMAGES[0]],
            'image_ref_alt': images[bootstrap.IMAGES[1]],
            'flavor_ref': bootstrap.FLAVORS[0][0],
            'flavor_ref_alt': bootstrap.FLAVORS[1][0],
            'region': settings.region,
            'min_compute_nodes': 2 if several else 1,
            'hypervisor_type': 'fake',
            'max_microversion': 'latest',
            'build_timeout': _BUILD_TIMEOUT,
        },
        'compute-feature-enabled': {
            'resize': True,
            'cold_migration': several,
            'live_migration': several,
            'live_migrate_back_and_forth': several,
            'scheduler_enabled_filters': 'all',
            'config_drive': True,
            # What the fake driver, a cloud without agents and without
            # volumes can't have.
            'snapshot': False,
            'change_password': False,
            'vnc_console': False,
            'metadata_service': False,
            'attach_encrypted_volume': False,
        },
        # No packet moves: nobody can log in to a server.
        'validation': {'run_validation': False},
    }


def _image(settings: onebox_settings.Settings) -> dict[str, dict]:
    return {
        'image': {'region': settings.region, 'container_formats': 'bare',
                  'disk_formats': 'raw,qcow2',
                  'build_timeout': _BUILD_TIMEOUT},
        'image-feature-enabled': {'import_image': True},
    }


def _network(settings: onebox_settings.Settings,
             client: bootstrap.Cloud) -> dict[str, dict]:
    external: list[dict[str, Any]] = client.network(
        'GET', '/networks', params={'router:external': True})['networks']
    if not external:
        raise errors.OneboxError(
            'the external network is missing: run onebox.sh up')
    aliases = sorted(extension['alias'] for extension in client.network(
        'GET', '/extensions')['extensions'])
    return {
        'network': {
            'public_network_id': external[0]['id'],
            'floating_network_name': external[0]['name'],
            'project_networks_reachable': False,
            'region': settings.region,
            'build_timeout': _BUILD_TIMEOUT,
        },
        'network-feature-enabled': {
            'ipv6': True,
            'ipv6_subnet_attributes': True,
            'floating_ips': True,
            'port_security': 'port-security' in aliases,
            'api_extensions': ','.join(aliases),
        },
    }
