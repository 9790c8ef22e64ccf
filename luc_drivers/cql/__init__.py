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

"""CQL for the database layer and the matchmaker: one session per process.

::

    session = cql.session(cql.host_settings())
    rows = session.execute('SELECT … WHERE a = ?', (1,))
    results = session.execute_many([cql.Request(…), …])    # one round

Statements with parameters are prepared once and cached by their text, and
must name their keyspace.  Within its time-out a request is sent again if it
is marked idempotent, or had certainly no effect; nothing else ever is.

The driver (cassandra-driver) is asked for what is rare: who the nodes are,
and schema.  Requests go over connections of our own, in the caller's thread.
"""

from luc_drivers.cql.errors import Error
from luc_drivers.cql.errors import not_begun
from luc_drivers.cql.errors import Refused
from luc_drivers.cql.errors import Unavailable
from luc_drivers.cql.errors import Unknown
from luc_drivers.cql.frames import UNSET
from luc_drivers.cql.sessions import all_sessions
from luc_drivers.cql.sessions import close_all
from luc_drivers.cql.sessions import Request
from luc_drivers.cql.sessions import Session
from luc_drivers.cql.sessions import session
from luc_drivers.cql.settings import CqlSettings
from luc_drivers.cql.settings import from_options
from luc_drivers.cql.settings import host_settings

__all__ = (
    'all_sessions', 'close_all', 'CqlSettings', 'Error', 'from_options',
    'host_settings', 'not_begun', 'Refused', 'Request', 'Session', 'session',
    'Unavailable', 'Unknown', 'UNSET')
