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
from typing import Any

from nova import conf
from nova import config
from nova import context as nova_context
from nova import objects
from nova import rpc
from nova.db import migration
from nova.db.api import api as api_db
from nova.db.api import models as api_models
from nova.db.main import api as main_db
from nova.db.main import models
from oslo_utils import timeutils

from tests.bench.db import base
from tests.bench.db import bulk
from tests.bench.db.base import hexid
from tests.bench.db.base import Sizes
from tests.bench.db.base import uid

# objects are attributes of the package only after this
objects.register_all()

measured = base.Registry('nova')
FUNCTIONS = measured.functions

DATABASES = {'cell': 'nova_cell1', 'api': 'nova_api'}

#: as the API loads a server that it shows
_SHOWN = ['flavor', 'numa_topology', 'tags', 'trusted_certs', 'info_cache',
          'metadata', 'security_groups', 'services']
#: as the compute manager loads a server
_LOADED = ['metadata', 'system_metadata', 'info_cache', 'security_groups',
           'pci_devices', 'flavor']
_CHUNK = 200
_FIRST_ID = 1000


def _context(number: int = 0) -> nova_context.RequestContext:
    return nova_context.RequestContext(
        hexid('user', number), hexid('project', number), is_admin=True)


def _host(number: int) -> str:
    return f'compute{number}'


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


# --- seeding

def _flavor() -> objects.Flavor:
    return objects.Flavor.get_by_flavor_id(_context(), '1')


def _new_instance(context: Any, number: int, host: str | None = None
                  ) -> objects.Instance:
    """Return a server's object as the API makes it, not yet created."""
    flavor = _flavor()
    instance = objects.Instance(
        context, uuid=uid('instance', number), project_id=context.project_id,
        user_id=context.user_id, display_name=f'server{number}',
        hostname=f'server{number}', vm_state='active', task_state=None,
        power_state=1, host=host, node=host, launched_on=host,
        compute_id=1 if host else None,
        image_ref=uid('image', 0), memory_mb=flavor.memory_mb,
        vcpus=flavor.vcpus, root_gb=flavor.root_gb,
        ephemeral_gb=flavor.ephemeral_gb, instance_type_id=flavor.id,
        availability_zone='nova', launch_index=0, key_name='key',
        flavor=flavor, old_flavor=None, new_flavor=None,
        metadata={'role': 'web', 'owner': 'me'},
        system_metadata={
            f'image_{k}': v for k, v in (
                ('base_image_ref', uid('image', 0)), ('min_ram', '64'),
                ('min_disk', '1'), ('disk_format', 'qcow2'),
                ('container_format', 'bare'), ('hw_rng_model', 'virtio'))})
    instance.info_cache = objects.InstanceInfoCache(
        context, instance_uuid=instance.uuid, network_info=_network(number))
    instance.security_groups = objects.SecurityGroupList(objects=[])
    return instance


def _network(number: int) -> Any:
    from nova.network import model
    address = f'10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}'
    return model.NetworkInfo([model.VIF(
        id=uid('port', number), address='fa:16:3e:00:00:01', type='ovs',
        network=model.Network(
            id=uid('network', 0), bridge='br-int', label='private',
            subnets=[model.Subnet(cidr='10.0.0.0/8', ips=[
                model.FixedIP(address=address)])]))])


def seed(sizes: Sizes) -> Iterator[int]:
    """Fill empty databases; yield how many instances are there."""
    context = _context()
    _seed_reference(context)
    _seed_hosts(context, sizes)
    rows = _templates(context)
    engines = {'api': api_db.get_engine(), 'main': main_db.get_engine()}
    for start in range(1, sizes.instances, _CHUNK):
        chunk: dict[str, dict[Any, list]] = {'api': {}, 'main': {}}
        for number in range(start, min(start + _CHUNK, sizes.instances)):
            for place, table, row in _copies(rows, number, sizes):
                chunk[place].setdefault(table, []).append(row)
        for place, engine in engines.items():
            bulk.fill(engine, chunk[place])
        yield min(start + _CHUNK, sizes.instances)


