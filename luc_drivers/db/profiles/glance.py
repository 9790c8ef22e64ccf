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

"""glance: an image with its properties, tags, members and locations is one
group; so is a metadata namespace with what it defines, and a task."""

from luc_drivers.db.profiles.base import member
from luc_drivers.db.profiles.base import Profile
from luc_drivers.db.profiles.base import reference

IMAGE = 'image'
NAMESPACE = 'metadef'

_DEFINES = member(NAMESPACE, 'namespace_id', locality='global')

PROFILE = Profile('glance', {
    'images': member(
        IMAGE, 'id',
        without=(
            # one of two values: a scan is as good
            ('os_hidden',),
            # no statement starts from one value of them
            ('created_at',), ('updated_at',)),
        indexes=(('status',),),
        # most images have one of them; the few public ones, which everybody
        # asks for, another
        buckets={('visibility',): 4, ('status',): 4}),
    'image_properties': member(IMAGE, 'image_id'),
    'image_tags': member(IMAGE, 'image_id'),
    'image_members': member(IMAGE, 'image_id', indexes=(('member',),)),
    'image_locations': member(IMAGE, 'image_id'),
    'tasks': member('task', 'id', without=(('updated_at',),)),
    'task_info': member('task', 'task_id'),
    'metadef_namespaces': member(NAMESPACE, 'id', locality='global'),
    'metadef_objects': _DEFINES,
    'metadef_properties': _DEFINES,
    'metadef_tags': _DEFINES,
    'metadef_namespace_resource_types': _DEFINES,
    'metadef_resource_types': reference(),
    'node_reference': reference(),
}, together=(('images', 'image_properties', 'image_tags', 'image_members',
              'image_locations'),))
