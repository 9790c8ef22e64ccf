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

"""nova: objects over the cell's and the API's database."""

from collections.abc import Iterator
import os
import random

from nova import conf
from nova import config
from nova import objects
from nova import rpc
from nova.db import migration
from nova.db.api import api as api_db
from nova.db.main import api as main_db
from oslo_utils import timeutils

from tests.bench.db import base
from tests.bench.db.base import hexid
from tests.bench.db.base import Sizes
from tests.bench.db.base import uid
from tests.bench.db.services import nova_seed

measured = base.Registry('nova')
FUNCTIONS = measured.functions

DATABASES = {'cell': 'nova_cell1', 'api': 'nova_api'}

#: as the API loads a server that it shows
_SHOWN = ['flavor', 'numa_topology', 'tags', 'trusted_certs', 'info_cache',
          'metadata', 'security_groups', 'services']
#: as the compute manager loads a server
_LOADED = ['metadata', 'system_metadata', 'info_cache', 'security_groups',
           'pci_devices', 'flavor']


def configure(urls: dict[str, str]) -> None:
    """Configure the process; urls by the names of DATABASES."""
    config.parse_args(['bench'], default_config_files=[],
                      configure_db=False, init_rpc=False)
    for group, name in (('database', 'cell'), ('api_database', 'api')):
        conf.CONF.set_override('connection', urls[name], group)
        conf.CONF.set_override('max_overflow', 64, group)
    # nobody listens: what would be notified costs nothing
    os.environ['OS_DEFAULT__TRANSPORT_URL'] = 'fake:/'
    rpc.init(conf.CONF)
    main_db.configure(conf.CONF)
    api_db.configure(conf.CONF)


def sync() -> None:
    """Make the tables."""
    migration.db_sync(database='api')
    migration.db_sync(database='main')


def seed(sizes: Sizes) -> Iterator[int]:
    """Fill empty databases; yield how many instances are there."""
    return nova_seed.seed(sizes)


# --- what is measured

def _unused() -> int:
    """Return the number of an instance that is not there."""
    return 1 << 40 | random.SystemRandom().getrandbits(39)



