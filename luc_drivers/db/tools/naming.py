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

"""Databases by the names that operators give them."""

from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.engine import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from luc_drivers.db import dbapi
from luc_drivers.db import engine
from luc_drivers.db import errors
from luc_drivers.db.catalog import address
from luc_drivers.db.store import settings as store_settings

SCHEME = 'sqlite+luc'


def url_of(name: str) -> URL:
    """Return the URL of a database.

    :param name: a database's name, found by the host's file, or any
        connection URL that SQLAlchemy knows.
    :raises OperationalError: it is neither.
    """
    try:
        return make_url(name if '://' in name else f'{SCHEME}:///{name}')
    except (ArgumentError, ValueError) as exc:
        raise errors.OperationalError(
            f'{name!r} is neither the name of a database nor a connection '
            f'URL: {exc}') from exc


def connect(name: str) -> dbapi.Connection:
    """Return a connection to a database of ours that commits by itself.

    :raises OperationalError: it is not one of ours; see also url_of().
    """
    url = url_of(name)
    if url.drivername != SCHEME:
        raise errors.OperationalError(
            f'{url.render_as_string()} is no {SCHEME} database')
    try:
        arguments, options = url.get_dialect()().create_connect_args(url)
    except ArgumentError as exc:
        raise errors.OperationalError(str(exc)) from exc
    connection: dbapi.Connection = dbapi.connect(*arguments, **options)
    connection.isolation_level = None
    return connection


def database(name: str) -> engine.Database:
    """Return a database of ours; like connect()."""
    return connect(name).database


def sqlalchemy(name: str) -> Engine:
    """Return an SQLAlchemy engine for a database of any kind."""
    return create_engine(url_of(name))


def localities(one: engine.Database) -> list[str]:
    """Return the localities that a database has, its own site's first.

    Of other sites those that the host's file gives replicas.
    """
    sites = dict.fromkeys(
        [one.settings.site, *(s for s, _ in one.settings.replication)])
    return [address.GLOBAL, *('at_' + site for site in sites)]


def names(**query: Any) -> list[str]:
    """Return the names of all databases in the host's store, sorted.

    :param query: a URL's parameters that choose another store or path.
    """
    settings = store_settings.resolve(query=query)
    return store_settings.databases(settings)
