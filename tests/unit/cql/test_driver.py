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

"""A node that comes back is found again, whatever it said meanwhile."""

import types
from unittest import mock

import testtools

from luc_drivers import cqldriver
from luc_drivers.cql import nodes


class LoginTest(testtools.TestCase):

    def refused(self, text):
        """Return what a connection raises when the server refuses a login."""
        from cassandra import AuthenticationFailed
        from cassandra.connection import ConnectionException
        base = cqldriver.connection_class().__mro__[1]
        with mock.patch.object(base, 'factory',
                               side_effect=AuthenticationFailed(text)):
            return self.assertRaises(
                ConnectionException, cqldriver.connection_class().factory,
                'h', 1.0)

    def test_driver_does_not_give_up(self):
        # Its reconnection ends for ever at an AuthenticationFailed.
        from cassandra import AuthenticationFailed
        from cassandra import pool
        error = self.refused('Unable to perform authentication: no quorum')
        self.assertNotIsInstance(error, AuthenticationFailed)
        handler = pool._HostReconnectionHandler(
            'h', None, False, None, None, None, iter([]), None)
        self.assertTrue(handler.on_exception(error, 1.0))
        self.assertFalse(handler.on_exception(
            AuthenticationFailed('as the driver has it'), 1.0))

    def test_what_is_final(self):
        self.assertTrue(cqldriver.login_refused(self.refused(
            'Provided username x and/or password are incorrect')))
        self.assertFalse(cqldriver.login_refused(self.refused(
            'Unable to perform authentication: no quorum')))
        self.assertFalse(cqldriver.login_refused(OSError('refused')))


class NodesTest(testtools.TestCase):

    def nodes(self, **up):
        hosts = [types.SimpleNamespace(
            datacenter='site1', host_id=name, is_up=state,
            endpoint=types.SimpleNamespace(address=name, port=9))
            for name, state in up.items()]
        metadata = types.SimpleNamespace(all_hosts=lambda: hosts)
        return nodes.Nodes(metadata, 'site1', None)

    def test_only_those_that_are_up(self):
        found = self.nodes(a=False, b=True, c=None).choose(None, ())
        self.assertEqual({('b', 9), ('c', 9)}, set(found))

    def test_all_if_none_is_up(self):
        found = self.nodes(a=False, b=False).choose(None, ())
        self.assertEqual({('a', 9), ('b', 9)}, set(found))
