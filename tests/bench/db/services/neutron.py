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

"""neutron: its ML2 plugin, set up as on a one-box cloud.

Each project has a network with one subnet, and each instance a bound port.
"""

from collections.abc import Iterator
import os
import random
from typing import Any

from neutron import manager
from neutron.api import extensions
from neutron.common import config
from neutron.db.migration.models import head
from neutron_lib import constants
from neutron_lib import context as neutron_context
from neutron_lib.api import attributes
from neutron_lib.api.definitions import portbindings
from neutron_lib.db import api as db_api
from neutron_lib.plugins import directory
from neutron_lib.plugins import utils

from luc_drivers.onebox.services import neutron as onebox
from tests.bench.db import base
from tests.bench.db.base import hexid
from tests.bench.db.base import Sizes
from tests.bench.db.base import uid

measured = base.Registry('neutron')
FUNCTIONS = measured.functions

_OWNER = constants.DEVICE_OWNER_COMPUTE_PREFIX + 'nova'


def configure(urls: dict[str, str]) -> None:
    """Configure the process."""
    for name, value in {
            'DATABASE__CONNECTION': urls['main'],
            'DATABASE__MAX_OVERFLOW': '64',
            # nobody listens: what would be notified costs nothing
            'DEFAULT__TRANSPORT_URL': 'fake:/',
            'DEFAULT__CORE_PLUGIN': 'ml2',
            'DEFAULT__SERVICE_PLUGINS': 'router',
            'DEFAULT__DHCP_AGENT_NOTIFICATION': 'false',
            'DEFAULT__NOTIFY_NOVA_ON_PORT_STATUS_CHANGES': 'false',
            'DEFAULT__NOTIFY_NOVA_ON_PORT_DATA_CHANGES': 'false',
            'ML2__TYPE_DRIVERS': 'local',
            'ML2__PROJECT_NETWORK_TYPES': 'local',
            'ML2__MECHANISM_DRIVERS': onebox.MECHANISM_DRIVER,
            'ML2__EXTENSION_DRIVERS': 'port_security'}.items():
        os.environ['OS_' + name] = value
    config.register_common_config_options()
    config.init([], default_config_files=[])


def _plugin() -> Any:
    """Return the core plugin, loaded once the tables are there."""
    if not directory.is_loaded():
        manager.init()
        # as the API does
        extensions.PluginAwareExtensionManager.get_instance(
            ).extend_resources('2.0', attributes.RESOURCES)
    return directory.get_plugin()


def sync() -> None:
    """Make the tables."""
    with db_api.CONTEXT_WRITER.using(_context()) as session:
        head.get_metadata().create_all(session.get_bind())


def _context(project: str | None = None) -> neutron_context.Context:
    """Return a new request's context: of a member, or an administrator."""
    if project is None:
        return neutron_context.get_admin_context()
    return neutron_context.Context(
        user_id=hexid('user', 0), project_id=project, roles=['member'])


def seed(sizes: Sizes) -> Iterator[int]:
    """Fill an empty database."""
    plugin, context = _plugin(), _context()
    for n in range(sizes.projects):
        owner = hexid('project', n)
        utils.create_network(plugin, context, {'network': {
            'id': uid('network', n), 'name': f'net{n}',
            'project_id': owner, 'tenant_id': owner,
            'admin_state_up': True, 'shared': False}}, False)
        utils.create_subnet(plugin, context, {'subnet': {
            'id': uid('subnet', n), 'name': f'sub{n}',
            'project_id': owner, 'tenant_id': owner,
            'network_id': uid('network', n), 'cidr': f'10.{n}.0.0/16',
            'ip_version': 4, 'enable_dhcp': True}}, False)
    for n in range(sizes.instances):
        port = _create(_project(n), uid('port', n))
        _bind(port['id'], uid('instance', n))
        if n % 100 == 99:
            yield n + 1


def _project(instance: int) -> int:
    return instance // base.PER_PROJECT


