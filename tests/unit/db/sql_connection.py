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

"""A connection to an empty database, for the DB-API driver's tests."""

import uuid

from luc_drivers.db import dbapi
from luc_drivers.db import engine

_SCHEMA = """
CREATE TABLE p (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name VARCHAR(20) NOT NULL, uuid VARCHAR(36) UNIQUE, n INTEGER DEFAULT 3);
CREATE TABLE k (id INTEGER NOT NULL PRIMARY KEY, v TEXT,
    pid INTEGER CONSTRAINT fk REFERENCES p (id) ON DELETE CASCADE);
CREATE TABLE r (id INTEGER NOT NULL PRIMARY KEY,
    pid INTEGER, FOREIGN KEY (pid) REFERENCES p (id));
CREATE TABLE m (a VARCHAR(9), b VARCHAR(9), PRIMARY KEY (a, b));
CREATE INDEX k_pid ON k (pid)
"""


class ConnectionTests:
    """Mixed into a TestCase that says where: ``options()``."""

    def options(self):
        """Return the options of dbapi.connect that name the store."""
        raise NotImplementedError

    def setUp(self):
        super().setUp()
        self.private = uuid.uuid4().hex
        self.addCleanup(engine.drop_private, self.private)
        self.connection = self.connect()
        self.connection.executescript(_SCHEMA)

    def connect(self, **options):
        connection = dbapi.connect(
            'sqltest', fresh='1', private=self.private,
            **{**self.options(), **options})
        self.addCleanup(connection.close)
        return connection

    def run_sql(self, sql, parameters=(), connection=None):
        connection = connection or self.connection
        return connection.execute(sql, parameters).fetchall()

    def autocommit(self):
        connection = self.connect()
        connection.isolation_level = None
        return connection

    def filled(self):
        """Commit two parents, one with two children."""
        self.connection.executemany(
            'INSERT INTO p (name, uuid) VALUES (?, ?)',
            [('a', 'ua'), ('b', 'ub')])
        ids = dict(self.run_sql('SELECT name, id FROM p'))
        self.connection.executemany(
            'INSERT INTO k (pid, v) VALUES (?, ?)',
            [(ids['a'], 'x'), (ids['a'], 'y')])
        self.connection.commit()
        return ids
