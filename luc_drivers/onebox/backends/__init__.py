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

"""What the cloud's data and messages run on: ours, or the baseline.

All modules offer the same functions; :func:`of` picks one.
"""

from types import ModuleType

from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.backends import baseline
from luc_drivers.onebox.backends import half
from luc_drivers.onebox.backends import luc


def of(settings: onebox_settings.Settings) -> ModuleType:
    """Return the backend module of a cloud.

    It has ``start(settings, environment, progress)``: bring its servers up
    (those that don't run), with accounts; ``stop(settings, progress)``;
    ``names(settings)`` of its servers, ``kill(settings, name)``,
    ``logs(settings, name)``; ``status(settings)``;
    ``write_config(settings)``; ``db_url(settings, database)`` and
    ``transport_url(settings, vhost)``; ``env(settings, service)``: what is
    added to the environment of one service's processes;
    ``describe(settings)``: lines that show where databases and messages are.
    """
    return {'luc': luc, 'baseline': baseline}.get(settings.backend, half)
