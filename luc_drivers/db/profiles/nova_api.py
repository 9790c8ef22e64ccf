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

"""nova's API database: small tables for all sites, and where servers are.

What the API and the scheduler ask of every request (flavors, cells,
aggregates) is one group per subject, at every site.  Mapping, request and
specification of a server share a group, keyed by its uuid.
"""

from luc_drivers.db.profiles.base import member
from luc_drivers.db.profiles.base import Profile
from luc_drivers.db.profiles.base import reference
from luc_drivers.db.profiles.base import Rule

_SERVER = member('instance', 'instance_uuid', key=('instance_uuid',))

PROFILE = Profile('nova_api', {
    'flavors': reference('flavors'),
    'flavor_extra_specs': reference('flavors'),
    'flavor_projects': reference('flavors'),
    'cell_mappings': reference(),
    'aggregates': reference('aggregates'),
    'aggregate_hosts': reference('aggregates'),
    'aggregate_metadata': reference('aggregates'),
    'quota_classes': reference(),
    'resource_classes': reference(),
    'traits': reference(),
    # one row per compute host: too many for one group
    'host_mappings': Rule(by=('host',), key=('host',)),
    'instance_mappings': _SERVER,
    'build_requests': _SERVER,
    'request_specs': _SERVER,
    'key_pairs': Rule(
        by=('user_id',), key=('user_id', 'name'), locality='global'),
    'instance_groups': member(
        'server_group', 'id', indexes=(('project_id', 'user_id'),)),
    'instance_group_member': member('server_group', 'group_id'),
    'instance_group_policy': member(
        'server_group', 'group_id', without=(('policy',),)),
    'quotas': member('quota', 'project_id', locality='global'),
    'project_user_quotas': member('quota', 'project_id', locality='global'),
    'quota_usages': member('quota', 'project_id', locality='global'),
    'reservations': member('quota', 'project_id', locality='global'),
})
