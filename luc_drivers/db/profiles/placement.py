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

"""placement: a resource provider with all that it has and gives is a group.

Inventories, traits, aggregates and allocations of a provider lie beside it,
so that a claim (allocations and the provider's generation) is one batch, and
candidates are found with one read for each provider.  The price: a
consumer's allocations are found through an index.
"""

from luc_drivers.db.profiles.base import member
from luc_drivers.db.profiles.base import Profile
from luc_drivers.db.profiles.base import reference
from luc_drivers.db.profiles.base import Rule

PROVIDER = 'provider'

_OF_PROVIDER = member(PROVIDER, 'resource_provider_id')

PROFILE = Profile('placement', {
    'resource_providers': member(PROVIDER, 'id'),
    'inventories': _OF_PROVIDER,
    'resource_provider_traits': _OF_PROVIDER,
    'resource_provider_aggregates': _OF_PROVIDER,
    'allocations': _OF_PROVIDER,
    'consumers': Rule(by=('uuid',), key=('uuid',)),
    'resource_classes': reference(),
    'traits': reference(),
    'consumer_types': reference(),
}, together=(('resource_providers', 'inventories', 'allocations'),))
