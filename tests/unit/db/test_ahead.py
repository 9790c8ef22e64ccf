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

"""What a transaction reads ahead, where rounds are dear."""

import tempfile

import fixtures
import sqlalchemy as sa
import testtools

from luc_drivers.db.tools import naming
from luc_drivers.db.transaction import ahead
from luc_drivers.db.transaction import habits
from tests.unit.db import private


def read_ahead(store):
    """Have a store read ahead, as Cassandra's, and count rounds of rows and
    index entries only: the catalog is looked at now and then.
    """
    store.reads_ahead = True

    def uncounted(call):
        def run(*args):
            here = store.here
            before = here.rounds, here.requests
            try:
                return call(*args)
            finally:
                here.rounds, here.requests = before

        return run

    store.catalog_read = uncounted(store.catalog_read)
    store.lease = uncounted(store.lease)


class AheadTestCase(testtools.TestCase):
    """Tables that neutron's profile keeps, and reads, together."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.configure(folder.name)
        url = f'sqlite+luc:///neutron?store=embedded&path={folder.name}/db'
        self.engine = sa.create_engine(url)
        self.addCleanup(self.engine.dispose)
        private.begin_explicitly(self.engine)
        self.store = naming.database(url).store
        read_ahead(self.store)
        metadata = sa.MetaData()
        self.attributes = sa.Table(
            'standardattributes', metadata,
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('revision_number', sa.Integer))
        self.tags = sa.Table(
            'tags', metadata,
            sa.Column('standard_attr_id', sa.Integer, sa.ForeignKey(
                'standardattributes.id'), primary_key=True),
            sa.Column('tag', sa.String(60), primary_key=True))
        metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            for number in (1, 2):
                connection.execute(self.attributes.insert().values(
                    id=number, revision_number=0))
                self.tag(connection, number, 'old')

    def configure(self, folder):
        """Set the host's options; called before the engine is made."""

    def tag(self, connection, number, name):
        connection.execute(self.tags.insert().values(
            standard_attr_id=number, tag=name))

    def attribute(self, connection, number, lock=False):
        query = sa.select(self.attributes).where(
            self.attributes.c.id == number)
        return connection.execute(
            query.with_for_update() if lock else query).one()

    def tags_of(self, connection, number):
        """Return a resource's tags, and how many rounds they took."""
        before = self.store.here.rounds
        found = connection.execute(sa.select(self.tags.c.tag).where(
            self.tags.c.standard_attr_id == number)).scalars().all()
        return sorted(found), self.store.here.rounds - before

    def bump(self, connection, number, seen):
        return connection.execute(
            self.attributes.update()
            .where(self.attributes.c.id == number,
                   self.attributes.c.revision_number == seen)
            .values(revision_number=seen + 1)).rowcount


class AheadTest(AheadTestCase):

    def test_the_next_statement_costs_no_round(self):
        with self.engine.begin() as connection:
            self.attribute(connection, 1)
            self.assertEqual((['old'], 0), self.tags_of(connection, 1))

    def test_also_after_a_compare_and_set(self):
        with self.engine.begin() as connection:
            self.assertEqual(1, self.bump(connection, 1, 0))
            self.attribute(connection, 2)
            self.assertEqual((['old'], 0), self.tags_of(connection, 2))

    def test_what_follows_a_lock_is_not_older(self):
        with self.engine.begin() as connection:
            self.attribute(connection, 1)
            with self.engine.begin() as other:
                self.tag(other, 1, 'new')
            self.attribute(connection, 2, lock=True)
            self.assertEqual(
                ['new', 'old'], self.tags_of(connection, 1)[0])

    def test_what_follows_a_compare_and_set_is_not_older(self):
        with self.engine.begin() as connection:
            self.attribute(connection, 1)
            with self.engine.begin() as other:
                self.tag(other, 1, 'new')
            self.assertEqual(1, self.bump(connection, 2, 0))
            self.assertEqual(
                ['new', 'old'], self.tags_of(connection, 1)[0])

    def test_a_lock_reads_nothing_ahead(self):
        with self.engine.begin() as connection:
            self.attribute(connection, 1, lock=True)
            with self.engine.begin() as other:
                self.tag(other, 1, 'new')
            self.assertEqual(
                ['new', 'old'], self.tags_of(connection, 1)[0])


