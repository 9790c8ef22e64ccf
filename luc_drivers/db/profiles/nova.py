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

"""nova's cell databases: an instance and all that belongs to it is a group.

Loading an instance with everything that nova joins to it is one read of one
group; saving it, its cache, faults, actions or devices is one conditional
batch.  Heartbeats (services, compute_nodes) are groups of single rows, so
that ten thousand of them don't meet in one partition.
"""

from luc_drivers.db.profiles.base import member
from luc_drivers.db.profiles.base import Profile
from luc_drivers.db.profiles.base import Rule

INSTANCE = 'instance'

_BY_UUID = member(INSTANCE, 'instance_uuid')

PROFILE = Profile('nova', {
    'instances': member(
        INSTANCE, 'uuid', key=('uuid',),
        without=(
            # they change with every save, and no statement starts from one
            # value of them
            ('task_state', 'updated_at'),
            ('updated_at', 'project_id'),
            ('deleted', 'created_at'),
            ('terminated_at', 'launched_at'),
            # (host, deleted, cleaned) serves as well, and skips the deleted
            ('host', 'node', 'deleted')),
        # a project's pages, newest first
        indexes=(('project_id', 'deleted', 'created_at', 'uuid'),),
        # everybody's, and those of nova-manage cell_v2 map_instances
        orders=(('created_at', 'id'),)),
    'instance_extra': _BY_UUID,
    'instance_info_caches': _BY_UUID,
    'instance_metadata': _BY_UUID,
    'instance_system_metadata': _BY_UUID,
    'instance_faults': member(
        INSTANCE, 'instance_uuid', without=(('host',),)),
    'instance_actions': _BY_UUID,
    # they know their action only: two rounds from an instance to its events
    'instance_actions_events': member('action', 'action_id'),
    'instance_id_mappings': member(INSTANCE, 'uuid'),
    'block_device_mapping': _BY_UUID,
    'virtual_interfaces': _BY_UUID,
    'share_mapping': _BY_UUID,
    'tags': member(INSTANCE, 'resource_id'),
    'consoles': _BY_UUID,
    'console_auth_tokens': _BY_UUID,
    'security_group_instance_association': _BY_UUID,
    'security_groups': member('security_group', 'id'),
    'security_group_rules': member('security_group', 'parent_group_id'),
    'migrations': member(
        INSTANCE, 'instance_uuid',
        without=(
            # the status changes at every step of a migration
            ('deleted', 'source_compute', 'source_node', 'status'),
            ('deleted', 'dest_compute', 'dest_node', 'status'),
            ('deleted', 'source_compute', 'dest_compute', 'source_node',
             'dest_node', 'status'),
            ('updated_at',)),
        indexes=(('source_compute', 'source_node'),
                 ('dest_compute', 'dest_node'),
                 # pages of those without one, of online_data_migrations
                 ('uuid', 'id'))),
    # each heartbeat asks for the lowest version, which only upgrades change
    'services': Rule(indexes=(('binary', 'deleted', 'version'),)),
    'compute_nodes': Rule(indexes=(('service_id',),)),
    # one resource tracker writes the devices of one node
    'pci_devices': member('pci', 'compute_node_id'),
    'instance_groups': member('server_group', 'id'),
    'instance_group_member': member('server_group', 'group_id'),
    'instance_group_policy': member('server_group', 'group_id'),
    's3_images': Rule(indexes=(('uuid',),)),
    'snapshot_id_mappings': Rule(indexes=(('uuid',),)),
    'volume_id_mappings': Rule(indexes=(('uuid',),)),
    'volume_usage_cache': Rule(indexes=(('volume_id',),)),
    'task_log': Rule(without=(('period_ending',), ('period_beginning',))),
}, together=((
    'instances', 'instance_extra', 'instance_info_caches',
    'instance_metadata', 'instance_system_metadata', 'instance_faults',
    'security_group_instance_association', 'tags'),))
