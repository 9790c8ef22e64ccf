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

"""Identity of the cloud, images, flavors, networks: through the REST APIs.

All of it may be repeated: what is there already is left alone.  (The
openstack command would cost three seconds for each call.)
"""

import datetime
import os
from typing import Any

from keystoneauth1 import exceptions
from keystoneauth1 import session
from keystoneauth1.identity import v3

from luc_drivers.onebox import errors
from luc_drivers.onebox import guest
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.services import neutron

IMAGES = ('tiny', 'tiny2')
_IMAGE_BYTES = 1 << 20
#: (id, name, MiB of memory); ids as Tempest's DevStack jobs name them
FLAVORS = (('42', 'm1.nano', 128), ('84', 'm1.micro', 192))
#: networks as DevStack makes them: servers' own, and the outside
PRIVATE = 'private'
PUBLIC = 'public'
_PRIVATE_RANGE = '10.0.0.0/20'
_PUBLIC_RANGE = '172.24.4.0/24'
_POOL_RANGE = '10.1.0.0/20'


class Cloud:
    """A client of one cloud as its administrator."""

    def __init__(self, settings: onebox_settings.Settings) -> None:
        self._settings = settings
        auth = v3.Password(
            auth_url=settings.url('keystone', '/v3'), username='admin',
            password=settings.admin_password, project_name='admin',
            user_domain_id='default', project_domain_id='default')
        self._session = session.Session(auth=auth, connect_retries=2)

    def request(self, service: str, method: str, path: str,
                **options: Any) -> Any:
        """Send one request; return the decoded answer, None if it is empty.

        :param service: type of service, as in the catalog.
        :raises errors.OneboxError: it failed; ``options`` may hold
            ``raise_exc=False`` for a response of keystoneauth1 instead.
        """
        raw = options.get('raise_exc') is False
        try:
            response = self._session.request(
                path, method, endpoint_filter={
                    'service_type': service, 'interface': 'public',
                    'region_name': self._settings.region}, **options)
        except exceptions.ClientException as exc:
            raise errors.OneboxError(
                f'{service}: {method} {path}: {exc}') from None
        if raw:
            return response
        return response.json() if response.content else None

    def identity(self, method: str, path: str, **options: Any) -> Any:
        """Send one request to keystone (the catalog's URL ends in v3)."""
        return self.request('identity', method, path, **options)

    def compute(self, method: str, path: str, **options: Any) -> Any:
        """Send one request to nova, with a recent microversion."""
        return self.request('compute', method, path, headers={
            'OpenStack-API-Version': 'compute 2.87'}, **options)

    def network(self, method: str, path: str, **options: Any) -> Any:
        """Send one request to neutron; ``path`` begins below the version."""
        return self.request('network', method, f'/v2.0{path}', **options)

    def _ensure(self, kind: str, query: dict[str, str],
                body: dict[str, Any]) -> str:
        """Return the id of a thing of keystone's; make it if need be."""
        found = self.identity('GET', f'/{kind}s', params=query)[f'{kind}s']
        if not found:
            found = [self.identity('POST', f'/{kind}s',
                                   json={kind: {**query, **body}})[kind]]
        return found[0]['id']

    def project(self, name: str) -> str:
        """Return a project's id; make it if need be."""
        return self._ensure('project', {'name': name, 'domain_id': 'default'},
                            {})

    def role(self, name: str) -> str:
        """Return a role's id; make it if need be."""
        return self._ensure('role', {'name': name}, {})

    def user(self, name: str, password: str) -> str:
        """Return a user's id; make it if need be, with this password."""
        user = self._ensure('user', {'name': name, 'domain_id': 'default'},
                            {'password': password})
        # A database that was there before may know another password.
        self.identity('PATCH', f'/users/{user}',
                      json={'user': {'password': password}})
        return user

    def grant(self, project: str, user: str, role: str) -> None:
        """Give a user a role in a project."""
        self.identity('PUT', f'/projects/{project}/users/{user}/roles/{role}')

    def service(self, name: str, kind: str, url: str) -> None:
        """Register a service with its three endpoints."""
        service = self._ensure('service', {'name': name, 'type': kind}, {})
        for interface in ('public', 'internal', 'admin'):
            endpoint = self._ensure('endpoint', {
                'service_id': service, 'interface': interface,
                'region_id': self._settings.region}, {'url': url})
            self.identity('PATCH', f'/endpoints/{endpoint}',
                          json={'endpoint': {'url': url}})


def register(settings: onebox_settings.Settings) -> None:
    """Make service users, services, endpoints, and a project ``demo``."""
    cloud = Cloud(settings)
    service_project = cloud.project('service')
    roles = [cloud.role('admin'), cloud.role('service')]
    for name, kind, url in (
            ('placement', 'placement', settings.url('placement')),
            ('glance', 'image', settings.url('glance')),
            ('nova', 'compute', settings.url('nova-api', '/v2.1')),
            ('neutron', 'network', settings.url('neutron'))):
        user = cloud.user(name, settings.service_password)
        for role in roles:
            cloud.grant(service_project, user, role)
        cloud.service(name, kind, url)
    demo = cloud.project('demo')
    cloud.grant(demo, cloud.user('demo', settings.admin_password),
                cloud.role('member'))


