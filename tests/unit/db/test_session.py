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

"""Sessions: replay, requests per statement, failures of the store."""

import dataclasses

import testtools

from luc_drivers.db import errors
from luc_drivers.db.profiles import registry
from luc_drivers.db.transaction import replay
from luc_drivers.db.transaction import sequences
from luc_drivers.db.transaction import session
from luc_drivers.db.workspace.workspace import Outcome
from tests.unit.db import private


class SessionTestCase(private.PrivateDatabaseTestCase):

    NAME = 'nova_s'

    def setUp(self):
        super().setUp()
        for sql in (
                'CREATE TABLE p (id INTEGER PRIMARY KEY, u TEXT UNIQUE, n)',
                'CREATE TABLE k (id INTEGER PRIMARY KEY, v, '
                'pid INT REFERENCES p (id))'):
            self.session.execute(sql)

    def refuse(self, times, error=None):
        """Have the next commits refused, before anything is written."""
        left = [error or errors.Refused('test')] * times
        commit = self.database.committer.commit

        def refusing(*args, **kwargs):
            if left:
                raise left.pop()
            return commit(*args, **kwargs)

        self.patch(self.database.committer, 'commit', refusing)
        return left

    def requests(self, sql, parameters=(), one=None):
        # what others are still about is not counted
        self.database.background.flush(5)
        here = self.database.store.here
        before = here.requests
        self.rows(sql, parameters, one)
        return here.requests - before

    # --- what is fetched

    def test_a_row_is_fetched_once_in_a_transaction(self):
        self.rows("INSERT INTO p VALUES (1, 'u', 5)")
        one = self.open()
        self.rows('BEGIN', (), one)
        self.assertEqual(1, self.requests(
            'SELECT * FROM p WHERE id = 1', (), one))
        self.assertEqual(0, self.requests(
            'SELECT n FROM p WHERE id = 1', (), one))
        self.assertEqual(0, self.requests(
            "SELECT n FROM p WHERE u = 'u'", (), one))

    def test_nothing_is_fetched_after_a_scan(self):
        self.rows("INSERT INTO p VALUES (1, 'u', 5)")
        one = self.open()
        self.rows('BEGIN', (), one)
        self.rows('SELECT count(*) FROM p', (), one)
        self.assertEqual(0, self.requests(
            "INSERT INTO p VALUES (2, 'v', 5)", (), one))
        self.assertRaises(errors.IntegrityError, self.rows,
                          "INSERT INTO p VALUES (3, 'u', 5)", (), one)

    def test_a_loaded_parent_is_not_looked_up(self):
        self.rows("INSERT INTO p VALUES (1, 'u', 5)")
        # claims a block of ids
        self.rows('INSERT INTO k (pid) VALUES (1)')
        one = self.open()
        self.rows('BEGIN', (), one)
        self.rows('SELECT * FROM p WHERE id = 1', (), one)
        self.assertEqual(0, self.requests(
            'INSERT INTO k (pid) VALUES (1)', (), one))

    def test_a_statement_is_logged_in_one_line(self):
        with self.assertLogs(session.LOG, 'DEBUG') as logged:
            self.rows('SELECT n\nFROM p\n  WHERE id = 1')
        self.assertEqual(
            ['1 rounds, 1 requests: SELECT n FROM p WHERE id = 1'],
            [one.getMessage() for one in logged.records
             if 'FROM p' in one.getMessage()])

    # --- replay

    def test_a_refused_statement_is_run_again(self):
        self.refuse(3)
        self.rows("INSERT INTO p VALUES (1, 'u', 5)")
        self.assertEqual([(5,)], self.rows('SELECT n FROM p'))

    def test_a_refused_transaction_is_run_again(self):
        self.rows('BEGIN')
        self.rows("INSERT INTO p (u) VALUES ('a')")
        self.rows('SAVEPOINT s')
        self.rows("INSERT INTO p (u) VALUES ('b')")
        self.rows('ROLLBACK TO s')
        self.assertRaises(errors.IntegrityError, self.rows,
                          "INSERT INTO p (u) VALUES ('a')")
        seen = self.rows('SELECT id, u, CURRENT_TIMESTAMP, random() FROM p')
        left = self.refuse(2)
        self.rows('COMMIT')
        self.assertEqual([], left)
        self.assertEqual([seen[0][:2]], self.rows('SELECT id, u FROM p'))

    def test_replays_are_bounded_by_time(self):
        self.database.commit_timeout = 0.05
        self.refuse(100000)
        self.rows('BEGIN')
        self.rows("INSERT INTO p (u) VALUES ('a')")
        caught = self.assertRaises(
            errors.WriteConflict, self.rows, 'COMMIT')
        self.assertIn('commit_timeout', str(caught))
        self.assertFalse(self.session.in_transaction)

    def test_another_id_is_drawn_where_one_was_taken(self):
        self.refuse(1, errors.Refused('taken', generated_id='p'))
        self.rows("INSERT INTO p (u) VALUES ('a')")
        self.assertEqual([(2,)], self.rows('SELECT id FROM p'))

    def test_an_id_that_was_seen_can_not_change(self):
        self.refuse(1, errors.Refused('taken', generated_id='p'))
        self.rows('BEGIN')
        self.rows("INSERT INTO p (u) VALUES ('a')")
        self.assertRaises(errors.WriteConflict, self.rows, 'COMMIT')
        self.assertEqual([], self.rows('SELECT * FROM p'))

    def read_and_write(self, one, value, suffix=''):
        self.rows('BEGIN', (), one)
        self.rows('SELECT n FROM p WHERE id = 1' + suffix, (), one)
        self.rows('UPDATE p SET n = ? WHERE id = 1', (value,), one)

    def test_both_may_write_the_same(self):
        # keystone: two logins note the user's last active day
        catalog = self.database.catalog
        catalog.profile = dataclasses.replace(
            catalog.profile, same_writes=frozenset(('p',)))
        self.rows("INSERT INTO p VALUES (1, 'u', 5)")
        one, two = self.open(), self.open()
        self.read_and_write(one, 6)
        self.read_and_write(two, 6)
        self.rows('COMMIT', (), one)
        self.rows('COMMIT', (), two)
        self.assertEqual([(6,)], self.rows('SELECT n FROM p'))

    def test_who_counts_up_what_he_read_loses_no_step(self):
        self.rows("INSERT INTO p VALUES (1, 'u', 5)")
        one, two = self.open(), self.open()
        self.read_and_write(one, 6)
        self.read_and_write(two, 6)
        self.rows('COMMIT', (), one)
        self.assertRaises(errors.WriteConflict, self.rows, 'COMMIT', (), two)

    def test_keystone_s_users_note_a_state(self):
        self.assertEqual({'user'}, registry.find('keystone').same_writes)
        self.assertEqual(frozenset(), registry.find('nova').same_writes)

    def test_only_one_may_write_what_differs(self):
        self.rows("INSERT INTO p VALUES (1, 'u', 5)")
        for suffix, value in (('', 7), (' /*luc:lock*/', 6)):
            one, two = self.open(), self.open()
            self.read_and_write(two, value, suffix)
            self.rows('UPDATE p SET n = 6 WHERE id = 1', (), one)
            self.assertRaises(errors.WriteConflict, self.rows,
                              'COMMIT', (), two)
            self.rows('UPDATE p SET n = 5')

    def test_a_row_that_was_seen_and_went_is_a_conflict(self):
        self.rows("INSERT INTO p VALUES (1, 'u', 5)")
        one = self.open()
        self.read_and_write(one, 5)
        self.rows('DELETE FROM p')
        self.assertRaises(errors.WriteConflict, self.rows, 'COMMIT', (), one)

    def test_what_contradicts_shows_as_a_conflict(self):
        # the value moves from one row to another between two reads
        self.rows("INSERT INTO p VALUES (1, 'u', 5), (2, 'v', 5)")
        one = self.open()
        self.rows('BEGIN', (), one)
        self.rows('SELECT * FROM p WHERE id = 1', (), one)
        self.rows("UPDATE p SET u = 'w' WHERE id = 1")
        self.rows("UPDATE p SET u = 'u' WHERE id = 2")
        self.assertRaises(errors.WriteConflict, self.rows,
                          'SELECT * FROM p WHERE id = 2', (), one)
        # only ROLLBACK is left
        self.assertRaises(errors.WriteConflict, self.rows,
                          'SELECT 1 FROM p', (), one)
        self.rows('ROLLBACK', (), one)
        self.assertEqual([('u',)], self.rows(
            'SELECT u FROM p WHERE id = 2', (), one))

    def test_entries_compare_all_that_was_seen(self):
        entry = replay.Entry('x', outcome=Outcome(('a',), [(1,)], 1, 2))
        self.assertTrue(entry.saw(Outcome(('a',), [(1,)], 1, 2), None))
        self.assertEqual(1, entry.outcome.count())
        for other in (Outcome(('a',), [(2,)], 1, 2),
                      Outcome(('a',), [(1,)], 0, 2),
                      Outcome(('a',), [(1,)], 1, 3), None):
            self.assertFalse(entry.saw(other, None))
        self.assertFalse(entry.saw(None, errors.IntegrityError))

    def test_a_count_that_nobody_saw_may_change(self):
        entry = replay.Entry('x', outcome=Outcome(None, [], 3))
        for other in (None, Outcome(None, [], 0, 5), Outcome(('a',), [], 0)):
            self.assertFalse(entry.recounted(other))
        self.assertTrue(entry.recounted(Outcome(None, [], 0)))
        self.assertEqual(0, entry.outcome.count())
        self.assertFalse(entry.recounted(Outcome(None, [], 3)))
        failed = replay.Entry('x', error=errors.IntegrityError)
        self.assertFalse(failed.recounted(Outcome(None, [], 3)))

    def test_a_changed_count_and_a_changed_read_are_a_conflict(self):
        self.rows("INSERT INTO p VALUES (1, 'u', 5)")
        one = self.open()
        self.rows('BEGIN', (), one)
        self.rows('UPDATE p SET n = 5 WHERE id = 1', (), one)
        self.rows('SELECT n FROM p WHERE id = 1', (), one)
        self.rows('DELETE FROM p')
        self.assertRaises(errors.WriteConflict, self.rows, 'COMMIT', (), one)

    # --- control

    def test_control_statements_out_of_place(self):
        for sql, text in (
                ('COMMIT', 'cannot commit - no transaction is active'),
                ('ROLLBACK', 'cannot rollback - no transaction is active'),
                ('RELEASE s', 'no such savepoint: s')):
            caught = self.assertRaises(
                errors.OperationalError, self.rows, sql)
            self.assertEqual(text, str(caught))
        self.rows('BEGIN')
        caught = self.assertRaises(
            errors.OperationalError, self.rows, 'BEGIN')
        self.assertEqual('cannot start a transaction within a transaction',
                         str(caught))

    def test_the_store_fails_in_a_statement(self):
        self.rows('BEGIN')
        self.rows("INSERT INTO p VALUES (1, 'u', 5)")

        def fail(*args):
            raise errors.StoreUnavailable('gone')

        patched = self.database.reader
        rows = patched.rows
        patched.rows = fail
        self.addCleanup(setattr, patched, 'rows', rows)
        self.assertRaises(errors.StoreUnavailable, self.rows,
                          "INSERT INTO p VALUES (2, 'v', 5)")
        patched.rows = rows
        self.rows('COMMIT')
        self.assertEqual([(1,)], self.rows('SELECT id FROM p'))

    def test_workspaces_go_back(self):
        taken = []
        take = self.database.workspaces.take

        def counting():
            taken.append(take())
            return taken[-1]

        self.patch(self.database.workspaces, 'take', counting)
        for _ in range(5):
            self.rows('BEGIN')
            self.rows("INSERT INTO p (u) VALUES ('a')")
            self.rows('ROLLBACK')
            self.rows('SELECT * FROM p')
        self.assertEqual(1, len(set(map(id, taken))))


