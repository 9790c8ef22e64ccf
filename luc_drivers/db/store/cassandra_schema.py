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

"""Keyspaces and tables of the Cassandra store, and how they are made.

A locality is a keyspace.  Each has the tables ``rows`` and ``idx``; the
global one also has the database's catalog, leases and sequences.
"""

from collections.abc import Iterable
import hashlib
import re

from luc_drivers import cql
from luc_drivers.db import errors
from luc_drivers.db.store import base

GLOBAL = 'global'
#: the keyspace that all fresh name spaces share
FRESH = 'luc_fresh'
#: Cassandra's limit of a keyspace's name
_MAX_NAME = 48

#: seconds that removed index entries are remembered (rule 33)
INDEX_GRACE = 3600

_ROWS = """CREATE TABLE IF NOT EXISTS {keyspace}.rows (
    db text, grp blob, tbl int, pk blob,
    ver blob, doc blob, hist blob, moved blob, lock_tx blob, lock blob,
    PRIMARY KEY ((db, grp), tbl, pk))
    WITH comment = 'rows, by entity group; written by conditions only'"""
_IDX = """CREATE TABLE IF NOT EXISTS {keyspace}.idx (
    db text, tbl int, idx int, first blob, bucket int, rest blob, ref blob,
    PRIMARY KEY ((db, tbl, idx, first, bucket), rest, ref))
    WITH gc_grace_seconds = {grace}
    AND comment = 'index entries: value to row'"""
_CATALOG = """CREATE TABLE IF NOT EXISTS {keyspace}.catalog (
    db text, version bigint, entry blob, PRIMARY KEY (db, version))
    WITH comment = 'the log of schema changes'"""
_LEASES = """CREATE TABLE IF NOT EXISTS {keyspace}.leases (
    db text, holder text, PRIMARY KEY (db, holder))
    WITH gc_grace_seconds = {grace}
    AND comment = 'processes that use a database now'"""
_SEQUENCES = """CREATE TABLE IF NOT EXISTS {keyspace}.sequences (
    db text, name text, next bigint, PRIMARY KEY ((db, name)))
    WITH comment = 'the next number of each sequence'"""

_TABLES = {'rows': _ROWS, 'idx': _IDX}
_GLOBAL_TABLES = {**_TABLES, 'catalog': _CATALOG, 'leases': _LEASES,
                  'sequences': _SEQUENCES}


def keyspace_name(template: str, database: str, locality: str) -> str:
    """Return the keyspace of a database's locality.

    Names that Cassandra does not take are made so that it does; two
    databases in one keyspace are no problem, since keys hold the name.
    """
    name = template.format(database=database, locality=locality).lower()
    name = re.sub(r'[^a-z0-9_]', '_', name)
    if not name[:1].isalpha():
        name = 'luc_' + name
    if len(name) > _MAX_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f'{name[:_MAX_NAME - 9]}_{digest}'
    return name


def level(locality: str) -> str:
    """Return the consistency level of plain reads and writes, and of
    commits, in a locality.

    A site's keyspace has its replicas there, so QUORUM is what LOCAL_QUORUM
    is at that site, and works from elsewhere, too.
    """
    return 'LOCAL_QUORUM' if locality == GLOBAL else 'QUORUM'


def replication(settings: base.StoreSettings, locality: str,
                sites: Iterable[str]) -> dict[str, int]:
    """Return the replicas per site of a locality's new keyspace.

    :param sites: the datacenters of the cluster.
    :raises luc_drivers.db.errors.OperationalError: the settings name no
        replicas for the locality's site.
    """
    configured = dict(settings.replication)
    if locality == GLOBAL:
        return configured or {site: 1 for site in sorted(sites)}
    site = locality.removeprefix('at_')
    if not configured:
        return {site: 1}
    if site not in configured:
        raise errors.OperationalError(
            f'[cassandra] replication names no replicas for site {site!r}: '
            + ', '.join(f'{s}:{n}' for s, n in configured.items()))
    return {site: configured[site]}


def create(session: cql.Session, settings: base.StoreSettings,
           keyspaces: dict[str, str]) -> None:
    """Create keyspaces and tables that are missing.

    :param keyspaces: locality by name of the keyspace.
    :raises luc_drivers.cql.Error: see there.
    :raises luc_drivers.db.errors.OperationalError: see `replication`, or
        they are missing and the role may not create them.
    """
    found = session.execute(
        'SELECT keyspace_name, table_name FROM system_schema.tables '
        'WHERE keyspace_name IN ?', (list(keyspaces),), 'LOCAL_ONE',
        idempotent=True)
    present = set(found)
    statements = []
    for keyspace, locality in keyspaces.items():
        tables = _GLOBAL_TABLES if locality == GLOBAL else _TABLES
        missing = [t for t in tables if (keyspace, t) not in present]
        if not missing:
            continue
        if len(missing) == len(tables):
            statements.append(_create_keyspace(
                keyspace, replication(settings, locality, session.sites)))
        for table in missing:
            statement = tables[table].format(
                keyspace=keyspace, grace=INDEX_GRACE)
            if keyspace == FRESH:
                statement += (
                    f' AND default_time_to_live = {settings.fresh_ttl}')
            statements.append(statement)
    if statements:
        try:
            session.ddl(statements)
        except cql.Refused as exc:
            raise errors.OperationalError(
                f'{exc}: the tables of keyspaces {", ".join(keyspaces)} are '
                f'missing, and role {settings.username!r} ([cassandra] '
                'username) can\'t create them; have a role that may run this '
                'once, or grant CREATE on all keyspaces') from exc
    session.learn(keyspaces)


def _create_keyspace(keyspace: str, replicas: dict[str, int]) -> str:
    places = ''.join(f", '{site}': {count}"
                     for site, count in replicas.items())
    return (f'CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = '
            f"{{'class': 'NetworkTopologyStrategy'{places}}}")
