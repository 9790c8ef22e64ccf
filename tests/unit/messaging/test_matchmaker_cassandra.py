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

"""What the Cassandra matchmaker does when Cassandra doesn't answer."""

from unittest import mock

import testtools

from luc_drivers import cql
from luc_drivers.messaging import opts
from luc_drivers.messaging.matchmaker import base
from luc_drivers.messaging.matchmaker import cassandra
from luc_drivers.messaging.matchmaker import cassandra_schema as schema
from luc_drivers.messaging.matchmaker import cassandra_session
from luc_drivers.messaging.matchmaker import cassandra_time


class FakeSession:
    """Gives what it was told to give: rows, or errors."""

    def __init__(self):
        self.answers = []
        self.requests = []

    def execute_many(self, requests):
        self.requests += requests
        answer = self.answers.pop(0)
        if isinstance(answer, Exception) and not isinstance(
                answer, cql.Unknown | cql.Refused):
            raise answer
        return [answer] * len(requests)


class SessionCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = FakeSession()
        patch = mock.patch('luc_drivers.cql.session', return_value=self.fake)
        patch.start()
        self.addCleanup(patch.stop)
        sleep = mock.patch('time.sleep')
        sleep.start()
        self.addCleanup(sleep.stop)
        self.settings = opts.load()
        self.session = cassandra_session.Session(self.settings)

    def run_if(self, ours=lambda row: False):
        return self.session.run_if([('UPDATE … IF …', ())], ours,
                                   ('SELECT …', ()))


class ConditionalTest(SessionCase):

    def test_applied(self):
        self.fake.answers = [[(True,)]]
        self.assertTrue(self.run_if())

    def test_refused(self):
        self.fake.answers = [[(False, 'other')]]
        self.assertFalse(self.run_if(lambda row: True))
        self.assertEqual(1, len(self.fake.requests))

    def test_unknown_then_applied(self):
        self.fake.answers = [cql.Unknown('?'), [(True,)]]
        self.assertTrue(self.run_if())

    def test_unknown_then_refused_by_our_own_first_attempt(self):
        self.fake.answers = [cql.Unknown('?'), [(False, 'me')], [('me',)]]
        self.assertTrue(self.run_if(lambda row: row == ('me',)))
        self.assertEqual('SERIAL', self.fake.requests[-1].consistency)

    def test_unknown_then_refused_by_another(self):
        self.fake.answers = [cql.Unknown('?'), [(False, 'x')], [('x',)]]
        self.assertFalse(self.run_if(lambda row: row == ('me',)))

    def test_unknown_for_good(self):
        self.fake.answers = [cql.Unknown('?')] * 10
        self.assertRaises(base.MatchmakerUnavailable, self.run_if)
        self.assertEqual(cassandra_session.ATTEMPTS, len(self.fake.requests))

    def test_unknown_then_down_is_not_taken_for_refused(self):
        self.fake.answers = [cql.Unknown('?'), cql.Unavailable('down')]
        self.assertRaises(base.MatchmakerUnavailable, self.run_if)

    def test_not_allowed(self):
        self.fake.answers = [cql.Refused('no permission')]
        error = self.assertRaises(base.MatchmakerRefused, self.run_if)
        self.assertIn('[cassandra]username', str(error))
        self.assertIn('[bus]plane', str(error))


class OutageTest(SessionCase):

    def test_one_waits_and_the_others_are_told(self):
        self.fake.answers = [cql.Unavailable('down'), [('row',)]]
        for _ in range(5):
            error = self.assertRaises(base.MatchmakerUnavailable,
                                      self.session.run, 'SELECT', ())
            self.assertIn('down', str(error))
        self.assertEqual(1, len(self.fake.requests))
        self.session._down = (float('-inf'), '')
        self.assertEqual([('row',)], self.session.run('SELECT', ()))

    def test_requests_are_bounded(self):
        self.fake.answers = [[]]
        self.session.run('SELECT', ())
        self.assertEqual(self.settings.store_timeout,
                         self.fake.requests[0].timeout)

    def test_site_that_is_cut_off_costs_one_wait(self):
        matchmaker = cassandra.CassandraMatchmaker(self.settings)
        matchmaker._prepared = True
        self.fake.answers = [cql.Unknown('no answer'), [], [], []]
        for _ in range(3):
            self.assertRaises(base.MatchmakerUnavailable, matchmaker.lookup,
                              'n', 'x', 't', site='site2')
        self.assertEqual(1, len(self.fake.requests))
        # Neither the own site nor a third one suffers.
        self.assertEqual([], matchmaker.lookup('n', 'x', 't'))
        self.assertEqual([], matchmaker.lookup('n', 'x', 't',
                                               site=self.settings.site))
        self.assertEqual([], matchmaker.lookup('n', 'x', 't', site='site3'))


class SchemaTest(testtools.TestCase):

    def test_grants_of_an_agent(self):
        settings = opts.load().replace(site='site7')
        statements = schema.role_statements(settings, 'compute', "p'w")
        self.assertIn("PASSWORD = 'p''w'", statements[0])
        for statement in statements[1:]:
            self.assertIn('luc_bus_site7', statement)
            self.assertNotIn('endpoints_control', statement)
        granted = ' '.join(statements)
        for table in schema.TABLE_NAMES:
            self.assertEqual(table != 'endpoints_control',
                             'TABLE luc_bus_site7.%s ' % table in granted)

    def test_grants_of_a_control_host(self):
        statements = schema.role_statements(opts.load(), 'x', 'y', 'control')
        self.assertIn('GRANT MODIFY ON KEYSPACE luc_bus_site1 TO x',
                      statements)

    def test_odd_role_names(self):
        for name in ('', 'a b', 'x; DROP', 'A'):
            self.assertRaises(ValueError, schema.role_statements,
                              opts.load(), name, 'p')

    def test_replication(self):
        settings = opts.load()
        self.assertIn("'site1': 1}", schema.create_statements(settings)[0])
        self.assertIn("'site1': 3}", schema.create_statements(
            settings.replace(replication={'site1': '3'}))[0])
        self.assertRaises(ValueError, schema.create_statements,
                          settings.replace(replication={'site1': 'three'}))

    def test_removed_messages_outlive_their_tombstones(self):
        settings = opts.load().replace(mailbox_ttl=100000.0)
        mailbox = next(s for s in schema.create_statements(settings)
                       if '.mailbox ' in s)
        self.assertIn('gc_grace_seconds = 103600', mailbox)

    def test_ttl_is_never_shorter_and_never_for_ever(self):
        self.assertEqual(2, cassandra_time.ttl(0.0))
        self.assertEqual(2, cassandra_time.ttl(0.2))
        self.assertEqual(37, cassandra_time.ttl(35.1))

    def test_least_uuid(self):
        least = cassandra_time.least_uuid(1_000_000)
        self.assertEqual(1_000_000, cassandra_time.micros(least))
        self.assertEqual(1, least.version)