def _create(project: int, port: str) -> dict[str, Any]:
    """Make a port as nova does for a server that names a network."""
    owner = hexid('project', project)
    return utils.create_port(_plugin(), _context(owner), {'port': {
        'id': port, 'name': '', 'network_id': uid('network', project),
        'project_id': owner, 'tenant_id': owner, 'admin_state_up': True,
        'device_id': '', 'device_owner': '',
        'fixed_ips': constants.ATTR_NOT_SPECIFIED}}, False)


def _bind(port: str, server: str) -> Any:
    """Bind a port to a server on its host, as nova does."""
    return _plugin().update_port(_context(), port, {'port': {
        'device_id': server, 'device_owner': _OWNER,
        portbindings.HOST_ID: 'compute0'}})


def _new() -> str:
    return uid('new', random.SystemRandom().getrandbits(40))


def _draw(sizes: Sizes, dice: random.Random) -> int:
    return dice.randrange(sizes.projects)


@measured(by_key=True)
def network_get(sizes: Sizes, dice: random.Random) -> base.Call:
    n = _draw(sizes, dice)
    plugin, context = _plugin(), _context(hexid('project', n))
    return lambda: plugin.get_network(context, uid('network', n))


@measured()
def networks_of_project(sizes: Sizes, dice: random.Random) -> base.Call:
    """The networks that a server may be on, as nova asks."""
    owner = hexid('project', _draw(sizes, dice))
    plugin, context = _plugin(), _context(owner)
    return lambda: plugin.get_networks(
        context, {'tenant_id': [owner], 'shared': [False]})


@measured(by_key=True)
def subnet_get(sizes: Sizes, dice: random.Random) -> base.Call:
    n = _draw(sizes, dice)
    plugin, context = _plugin(), _context(hexid('project', n))
    return lambda: plugin.get_subnet(context, uid('subnet', n))


@measured()
def subnets_by_id(sizes: Sizes, dice: random.Random) -> base.Call:
    """The subnets of a port's addresses, as nova asks."""
    n = _draw(sizes, dice)
    plugin, context = _plugin(), _context(hexid('project', n))
    return lambda: plugin.get_subnets(context, {'id': [uid('subnet', n)]})


@measured(by_key=True)
def port_get(sizes: Sizes, dice: random.Random) -> base.Call:
    n = sizes.draw(dice)
    plugin, context = _plugin(), _context(hexid('project', _project(n)))
    return lambda: plugin.get_port(context, uid('port', n))


@measured(by_key=True)
def ports_of_server(sizes: Sizes, dice: random.Random) -> base.Call:
    """A server's ports, as nova asks whenever it renews what it knows."""
    n = sizes.draw(dice)
    plugin, context = _plugin(), _context()
    return lambda: plugin.get_ports(context, {
        'tenant_id': [hexid('project', _project(n))],
        'device_id': [uid('instance', n)]})


@measured()
def ports_of_network(sizes: Sizes, dice: random.Random) -> base.Call:
    n = _draw(sizes, dice)
    plugin, context = _plugin(), _context(hexid('project', n))
    return lambda: plugin.get_ports(context, {
        'network_id': [uid('network', n)]})


@measured()
def security_groups_of_project(sizes: Sizes, dice: random.Random
                               ) -> base.Call:
    owner = hexid('project', _draw(sizes, dice))
    plugin, context = _plugin(), _context(owner)
    return lambda: plugin.get_security_groups(
        context, {'tenant_id': [owner]})


@measured(writes=True, by_key=True)
def port_create(sizes: Sizes, dice: random.Random) -> base.Call:
    n, port = _draw(sizes, dice), _new()
    _plugin()
    return lambda: _create(n, port)


@measured(writes=True, by_key=True)
def port_bind(sizes: Sizes, dice: random.Random) -> base.Call:
    port, server = _new(), _new()
    _create(_draw(sizes, dice), port)
    return lambda: _bind(port, server)


@measured(writes=True, by_key=True)
def port_delete(sizes: Sizes, dice: random.Random) -> base.Call:
    port = _new()
    _create(_draw(sizes, dice), port)
    _bind(port, _new())
    plugin, context = _plugin(), _context()
    return lambda: plugin.delete_port(context, port)
