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

"""The DB-API driver's tests, the same on every store."""

import sqlalchemy as sa
from sqlalchemy import orm

from luc_drivers.db import dbapi
from tests.unit.db.sql_constraints import ConstraintTests
from tests.unit.db.sql_pages import PageTests
from tests.unit.db.sql_transactions import TransactionTests
from tests.unit.db.sql_values import ValueTests


class SqlTests(ValueTests, ConstraintTests, TransactionTests, PageTests):
    """What SQL does; here: scripts, functions, SQLAlchemy."""

    def test_dump_and_script(self):
        self.filled()
        text = '\n'.join(self.connection.iterdump())
        other = dbapi.connect(
            'second', fresh='1', private=self.private, **self.options())
        self.addCleanup(other.close)
        other.executescript(text)
        self.assertEqual(
            text.removeprefix('PRAGMA foreign_keys=OFF;\n'),
            '\n'.join(other.iterdump()))
        self.assertIn("'ua'", text)

    def test_functions_of_the_connection(self):
        self.filled()
        self.connection.create_function('regexp', 2, lambda p, v: v == 'b')
        self.connection.create_function('twice', 1, lambda v: 2 * v)
        self.assertEqual([('b', 6)], self.run_sql(
            "SELECT name, twice(n) FROM p WHERE name REGEXP 'x'"))
        self.assertEqual([('a',)], self.run_sql(
            "SELECT name FROM p WHERE name REGEXP '^a$'", (),
            self.connect()))

    def test_orm(self):
        query = '&'.join(f'{k}={v}' for k, v in self.options().items()
                         if k not in ('host', 'port'))
        host = self.options().get('host') or ''
        port = self.options().get('port')
        base = orm.declarative_base()

        class Thing(base):
            __tablename__ = 'thing'
            id = sa.Column(sa.Integer, primary_key=True)
            name = sa.Column(sa.String(9), unique=True)
            size = sa.Column(sa.Integer)

        made = sa.create_engine('sqlite+luc://%s%s/orm?fresh=1&%s' % (
            host, f':{port}' if port else '', query))
        self.addCleanup(made.dispose)
        base.metadata.create_all(made)
        with orm.Session(made) as session:
            session.add_all([Thing(name=str(n), size=n) for n in range(5)])
            session.commit()
            session.add(Thing(name='1'))
            self.assertRaises(sa.exc.IntegrityError, session.flush)
            session.rollback()
            self.assertEqual(10, session.scalar(
                sa.select(sa.func.sum(Thing.size))))