def seed(settings: onebox_settings.Settings) -> None:
    """Upload two small images, make two small flavors and two networks."""
    cloud = Cloud(settings)
    seed_networks(cloud)
    images = {image['name']: image for image in
              cloud.request('image', 'GET', '/v2/images')['images']}

    def ensure(name: str, kind: str, content: bytes, **more: str) -> str:
        image = images.get(name) or cloud.request(
            'image', 'POST', '/v2/images', json={
                'name': name, 'disk_format': kind, 'visibility': 'public',
                'container_format': 'bare' if kind == 'raw' else kind,
                **more})
        if image['status'] == 'queued':
            cloud.request(
                'image', 'PUT', f'/v2/images/{image["id"]}/file',
                data=content,
                headers={'Content-Type': 'application/octet-stream'})
        return image['id']

    boots = {}
    if settings.virt == 'qemu':
        folder = settings.folder / 'guest'
        boots = {
            'kernel_id': ensure('tiny-kernel', 'aki',
                                guest.kernel(folder).read_bytes()),
            'ramdisk_id': ensure('tiny-initramfs', 'ari',
                                 guest.initramfs(folder).read_bytes()),
            'os_command_line': guest.COMMAND_LINE}
    for name in IMAGES:
        ensure(name, 'raw', os.urandom(_IMAGE_BYTES), **boots)
    flavors = {flavor['id'] for flavor in
               cloud.compute('GET', '/flavors')['flavors']}
    for number, name, memory in FLAVORS:
        if number not in flavors:
            cloud.compute('POST', '/flavors', json={'flavor': {
                'id': number, 'name': name, 'ram': memory, 'vcpus': 1,
                'disk': 1}})


def seed_networks(cloud: Cloud) -> None:
    """Make a private and an external network, and a router between them."""
    def ensure(kind: str, name: str, **body: Any) -> dict[str, Any]:
        found = cloud.network('GET', f'/{kind}s',
                              params={'name': name})[f'{kind}s']
        return found[0] if found else cloud.network(
            'POST', f'/{kind}s', json={kind: {'name': name, **body}})[kind]

    private = ensure('network', PRIVATE)
    inside = ensure('subnet', f'{PRIVATE}-subnet', network_id=private['id'],
                    ip_version=4, cidr=_PRIVATE_RANGE)
    public = ensure('network', PUBLIC, **{
        'router:external': True, 'provider:network_type': 'flat',
        'provider:physical_network': neutron.PUBLIC, 'is_default': True})
    # With the default external network: what "--nic auto" is made from.
    ensure('subnetpool', 'shared-default', is_default=True, shared=True,
           prefixes=[_POOL_RANGE], default_prefixlen=26)
    ensure('subnet', f'{PUBLIC}-subnet', network_id=public['id'],
           ip_version=4, cidr=_PUBLIC_RANGE, enable_dhcp=False)
    router = ensure('router', 'router1',
                    external_gateway_info={'network_id': public['id']})
    ports = cloud.network('GET', '/ports', params={
        'device_id': router['id'], 'network_id': private['id']})['ports']
    if not ports:
        cloud.network('PUT', f'/routers/{router["id"]}/add_router_interface',
                      json={'subnet_id': inside['id']})


def compute_is_up(settings: onebox_settings.Settings, host: str,
                  since: datetime.datetime) -> bool:
    """Return whether a host's nova-compute has reported itself up since.

    nova takes a dead one for up for another minute.
    """
    services = Cloud(settings).compute(
        'GET', '/os-services', params={
            'binary': 'nova-compute', 'host': host})['services']
    return any(one['state'] == 'up' and one['updated_at'] and
               datetime.datetime.fromisoformat(one['updated_at']).replace(
                   tzinfo=datetime.UTC) > since for one in services)


def openrc(settings: onebox_settings.Settings) -> dict[str, str]:
    """Return the variables by which the openstack command finds the cloud."""
    return {
        'OS_AUTH_URL': settings.url('keystone', '/v3'),
        'OS_USERNAME': 'admin',
        'OS_PASSWORD': settings.admin_password,
        'OS_PROJECT_NAME': 'admin',
        'OS_USER_DOMAIN_ID': 'default',
        'OS_PROJECT_DOMAIN_ID': 'default',
        'OS_IDENTITY_API_VERSION': '3',
        'OS_REGION_NAME': settings.region,
        'OS_COMPUTE_API_VERSION': '2.latest',
    }


def write_openrc(settings: onebox_settings.Settings) -> None:
    """Write the file to be sourced before using the openstack command."""
    lines = [f"export {name}='{value}'"
             for name, value in openrc(settings).items()]
    lines.append(f"case :$PATH: in *:'{settings.venv}/bin':*) ;; "
                 f"*) export PATH='{settings.venv}/bin':$PATH ;; esac")
    onebox_settings.write_private(settings.openrc, '\n'.join(lines) + '\n')
