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

"""Where a service's databases lie in each of the stores, and its workers."""

import json
import pathlib
from typing import Any

from luc_drivers.db.tools import naming
from tests.bench import remote
from tests.bench.db import servers

STORES = ('mariadb', 'embedded', 'cassandra')
SERVICES = {
    'nova': {'cell': 'nova_cell1', 'api': 'nova_api'},
    'glance': {'main': 'glance'},
    'keystone': {'main': 'keystone'},
    'placement': {'main': 'placement'},
    'neutron': {'main': 'neutron'},
}


class Places:
    """The stores' servers, and the URLs of databases of one size.

    :param folder: the benchmark's state.
    """

    def __init__(self, folder: pathlib.Path, stores: tuple[str, ...]) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mariadb = servers.MariaDB(self.folder / 'mariadb')
        self.cassandra: Any = None
        #: of a Cassandra that somebody else runs
        self.endpoint: tuple[str, int] | None = None
        if 'mariadb' in stores:
            self.mariadb.start()
        if 'cassandra' in stores:
            self.cassandra = servers.start_cassandra(
                self.folder / 'cassandra')
        (self.folder / 'embedded').mkdir(exist_ok=True)

    def urls(self, service: str, store: str, instances: int
             ) -> dict[str, str]:
        """Return the connection URLs of a service's databases."""
        return {key: self._url(store, f'{name}_{instances}')
                for key, name in SERVICES[service].items()}

    def _url(self, store: str, name: str) -> str:
        if store == 'mariadb':
            return (f'mysql+pymysql://bench:bench@{self.mariadb.host}'
                    f'/{name}?charset=utf8mb4')
        if store == 'embedded':
            return (f'sqlite+luc:///{name}?store=embedded'
                    f'&path={self.folder}/embedded')
        if self.endpoint is not None:
            # and leave nothing behind
            host, port = self.endpoint
            return f'sqlite+luc://{host}:{port}/{name}?fresh=1'
        host, port = self.cassandra.endpoint
        return f'sqlite+luc://{host}:{port}/{name}'

    def create(self, service: str, store: str, instances: int) -> None:
        """Empty databases, and make them where a store does not do so by
        itself.
        """
        if store != 'mariadb':
            for url in self.urls(service, store, instances).values():
                database = naming.database(url)
                # made in the store, if it was not there
                database.catalog.refresh()
                database.drop()
        else:
            for name in SERVICES[service].values():
                self.mariadb.sql(
                    f'DROP DATABASE IF EXISTS {name}_{instances}; '
                    f'CREATE DATABASE {name}_{instances}')

    def server_cpu(self, store: str) -> float:
        """Return the CPU seconds that a store's server has used."""
        if store == 'mariadb':
            return servers.cpu(self.mariadb.pid)
        if store == 'cassandra':
            return sum(servers.cpu(node.pid)
                       for node in self.cassandra.status() if node.pid)
        return 0.0


def worker(places: Places, service: str, store: str, instances: int
           ) -> remote.Remote:
    """Start a worker process; see worker.Worker."""
    arguments = {
        'service': service, 'store': store, 'instances': instances,
        'urls': places.urls(service, store, instances)}
    return remote.Remote(
        f'{service} over {store}', 'tests.bench.db.worker',
        [json.dumps(arguments)], {'PYTHONHASHSEED': '0'},
        places.folder / f'{service}-{store}-{instances}.log')
