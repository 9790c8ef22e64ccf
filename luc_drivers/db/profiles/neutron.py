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

"""neutron: ports, networks, subnets, routers, security groups are groups.

A port with its bindings, addresses and security groups is one group: binding
it is one conditional batch, showing it one read.  What every resource has
besides (its standard attributes, tags, provisioning blocks) is a group by
their own id, since tags know nothing else.  The allocations of a subnet are
*not* one group: each is made by another request.

Migrations drop unnamed constraints by the names that reflection gives.
"""

from luc_drivers.db.profiles.base import member
from luc_drivers.db.profiles.base import Profile
from luc_drivers.db.profiles.base import Rule

_OF_PORT = member('port', 'port_id')
_OF_NETWORK = member('network', 'network_id')
_OF_SUBNET = member('subnet', 'subnet_id')
_OF_ROUTER = member('router', 'router_id')
_OF_STANDARD_ATTRIBUTES = member('standard_attributes', 'standard_attr_id')
_OF_QOS_POLICY = member('qos_policy', 'qos_policy_id')

PROFILE = Profile('neutron', {
    'standardattributes': member('standard_attributes', 'id'),
    'tags': _OF_STANDARD_ATTRIBUTES,
    'provisioningblocks': _OF_STANDARD_ATTRIBUTES,

    'ports': member('port', 'id'),
    'ipallocations': _OF_PORT,
    'ml2_port_bindings': _OF_PORT,
    'ml2_port_binding_levels': _OF_PORT,
    'ml2_distributed_port_bindings': _OF_PORT,
    'portsecuritybindings': _OF_PORT,
    'securitygroupportbindings': _OF_PORT,
    'allowedaddresspairs': _OF_PORT,
    'extradhcpopts': _OF_PORT,
    'portdnses': _OF_PORT,
    'portdataplanestatuses': _OF_PORT,
    'portdeviceprofiles': _OF_PORT,
    'porthardwareoffloadtype': _OF_PORT,
    'porthints': _OF_PORT,
    'portnumaaffinitypolicies': _OF_PORT,
    'porttrusted': _OF_PORT,
    'portuplinkstatuspropagation': _OF_PORT,
    'qos_port_policy_bindings': _OF_PORT,

    'networks': member('network', 'id'),
    'networksegments': _OF_NETWORK,
    'externalnetworks': _OF_NETWORK,
    'networksecuritybindings': _OF_NETWORK,
    'networkdnsdomains': _OF_NETWORK,
    'networkdhcpagentbindings': _OF_NETWORK,
    'qos_network_policy_bindings': _OF_NETWORK,
    'networkrbacs': member('network', 'object_id'),

    'subnets': member('subnet', 'id'),
    'ipallocationpools': _OF_SUBNET,
    'dnsnameservers': _OF_SUBNET,
    'subnetroutes': _OF_SUBNET,
    'subnet_service_types': _OF_SUBNET,
    'subnet_dns_publish_fixed_ips': _OF_SUBNET,
    'ipamsubnets': member('ipam_subnet', 'id'),
    'ipamallocationpools': member('ipam_subnet', 'ipam_subnet_id'),
    'subnetpools': member('subnet_pool', 'id'),
    'subnetpoolprefixes': member('subnet_pool', 'subnetpool_id'),
    'subnetpoolrbacs': member('subnet_pool', 'object_id'),

    'routers': member('router', 'id'),
    'router_extra_attributes': _OF_ROUTER,
    'routerports': _OF_ROUTER,
    'routerroutes': _OF_ROUTER,
    'routerl3agentbindings': _OF_ROUTER,
    'floatingips': member('floating_ip', 'id'),
    'floatingipdnses': member('floating_ip', 'floatingip_id'),
    'portforwardings': member('floating_ip', 'floatingip_id'),

    'securitygroups': member('security_group', 'id'),
    'securitygrouprules': member('security_group', 'security_group_id'),
    'securitygrouprbacs': member('security_group', 'object_id'),
    'address_groups': member('address_group', 'id'),
    'address_associations': member('address_group', 'address_group_id'),
    'addressgrouprbacs': member('address_group', 'object_id'),

    'trunks': member('trunk', 'id'),
    'subports': member('trunk', 'trunk_id'),

    'qos_policies': member('qos_policy', 'id'),
    'qos_bandwidth_limit_rules': _OF_QOS_POLICY,
    'qos_dscp_marking_rules': _OF_QOS_POLICY,
    'qos_minimum_bandwidth_rules': _OF_QOS_POLICY,
    'qos_minimum_packet_rate_rules': _OF_QOS_POLICY,
    'qos_packet_rate_limit_rules': _OF_QOS_POLICY,
    'qospolicyrbacs': member('qos_policy', 'object_id'),

    # A reservation lives for one request: one write makes it, one ends it.
    'reservations': member('reservation', 'id'),
    'resourcedeltas': member('reservation', 'reservation_id'),
    # All limits of a project are read together.
    'quotas': Rule(by=('project_id',)),
}, together=(
    # a list of what each kind of resource is loaded with; where one is often
    # read alone (a port by its addresses, say), the others cost little
    ('standardattributes', 'tags'),
    ('ports', 'ipallocations', 'ml2_port_bindings',
     'ml2_port_binding_levels', 'ml2_distributed_port_bindings',
     'portsecuritybindings', 'securitygroupportbindings',
     'allowedaddresspairs', 'extradhcpopts', 'portdnses',
     'portdataplanestatuses', 'portdeviceprofiles',
     'porthardwareoffloadtype', 'porthints', 'portnumaaffinitypolicies',
     'porttrusted', 'portuplinkstatuspropagation',
     'qos_port_policy_bindings'),
    ('networks', 'networksegments', 'externalnetworks',
     'networksecuritybindings', 'networkdnsdomains', 'networkrbacs',
     'networkdhcpagentbindings', 'qos_network_policy_bindings'),
    ('subnets', 'ipallocationpools', 'dnsnameservers', 'subnetroutes',
     'subnet_service_types', 'subnet_dns_publish_fixed_ips'),
    ('securitygroups', 'securitygrouprules', 'securitygrouprbacs'),
    ('ipamsubnets', 'ipamallocationpools'),
    ), named_constraints=True)
