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


"""One half of ours, the other half of the baseline.

``database-only``: our databases, RabbitMQ.  ``messaging-only``: MariaDB, our
transport.
"""

import pathlib
from types import ModuleType

from luc_drivers.onebox import daemons
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.backends import baseline
from luc_drivers.onebox.backends import luc

_BOTH: tuple[ModuleType, ...] = (luc, baseline)


def _database(settings: onebox_settings.Settings) -> ModuleType:
    return luc if settings.backend == 'database-only' else baseline


def _transport(settings: onebox_settings.Settings) -> ModuleType:
    return baseline if settings.backend == 'database-only' else luc


def db_url(settings: onebox_settings.Settings, database: str) -> str:
    """Return a database's connection URL."""
    return _database(settings).db_url(settings, database)


def transport_url(settings: onebox_settings.Settings, vhost: str = '') -> str:
    """Return the transport URL of the top level ('') or of a cell."""
    return _transport(settings).transport_url(settings, vhost)


def env(settings: onebox_settings.Settings, service: str) -> dict[str, str]:
    """Return the environment of one service's processes."""
    return luc.env(settings, service)


def write_config(settings: onebox_settings.Settings) -> None:
    """Write the files of both."""
    for backend in _BOTH:
        backend.write_config(settings)


def start(settings: onebox_settings.Settings, environment: dict[str, str],
          progress: progress_module.Progress) -> None:
    """Start Cassandra, if it is used, and MariaDB or RabbitMQ.

    :raises errors.OneboxError: one can't be had.
    """
    for backend in _BOTH:
        backend.start(settings, environment, progress)


def stop(settings: onebox_settings.Settings,
         progress: progress_module.Progress) -> None:
    """Stop what was started."""
    for backend in _BOTH:
        backend.stop(settings, progress)


def kill(settings: onebox_settings.Settings, name: str) -> None:
    """``kill -9`` one of the servers."""
    for backend in _BOTH:
        backend.kill(settings, name)


def names(settings: onebox_settings.Settings) -> list[str]:
    """Return the names of the servers."""
    return [name for backend in _BOTH for name in backend.names(settings)]


def logs(settings: onebox_settings.Settings, name: str) -> list[pathlib.Path]:
    """Return the log files of one of the servers."""
    backend = luc if name in luc.names(settings) else baseline
    return backend.logs(settings, name)


def status(settings: onebox_settings.Settings) -> list[daemons.State]:
    """Return how the servers are found."""
    return [state for backend in _BOTH for state in backend.status(settings)]


def describe(settings: onebox_settings.Settings) -> list[str]:
    """Return lines that show where databases and messages are."""
    return [*_database(settings).databases(settings),
            *_transport(settings).endpoints(settings)]
