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

"""What the DevStack plug-in does in Cassandra: roles and keyspaces.

    store.py before-join --seeds A,B
                                  make the cluster ready; print its site
    store.py node [--seeds A,B]   the administrator's role; the own site's
                                  replicas, if the node joined another's
    store.py bus                  the site's bus: keyspace, two roles
    store.py database NAME [--recreate] [--role ROLE]
    store.py drop FILE            databases and roles that FILE lists
    store.py leave                take the own site out of all keyspaces but
                                  system_auth; with --gone-from SEEDS, after
                                  its node left, out of that, too

Where Cassandra is stands in the file that LUC_CONFIG names; the role that
may do all this and its password in LUC_ADMIN_USER and LUC_ADMIN_PASSWORD,
that of a database's role in LUC_ROLE_PASSWORD.
"""

import argparse
from collections.abc import Iterable
import dataclasses
import os
import pathlib
import re
import sys
import time

from luc_drivers import config
from luc_drivers import cql
from luc_drivers import cqldriver
from luc_drivers.db import errors
from luc_drivers.db.store import cassandra_schema
from luc_drivers.db.store import settings as store_settings
from luc_drivers.messaging import admin
from luc_drivers.messaging import opts as messaging_opts
from luc_drivers.messaging.matchmaker import cassandra_schema as bus_schema
from luc_drivers.testing import cqlping

#: the role that a new cluster has
DEFAULT_LOGIN = ('cassandra', 'cassandra')
CONTROL_ROLE, AGENT_ROLE = 'luc_control', 'luc_agent'
#: seconds in which a new cluster makes its default role
_ROLE_TIMEOUT = 60.0
_SYSTEM = ('system_auth', 'system_distributed', 'system_traces')


class Failed(Exception):
    """The message says what and why."""


def admin_settings() -> cql.CqlSettings:
    """Return how the administrator reaches Cassandra."""
    found = cql.host_settings()
    if not found.username:
        return found
    return dataclasses.replace(found, username=told('LUC_ADMIN_USER'),
                               password=told('LUC_ADMIN_PASSWORD'))


def told(variable: str) -> str:
    """Return an environment variable.

    :raises Failed: it is not set, or empty.
    """
    value = os.environ.get(variable)
    if not value:
        raise Failed(f'the environment variable {variable} is not set')
    return value


def admin_session() -> cql.Session:
    """Return a session of the administrator."""
    return cql.session(admin_settings())


def make_admin(settings: cql.CqlSettings) -> None:
    """Make a new cluster's administrator in place of its default role.

    The default one can log in only while a quorum of all sites is there,
    any other while its own site is.  A cluster makes its default role some
    time after it first answers.

    :raises Failed: neither the administrator nor the default role may log
        in.
    """
    deadline = time.monotonic() + _ROLE_TIMEOUT
    admin_role = name(settings.username or '')
    user, password = DEFAULT_LOGIN
    while True:
        try:
            found = cql.session(settings)
            found.connect()
            break
        except cql.Unavailable as exc:
            refused = exc
        try:
            default = cql.session(dataclasses.replace(
                settings, username=user, password=password))
            default.execute(
                f'CREATE ROLE {admin_role} WITH SUPERUSER = true AND LOGIN '
                f'= true AND PASSWORD = {quoted(settings.password or "")}',
                None)
            continue
        except cql.Unavailable:
            pass
        if time.monotonic() > deadline:
            raise Failed(str(refused))
        time.sleep(0.5)
    if admin_role != user:
        found.execute(f'ALTER ROLE {user} WITH SUPERUSER = false AND LOGIN '
                      '= false', None)


def quoted(text: str) -> str:
    """Return a CQL string."""
    return "'" + text.replace("'", "''") + "'"


def name(text: str) -> str:
    """Return a name that CQL takes without quotes.

    :raises Failed: it is none.
    """
    if not re.fullmatch(r'[a-z][a-z0-9_]{0,47}', text):
        raise Failed(f'{text!r} is no name for a role or keyspace')
    return text


def replicas(session: cql.Session) -> dict[str, dict[str, str]]:
    """Return each keyspace's replication, as Cassandra has it."""
    return {row[0]: dict(row[1]) for row in session.execute(
        'SELECT keyspace_name, replication FROM system_schema.keyspaces',
        None)}


