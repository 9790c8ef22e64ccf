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

"""placement: its objects."""

from collections.abc import Iterator
import os
import random

from oslo_config import cfg
from placement import conf
from placement import context as placement_context
from placement import db_api
from placement import deploy
from placement.db.sqlalchemy import migration
from placement.db.sqlalchemy import models
from placement.objects import allocation
from placement.objects import consumer
from placement.objects import inventory
from placement.objects import project
from placement.objects import resource_provider
from placement.objects import trait
from placement.objects import usage
from placement.objects import user

from tests.bench.db import base
from tests.bench.db import bulk
from tests.bench.db.base import hexid
from tests.bench.db.base import Sizes
from tests.bench.db.base import uid

measured = base.Registry('placement')
FUNCTIONS = measured.functions

_CONF = cfg.ConfigOpts()
_CLASSES = {'VCPU': (64, 1), 'MEMORY_MB': (1 << 17, 64), 'DISK_GB': (1000, 1)}
_CHUNK = 500
_PROJECTS = 20


def _context() -> placement_context.RequestContext:
    context = placement_context.RequestContext(user_id='u', project_id='p')
    context.config = _CONF
    return context


def configure(urls: dict[str, str]) -> None:
    """Configure the process."""
    os.environ['OS_PLACEMENT_DATABASE__CONNECTION'] = urls['main']
    conf.register_opts(_CONF)
    _CONF([], default_config_files=[])
    _CONF.set_override('max_overflow', 64, 'placement_database')
    db_api.configure(_CONF)


def sync() -> None:
    """Make the tables."""
    migration.create_schema()


def seed(sizes: Sizes) -> Iterator[int]:
    """Fill an empty database."""
    deploy.update_database(_CONF)
    context = _context()
    provider = _new_provider(context, 0)
    engine = db_api.get_placement_engine()
    classes = [i['resource_class_id'] for i in bulk.template(
        engine, models.Inventory.__table__, 'resource_provider_id',
        provider.id)]
    first = bulk.template(engine, models.ResourceProvider.__table__, 'id',
                          provider.id)[0]
    kinds = bulk.template(engine, models.Inventory.__table__,
                          'resource_provider_id', provider.id)
    for start in range(1, sizes.hosts, _CHUNK):
        chunk: dict = {}
        end = min(start + _CHUNK, sizes.hosts)
        for n in range(start, end):
            chunk.setdefault(models.ResourceProvider.__table__, []).append({
                **first, 'id': 100 + n, 'uuid': uid('node', n),
                'name': f'compute{n}', 'root_provider_id': 100 + n})
            for nth, row in enumerate(kinds):
                chunk.setdefault(models.Inventory.__table__, []).append({
                    **row, 'id': 100 + n * 3 + nth,
                    'resource_provider_id': 100 + n})
        bulk.fill(engine, chunk)
    rows = [dict(id=n + 1, external_id=hexid('project', n))
            for n in range(_PROJECTS)]
    people = [dict(id=n + 1, external_id=hexid('user', n))
              for n in range(_PROJECTS)]
    bulk.fill(engine, {models.Project.__table__: rows,
                       models.User.__table__: people})
    for start in range(0, sizes.instances, _CHUNK):
        consumers, claims = [], []
        end = min(start + _CHUNK, sizes.instances)
        for n in range(start, end):
            host = n % sizes.hosts
            consumers.append(dict(
                id=n + 1, uuid=uid('instance', n), generation=1,
                project_id=n % _PROJECTS + 1, user_id=n % _PROJECTS + 1,
                consumer_type_id=None))
            claims += [dict(
                id=n * 3 + nth + 1, consumer_id=uid('instance', n),
                resource_provider_id=100 + host if host else provider.id,
                resource_class_id=kind, used=1)
                for nth, kind in enumerate(classes)]
        bulk.fill(engine, {models.Consumer.__table__: consumers,
                           models.Allocation.__table__: claims})
        yield end


