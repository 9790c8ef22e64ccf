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
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.sqlite import pysqlite

from luc_drivers.db import dialect
from luc_drivers.db import engine as engines
from luc_drivers.db.profiles import registry


class StandIn(dialect.StandInDialect):
    """StandInDialect on the store that the runner names, with the profile
    that the service's databases have in a cloud.
    """

    supports_statement_cache = True

    @classmethod
    def get_pool_class(cls, url: sa.URL) -> type[sa.Pool]:
        # as SQLite's: of a database in memory there is one connection, so a
        # PRAGMA lasts
        return pysqlite.SQLiteDialect_pysqlite.get_pool_class(url)

    def create_connect_args(self, url: sa.URL) -> Any:
        arguments, options = super().create_connect_args(url)
        profile = os.environ.get('LUC_PEERS_PROFILE')
        self._named_constraints = registry.find(
            arguments[0], profile).named_constraints
        return arguments, {
            **options, 'store': os.environ['LUC_PEERS_STORE'],
            'profile': profile}


def forget(engine: sa.Engine) -> None:
    """Drop an engine's private database."""
    if isinstance(engine.dialect, dialect.LucDialect):
        engines.drop_private(engine.dialect._private)


def forget_when_disposed() -> None:
    """Have engines lose their private database with their connections.

    So does SQLite in memory, and a suite may count on it.
    """
    event.listen(sa.Engine, 'engine_disposed', forget)
