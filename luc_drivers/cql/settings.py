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

"""Where and how to connect."""

import dataclasses
from typing import Any

from luc_drivers import config


@dataclasses.dataclass(frozen=True)
class CqlSettings:
    """Where and how to connect; the options of ``[cassandra]``.

    :ivar site: the datacenter whose nodes are talked to.
    """

    contact_points: tuple[str, ...] = ('127.0.0.1',)
    port: int = 9042
    site: str = 'site1'
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    tls: bool = False
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None
    connect_timeout: float = 10.0
    request_timeout: float = 10.0
    speculative_delay: float = 1.0

    @property
    def where(self) -> str:
        """Return the contact points, for messages."""
        return ', '.join(f'{p}:{self.port}' for p in self.contact_points)


def host_settings() -> CqlSettings:
    """Return the settings of the host's file."""
    conf = config.load()
    return from_options(conf.cassandra, site=conf.site)


def from_options(options: Any, **more: Any) -> CqlSettings:
    """Return settings from any object with these attributes.

    A StoreSettings, or the ``[cassandra]`` group of the host's file.
    """
    names = [f.name for f in dataclasses.fields(CqlSettings)]
    values = {n: getattr(options, n) for n in names if n not in more}
    values['contact_points'] = tuple(values['contact_points'])
    return CqlSettings(**values, **more)
