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

"""glance-manage db purge, keystone-manage trust_flush."""

import datetime
import getpass
import grp
import os
import uuid

from glance.db.sqlalchemy import models as glance_models
from keystone.trust.backends import sql as keystone_trust
import sqlalchemy as sa

from tests.bench.db import bulk
from tests.maintenance.base import Command
from tests.maintenance.base import Place

_LONG_AGO = datetime.datetime(2020, 1, 1)
_CHUNK = 200
#: an image with its properties, location, tag and member
_PER_IMAGE = 5


def _uuid(number: int) -> str:
    return str(uuid.UUID(int=number + 1))


# --- glance

def _glance_config(place: Place) -> None:
    place.folder.joinpath('glance.conf').write_text(
        f'[database]\nconnection = {place.url("glance")}\n')


def _glance(*arguments: str) -> list[str]:
    return ['glance-manage', '--config-file', 'glance.conf', *arguments]


def _image(number: int, deleted: bool) -> dict:
    mark = dict(created_at=_LONG_AGO, updated_at=_LONG_AGO, deleted=deleted,
                deleted_at=_LONG_AGO if deleted else None)
    of = dict(mark, image_id=_uuid(number))
    return {
        glance_models.Image: [dict(
            mark, id=_uuid(number), name=f'i{number}', visibility='private',
            status='deleted' if deleted else 'active', min_disk=0, min_ram=0,
            protected=False, os_hidden=False, owner='o')],
        glance_models.ImageProperty: [dict(
            of, id=number, name='p', value='v')],
        glance_models.ImageLocation: [dict(
            of, id=number, value='file:///x', meta_data={},
            status='deleted' if deleted else 'active')],
        glance_models.ImageTag: [dict(of, id=number, value='t')],
        glance_models.ImageMember: [dict(
            of, id=number, member='m', can_share=False, status='pending')]}


def _seed_images(place: Place, rows: int) -> int:
    count = rows // _PER_IMAGE
    live = count // 2
    engine = place.engine('glance')
    for start in range(1, live + count + 1, _CHUNK):
        chunk: dict = {}
        for number in range(start, min(start + _CHUNK, live + count + 1)):
            for model, made in _image(number, number > live).items():
                chunk.setdefault(model.__table__, []).extend(made)
        bulk.fill(engine, chunk)
    engine.dispose()
    place.folder.joinpath('count').write_text(str(live))
    return count * _PER_IMAGE


def _check_images(place: Place, end: bool) -> list[str]:
    """Live rows stay; the last run leaves only deleted images' own rows."""
    wrong = []
    live = int(place.folder.joinpath('count').read_text())
    engine = place.engine('glance')
    with engine.connect() as connection:
        for model in _image(1, True):
            name = model.__tablename__
            there = dict(list(connection.execute(sa.text(
                f'SELECT deleted, COUNT(*) FROM {name} GROUP BY deleted'))))
            if there.get(0, 0) != live:
                wrong.append(f'{name}: {there.get(0, 0)} of {live} live rows')
            if end and name != 'images' and there.get(1):
                wrong.append(f'{name}: {there[1]} deleted rows are left')
    engine.dispose()
    return wrong




GLANCE = Command(
    'glance-manage db purge', _glance_config,
    lambda place: [_glance('db', 'sync')], _seed_images,
    lambda place: _glance('db', 'purge', '--age_in_days', '30',
                          '--max_rows', '-1'),
    _check_images)


# --- keystone

def _keystone_config(place: Place) -> None:
    place.folder.joinpath('keystone.conf').write_text(
        f'[database]\nconnection = {place.url("keystone")}\n'
        f'[fernet_tokens]\nkey_repository = {place.folder}/keys\n')


def _keystone(*arguments: str) -> list[str]:
    return ['keystone-manage', '--config-file', 'keystone.conf', *arguments]


def _seed_trusts(place: Place, rows: int) -> int:
    live = rows // 2
    table = keystone_trust.TrustModel.__table__
    engine = place.engine('keystone')
    now = datetime.datetime(2050, 1, 1)
    made = [dict(
        id=uuid.UUID(int=n).hex, trustor_user_id='u', trustee_user_id='v',
        project_id='p', impersonation=False, extra={},
        deleted_at=_LONG_AGO if n > live and n % 2 else None,
        expires_at=now + datetime.timedelta(seconds=n) if n <= live
        else _LONG_AGO + datetime.timedelta(seconds=n))
        for n in range(1, live + rows + 1)]
    made = [dict(row, expires_at_int=row['expires_at']) for row in made]
    for one in made:
        one.pop('expires_at')
    for start in range(0, len(made), _CHUNK):
        bulk.fill(engine, {table: made[start:start + _CHUNK]})
    engine.dispose()
    place.folder.joinpath('count').write_text(str(live))
    return rows


def _check_trusts(place: Place, end: bool) -> list[str]:
    wrong = []
    live = int(place.folder.joinpath('count').read_text())
    engine = place.engine('keystone')
    with engine.connect() as connection:
        ids = [int(i, 16) for i, in connection.execute(
            sa.text('SELECT id FROM trust'))]
    engine.dispose()
    if not set(range(1, live + 1)) <= set(ids):
        wrong.append('live trusts are gone')
    if end and len(ids) != live:
        wrong.append(f'{len(ids) - live} expired trusts are left')
    return wrong


KEYSTONE = Command(
    'keystone-manage trust_flush', _keystone_config,
    lambda place: [_keystone('db_sync'), _keystone(
        'fernet_setup', '--keystone-user', getpass.getuser(),
        '--keystone-group', grp.getgrgid(os.getgid()).gr_name)],
    _seed_trusts, lambda place: _keystone('trust_flush'), _check_trusts)

COMMANDS = {'glance-purge': GLANCE, 'trust-flush': KEYSTONE}
