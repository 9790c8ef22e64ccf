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

"""glance: its db.api."""

from collections.abc import Iterator
import random

from glance import context as glance_context
from glance.db.sqlalchemy import api
from glance.db.sqlalchemy import models
from oslo_config import cfg
from oslo_db import options

from tests.bench.db import base
from tests.bench.db import bulk
from tests.bench.db.base import hexid
from tests.bench.db.base import Sizes
from tests.bench.db.base import uid

measured = base.Registry('glance')
FUNCTIONS = measured.functions

_CHUNK = 500
_OWNERS = 50


def _context(number: int = 0) -> glance_context.RequestContext:
    return glance_context.RequestContext(
        user_id=hexid('user', number),
        project_id=hexid('project', number % _OWNERS), roles=['member'])


def configure(urls: dict[str, str]) -> None:
    """Configure the process."""
    cfg.CONF([], project='glance', default_config_files=[])
    options.set_defaults(cfg.CONF, connection=urls['main'])
    cfg.CONF.set_override('max_overflow', 64, 'database')


def sync() -> None:
    """Make the tables."""
    models.BASE.metadata.create_all(api.get_engine())


def _image(number: int) -> dict:
    return {'id': uid('image', number), 'name': f'image{number}',
            'status': 'active', 'visibility': 'private',
            'owner': hexid('project', number % _OWNERS), 'size': 1 << 20,
            'disk_format': 'qcow2', 'container_format': 'bare',
            'checksum': 'c' * 32, 'min_disk': 1, 'min_ram': 64,
            'protected': False, 'os_hidden': False}


def seed(sizes: Sizes) -> Iterator[int]:
    """Fill an empty database."""
    api.image_create(_context(), {
        **_image(0), 'properties': {'hw_rng_model': 'virtio', 'os': 'linux'},
        'locations': [{'url': 'file:///x', 'metadata': {},
                       'status': 'active'}]})
    engine = api.get_engine()
    rows = [(m.__table__, row) for m, column in (
        (models.Image, 'id'), (models.ImageProperty, 'image_id'),
        (models.ImageLocation, 'image_id'))
        for row in bulk.template(engine, m.__table__, column,
                                 uid('image', 0))]
    for start in range(1, sizes.images, _CHUNK):
        chunk: dict = {}
        end = min(start + _CHUNK, sizes.images)
        for number in range(start, end):
            for nth, (table, row) in enumerate(rows):
                copy = {**row, **{c: uid('image', number) for c in (
                    'image_id',) if c in row}}
                if table is models.Image.__table__:
                    copy.update(id=uid('image', number),
                                name=f'image{number}',
                                owner=hexid('project', number % _OWNERS))
                else:
                    copy['id'] = 100 + number * len(rows) + nth
                chunk.setdefault(table, []).append(copy)
        bulk.fill(engine, chunk)
        yield end


def _unused() -> int:
    return 1 << 40 | random.SystemRandom().getrandbits(39)


@measured(by_key=True)
def image_get(sizes: Sizes, dice: random.Random) -> base.Call:
    number = dice.randrange(sizes.images)
    context = _context(number)
    return lambda: api.image_get(context, uid('image', number))


@measured()
def images_of_owner(sizes: Sizes, dice: random.Random) -> base.Call:
    """A page of 25 images that a project sees."""
    context = _context(dice.randrange(_OWNERS))
    return lambda: api.image_get_all(
        context, filters={'deleted': False}, limit=25,
        sort_key=['created_at', 'id'], sort_dir=['desc', 'desc'],
        return_tag=True)


@measured(writes=True, by_key=True)
def image_create(sizes: Sizes, dice: random.Random) -> base.Call:
    number = _unused()
    context = _context(number)
    values = {**_image(number), 'properties': {'os': 'linux'}}
    return lambda: api.image_create(context, values)


@measured(writes=True, by_key=True)
def image_update(sizes: Sizes, dice: random.Random) -> base.Call:
    number = dice.randrange(sizes.images)
    context = _context(number)
    values = {'min_ram': dice.randrange(1000),
              'properties': {'os': f'v{dice.randrange(1000)}'}}
    return lambda: api.image_update(context, uid('image', number), values)


@measured(writes=True, by_key=True)
def image_destroy(sizes: Sizes, dice: random.Random) -> base.Call:
    number = _unused()
    context = _context(number)
    api.image_create(context, _image(number))
    return lambda: api.image_destroy(context, uid('image', number))


@measured(by_key=True)
def image_members(sizes: Sizes, dice: random.Random) -> base.Call:
    number = dice.randrange(sizes.images)
    context = _context(number)
    return lambda: api.image_member_find(
        context, image_id=uid('image', number))
