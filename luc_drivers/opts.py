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

"""All options of luc_drivers, for oslo-config-generator."""

from luc_drivers import config
from luc_drivers.db import opts as db_opts
from luc_drivers.messaging import opts as messaging_opts


def list_opts() -> list:
    """Return (group, options) pairs: the entry point of oslo.config.opts."""
    return (config.list_opts() + db_opts.list_opts()
            + messaging_opts.list_opts())
