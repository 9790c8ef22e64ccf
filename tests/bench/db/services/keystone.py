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

"""keystone: what creating and validating a token reads, by its drivers."""

from collections.abc import Iterator
import datetime
import importlib
import random
from typing import Any

from keystone.assignment.backends import sql as assignment
from keystone.catalog.backends import sql as catalog
from keystone.common import driver_hints
from keystone.common import sql
import keystone.conf
from keystone.identity.backends import sql as identity
from keystone.identity.backends import sql_model
from keystone.resource.backends import sql as resource
from keystone.resource.backends import sql_model as resource_model
from keystone.revoke.backends import sql as revoke

from tests.bench.db import base
from tests.bench.db import bulk
from tests.bench.db.base import hexid
from tests.bench.db.base import Sizes

measured = base.Registry('keystone')
FUNCTIONS = measured.functions

_CHUNK = 1000
_ROLE = hexid('role', 0)
_drivers: dict[str, Any] = {}


def configure(urls: dict[str, str]) -> None:
    """Configure the process."""
    keystone.conf.configure()
    sql.initialize()
    keystone.conf.CONF([], project='keystone', default_config_files=[])
    keystone.conf.CONF.set_override('connection', urls['main'], 'database')
    keystone.conf.CONF.set_override('max_overflow', 64, 'database')
    _drivers.update(
        identity=identity.Identity(), resource=resource.Resource(),
        assignment=assignment.Assignment(), catalog=catalog.Catalog(),
        revoke=revoke.Revoke())


def _engine() -> Any:
    with sql.session_for_read() as session:
        return session.get_bind()


def sync() -> None:
    """Make the tables."""
    for part in ('application_credential', 'credential', 'federation',
                 'limit', 'oauth1', 'policy', 'trust'):
        # their models are what foreign keys name
        importlib.import_module(f'keystone.{part}.backends.sql')
    sql.ModelBase.metadata.create_all(_engine())


def seed(sizes: Sizes) -> Iterator[int]:
    """Fill an empty database."""
    engine = _engine()
    root = '<<keystone.domain.root>>'
    for ident in (root, 'default'):
        bulk.fill(engine, {resource_model.Project.__table__: [dict(
            id=ident, name=ident, domain_id=root, parent_id=None,
            enabled=True, is_domain=True, extra={})]})
    projects = [dict(id=hexid('project', n), name=f'project{n}',
                     domain_id='default', parent_id='default', enabled=True,
                     is_domain=False, extra={})
                for n in range(sizes.projects)]
    bulk.fill(engine, {resource_model.Project.__table__: projects})
    for start in range(0, sizes.users, _CHUNK):
        people, logins, grants = [], [], []
        for n in range(start, min(start + _CHUNK, sizes.users)):
            people.append(dict(
                id=hexid('user', n), enabled=True, domain_id='default',
                extra={}, created_at=datetime.datetime(2026, 1, 1)))
            logins.append(dict(
                id=n + 1, user_id=hexid('user', n), domain_id='default',
                name=f'user{n}', failed_auth_count=0))
            grants.append(dict(
                type='UserProject', actor_id=hexid('user', n), role_id=_ROLE,
                target_id=hexid('project', n % sizes.projects),
                inherited=False))
        bulk.fill(engine, {
            sql_model.User.__table__: people,
            sql_model.LocalUser.__table__: logins,
            assignment.RoleAssignment.__table__: grants})
        yield min(start + _CHUNK, sizes.users)
    catalogs = _drivers['catalog']
    catalogs.create_region({'id': 'one', 'description': ''})
    for kind in ('compute', 'image', 'identity', 'placement', 'network'):
        catalogs.create_service(hexid('service', len(kind)), {
            'id': hexid(kind, 0), 'type': kind, 'name': kind,
            'enabled': True})
        for face in ('public', 'internal', 'admin'):
            catalogs.create_endpoint(hexid(kind + face, 0), {
                'id': hexid(kind + face, 0), 'service_id': hexid(kind, 0),
                'interface': face, 'region_id': 'one', 'enabled': True,
                'url': f'http://host/{kind}'})


@measured(by_key=True)
def user_get(sizes: Sizes, dice: random.Random) -> base.Call:
    ident = hexid('user', dice.randrange(sizes.users))
    return lambda: _drivers['identity'].get_user(ident)


@measured(by_key=True)
def user_by_name(sizes: Sizes, dice: random.Random) -> base.Call:
    name = f'user{dice.randrange(sizes.users)}'
    return lambda: _drivers['identity'].get_user_by_name(name, 'default')


@measured(by_key=True)
def project_get(sizes: Sizes, dice: random.Random) -> base.Call:
    ident = hexid('project', dice.randrange(sizes.projects))
    return lambda: _drivers['resource'].get_project(ident)


@measured(by_key=True)
def roles_of_user_and_project(sizes: Sizes, dice: random.Random) -> base.Call:
    number = dice.randrange(sizes.users)
    user = hexid('user', number)
    target = hexid('project', number % sizes.projects)
    return lambda: _drivers['assignment'].list_grant_role_ids(
        user_id=user, project_id=target)


@measured(by_key=True)
def revoke_events(sizes: Sizes, dice: random.Random) -> base.Call:
    return lambda: _drivers['revoke'].list_events(token={
        'audit_id': 'a', 'audit_chain_id': 'c',
        'user_id': hexid('user', 0), 'project_id': hexid('project', 0),
        'identity_domain_id': 'default', 'assignment_domain_id': 'default',
        'roles': [_ROLE], 'issued_at': datetime.datetime(2026, 1, 1),
        'expires_at': datetime.datetime(2027, 1, 1), 'trust_id': None,
        'trustor_id': None, 'trustee_id': None, 'access_token_id': None,
        'consumer_id': None})


@measured(by_key=True)
def endpoints_all(sizes: Sizes, dice: random.Random) -> base.Call:
    """What a token's catalog is made of."""
    return lambda: _drivers['catalog'].list_endpoints(
        driver_hints.Hints())