def _server(sizes: Sizes, dice: random.Random,
            attributes: list[str] | None = None) -> objects.Instance:
    number = sizes.draw(dice)
    return objects.Instance.get_by_uuid(
        nova_seed.new_context(number // base.PER_PROJECT),
        uid('instance', number),
        expected_attrs=attributes or [])


@measured(by_key=True)
def instance_get(sizes: Sizes, dice: random.Random) -> base.Call:
    """A server with all that the compute manager wants of it."""
    return lambda: _server(sizes, dice, list(_LOADED))


@measured(by_key=True)
def instance_get_bare(sizes: Sizes, dice: random.Random) -> base.Call:
    return lambda: _server(sizes, dice)


@measured(by_key=True)
def instance_show(sizes: Sizes, dice: random.Random) -> base.Call:
    """A server as the API shows it."""
    return lambda: _server(sizes, dice, list(_SHOWN))


@measured(by_key=True)
def instances_of_project(sizes: Sizes, dice: random.Random) -> base.Call:
    """The API's list of 100 servers of a project, with details."""
    project = hexid('project', dice.randrange(sizes.projects))
    context = nova_seed.new_context()
    return lambda: objects.InstanceList.get_by_filters(
        context, {'project_id': project, 'deleted': False}, limit=100,
        sort_keys=['created_at', 'uuid'], sort_dirs=['desc', 'desc'],
        expected_attrs=[*_SHOWN, 'fault'])


@measured(by_key=True)
def instances_page(sizes: Sizes, dice: random.Random) -> base.Call:
    """A page of 20 servers of a project, after a marker."""
    project = dice.randrange(sizes.projects)
    marker = uid('instance', project * base.PER_PROJECT + 50)
    context = nova_seed.new_context()
    return lambda: objects.InstanceList.get_by_filters(
        context, {'project_id': hexid('project', project), 'deleted': False},
        limit=20, marker=marker, sort_keys=['created_at', 'uuid'],
        sort_dirs=['desc', 'desc'], expected_attrs=['info_cache'])


@measured(by_key=True)
def instances_of_host(sizes: Sizes, dice: random.Random) -> base.Call:
    """What a compute service's periodic tasks load."""
    host = nova_seed.host_name(dice.randrange(sizes.hosts))
    context = nova_seed.new_context()
    return lambda: objects.InstanceList.get_by_host(
        context, host, expected_attrs=['system_metadata', 'flavor'])


@measured(by_key=True)
def instance_uuids_of_host(sizes: Sizes, dice: random.Random) -> base.Call:
    host = nova_seed.host_name(dice.randrange(sizes.hosts))
    context = nova_seed.new_context()
    return lambda: objects.InstanceList.get_uuids_by_host(context, host)


@measured(by_key=True)
def instance_counts(sizes: Sizes, dice: random.Random) -> base.Call:
    """A project's used quota, as the cell counts it."""
    project = hexid('project', dice.randrange(sizes.projects))
    context = nova_seed.new_context()
    return lambda: objects.InstanceList.get_counts(context, project)


@measured(writes=True, by_key=True)
def instance_create(sizes: Sizes, dice: random.Random) -> base.Call:
    number = _unused()
    instance = nova_seed.new_instance(nova_seed.new_context(number), number)
    return instance.create


@measured(writes=True, by_key=True)
def instance_save(sizes: Sizes, dice: random.Random) -> base.Call:
    """A few fields of a server."""
    instance = _server(sizes, dice)
    instance.power_state = dice.randrange(8)
    instance.launched_at = timeutils.utcnow()
    instance.progress = dice.randrange(100)
    return instance.save


@measured(writes=True, by_key=True)
def instance_save_expected(sizes: Sizes, dice: random.Random) -> base.Call:
    """A step of a server's task, if nobody else has taken it."""
    instance = _server(sizes, dice)
    instance.task_state = dice.choice(['spawning', 'rebooting', 'deleting'])
    before = [None, 'spawning', 'rebooting', 'deleting']
    return lambda: instance.save(expected_task_state=before)


@measured(writes=True, by_key=True)
def instance_metadata_save(sizes: Sizes, dice: random.Random) -> base.Call:
    instance = _server(sizes, dice, ['metadata'])
    instance.metadata = {'role': f'r{dice.randrange(1000)}', 'owner': 'me'}
    return instance.save


@measured(writes=True, by_key=True)
def info_cache_save(sizes: Sizes, dice: random.Random) -> base.Call:
    instance = _server(sizes, dice, ['info_cache'])
    instance.info_cache.network_info = nova_seed.network(
        dice.randrange(1 << 24))
    return instance.info_cache.save


@measured(writes=True, by_key=True)
def instance_destroy(sizes: Sizes, dice: random.Random) -> base.Call:
    number = _unused()
    instance = nova_seed.new_instance(nova_seed.new_context(number), number)
    instance.create()
    return instance.destroy


@measured(writes=True, by_key=True)
def action_start(sizes: Sizes, dice: random.Random) -> base.Call:
    number = sizes.draw(dice)
    context = nova_seed.new_context(number)
    return lambda: objects.InstanceAction.action_start(
        context, uid('instance', number), 'reboot', want_result=False)


@measured(by_key=True)
def actions_of_instance(sizes: Sizes, dice: random.Random) -> base.Call:
    number = sizes.draw(dice)
    context = nova_seed.new_context()
    return lambda: objects.InstanceActionList.get_by_instance_uuid(
        context, uid('instance', number))


@measured(by_key=True)
def devices_of_instance(sizes: Sizes, dice: random.Random) -> base.Call:
    number = sizes.draw(dice)
    context = nova_seed.new_context()
    return lambda: objects.BlockDeviceMappingList.get_by_instance_uuid(
        context, uid('instance', number))


@measured(by_key=True)
def migrations_of_host(sizes: Sizes, dice: random.Random) -> base.Call:
    host = nova_seed.host_name(dice.randrange(sizes.hosts))
    context = nova_seed.new_context()
    return lambda: objects.MigrationList.get_in_progress_and_error(
        context, host, host)


@measured(by_key=True)
def service_by_host(sizes: Sizes, dice: random.Random) -> base.Call:
    host = nova_seed.host_name(dice.randrange(sizes.hosts))
    context = nova_seed.new_context()
    return lambda: objects.Service.get_by_host_and_binary(
        context, host, 'nova-compute')


@measured()
def services_by_binary(sizes: Sizes, dice: random.Random) -> base.Call:
    context = nova_seed.new_context()
    return lambda: objects.ServiceList.get_by_binary(
        context, 'nova-conductor')


@measured(writes=True, by_key=True)
def service_heartbeat(sizes: Sizes, dice: random.Random) -> base.Call:
    service = objects.Service.get_by_host_and_binary(
        nova_seed.new_context(),
        nova_seed.host_name(dice.randrange(sizes.hosts)), 'nova-compute')
    service.report_count += 1
    return service.save


@measured(by_key=True)
def node_by_host(sizes: Sizes, dice: random.Random) -> base.Call:
    host = nova_seed.host_name(dice.randrange(sizes.hosts))
    context = nova_seed.new_context()
    return lambda: objects.ComputeNode.get_by_host_and_nodename(
        context, host, host)


@measured(writes=True, by_key=True)
def node_save(sizes: Sizes, dice: random.Random) -> base.Call:
    host = nova_seed.host_name(dice.randrange(sizes.hosts))
    node = objects.ComputeNode.get_by_host_and_nodename(
        nova_seed.new_context(), host, host)
    node.vcpus_used = dice.randrange(64)
    node.memory_mb_used = dice.randrange(1 << 17)
    return node.save


@measured()
def nodes_all(sizes: Sizes, dice: random.Random) -> base.Call:
    context = nova_seed.new_context()
    return lambda: objects.ComputeNodeList.get_all(context)


# --- the API's database

@measured(by_key=True)
def instance_mapping_get(sizes: Sizes, dice: random.Random) -> base.Call:
    number = sizes.draw(dice)
    context = nova_seed.new_context()
    return lambda: objects.InstanceMapping.get_by_instance_uuid(
        context, uid('instance', number))


@measured(by_key=True)
def instance_mappings_of_project(sizes: Sizes, dice: random.Random
                                 ) -> base.Call:
    project = hexid('project', dice.randrange(sizes.projects))
    context = nova_seed.new_context()
    return lambda: objects.InstanceMappingList.get_by_project_id(
        context, project)


@measured(by_key=True)
def mapping_counts(sizes: Sizes, dice: random.Random) -> base.Call:
    """A project's number of servers, as the quota engine counts it."""
    project = hexid('project', dice.randrange(sizes.projects))
    context = nova_seed.new_context()
    return lambda: objects.InstanceMappingList.get_counts(context, project)


@measured(writes=True, by_key=True)
def instance_mapping_save(sizes: Sizes, dice: random.Random) -> base.Call:
    mapping = objects.InstanceMapping.get_by_instance_uuid(
        nova_seed.new_context(), uid('instance', sizes.draw(dice)))
    mapping.queued_for_delete = not mapping.queued_for_delete
    return mapping.save


@measured(by_key=True)
def request_spec_get(sizes: Sizes, dice: random.Random) -> base.Call:
    number = sizes.draw(dice)
    context = nova_seed.new_context()
    return lambda: objects.RequestSpec.get_by_instance_uuid(
        context, uid('instance', number))


@measured(by_key=True)
def flavor_get(sizes: Sizes, dice: random.Random) -> base.Call:
    context, flavor = nova_seed.new_context(), str(dice.randrange(1, 11))
    return lambda: objects.Flavor.get_by_flavor_id(context, flavor)


@measured(by_key=True)
def flavors_all(sizes: Sizes, dice: random.Random) -> base.Call:
    context = nova_seed.new_context()
    return lambda: objects.FlavorList.get_all(context)


@measured(by_key=True)
def cell_mappings_all(sizes: Sizes, dice: random.Random) -> base.Call:
    context = nova_seed.new_context()
    return lambda: objects.CellMappingList.get_all(context)


@measured(by_key=True)
def host_mapping_get(sizes: Sizes, dice: random.Random) -> base.Call:
    host = nova_seed.host_name(dice.randrange(sizes.hosts))
    context = nova_seed.new_context()
    return lambda: objects.HostMapping.get_by_host(context, host)


@measured(by_key=True)
def aggregates_of_host(sizes: Sizes, dice: random.Random) -> base.Call:
    context = nova_seed.new_context()
    host = nova_seed.host_name(dice.randrange(3))
    return lambda: objects.AggregateList.get_by_host(context, host)


@measured(by_key=True)
def keypair_get(sizes: Sizes, dice: random.Random) -> base.Call:
    context = nova_seed.new_context()
    return lambda: objects.KeyPair.get_by_name(
        context, context.user_id, 'key')


@measured(by_key=True)
def quotas_of_project(sizes: Sizes, dice: random.Random) -> base.Call:
    context = nova_seed.new_context()
    return lambda: objects.Quotas.get_all_by_project(
        context, context.project_id)


@measured(writes=True, by_key=True)
def build_request_cycle(sizes: Sizes, dice: random.Random) -> base.Call:
    """Create a build request and destroy it, as each boot does."""
    number = _unused()
    context = nova_seed.new_context(number)
    request = objects.BuildRequest(
        context, instance=nova_seed.new_instance(context, number),
        instance_uuid=uid('instance', number), project_id=context.project_id,
        block_device_mappings=objects.BlockDeviceMappingList(objects=[]),
        tags=objects.TagList(objects=[]))

    def call() -> None:
        request.create()
        request.destroy()
    return call