def _seed_reference(context: Any) -> None:
    for number in range(1, 11):
        objects.Flavor(
            context, name=f'm1.s{number}', flavorid=str(number),
            memory_mb=64 * number, vcpus=1, root_gb=1, ephemeral_gb=0,
            swap=0, rxtx_factor=1.0, is_public=True, disabled=False,
            extra_specs={'hw:cpu_policy': 'shared'}).create()
    for number, name in enumerate(('cell0', 'cell1')):
        objects.CellMapping(
            context, uuid=uid('cell', number), name=name, disabled=False,
            transport_url='zmq:///', database_connection='luc:///').create()
    for number in range(3):
        group = objects.Aggregate(context, name=f'zone{number}',
                                  metadata={'availability_zone': 'nova'})
        group.create()
        group.add_host(_host(number))
    objects.KeyPair(context, user_id=context.user_id, name='key',
                    fingerprint='f', public_key='k', type='ssh').create()
    for name in ('instances', 'cores', 'ram'):
        objects.Quotas.create_limit(context, context.project_id, name, 10 ** 6)


def _seed_hosts(context: Any, sizes: Sizes) -> None:
    cell = objects.CellMapping.get_by_uuid(context, uid('cell', 1))
    services, nodes, mappings = [], [], []
    now = timeutils.utcnow()
    for binary, count in (('nova-compute', sizes.hosts),
                          ('nova-scheduler', 2), ('nova-conductor', 2)):
        for number in range(count):
            host = _host(number)
            ident = len(services) + 1
            services.append(dict(
                id=ident, uuid=uid(binary, number), binary=binary, host=host,
                topic=binary[5:], report_count=1, disabled=False,
                created_at=now, last_seen_up=now, version=70, deleted=0,
                forced_down=False))
            if binary != 'nova-compute':
                continue
            nodes.append(dict(
                id=ident, uuid=uid('node', number), host=host, created_at=now,
                hypervisor_hostname=host, service_id=ident, vcpus=64,
                memory_mb=1 << 17, local_gb=1000, vcpus_used=3,
                memory_mb_used=512, local_gb_used=3, hypervisor_type='fake',
                hypervisor_version=1, cpu_info='{"arch": "x86_64"}',
                mapped=1, running_vms=1, deleted=0, current_workload=0,
                free_disk_gb=1, free_ram_mb=1, host_ip='10.0.0.1',
                supported_instances='[]', pci_stats=None, metrics='[]',
                cpu_allocation_ratio=4.0, ram_allocation_ratio=1.0,
                disk_allocation_ratio=1.0))
            mappings.append(dict(
                id=ident, cell_id=cell.id, host=host, created_at=now))
    bulk.fill(main_db.get_engine(), {models.Service.__table__: services,
                                     models.ComputeNode.__table__: nodes})
    bulk.fill(api_db.get_engine(),
              {api_models.HostMapping.__table__: mappings})


def _templates(context: Any) -> list[tuple[str, Any, dict[str, Any]]]:
    """Create instance 0 by nova's own functions; return its rows."""
    instance = _new_instance(context, 0, _host(0))
    instance.create()
    action = objects.InstanceAction.action_start(
        context, instance.uuid, 'create')
    objects.InstanceActionEvent.event_start(
        context, instance.uuid, 'compute__do_build_and_run_instance',
        want_result=False, host=_host(0))
    _new_device(context, instance.uuid).create()
    cell = objects.CellMapping.get_by_uuid(context, uid('cell', 1))
    objects.InstanceMapping(
        context, instance_uuid=instance.uuid, cell_mapping=cell,
        project_id=context.project_id, user_id=context.user_id,
        queued_for_delete=False).create()
    _new_request(context, instance).create()
    found = []
    for model, column in (
            (models.Instance, 'uuid'), (models.InstanceExtra, 'instance_uuid'),
            (models.InstanceInfoCache, 'instance_uuid'),
            (models.InstanceMetadata, 'instance_uuid'),
            (models.InstanceSystemMetadata, 'instance_uuid'),
            (models.InstanceAction, 'instance_uuid'),
            (models.InstanceActionEvent, 'action_id'),
            (models.BlockDeviceMapping, 'instance_uuid')):
        value = action.id if column == 'action_id' else instance.uuid
        found += [('main', model.__table__, row) for row in bulk.template(
            main_db.get_engine(), model.__table__, column, value)]
    for model in (api_models.InstanceMapping, api_models.RequestSpec):
        found += [('api', model.__table__, row) for row in bulk.template(
            api_db.get_engine(), model.__table__, 'instance_uuid',
            instance.uuid)]
    return found


