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

"""Our dialect for plain ``sqlite://`` URLs (see site/sitecustomize.py)."""

import os
import urllib.parse

import sqlalchemy as sa

from luc_drivers.db import dialect


class StandIn(dialect.LucDialect):
    """LucDialect that takes stock SQLite's URLs."""

    def create_connect_args(self, url: sa.URL) -> tuple[list, dict]:
        query = dict(urllib.parse.parse_qsl(os.environ['LUC_PEERS_QUERY']))
        name = url.database or ':memory:'
        if 'store' not in url.query:
            if name == ':memory:' or 'mode=memory' in name:
                url = url.set(database='private', query=query)
            else:
                url = url.set(database='file', query={
                    'store': 'embedded', 'path': name + '.luc'})
        return super().create_connect_args(url)
