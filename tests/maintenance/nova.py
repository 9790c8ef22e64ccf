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

"""nova-manage: archive, purge, map_instances, online data migrations."""

import datetime
import uuid

from nova import objects
from nova.db.api import models as api_models
from nova.db.main import models
import sqlalchemy as sa

from tests.bench.db import bulk
from tests.maintenance.base import Command
from tests.maintenance.base import Place

objects.register_all()

_LONG_AGO = datetime.datetime(2020, 1, 1)
_PER_INSTANCE = 10
_CHUNK = 100
_CELL = '11111111-2222-3333-4444-555555555555'


def _config(place: Place) -> None:
    place.folder.joinpath('nova.conf').write_text(
        '[DEFAULT]\ntransport_url = fake:/\n'
        f'[database]\nconnection = {place.url("nova_cell1")}\n'
        f'[api_database]\nconnection = {place.url("nova_api")}\n')


def _manage(*arguments: str) -> list[str]:
    return ['nova-manage', '--config-file', 'nova.conf', *arguments]


def _sync(place: Place) -> list[list[str]]:
    return [_manage('api_db', 'sync'), _manage('db', 'sync')]


def _uuid(number: int) -> str:
    return str(uuid.UUID(int=number + 1))


def _instance(number: int, deleted: bool, **more) -> dict:
    return dict(
        id=number, uuid=_uuid(number), project_id='project',
        user_id='user', display_name=f'i{number}', hostname=f'i{number}',
        vm_state='deleted' if deleted else 'active', host='h', node='h',
        created_at=_LONG_AGO, deleted=number if deleted else 0,
        deleted_at=_LONG_AGO if deleted else None, **more)


def _rows(number: int, deleted: bool) -> dict:
    """Return an instance with what hangs on it: _PER_INSTANCE rows."""
    mark = dict(instance_uuid=_uuid(number), created_at=_LONG_AGO,
                deleted_at=_LONG_AGO if deleted else None)
    first = number * 10
    return {
        models.Instance: [_instance(number, deleted)],
        models.InstanceExtra: [dict(
            mark, id=number, deleted=number if deleted else 0)],
        models.InstanceInfoCache: [dict(
            mark, id=number, network_info='[]',
            deleted=number if deleted else 0)],
        models.InstanceSystemMetadata: [dict(
            mark, id=first + n, key=f'k{n}', value='v',
            deleted=first + n if deleted else 0) for n in range(4)],
        models.InstanceMetadata: [dict(
            mark, id=number, key='k', value='v',
            deleted=number if deleted else 0)],
        models.InstanceAction: [dict(
            mark, id=number, action='create', request_id='r',
            deleted=number if deleted else 0)],
        models.InstanceFault: [dict(
            mark, id=number, code=500, message='m',
            deleted=number if deleted else 0)]}


_MODELS = list(_rows(1, True))


def _fill(engine: sa.Engine, numbers, make) -> None:
    numbers = list(numbers)
    for start in range(0, len(numbers), _CHUNK):
        chunk: dict = {}
        for number in numbers[start:start + _CHUNK]:
            for model, rows in make(number).items():
                chunk.setdefault(model.__table__, []).extend(rows)
        bulk.fill(engine, chunk)


def _seed_deleted(place: Place, rows: int) -> int:
    """Two deleted instances for each that lives."""
    count = rows // _PER_INSTANCE
    engine = place.engine('nova_cell1')
    live = count // 2
    _fill(engine, range(1, count + live + 1),
          lambda number: _rows(number, number > live))
    engine.dispose()
    return count * _PER_INSTANCE


def _ids(connection: sa.Connection, table: str) -> list[int]:
    return [i for i, in connection.execute(
        sa.text(f'SELECT id FROM {table}'))]


def _check_archive(place: Place, end: bool) -> list[str]:
    """Every row in exactly one table; at the end, the deleted in shadow."""
    wrong = []
    engine = place.engine('nova_cell1')
    with engine.connect() as connection:
        for model in _MODELS:
            name = model.__tablename__
            there = _ids(connection, name)
            shadow = _ids(connection, 'shadow_' + name)
            both = set(there) & set(shadow)
            if both:
                wrong.append(f'{name}: {len(both)} rows in both tables')
            per = 4 if name == 'instance_system_metadata' else 1
            expected = {n * 10 + k if per > 1 else n
                        for n in _numbers(place) for k in range(per)}
            missing = expected - set(there) - set(shadow)
            if missing:
                wrong.append(f'{name}: {len(missing)} rows in no table')
            if len(there) + len(shadow) > len(expected):
                wrong.append(f'{name}: rows are there twice')
            if end:
                left = connection.execute(sa.text(
                    f'SELECT COUNT(*) FROM {name} WHERE deleted != 0')
                    ).scalar_one()
                if left:
                    wrong.append(f'{name}: {left} deleted rows are left')
                alive = connection.execute(sa.text(
                    f'SELECT COUNT(*) FROM shadow_{name} WHERE deleted = 0')
                    ).scalar_one()
                if alive:
                    wrong.append(f'{name}: {alive} live rows were archived')
    engine.dispose()
    return wrong


def _numbers(place: Place) -> range:
    """Return the seeded instances' numbers."""
    return range(1, int(place.folder.joinpath('count').read_text()) + 1)


