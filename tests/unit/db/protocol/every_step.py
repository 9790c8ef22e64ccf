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

"""A process dies at each step of a commit, one after the other."""

from luc_drivers.db.catalog import address
from luc_drivers.db.store.base import Group
from luc_drivers.db.store.base import RowKey
from luc_drivers.db.transaction import hooks
from luc_drivers.testing import faulty_store
from tests.unit.db.protocol import base
from tests.unit.db.transaction_fixtures import PassingClock
from tests.unit.db.transaction_fixtures import Process

#: who has come so far has committed
DECIDED = {'one:answered', 'several:answered', 'commit:decided'}


class Mortal(faulty_store.FaultyStore):
    """A process's view of the store: nothing is sent after its death."""

    def __init__(self, inner, die_at):
        super().__init__(inner)
        self.left = die_at
        self.steps = []

    def step(self, name):
        if self.left == 0:
            raise base.Crash
        self.steps.append(name)
        self.left -= 1
        if self.left == 0:
            raise base.Crash

    def _before(self, requests):
        if self.left == 0:
            raise base.Crash
        super()._before(requests)


class EveryStep(base.Contract):

    def die(self, make, keys, die_at):
        """Commit and apply, or die at a step; return the steps."""
        store = Mortal(self.store, die_at)
        process = Process(store, PassingClock(0.0, self.time))
        with hooks.hooked(store.step):
            try:
                process.commit(*make(process, keys))
                process.background.run()
                self.time.advance(10)
                process.background.run()
            except base.Crash:
                pass
        return store.steps

    def check(self, prepare, make, look, before, after):
        """Die at each step; all or nothing is there, and nothing locked."""
        whole = self.die(make, prepare(), -1)
        self.assertIn('commit:decided', whole)
        for die_at in range(1, len(whole) + 1):
            keys = prepare()
            steps = self.die(make, keys, die_at)
            survivor = self.process()
            found = look(survivor, keys, True)
            where = f'died at {steps[-1]}, step {die_at} of {whole}'
            if DECIDED & set(steps):
                self.assertEqual(after, found, where)
            else:
                self.assertIn(found, (before, after), where)
            # and it stays so, whatever lands or is cleaned later
            self.time.advance(1000)
            survivor.sweeper.sweep(['global', 'at_site1'], back=86400)
            survivor.background.run()
            self.assertEqual(found, look(self.process(), keys), where)
        return whole

    def values(self, process, name, key, lock=False):
        """Return a row's values but for its key; write it anew first."""
        if lock:
            process.reader.resolver.unlocked(
                [self.place(process, name, key)], process.clock.new_id(),
                process.clock.monotonic() + 60)
        row = process.get(name, key)
        return row and process.values(row)[1:]

    @staticmethod
    def place(process, name, key):
        table = process.table(name)
        return (Group(address.locality(table, 'site1'),
                      address.group_key(table, (key,))),
                RowKey(table.number, address.row_key(table, (key,))))

    def test_of_one_group(self):
        def make(process, key):
            return [process.update(process.get('items', key), v='b')]

        steps = self.check(
            self.item, make,
            lambda process, key, lock=False: self.values(
                process, 'items', key, lock),
            ('a', 'w'), ('b', 'w'))
        self.assertIn('one:send', steps)
        self.assertIn('index:removed', steps)

    def test_of_several_groups(self):
        def prepare():
            user, name = self.key('u'), self.key('n')
            return self.item(), self.item(), user, name

        def make(process, keys):
            one, two, user, name = keys
            return [process.update(process.get('items', one), v='b'),
                    process.delete(process.get('items', two)),
                    process.insert('users', user, name, None)]

        def look(process, keys, lock=False):
            found = [self.values(process, table, key, lock)
                     for table, key in zip(('items', 'items', 'users'),
                                           keys)]
            # its unique name by the index as well
            named = process.find('users', 'users_name', keys[3])
            return (*found[:2], found[2] is not None, len(named))

        steps = self.check(
            prepare, make, look,
            (('a', 'w'), ('a', 'w'), False, 0),
            (('b', 'w'), None, True, 1))
        for step in ('prepare:send', 'several:send', 'apply:send',
                     'apply:marker-erased'):
            self.assertIn(step, steps)

    def test_of_a_parent_that_goes(self):
        def prepare():
            team = self.key('t')
            self.p.commit(self.p.insert('teams', team, 'n'))
            return team

        def make(process, team):
            return [process.delete(process.get('teams', team))]

        steps = self.check(
            prepare, make,
            lambda process, key, lock=False: self.values(
                process, 'teams', key, lock),
            ('n',), None)
        self.assertIn('references:children-read', steps)