class PortsTestCase(AheadTestCase):
    """A server's ports, and what hangs on them."""

    def setUp(self):
        super().setUp()
        metadata = sa.MetaData()
        self.ports = sa.Table(
            'ports', metadata,
            sa.Column('id', sa.String(36), primary_key=True),
            sa.Column('device_id', sa.String(36), index=True),
            sa.Column('standard_attr_id', sa.Integer, index=True))
        metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            self.port(connection, 'a', 'server', 1)

    def port(self, connection, name, server, number):
        connection.execute(self.ports.insert().values(
            id=name, device_id=server, standard_attr_id=number))

    def move(self, name, server):
        with self.engine.begin() as other:
            other.execute(self.ports.update().where(
                self.ports.c.id == name).values(device_id=server))

    def show(self, server='server', between=None):
        """Return a server's ports with their tags, and the rounds."""
        before = self.store.here.rounds
        with self.engine.begin() as connection:
            found = connection.execute(sa.select(
                self.ports.c.id, self.ports.c.standard_attr_id).where(
                    self.ports.c.device_id == server)).all()
            spent = self.store.here.rounds - before
            if between is not None:
                between()
            before = self.store.here.rounds
            tags = [self.tags_of(connection, number)[0]
                    for _, number in found]
        return ([one[0] for one in found], tags,
                spent + self.store.here.rounds - before)


class HabitsTest(PortsTestCase):
    """What followed a statement is read with it the next time."""

    def test_the_second_time_costs_one_round(self):
        self.assertEqual((['a'], [['old']], 3), self.show())
        for _ in range(3):
            self.assertEqual((['a'], [['old']], 1), self.show())

    def test_only_places_are_remembered(self):
        self.show()
        with self.engine.begin() as other:
            self.tag(other, 1, 'new')
        self.assertEqual((['a'], [['new', 'old']], 1), self.show())

    def test_what_is_new_is_found(self):
        self.show()
        with self.engine.begin() as other:
            self.port(other, 'b', 'server', 2)
        self.assertEqual((['a', 'b'], [['old'], ['old']]), self.show()[:2])
        self.assertEqual(1, self.show()[2])

    def test_what_has_gone_is_not_found(self):
        self.show()
        self.move('a', 'another')
        self.assertEqual(([], []), self.show()[:2])
        self.move('a', 'server')
        self.assertEqual((['a'], [['old']]), self.show()[:2])

    def test_what_did_not_follow_is_not_read_again(self):
        self.show()
        spent = []
        self.move('a', 'another')
        with self.engine.begin() as other:
            other.execute(self.ports.delete())
        for _ in range(2):
            before = self.store.here.requests
            self.assertEqual(([], []), self.show()[:2])
            spent.append(self.store.here.requests - before)
        # the second time only where the index leads to
        self.assertLess(spent[1], spent[0])

    def test_who_was_deceived_expects_what_followed_twice(self):
        known = habits.Habits()
        for followed, expected in (
                ('abc', 'abc'), ('abd', 'abd'),
                # most of it did not follow
                ('xyz', ''), ('xyw', 'xy'), ('xvw', 'xw'), ('pqr', ''),
                ('pqr', 'pqr')):
            known.learn('statement', followed)
            self.assertEqual(set(expected), known.expected('statement'))

    def test_a_transaction_sees_one_moment(self):
        """As what is read ahead by profiles: as at the first statement."""
        self.show()

        def change():
            with self.engine.begin() as other:
                self.tag(other, 1, 'new')

        self.assertEqual((['a'], [['old']], 1), self.show(between=change))
        self.assertEqual((['a'], [['new', 'old']], 1), self.show())

    def test_what_follows_a_lock_is_not_older(self):
        self.show()
        with self.engine.begin() as connection:
            connection.execute(sa.select(self.ports).where(
                self.ports.c.device_id == 'server')).all()
            with self.engine.begin() as other:
                self.tag(other, 1, 'new')
            self.attribute(connection, 2, lock=True)
            self.assertEqual(
                ['new', 'old'], self.tags_of(connection, 1)[0])

    def test_long_lists_are_not_remembered(self):
        for count, rounds in ((40, [3, 1]), (65, [3, 3])):
            spent = []
            for _ in range(2):
                with self.engine.begin() as connection:
                    before = self.store.here.rounds
                    connection.execute(sa.select(self.ports.c.id).where(
                        self.ports.c.device_id.in_(
                            ['server', *map(str, range(count - 1))]))).all()
                    self.tags_of(connection, 1)
                    spent.append(self.store.here.rounds - before)
            self.assertEqual(rounds, spent)

    def test_the_least_recently_used_are_forgotten(self):
        known = habits.Habits()
        for number in range(3000):
            known.learn(number, [number])
            known.learn(0, ['kept'])
        self.assertEqual({'kept'}, known.expected(0))
        self.assertEqual(frozenset(), known.expected(1))
        self.assertEqual({2999}, known.expected(2999))