def _counted(seed):
    def counted(place: Place, rows: int) -> int:
        count = rows // _PER_INSTANCE
        place.folder.joinpath('count').write_text(str(count + count // 2))
        return seed(place, rows)

    return counted


ARCHIVE = Command(
    'nova-manage db archive_deleted_rows', _config, _sync,
    _counted(_seed_deleted),
    lambda place: _manage('db', 'archive_deleted_rows', '--until-complete',
                          '--max_rows', '200'),
    _check_archive,
    # 1: something was archived
    good=frozenset((0, 1)))


def _seed_archived(place: Place, rows: int) -> int:
    """Shadow rows, and live ones."""
    count = rows // _PER_INSTANCE
    engine = place.engine('nova_cell1')
    live = count // 2
    _fill(engine, range(1, live + 1), lambda number: _rows(number, False))
    metadata = sa.MetaData()
    shadows = {}
    with engine.connect() as connection:
        for model in _MODELS:
            shadows[model] = sa.Table(
                'shadow_' + model.__tablename__, metadata,
                autoload_with=connection)
    for start in range(live + 1, live + count + 1, _CHUNK):
        chunk: dict = {}
        for number in range(start, min(start + _CHUNK, live + count + 1)):
            for model, made in _rows(number, True).items():
                chunk.setdefault(shadows[model], []).extend(made)
        bulk.fill(engine, chunk)
    engine.dispose()
    return count * _PER_INSTANCE


def _check_purge(place: Place, end: bool) -> list[str]:
    """Live rows stay; at the end, no shadow row is left."""
    wrong = []
    live = len(_numbers(place)) - len(_numbers(place)) * 2 // 3
    engine = place.engine('nova_cell1')
    with engine.connect() as connection:
        for model in _MODELS:
            name = model.__tablename__
            per = 4 if name == 'instance_system_metadata' else 1
            there = len(_ids(connection, name))
            if there != live * per:
                wrong.append(f'{name}: {there} of {live * per} live rows')
            if end and _ids(connection, 'shadow_' + name):
                wrong.append(f'shadow_{name} is not empty')
    engine.dispose()
    return wrong


PURGE = Command(
    'nova-manage db purge', _config, _sync, _counted(_seed_archived),
    lambda place: _manage('db', 'purge', '--all'), _check_purge,
    # 3: nothing was left to delete
    good=frozenset((0, 3)))


def _seed_unmapped(place: Place, rows: int) -> int:
    engine = place.engine('nova_cell1')
    _fill(engine, range(1, rows + 1),
          lambda number: {models.Instance: [_instance(number, False)]})
    engine.dispose()
    engine = place.engine('nova_api')
    cells = api_models.CellMapping.__table__
    with engine.begin() as connection:
        connection.execute(cells.delete().where(cells.c.uuid == _CELL))
        connection.execute(cells.insert().values(
            uuid=_CELL, name='cell1', transport_url='fake:/', disabled=False,
            database_connection=place.url('nova_cell1')))
    engine.dispose()
    place.folder.joinpath('count').write_text(str(rows))
    return rows


def _check_mapped(place: Place, end: bool) -> list[str]:
    wrong = []
    engine = place.engine('nova_api')
    with engine.connect() as connection:
        mapped = [u for u, in connection.execute(sa.text(
            "SELECT instance_uuid FROM instance_mappings "
            "WHERE project_id != 'INSTANCE_MIGRATION_MARKER'"))]
    engine.dispose()
    if len(mapped) != len(set(mapped)):
        wrong.append('an instance is mapped twice')
    expected = {_uuid(n) for n in _numbers(place)}
    if set(mapped) - expected:
        wrong.append('a mapping of no instance')
    if end and set(mapped) != expected:
        wrong.append(f'{len(expected - set(mapped))} instances not mapped')
    return wrong


MAP_INSTANCES = Command(
    'nova-manage cell_v2 map_instances', _config, _sync, _seed_unmapped,
    lambda place: _manage('cell_v2', 'map_instances', '--cell_uuid', _CELL),
    _check_mapped)


def _seed_migrations(place: Place, rows: int) -> int:
    """Migrations without uuids: what migration_migrate_to_uuid fills."""
    engine = place.engine('nova_cell1')
    _fill(engine, range(1, rows + 1), lambda number: {models.Migration: [dict(
        id=number, status='finished', migration_type='migration',
        instance_uuid=None, created_at=_LONG_AGO, deleted=0)]})
    engine.dispose()
    place.folder.joinpath('count').write_text(str(rows))
    return rows


def _check_migrations(place: Place, end: bool) -> list[str]:
    wrong = []
    engine = place.engine('nova_cell1')
    with engine.connect() as connection:
        uuids = [u for u, in connection.execute(sa.text(
            'SELECT uuid FROM migrations'))]
    engine.dispose()
    given = [u for u in uuids if u]
    if len(uuids) != len(_numbers(place)):
        wrong.append(f'{len(uuids)} of {len(_numbers(place))} migrations')
    if len(given) != len(set(given)):
        wrong.append('two migrations have one uuid')
    if end and len(given) != len(uuids):
        wrong.append(f'{len(uuids) - len(given)} migrations without uuid')
    return wrong


ONLINE = Command(
    'nova-manage db online_data_migrations', _config, _sync,
    _seed_migrations,
    lambda place: _manage('db', 'online_data_migrations'),
    _check_migrations)

COMMANDS = {'archive': ARCHIVE, 'purge': PURGE,
            'map-instances': MAP_INSTANCES, 'online': ONLINE}
