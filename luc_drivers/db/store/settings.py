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

"""From URL and host's file to a store.

The URL wins over the file, the file over the defaults.
"""

from collections.abc import Mapping
import functools
from importlib import metadata
import os
import re
from typing import Any

from oslo_config import cfg
from oslo_utils import strutils
from stevedore import driver
from stevedore import exception

from luc_drivers import config
from luc_drivers.db import errors
from luc_drivers.db import opts
from luc_drivers.db.store import base

NAMESPACE = 'luc_drivers.stores'
#: URL parameters that are read here; the dialect has others
PARAMETERS = frozenset(('store', 'path', 'fresh', 'keyspace_template'))

_HOST = re.compile(r'^(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::(\d+))?$')


def host_config() -> cfg.ConfigOpts:
    """Return the host's configuration with the database options on it.

    :raises luc_drivers.db.errors.OperationalError: the file named by
        LUC_CONFIG is missing or wrong; the message names it.
    """
    try:
        conf = config.load()
        conf.register_opts(opts.store_opts + opts.transaction_opts,
                           group=opts.GROUP)
        # values are checked when they are read
        for group, options in config.list_opts() + opts.list_opts():
            for option in options:
                getattr(conf[group] if group else conf, option.dest)
    except (cfg.Error, ValueError) as exc:
        raise errors.OperationalError(
            f'configuration file {config.path()} (LUC_CONFIG names '
            f'another): {exc}') from exc
    return conf


def resolve(username: str | None = None, password: str | None = None,
            hosts: str | None = None, port: int | str | None = None,
            query: Mapping[str, str] | None = None,
            url: str = '') -> base.StoreSettings:
    """Return the settings that a URL and the host's file amount to.

    :param hosts: comma-separated addresses; None or '' = the host's file.
    :param query: the URL's parameters; those that are not PARAMETERS are
        somebody else's.
    :param url: the URL without its password, for messages.
    :raises luc_drivers.db.errors.OperationalError: a value makes no sense,
        in the URL or in the file; the message names it.
    """
    conf = host_config()
    query = query or {}
    points, url_port = _contact_points(hosts, url)
    path = query.get('path') or conf.database.path or os.path.join(
        conf.state_path, 'databases')
    cassandra = conf.cassandra
    return base.StoreSettings(
        kind=query.get('store') or conf.database.store,
        site=conf.site,
        url=url,
        contact_points=points or tuple(cassandra.contact_points),
        port=_port(url_port or port, url) or cassandra.port,
        # a URL with a user of its own does not borrow the file's password
        username=username or cassandra.username,
        password=password if username else cassandra.password,
        tls=cassandra.tls,
        tls_ca_file=cassandra.tls_ca_file,
        tls_cert_file=cassandra.tls_cert_file,
        tls_key_file=cassandra.tls_key_file,
        connect_timeout=cassandra.connect_timeout,
        request_timeout=cassandra.request_timeout,
        speculative_delay=cassandra.speculative_delay,
        replication=_replication(cassandra.replication),
        keyspace_template=_template(query.get(
            'keyspace_template', conf.database.keyspace_template)),
        path=path,
        fresh=_flag('fresh', query.get('fresh', '')),
        fresh_ttl=conf.database.fresh_ttl)


def _template(template: str) -> str:
    try:
        template.format(database='d', locality='l')
    except (AttributeError, IndexError, KeyError, ValueError) as exc:
        raise errors.OperationalError(
            f'keyspace_template {template!r}: {{database}} and {{locality}} '
            'are all that it may name') from exc
    if '{locality}' not in template:
        raise errors.OperationalError(
            f'keyspace_template {template!r} must contain {{locality}}')
    return template


def _contact_points(hosts: str | None,
                    url: str) -> tuple[tuple[str, ...], str | None]:
    """Split "host1,host2:port"; return (addresses, port or None)."""
    points: list[str] = []
    port = None
    for part in filter(None, (hosts or '').split(',')):
        found = _HOST.match(part.strip())
        if not found:
            raise errors.OperationalError(
                f'connection URL {url}: {part!r} is no host or host:port')
        points.append(found[1].strip('[]'))
        if found[2]:
            if port not in (None, found[2]):
                raise errors.OperationalError(
                    f'connection URL {url}: all hosts must have one port')
            port = found[2]
    return tuple(points), port


def _port(port: int | str | None, url: str) -> int | None:
    if not port:
        return None
    try:
        number = int(port)
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise errors.OperationalError(
            f'connection URL {url}: {port!r} is no port')
    return number


def _replication(replicas: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    found = []
    for site, count in replicas.items():
        if not str(count).isdigit() or int(count) < 1:
            raise errors.OperationalError(
                f'{config.path()}, [cassandra] replication: {site}:{count} '
                'is not a site and a number of replicas, as in site1:3')
        found.append((site, int(count)))
    return tuple(found)


def _flag(name: str, value: str) -> bool:
    try:
        return strutils.bool_from_string(value or 'no', strict=True)
    except ValueError as exc:
        raise errors.OperationalError(
            f'connection URL: {name}={value}: neither yes nor no') from exc


def _load_failed(manager: Any, entry_point: Any,
                 exc: BaseException) -> None:
    """Have stevedore raise what went wrong instead of "no such driver"."""
    del manager, entry_point
    raise exc


def open_store(database: str, settings: base.StoreSettings) -> base.Store:
    """Return a store of the kind that the settings name.

    It connects on first use.

    :raises luc_drivers.db.errors.OperationalError: there is no such kind;
        the message names those that there are.
    """
    return _store_class(settings.kind)(database, settings)


def databases(settings: base.StoreSettings) -> list[str]:
    """Return the names of all databases in a store, sorted.

    :raises luc_drivers.db.errors.OperationalError: as open_store().
    :raises luc_drivers.db.errors.StoreUnavailable: it does not answer.
    """
    return sorted(_store_class(settings.kind).databases(settings))


@functools.cache
def _store_class(kind: str) -> type[base.Store]:
    try:
        manager: Any = driver.DriverManager(
            NAMESPACE, kind, on_load_failure_callback=_load_failed)
    except exception.NoMatches as exc:
        known = sorted({e.name for e in metadata.entry_points(
            group=NAMESPACE)})
        raise errors.OperationalError(
            f'unknown store {kind!r} (store= in the connection URL, '
            'or [database] store in luc.conf): there are '
            + ', '.join(known)) from exc
    return manager.driver
