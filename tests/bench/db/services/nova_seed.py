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

"""nova's seeded databases, and the objects that they hold."""

from collections.abc import Iterator
from typing import Any

from nova import context as nova_context
from nova import objects
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

_CHUNK = 200
_FIRST_ID = 1000


def new_context(number: int = 0) -> nova_context.RequestContext:
    return nova_context.RequestContext(
        hexid('user', number), hexid('project', number), is_admin=True)


def host_name(number: int) -> str:
    return f'compute{number}'


def first_flavor() -> objects.Flavor:
    return objects.Flavor.get_by_flavor_id(new_context(), '1')


def new_instance(context: Any, number: int, host: str | None = None
                  ) -> objects.Instance:
    """Return a server's object as the API makes it, not yet created."""
    flavor = first_flavor()
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
        context, instance_uuid=instance.uuid, network_info=network(number))
    instance.security_groups = objects.SecurityGroupList(objects=[])
    return instance


def network(number: int) -> Any:
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
    context = new_context()
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
        group.add_host(host_name(number))
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
            host = host_name(number)
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
    instance = new_instance(context, 0, host_name(0))
    instance.create()
    action = objects.InstanceAction.action_start(
        context, instance.uuid, 'create')
    objects.InstanceActionEvent.event_start(
        context, instance.uuid, 'compute__do_build_and_run_instance',
        want_result=False, host=host_name(0))
    new_device(context, instance.uuid).create()
    cell = objects.CellMapping.get_by_uuid(context, uid('cell', 1))
    objects.InstanceMapping(
        context, instance_uuid=instance.uuid, cell_mapping=cell,
        project_id=context.project_id, user_id=context.user_id,
        queued_for_delete=False).create()
    new_request(context, instance).create()
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
    host = host_name(number % sizes.hosts)
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


def new_device(context: Any, instance: str) -> objects.BlockDeviceMapping:
    return objects.BlockDeviceMapping(
        context, instance_uuid=instance, source_type='image',
        destination_type='local', device_type='disk', boot_index=0,
        delete_on_termination=True, device_name='/dev/vda',
        image_id=uid('image', 0))


def new_request(context: Any, instance: objects.Instance
                ) -> objects.RequestSpec:
    return objects.RequestSpec.from_components(
        context, instance.uuid,
        objects.ImageMeta(id=uid('image', 0), name='tiny', disk_format='raw',
                          properties=objects.ImageMetaProps()),
        instance.flavor, instance.numa_topology,
        objects.InstancePCIRequests(requests=[]), {}, None, 'nova',
        project_id=instance.project_id)