class ChildrenTest(testtools.TestCase):
    """A row's key leads to its children's group: keystone's passwords."""

    def setUp(self):
        super().setUp()
        self.engine = private.engine_of(self, 'keystone')
        self.database = naming.database(str(self.engine.url))
        self.store = self.database.store
        read_ahead(self.store)
        metadata = sa.MetaData()
        self.logins = sa.Table(
            'local_user', metadata,
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('user_id', sa.String(64)),
            sa.Column('name', sa.String(255), unique=True))
        self.passwords = sa.Table(
            'password', metadata,
            sa.Column('id', sa.Integer, primary_key=True),
            sa.Column('local_user_id', sa.Integer, sa.ForeignKey(
                'local_user.id')),
            sa.Column('password', sa.String(128)))
        metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            for number in range(1, 11):
                connection.execute(self.logins.insert().values(
                    id=number, user_id=f'u{number}', name=f'n{number}'))
                self.change(connection, number)

    def change(self, connection, number, word='old'):
        connection.execute(self.passwords.insert().values(
            local_user_id=number, password=f'{word}{number}'))

    def settle(self):
        # a lock that a commit has left costs who meets it a round
        self.assertTrue(self.database.background.flush(30))

    def show(self, *conditions, between=None):
        """Return the passwords of logins, and the rounds."""
        self.settle()
        before = self.store.here.rounds
        with self.engine.begin() as connection:
            ids = connection.execute(sa.select(self.logins.c.id).where(
                *conditions)).scalars().all()
            if between is not None:
                between()
            found = connection.execute(
                sa.select(self.passwords.c.password).where(
                    self.passwords.c.local_user_id.in_(ids)).order_by(
                        self.passwords.c.id)).scalars().all()
        return found, self.store.here.rounds - before

    def test_a_name_leads_to_the_passwords(self):
        # the index; the row and the passwords
        self.assertEqual(
            (['old3'], 2), self.show(self.logins.c.name == 'n3'))

    def test_a_user_leads_to_them_if_he_was_seen(self):
        self.assertEqual(
            (['old3'], 2), self.show(self.logins.c.user_id == 'u3'))
        self.show(self.logins.c.name == 'n4')
        self.assertEqual(
            (['old4'], 1), self.show(self.logins.c.user_id == 'u4'))

    def test_only_where_they_are_is_remembered(self):
        def change():
            with self.engine.begin() as other:
                self.change(other, 4, 'new')

        for _ in range(2):
            self.show(self.logins.c.user_id == 'u4')
        change()
        self.assertEqual((['old4', 'new4'], 1),
                         self.show(self.logins.c.user_id == 'u4'))
        with self.engine.begin() as other:
            other.execute(self.passwords.delete())
            other.execute(self.logins.delete().where(
                self.logins.c.id == 4))
            other.execute(self.logins.insert().values(
                id=14, user_id='u4', name='n4'))
            self.change(other, 14)
        for condition in (self.logins.c.user_id == 'u4',
                          self.logins.c.name == 'n4'):
            self.assertEqual(['old14'], self.show(condition)[0])

    def test_a_list_does_not_read_them(self):
        self.settle()
        before = self.store.here.requests
        some = self.logins.c.user_id.in_([f'u{n}' for n in range(1, 11)])
        with self.engine.begin() as connection:
            connection.execute(sa.select(self.logins).where(some)).all()
        self.assertLessEqual(self.store.here.requests - before, 10)
        both = sa.select(self.logins.c.id, self.passwords.c.password).join(
            self.passwords,
            self.passwords.c.local_user_id == self.logins.c.id).where(some)
        before = self.store.here.rounds
        with self.engine.begin() as connection:
            self.assertEqual(10, len(connection.execute(both).all()))
        self.assertLessEqual(self.store.here.rounds - before, 2)

    def test_tables_of_another_release(self):
        schema = self.database.catalog.current()
        parent = schema.tables['local_user'].number
        self.assertEqual([parent], list(ahead.children(schema, [
            ('local_user', 'password'), ('local_user', 'gone'),
            ('gone', 'password'), ('password', 'local_user')])))


class NothingRememberedTest(PortsTestCase):

    def configure(self, folder):
        path = folder + '/luc.conf'
        with open(path, 'w') as out:
            out.write('[database]\nremember_reads = false\n')
        self.useFixture(fixtures.EnvironmentVariable('LUC_CONFIG', path))

    def test_each_time_costs_the_same(self):
        for _ in range(3):
            self.assertEqual((['a'], [['old']], 3), self.show())

    def test_a_later_statement_shows_later_rows(self):
        self.show()

        def change():
            with self.engine.begin() as other:
                self.tag(other, 1, 'new')

        self.assertEqual(
            (['a'], [['new', 'old']], 3), self.show(between=change))