def _copies(rows: list[tuple[str, Any, dict[str, Any]]], number: int,
            sizes: Sizes) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield the rows of instance 0 as those of another one."""
    seen: dict[Any, int] = {}
    host = _host(number % sizes.hosts)
    project = number // base.PER_PROJECT
    for place, table, row in rows:
        copy = dict(row)
        nth = seen[table] = seen.get(table, -1) + 1
        per = sum(1 for _, t, _ in rows if t is table)
        copy['id'] = _FIRST_ID + number * per + nth
        for column in ('uuid', 'instance_uuid'):
            if column in copy:
                copy[column] = uid(
                    'instance' if copy[column] == uid('instance', 0)
                    else table.name, number)
        if 'project_id' in copy:
            copy['project_id'] = hexid('project', project)
        for column in ('host', 'node', 'launched_on'):
            if copy.get(column):
                copy[column] = host
        if 'compute_id' in copy:
            copy['compute_id'] = number % sizes.hosts + 1
        if 'action_id' in copy:
            copy['action_id'] = _FIRST_ID + number
        if table is models.Instance.__table__:
            copy['display_name'] = copy['hostname'] = f'server{number}'
        if table is api_models.RequestSpec.__table__:
            copy['spec'] = copy['spec'].replace(
                uid('instance', 0), uid('instance', number))
        yield place, table, copy


def _new_device(context: Any, instance: str) -> objects.BlockDeviceMapping:
    return objects.BlockDeviceMapping(
        context, instance_uuid=instance, source_type='image',
        destination_type='local', device_type='disk', boot_index=0,
        delete_on_termination=True, device_name='/dev/vda',
        image_id=uid('image', 0))


def _new_request(context: Any, instance: objects.Instance
                 ) -> objects.RequestSpec:
    return objects.RequestSpec.from_components(
        context, instance.uuid,
        objects.ImageMeta(id=uid('image', 0), name='tiny', disk_format='raw',
                          properties=objects.ImageMetaProps()),
        instance.flavor, instance.numa_topology,
        objects.InstancePCIRequests(requests=[]), {}, None, 'nova',
        project_id=instance.project_id)


# --- what is measured

def _unused() -> int:
    """Return the number of an instance that is not there."""
    return 1 << 40 | random.SystemRandom().getrandbits(39)



def _server(sizes: Sizes, dice: random.Random,
            attributes: list[str] | None = None) -> objects.Instance:
    number = sizes.draw(dice)
    return objects.Instance.get_by_uuid(
        _context(number // base.PER_PROJECT), uid('instance', number),
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
    context = _context()
    return lambda: objects.InstanceList.get_by_filters(
        context, {'project_id': project, 'deleted': False}, limit=100,
        sort_keys=['created_at', 'uuid'], sort_dirs=['desc', 'desc'],
        expected_attrs=[*_SHOWN, 'fault'])


@measured(by_key=True)
def instances_page(sizes: Sizes, dice: random.Random) -> base.Call:
    """A page of 20 servers of a project, after a marker."""
    project = dice.randrange(sizes.projects)
    marker = uid('instance', project * base.PER_PROJECT + 50)
    context = _context()
    return lambda: objects.InstanceList.get_by_filters(
        context, {'project_id': hexid('project', project), 'deleted': False},
        limit=20, marker=marker, sort_keys=['created_at', 'uuid'],
        sort_dirs=['desc', 'desc'], expected_attrs=['info_cache'])


@measured(by_key=True)
def instances_of_host(sizes: Sizes, dice: random.Random) -> base.Call:
    """What a compute service's periodic tasks load."""
    host = _host(dice.randrange(sizes.hosts))
    context = _context()
    return lambda: objects.InstanceList.get_by_host(
        context, host, expected_attrs=['system_metadata', 'flavor'])


