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

"""A database that one test has for itself."""

from collections.abc import Sequence
import tempfile
from typing import Any
import uuid

import sqlalchemy as sa
import testtools

from luc_drivers.db import engine
from luc_drivers.db.store import base
from luc_drivers.db.transaction import session


def begin_explicitly(engine: sa.Engine) -> None:
    """Send BEGIN, as oslo.db does: else reads are not in the transaction."""
    @sa.event.listens_for(engine, 'connect')
    def connected(dbapi_connection: Any, record: Any) -> None:
        dbapi_connection.isolation_level = None

    @sa.event.listens_for(engine, 'begin')
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql('BEGIN')


def engine_of(test: testtools.TestCase, name: str) -> sa.Engine:
    """Return an engine, as a service has one, on a file of the test's own.

    :param name: of the database, which chooses its profile.
    """
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    made = sa.create_engine(
        f'sqlite+luc:///{name}?store=embedded&path={folder.name}/db')
    test.addCleanup(made.dispose)
    begin_explicitly(made)
    return made


class PrivateDatabaseTestCase(testtools.TestCase):
    """Embedded, and gone with the test; ``session`` is open.

    :cvar NAME: of the database, which chooses its profile.
    """

    NAME = 'shop'

    def setUp(self) -> None:
        super().setUp()
        private = uuid.uuid4().hex
        self.database = engine.database(
            self.NAME, base.StoreSettings(kind='embedded', fresh=True),
            private=private)
        self.addCleanup(engine.drop_private, private)
        self.session = self.open()

    def open(self, **options: Any) -> session.Session:
        one = session.Session(self.database, **options)
        self.addCleanup(one.close)
        return one

    def rows(self, sql: str, parameters: Sequence = (),
             one: session.Session | None = None) -> list:
        """Run a statement; return its rows."""
        return (one or self.session).execute(sql, parameters)[1].rows
