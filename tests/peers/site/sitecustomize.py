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


"""Put our dialect in stock SQLite's place, for suites that name it.

Some suites build engines on ``sqlite://`` whatever the configuration says.
SQLAlchemy's registry beats the built-in name, so these reach us as well:
an in-memory URL becomes a fresh name space of the store that the runner
names, a file one that all engines on it share while the process lives.
"""

import os

from tests.peers import ldap_stand_in

ldap_stand_in.install()

if os.environ.get('LUC_PEERS_STORE'):
    from sqlalchemy.dialects import registry

    registry.register('sqlite', 'tests.peers.stand_in', 'StandIn')
    registry.register('sqlite.pysqlite', 'tests.peers.stand_in', 'StandIn')

if os.environ.get('LUC_PEERS_FORGET'):
    from sqlalchemy.dialects import sqlite

    from tests.peers import stand_in

    stand_in.forget_when_disposed()
    # cinder compares an engine's dialect with this name
    sqlite.dialect = stand_in.StandIn

if os.environ.get('LUC_PEERS_IGNORE_WARNING'):
    from tests.peers import warned

    warned.ignore(os.environ['LUC_PEERS_IGNORE_WARNING'])

if os.environ.get('LUC_PEERS_CALLS'):
    from tests.peers import calls

    calls.start(os.environ['LUC_PEERS_CALLS'])