@measured(by_key=True)
def instance_uuids_of_host(sizes: Sizes, dice: random.Random) -> base.Call:
    host = _host(dice.randrange(sizes.hosts))
    context = _context()
    return lambda: objects.InstanceList.get_uuids_by_host(context, host)


@measured(by_key=True)
def instance_counts(sizes: Sizes, dice: random.Random) -> base.Call:
    """A project's used quota, as the cell counts it."""
    project = hexid('project', dice.randrange(sizes.projects))
    context = _context()
    return lambda: objects.InstanceList.get_counts(context, project)


@measured(writes=True, by_key=True)
def instance_create(sizes: Sizes, dice: random.Random) -> base.Call:
    number = _unused()
    instance = _new_instance(_context(number), number)
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
    instance.info_cache.network_info = _network(dice.randrange(1 << 24))
    return instance.info_cache.save


@measured(writes=True, by_key=True)
def instance_destroy(sizes: Sizes, dice: random.Random) -> base.Call:
    number = _unused()
    instance = _new_instance(_context(number), number)
    instance.create()
    return instance.destroy


@measured(writes=True, by_key=True)
def action_start(sizes: Sizes, dice: random.Random) -> base.Call:
    number = sizes.draw(dice)
    context = _context(number)
    return lambda: objects.InstanceAction.action_start(
        context, uid('instance', number), 'reboot', want_result=False)


@measured(by_key=True)
def actions_of_instance(sizes: Sizes, dice: random.Random) -> base.Call:
    number = sizes.draw(dice)
    context = _context()
    return lambda: objects.InstanceActionList.get_by_instance_uuid(
        context, uid('instance', number))


@measured(by_key=True)
def devices_of_instance(sizes: Sizes, dice: random.Random) -> base.Call:
    number = sizes.draw(dice)
    context = _context()
    return lambda: objects.BlockDeviceMappingList.get_by_instance_uuid(
        context, uid('instance', number))


@measured(by_key=True)
def migrations_of_host(sizes: Sizes, dice: random.Random) -> base.Call:
    host = _host(dice.randrange(sizes.hosts))
    context = _context()
    return lambda: objects.MigrationList.get_in_progress_and_error(
        context, host, host)


@measured(by_key=True)
def service_by_host(sizes: Sizes, dice: random.Random) -> base.Call:
    host = _host(dice.randrange(sizes.hosts))
    context = _context()
    return lambda: objects.Service.get_by_host_and_binary(
        context, host, 'nova-compute')


@measured()
def services_by_binary(sizes: Sizes, dice: random.Random) -> base.Call:
    context = _context()
    return lambda: objects.ServiceList.get_by_binary(
        context, 'nova-conductor')


@measured(writes=True, by_key=True)
def service_heartbeat(sizes: Sizes, dice: random.Random) -> base.Call:
    service = objects.Service.get_by_host_and_binary(
        _context(), _host(dice.randrange(sizes.hosts)), 'nova-compute')
    service.report_count += 1
    return service.save


@measured(by_key=True)
def node_by_host(sizes: Sizes, dice: random.Random) -> base.Call:
    host = _host(dice.randrange(sizes.hosts))
    context = _context()
    return lambda: objects.ComputeNode.get_by_host_and_nodename(
        context, host, host)


@measured(writes=True, by_key=True)
def node_save(sizes: Sizes, dice: random.Random) -> base.Call:
    host = _host(dice.randrange(sizes.hosts))
    node = objects.ComputeNode.get_by_host_and_nodename(
        _context(), host, host)
    node.vcpus_used = dice.randrange(64)
    node.memory_mb_used = dice.randrange(1 << 17)
    return node.save


