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

"""keystone: everything is at every site.

A user with its names, options, group memberships and role assignments is a
group (a user group's assignments likewise): most of what a token needs is
one read.  Catalog, roles and federation are one group per subject.
"""

from luc_drivers.db.profiles.base import member
from luc_drivers.db.profiles.base import Profile
from luc_drivers.db.profiles.base import reference
from luc_drivers.db.profiles.base import Rule

ACTOR = 'actor'

_OF_USER = member(ACTOR, 'user_id')
_CONFIG = member('domain_config', 'domain_id')

PROFILE = Profile('keystone', {
    'user': member(ACTOR, 'id', indexes=(('domain_id',),)),
    'local_user': _OF_USER,
    'nonlocal_user': _OF_USER,
    'federated_user': _OF_USER,
    'user_option': _OF_USER,
    'user_group_membership': _OF_USER,
    'expiring_user_group_membership': _OF_USER,
    'group': member(ACTOR, 'id'),
    'assignment': member(
        ACTOR, 'actor_id', indexes=(('target_id',), ('role_id',))),
    'system_assignment': member(
        ACTOR, 'actor_id', indexes=(('target_id',), ('role_id',))),
    'password': member('password', 'local_user_id'),
    'project': member('project', 'id'),
    'project_option': member('project', 'project_id'),
    'project_tag': member('project', 'project_id', indexes=(('name',),)),
    'project_endpoint': Rule(indexes=(('project_id',),)),
    'role': reference('role'),
    'role_option': reference('role'),
    'implied_role': reference('role'),
    'service': reference('catalog'),
    'endpoint': reference('catalog'),
    'region': reference('catalog'),
    'endpoint_group': reference('catalog'),
    'policy': reference('policy'),
    'policy_association': reference('policy'),
    'identity_provider': reference('federation'),
    'federation_protocol': reference('federation'),
    'idp_remote_ids': reference('federation'),
    'mapping': reference('federation'),
    'service_provider': reference('federation'),
    'registered_limit': reference(),
    'limit': Rule(indexes=(('project_id',), ('domain_id',))),
    'config_register': reference(),
    'whitelisted_config': _CONFIG,
    'sensitive_config': _CONFIG,
    # read at every validation of a token that is not cached, with ranges of
    # times and alternatives that no index serves; written seldom
    'revocation_event': reference(),
    'trust': member(
        'trust', 'id', indexes=(('trustee_user_id',), ('project_id',))),
    'trust_role': member('trust', 'trust_id'),
    'credential': Rule(indexes=(('user_id',), ('project_id',))),
    'application_credential': Rule(indexes=(('id',), ('project_id',))),
    'consumer': reference(),
}, locality='global', leave_out=frozenset(),
    together=(
        ('user', 'local_user', 'nonlocal_user', 'federated_user',
         'user_option'),
        ('project', 'project_option', 'project_tag')),
    # a name leads to the local user
    children=(('local_user', 'password'),),
    # a login notes the day; services log in at once when they start
    same_writes=frozenset(('user',)))
