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

"""Bugs that services had with their databases, as checks of ours.

Those that need no service; the others are in test_past_bugs_services.
"""

import datetime
import threading
from typing import Any
import uuid

from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import engines
from oslo_db.sqlalchemy import utils
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.orm import exc as orm_exc


class Base(orm.DeclarativeBase):
    pass


class Node(Base):
    __tablename__ = 'nodes'
    id = sa.Column(sa.Integer, primary_key=True)
    uuid = sa.Column(sa.String(36), unique=True)
    host = sa.Column(sa.String(64), index=True)
    name = sa.Column(sa.String(64))
    seen = sa.Column(sa.DateTime)
    __table_args__ = (sa.UniqueConstraint(
        'host', 'name', name='uniq_nodes0host0name'),)


class Kind(Base):
    __tablename__ = 'kinds'
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.String(64), unique=True)


class PastBugs:
    """``self.url`` is that of an empty database."""

    url: str
    #: rows of the long IN list that are there
    many = 10000
    addCleanup: Any
    assertEqual: Any
    assertIn: Any
    assertIsNone: Any
    assertRaises: Any

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.engine = engines.create_engine(self.url, sqlite_fk=True)
        self.addCleanup(self.engine.dispose)
        Base.metadata.create_all(self.engine)

    def insert(self, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(Node.__table__.insert().values(**values))

    def test_the_winners_row_is_seen_after_a_duplicate(self):
        # LP 1818498
        barrier = threading.Barrier(3)
        seen = []

        def run(name: str) -> None:
            for n in range(5):
                barrier.wait()
                try:
                    self.insert(uuid=f'u{n}', host=name, name=f'n{n}')
                except db_exc.DBDuplicateEntry:
                    with self.engine.begin() as connection:
                        seen.append(connection.execute(sa.select(
                            Node.host).where(Node.uuid == f'u{n}')
                            ).scalar_one_or_none())
                except db_exc.DBDeadlock:
                    pass

        threads = [threading.Thread(target=run, args=(str(n),))
                   for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], [host for host in seen if host is None])
        with self.engine.connect() as connection:
            self.assertEqual(5, connection.execute(sa.select(
                sa.func.count()).select_from(Node)).scalar_one())

    def test_a_rebound_row_is_not_deleted_by_its_old_owner(self):
        # LP 1853009: between the look and the DELETE the host changes
        self.insert(uuid='u', host='old', name='n')
        with self.engine.connect() as connection:
            transaction = connection.begin()
            self.assertEqual('old', connection.execute(
                sa.select(Node.host)).scalar_one())
            with self.engine.begin() as other:
                other.execute(sa.update(Node).values(host='new'))
            transaction.rollback()
        with self.engine.begin() as connection:
            self.assertEqual(0, connection.execute(sa.delete(Node).where(
                Node.uuid == 'u', Node.host == 'old')).rowcount)
        with self.engine.connect() as connection:
            self.assertEqual('new', connection.execute(
                sa.select(Node.host)).scalar_one())

    def test_row_counts_are_exact(self):
        # LP 1882608, 1895173
        for n in range(3):
            self.insert(uuid=f'u{n}', host='h', name=f'n{n}')
        with self.engine.begin() as connection:
            self.assertEqual(3, connection.execute(sa.update(Node).where(
                Node.host == 'h').values(host='h')).rowcount)
            self.assertEqual(0, connection.execute(sa.update(Node).where(
                Node.host == 'x').values(host='h')).rowcount)
            self.assertEqual(2, connection.execute(sa.delete(Node).where(
                Node.name.in_(['n0', 'n1', 'n7']))).rowcount)

    def test_a_stale_row_is_noticed_by_the_orm(self):
        # LP 1882608: so StaleDataError fires
        self.insert(uuid='u', host='h', name='n')
        with orm.Session(self.engine, expire_on_commit=False) as session:
            node = session.query(Node).one()
            session.commit()
            with self.engine.begin() as other:
                other.execute(sa.delete(Node))
            node.host = 'new'
            self.assertRaises(orm_exc.StaleDataError, session.flush)

    def test_a_row_that_goes_before_the_commit(self):
        # the same, later: an acknowledged row count never turns out wrong
        self.insert(uuid='u', host='h', name='n')
        with orm.Session(self.engine) as session:
            node = session.query(Node).one()
            with self.engine.begin() as other:
                other.execute(sa.delete(Node))
            node.host = 'new'
            session.flush()
            self.assertRaises(db_exc.DBDeadlock, session.commit)
        with self.engine.connect() as connection:
            self.assertIsNone(connection.execute(
                sa.select(Node.id)).scalar_one_or_none())

    def test_timestamps_keep_microseconds(self):
        # LP 1622010
        when = datetime.datetime(2026, 11, 29, 1, 2, 3, 456789)
        self.insert(uuid='u', host='h', name='n', seen=when)
        with self.engine.connect() as connection:
            self.assertEqual(when, connection.execute(
                sa.select(Node.seen)).scalar_one())
            self.assertEqual(1, connection.execute(
                sa.select(sa.func.count()).where(
                    Node.seen == when)).scalar_one())
            self.assertEqual(0, connection.execute(
                sa.select(sa.func.count()).where(
                    Node.seen < when)).scalar_one())

    def test_in_lists(self):
        # LP 1480226
        table = Kind.__table__
        with self.engine.begin() as connection:
            self.assertEqual([], list(connection.execute(
                sa.select(table.c.id).where(table.c.id.in_([])))))
        for start in range(0, self.many, 500):
            with self.engine.begin() as connection:
                connection.execute(table.insert(), [
                    {'id': n + 1, 'name': f'k{n}'}
                    for n in range(start, start + 500)])
        with self.engine.connect() as connection:
            found = [i for i, in connection.execute(
                sa.select(table.c.id).where(
                    table.c.id.in_(range(1, 10001))))]
        self.assertEqual(list(range(1, self.many + 1)), sorted(found))

    def test_odd_characters_in_filters(self):
        # LP 1546396
        names = ['a|b', 'a%b', 'a_b', 'a\\b', 'aXb']
        for n, name in enumerate(names):
            self.insert(uuid=str(n), host='h', name=name)
        with self.engine.connect() as connection:
            for name in names:
                self.assertEqual([name], [x for x, in connection.execute(
                    sa.select(Node.name).where(Node.name == name))])
            self.assertEqual(names, sorted((x for x, in connection.execute(
                sa.select(Node.name).where(Node.name.like('a_b')))),
                key=names.index))
            self.assertEqual(['a_b'], [x for x, in connection.execute(
                sa.select(Node.name).where(
                    Node.name.contains('_', autoescape=True)))])
            self.assertEqual(['a\\b'], [x for x, in connection.execute(
                sa.select(Node.name).where(
                    Node.name.contains('\\', autoescape=True)))])

    def test_pages_over_nulls(self):
        # LP 1481749: each row once, and as on stock SQLite
        stock = engines.create_engine('sqlite://')
        self.addCleanup(stock.dispose)
        Base.metadata.create_all(stock)
        rows = [dict(uuid=f'u{n}', host=None if n % 3 else f'h{n}',
                     name=f'n{n}') for n in range(9)]
        for engine in (self.engine, stock):
            with engine.begin() as connection:
                connection.execute(Node.__table__.insert(), rows)
        for direction in ('asc', 'desc', 'asc-nullsfirst', 'asc-nullslast',
                          'desc-nullsfirst', 'desc-nullslast'):
            # what oslo.db itself misses, or repeats, is not ours
            self.assertEqual(
                self._pages(stock, ['host', 'uuid'], direction),
                self._pages(self.engine, ['host', 'uuid'], direction))
        self.assertEqual([r['uuid'] for r in rows],
                         self._pages(self.engine, ['uuid'], 'asc'))

    @staticmethod
    def _pages(engine: sa.Engine, keys: list[str], direction: str
               ) -> list[str]:
        seen: list[str] = []
        marker = None
        with orm.Session(engine) as session:
            for _ in range(9):
                page = utils.paginate_query(
                    session.query(Node), Node, 2, keys, marker=marker,
                    sort_dirs=[direction, 'asc'][:len(keys)]).all()
                if not page:
                    break
                seen += [node.uuid for node in page]
                marker = page[-1]
        return seen

    def test_a_duplicate_names_columns(self):
        # oslo.db ba8228e
        self.insert(uuid='u', host='h', name='n')
        error = self._caught(uuid='v', host='h', name='n')
        self.assertEqual(['host', 'name'], sorted(error.columns))
        error = self._caught(uuid='u', host='x', name='y')
        self.assertEqual(['uuid'], error.columns)

    def _caught(self, **values: Any) -> db_exc.DBDuplicateEntry:
        try:
            self.insert(**values)
        except db_exc.DBDuplicateEntry as exc:
            return exc
        raise AssertionError(f'{values} is no duplicate')

    def test_id_zero_stays_zero(self):
        # placement's resource class VCPU
        table = Kind.__table__
        with self.engine.begin() as connection:
            connection.execute(table.insert().values(id=0, name='VCPU'))
            key = connection.execute(table.insert().values(
                name=uuid.uuid4().hex)).inserted_primary_key[0]
        self.assertEqual(1, key)
        with self.engine.connect() as connection:
            self.assertEqual(0, connection.execute(sa.select(table.c.id).where(
                table.c.name == 'VCPU')).scalar_one())