@measured()
def nodes_all(sizes: Sizes, dice: random.Random) -> base.Call:
    context = _context()
    return lambda: objects.ComputeNodeList.get_all(context)


# --- the API's database

@measured(by_key=True)
def instance_mapping_get(sizes: Sizes, dice: random.Random) -> base.Call:
    number = sizes.draw(dice)
    context = _context()
    return lambda: objects.InstanceMapping.get_by_instance_uuid(
        context, uid('instance', number))


@measured(by_key=True)
def instance_mappings_of_project(sizes: Sizes, dice: random.Random
                                 ) -> base.Call:
    project = hexid('project', dice.randrange(sizes.projects))
    context = _context()
    return lambda: objects.InstanceMappingList.get_by_project_id(
        context, project)


@measured(by_key=True)
def mapping_counts(sizes: Sizes, dice: random.Random) -> base.Call:
    """A project's number of servers, as the quota engine counts it."""
    project = hexid('project', dice.randrange(sizes.projects))
    context = _context()
    return lambda: objects.InstanceMappingList.get_counts(context, project)


@measured(writes=True, by_key=True)
def instance_mapping_save(sizes: Sizes, dice: random.Random) -> base.Call:
    mapping = objects.InstanceMapping.get_by_instance_uuid(
        _context(), uid('instance', sizes.draw(dice)))
    mapping.queued_for_delete = not mapping.queued_for_delete
    return mapping.save


@measured(by_key=True)
def request_spec_get(sizes: Sizes, dice: random.Random) -> base.Call:
    number = sizes.draw(dice)
    context = _context()
    return lambda: objects.RequestSpec.get_by_instance_uuid(
        context, uid('instance', number))


@measured(by_key=True)
def flavor_get(sizes: Sizes, dice: random.Random) -> base.Call:
    context, flavor = _context(), str(dice.randrange(1, 11))
    return lambda: objects.Flavor.get_by_flavor_id(context, flavor)


@measured(by_key=True)
def flavors_all(sizes: Sizes, dice: random.Random) -> base.Call:
    context = _context()
    return lambda: objects.FlavorList.get_all(context)


@measured(by_key=True)
def cell_mappings_all(sizes: Sizes, dice: random.Random) -> base.Call:
    context = _context()
    return lambda: objects.CellMappingList.get_all(context)


@measured(by_key=True)
def host_mapping_get(sizes: Sizes, dice: random.Random) -> base.Call:
    host = _host(dice.randrange(sizes.hosts))
    context = _context()
    return lambda: objects.HostMapping.get_by_host(context, host)


@measured(by_key=True)
def aggregates_of_host(sizes: Sizes, dice: random.Random) -> base.Call:
    context, host = _context(), _host(dice.randrange(3))
    return lambda: objects.AggregateList.get_by_host(context, host)


@measured(by_key=True)
def keypair_get(sizes: Sizes, dice: random.Random) -> base.Call:
    context = _context()
    return lambda: objects.KeyPair.get_by_name(
        context, context.user_id, 'key')


@measured(by_key=True)
def quotas_of_project(sizes: Sizes, dice: random.Random) -> base.Call:
    context = _context()
    return lambda: objects.Quotas.get_all_by_project(
        context, context.project_id)


@measured(writes=True, by_key=True)
def build_request_cycle(sizes: Sizes, dice: random.Random) -> base.Call:
    """Create a build request and destroy it, as each boot does."""
    number = _unused()
    context = _context(number)
    request = objects.BuildRequest(
        context, instance=_new_instance(context, number),
        instance_uuid=uid('instance', number), project_id=context.project_id,
        block_device_mappings=objects.BlockDeviceMappingList(objects=[]),
        tags=objects.TagList(objects=[]))

    def call() -> None:
        request.create()
        request.destroy()
    return call
