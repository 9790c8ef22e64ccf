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

"""What every cloud has besides the services: memcached."""

import getpass

from luc_drivers.onebox import daemons
from luc_drivers.onebox import settings as onebox_settings


def memcached(settings: onebox_settings.Settings) -> daemons.Daemon:
    """Return memcached: tokens are validated once, not at each request."""
    port = settings.port('memcached')
    return daemons.Daemon(
        'memcached',
        ('memcached', '-u', getpass.getuser(), '-l', '127.0.0.1', '-p',
         str(port), '-U', '0', '-m', '64'),
        port=port, ready=lambda: daemons.listens('127.0.0.1', port))