def replicated(session: cql.Session) -> Iterable[tuple[str, dict[str, int]]]:
    """Yield keyspaces that each site is to have, and their replicas now."""
    for keyspace, options in sorted(replicas(session).items()):
        kind = options.pop('class')
        if keyspace not in _SYSTEM and not keyspace.endswith(
                '_' + cassandra_schema.GLOBAL):
            continue
        if kind.endswith('SimpleStrategy'):
            # of a single site: whatever its factor, one site had it
            options = {}
        yield keyspace, {site: int(count) for site, count in options.items()}


def place(keyspace: str, sites: dict[str, int]) -> str:
    """Return the statement that puts a keyspace's replicas there."""
    places = ''.join(f", '{site}': {count}" for site, count in sites.items())
    return (f'ALTER KEYSPACE {keyspace} WITH replication = '
            f"{{'class': 'NetworkTopologyStrategy'{places}}}")


def settle(session: cql.Session) -> None:
    """Tie what a cluster has from the start to the sites that it has now.

    Else the next node that joins, of whatever site, would be the one that
    holds some of the roles, and have none of them.
    """
    for keyspace, places in replicated(session):
        if not places:
            session.execute(
                place(keyspace, {site: 1 for site in sorted(session.sites)}),
                None, timeout=60.0)


def join(session: cql.Session, site: str, count: int) -> None:
    """Give a site its replicas of what every site has.

    Data that is there already must be fetched afterwards.
    """
    for keyspace, places in replicated(session):
        if site not in places:
            session.execute(place(keyspace, {**places, site: count}), None,
                            timeout=60.0)


def leave(session: cql.Session, site: str, gone: bool) -> list[str]:
    """Take a site out of all keyspaces; drop those that only it had.

    :param gone: whether its nodes are; before, Cassandra wants system_auth
        to stay there.
    """
    changed = []
    for keyspace, options in sorted(replicas(session).items()):
        places = {other: int(count) for other, count in options.items()
                  if other not in ('class', site)}
        if site not in options or (keyspace == 'system_auth' and not gone):
            continue
        session.execute(place(keyspace, places) if places
                        else f'DROP KEYSPACE {keyspace}', None, timeout=60.0)
        changed.append(keyspace)
    return changed


def make_role(session: cql.Session, role: str, password: str) -> None:
    """Make a role, or give one that is there this password.

    :raises Failed: no node answers.
    """
    session.execute(f'CREATE ROLE IF NOT EXISTS {name(role)} WITH LOGIN = '
                    f'true AND PASSWORD = {quoted(password)}', None)
    where = session.settings
    for host in where.contact_points:
        try:
            cqlping.ask(host, where.port, role, password, timeout=10.0)
            return
        except cqlping.Refused:
            # Only now: Cassandra takes a new one every five seconds at most.
            session.execute(f'ALTER ROLE {role} WITH PASSWORD = '
                            f'{quoted(password)}', None)
            return
        except cqlping.NotReady:
            continue
    raise Failed(f'no node of {where.where} answers')


def make_bus() -> None:
    """Make the site's bus and the roles of its control and agent hosts."""
    settings = messaging_opts.load()
    access = admin_settings()
    if not access.username:
        admin.create(settings)
        return
    roles = [
        admin.Role(CONTROL_ROLE, told('LUC_CONTROL_PASSWORD'), 'control'),
        admin.Role(AGENT_ROLE, told('LUC_AGENT_PASSWORD'), 'agent')]
    admin.create(settings, roles, access.username, access.password)
    for role in roles:
        make_role(cql.session(access), role.name, role.password)


def make_database(database: str, role: str | None, recreate: bool) -> None:
    """Make a database's keyspaces and tables, and let its role use them."""
    access = admin_settings()
    settings = store_settings.resolve(access.username, access.password)
    session = cql.session(access)
    localities = (cassandra_schema.GLOBAL, 'at_' + settings.site)
    keyspaces = {cassandra_schema.keyspace_name(
        settings.keyspace_template, database, locality): locality
        for locality in localities}
    if recreate:
        for keyspace in keyspaces:
            session.execute(f'DROP KEYSPACE IF EXISTS {name(keyspace)}',
                            None, timeout=60.0)
    cassandra_schema.create(session, settings, keyspaces)
    if role:
        make_role(session, role, told('LUC_ROLE_PASSWORD'))
        for keyspace in keyspaces:
            for right in ('SELECT', 'MODIFY'):
                session.execute(
                    f'GRANT {right} ON KEYSPACE {keyspace} TO {role}', None)