def _new_provider(context: placement_context.RequestContext, number: int
                  ) -> resource_provider.ResourceProvider:
    provider = resource_provider.ResourceProvider(
        context, name=f'compute{number}', uuid=uid('node', number))
    provider.create()
    provider.set_inventory([
        inventory.Inventory(
            context, resource_provider=provider, resource_class=name,
            total=total, reserved=0, min_unit=1, max_unit=total,
            step_size=1, allocation_ratio=16.0)
        for name, (total, _) in _CLASSES.items()])
    return provider


def _provider(sizes: Sizes, dice: random.Random,
              context: placement_context.RequestContext | None = None
              ) -> resource_provider.ResourceProvider:
    return resource_provider.ResourceProvider.get_by_uuid(
        context or _context(), uid('node', dice.randrange(sizes.hosts)))


@measured(by_key=True)
def provider_get(sizes: Sizes, dice: random.Random) -> base.Call:
    context, host = _context(), uid('node', dice.randrange(sizes.hosts))
    return lambda: resource_provider.ResourceProvider.get_by_uuid(
        context, host)


@measured(by_key=True)
def inventory_of_provider(sizes: Sizes, dice: random.Random) -> base.Call:
    provider = _provider(sizes, dice)
    context = _context()
    return lambda: inventory.get_all_by_resource_provider(context, provider)


@measured(by_key=True)
def usages_of_provider(sizes: Sizes, dice: random.Random) -> base.Call:
    context, host = _context(), uid('node', dice.randrange(sizes.hosts))
    return lambda: usage.get_all_by_resource_provider_uuid(context, host)


@measured(by_key=True)
def traits_of_provider(sizes: Sizes, dice: random.Random) -> base.Call:
    provider = _provider(sizes, dice)
    context = _context()
    return lambda: trait.get_all_by_resource_provider(context, provider)


@measured(by_key=True)
def allocations_of_consumer(sizes: Sizes, dice: random.Random) -> base.Call:
    context, server = _context(), uid('instance', sizes.draw(dice))
    return lambda: allocation.get_all_by_consumer_id(context, server)


@measured()
def allocations_of_provider(sizes: Sizes, dice: random.Random) -> base.Call:
    provider = _provider(sizes, dice)
    context = _context()
    return lambda: allocation.get_all_by_resource_provider(context, provider)


@measured()
def usages_of_project(sizes: Sizes, dice: random.Random) -> base.Call:
    context = _context()
    owner = hexid('project', dice.randrange(_PROJECTS))
    return lambda: usage.get_all_by_project_user(context, owner)


def _claim(sizes: Sizes, dice: random.Random) -> list[allocation.Allocation]:
    context = _context()
    provider = _provider(sizes, dice, context)
    owner = project.Project.get_by_external_id(
        context, hexid('project', dice.randrange(_PROJECTS)))
    person = user.User.get_by_external_id(
        context, hexid('user', dice.randrange(_PROJECTS)))
    server = consumer.Consumer(
        context, uuid=uid('new', random.SystemRandom().getrandbits(40)),
        project=owner, user=person)
    server.create()
    return [allocation.Allocation(
        consumer=server, resource_class=name, resource_provider=provider,
        used=used) for name, (_, used) in _CLASSES.items()]


@measured(writes=True, by_key=True)
def claim(sizes: Sizes, dice: random.Random) -> base.Call:
    """Allocations of a new server on one provider."""
    claimed = _claim(sizes, dice)
    context = claimed[0].consumer._context
    return lambda: allocation.replace_all(context, claimed)


@measured(writes=True, by_key=True)
def release(sizes: Sizes, dice: random.Random) -> base.Call:
    claimed = _claim(sizes, dice)
    context = claimed[0].consumer._context
    allocation.replace_all(context, claimed)
    found = allocation.get_all_by_consumer_id(
        context, claimed[0].consumer.uuid)
    return lambda: allocation.delete_all(context, found)