class _Claims:
    """A store's sequences."""

    def __init__(self):
        self.next = 1
        self.claims = []

    def claim(self, name, count):
        self.claims.append(count)
        self.next += count
        return self.next - count

    def advance(self, name, floor):
        self.next = max(self.next, floor + 1)


class SequencesTestCase(testtools.TestCase):

    def test_blocks_grow_and_numbers_follow(self):
        store = _Claims()
        ours = sequences.Sequences(store)
        self.assertEqual(list(range(1, 101)),
                         [ours.next(1) for _ in range(100)])
        self.assertEqual([1, 2, 4, 8, 16, 32, 64], store.claims)

    def test_two_processes_never_meet(self):
        store = _Claims()
        one, two = sequences.Sequences(store), sequences.Sequences(store)
        drawn = [which.next(1) for _ in range(50) for which in (one, two)]
        self.assertEqual(100, len(set(drawn)))

    def test_numbers_are_above_what_was_given(self):
        store = _Claims()
        ours = sequences.Sequences(store, private=True)
        self.assertEqual(1, ours.next(1))
        ours.passed(1, 10)
        self.assertEqual(11, ours.next(1))
        ours.passed(1, 5)
        self.assertEqual(12, ours.next(1))
        ours.passed(1, 4000)
        self.assertEqual(4001, ours.next(1))