def drop(listed: pathlib.Path) -> None:
    """Drop the keyspaces and roles that this host made."""
    session = admin_session()
    template = store_settings.host_config().database.keyspace_template
    site = config.load().site
    keyspaces, roles = [], []
    if listed.exists():
        for line in sorted(set(listed.read_text().splitlines())):
            database, role = line.split()
            roles.append(role)
            keyspaces += [
                cassandra_schema.keyspace_name(template, database, locality)
                for locality in (cassandra_schema.GLOBAL, 'at_' + site)]
    keyspaces.append(bus_schema.keyspace(messaging_opts.load()))
    for keyspace in keyspaces:
        session.execute(f'DROP KEYSPACE IF EXISTS {name(keyspace)}', None,
                        timeout=60.0)
    if admin_settings().username:
        for role in sorted({*roles, CONTROL_ROLE, AGENT_ROLE}):
            session.execute(f'DROP ROLE IF EXISTS {name(role)}', None)


def site_of(settings: cql.CqlSettings) -> str:
    """Return the datacenter of the first contact point that answers.

    :raises Failed: none does.
    """
    module = cqldriver.load()
    from cassandra import auth
    from cassandra import policies
    login = settings.username and auth.PlainTextAuthProvider(
        settings.username, settings.password or '')
    cluster = module.Cluster(
        settings.contact_points, settings.port, auth_provider=login or None,
        protocol_version=4, connection_class=cqldriver.connection_class(),
        execution_profiles={
            module.EXEC_PROFILE_DEFAULT: module.ExecutionProfile(
                policies.WhiteListRoundRobinPolicy(settings.contact_points))})
    try:
        return cluster.connect().execute(
            'SELECT data_center FROM system.local').one()[0]
    except module.NoHostAvailable as exc:
        raise Failed(f'Cassandra at {settings.where}: {exc}') from exc
    finally:
        cluster.shutdown()


def seeds_settings(seeds: str) -> cql.CqlSettings:
    """Return how the administrator reaches the cluster to join.

    :param seeds: addresses of some of its nodes.
    """
    there = dataclasses.replace(
        admin_settings(), contact_points=tuple(seeds.split(',')))
    return dataclasses.replace(there, site=site_of(there))


def set_up_node(seeds: str) -> None:
    """Secure a new node, or have the site of one that joined take part.

    :param seeds: addresses of the cluster that it joined; empty: its own.
    """
    settings = admin_settings()
    if seeds:
        there = seeds_settings(seeds)
        if there.site != settings.site:
            join(cql.session(there), settings.site, own_replicas())
        return
    if settings.username:
        make_admin(settings)
    settle(cql.session(settings))


def own_replicas() -> int:
    """Return how many replicas the own site is to have."""
    conf = config.load()
    return int(conf.cassandra.replication.get(conf.site, 1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    actions = parser.add_subparsers(dest='action', required=True)
    actions.add_parser('node').add_argument('--seeds', default='')
    actions.add_parser('before-join').add_argument(
        '--seeds', required=True)
    actions.add_parser('bus')
    database = actions.add_parser('database')
    database.add_argument('name')
    database.add_argument('--role')
    database.add_argument('--recreate', action='store_true')
    actions.add_parser('drop').add_argument('file', type=pathlib.Path)
    actions.add_parser('leave').add_argument('--gone-from', default='')
    return parser


def _run(args: argparse.Namespace) -> None:
    if args.action == 'node':
        set_up_node(args.seeds)
    elif args.action == 'before-join':
        there = seeds_settings(args.seeds)
        settle(cql.session(there))
        print(there.site)
    elif args.action == 'bus':
        make_bus()
    elif args.action == 'database':
        make_database(args.name, args.role, args.recreate)
    elif args.action == 'drop':
        drop(args.file)
    else:
        session = admin_session()
        if args.gone_from:
            session = cql.session(seeds_settings(args.gone_from))
        for keyspace in leave(session, config.load().site,
                              bool(args.gone_from)):
            print(f'{keyspace}: without this site')


def main(argv: list[str] | None = None) -> int:
    """Run one action; return the exit status."""
    try:
        _run(_parser().parse_args(argv))
    except (Failed, cql.Error, errors.Error) as exc:
        print(f'luc-drivers: {exc}', file=sys.stderr)
        return 1
    finally:
        cql.close_all()
    return 0


if __name__ == '__main__':
    sys.exit(main())
