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


"""The plug-in's programs: what they write, and what they tell Cassandra."""

import argparse
import importlib.util
import os
import pathlib
from unittest import mock

import ddt
from oslotest import base
import yaml

from luc_drivers import cql
from luc_drivers.testing import cassandra
from luc_drivers.testing import cqlping
from tests.unit.devstack import harness


def _load(name):
    path = harness.PLUGIN / 'lib' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'luc_devstack_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


node = _load('node')
store = _load('store')


class FakeSession:
    """A cluster's keyspaces; takes ALTER and DROP KEYSPACE."""

    def __init__(self, keyspaces, sites=('site1',)):
        self.keyspaces = {
            name: {'class': 'NetworkTopologyStrategy', **places}
            for name, places in keyspaces.items()}
        self.sites = set(sites)
        self.sent = []

    def execute(self, statement, params=(), timeout=None):
        if statement.startswith('SELECT'):
            return [(name, dict(options))
                    for name, options in self.keyspaces.items()]
        self.sent.append(statement)
        return []


class SitesTest(base.BaseTestCase):

    def test_settle(self):
        session = FakeSession({'keystone_global': {'site1': '1'},
                               'glance_at_site1': {'site1': '1'}})
        session.keyspaces['system_auth'] = {
            'class': 'org.apache.cassandra.locator.SimpleStrategy',
            'replication_factor': '1'}
        session.keyspaces['mine'] = dict(session.keyspaces['system_auth'])
        store.settle(session)
        self.assertEqual(
            ["ALTER KEYSPACE system_auth WITH replication = {'class': "
             "'NetworkTopologyStrategy', 'site1': 1}"], session.sent)

    def test_join(self):
        session = FakeSession({'keystone_global': {'site1': '3'},
                               'system_auth': {'site1': '1', 'site2': '1'},
                               'keystone_at_site1': {'site1': '3'}})
        store.join(session, 'site2', 2)
        self.assertEqual(
            ["ALTER KEYSPACE keystone_global WITH replication = {'class': "
             "'NetworkTopologyStrategy', 'site1': 3, 'site2': 2}"],
            session.sent)

    def test_leave(self):
        session = FakeSession({'a_global': {'site1': '1', 'site2': '1'},
                               'a_at_site2': {'site2': '1'},
                               'a_at_site1': {'site1': '1'}})
        self.assertEqual(['a_at_site2', 'a_global'],
                         store.leave(session, 'site2', gone=False))
        self.assertEqual(
            ['DROP KEYSPACE a_at_site2',
             "ALTER KEYSPACE a_global WITH replication = {'class': "
             "'NetworkTopologyStrategy', 'site1': 1}"], session.sent)


class LeftTest(base.BaseTestCase):

    def test_roles_stay_until_the_node_is_gone(self):
        places = {'system_auth': {'site1': '1', 'site2': '1'}}
        self.assertEqual([], store.leave(FakeSession(places), 'site2', False))
        self.assertEqual(['system_auth'], store.leave(
            FakeSession(places), 'site2', True))


@ddt.ddt
class RolesTest(base.BaseTestCase):

    def make(self, answers):
        session = FakeSession({})
        session.settings = cql.CqlSettings(('10.0.0.1', '10.0.0.2'))
        with mock.patch.object(cqlping, 'ask', side_effect=answers):
            store.make_role(session, 'luc_nova', "it's")
        return session.sent

    def test_new_role(self):
        self.assertEqual(
            ["CREATE ROLE IF NOT EXISTS luc_nova WITH LOGIN = true AND "
             "PASSWORD = 'it''s'"], self.make([None]))

    def test_role_with_another_password(self):
        sent = self.make([cqlping.Refused('bad credentials')])
        self.assertEqual(
            "ALTER ROLE luc_nova WITH PASSWORD = 'it''s'", sent[-1])

    def test_first_node_is_down(self):
        self.assertEqual(1, len(self.make([cqlping.NotReady('x'), None])))
        self.assertRaises(store.Failed, self.make,
                          [cqlping.NotReady('x'), cqlping.NotReady('x')])

    @ddt.data('a; DROP KEYSPACE x', 'A', '', '1a', 'a-b', 'x' * 49)
    def test_refuses_names(self, text):
        self.assertRaises(store.Failed, store.name, text)

    def test_names_a_missing_variable(self):
        with mock.patch.dict(os.environ):
            os.environ.pop('LUC_ADMIN_USER', None)
            error = self.assertRaises(store.Failed, store.told,
                                      'LUC_ADMIN_USER')
        self.assertIn('LUC_ADMIN_USER', str(error))


class NodeTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempfiles([('x', '')])[0]
                                   ).parent
        self.jars = mock.patch.object(
            node.jars, 'ensure', return_value=pathlib.Path('/jars'))
        self.java = mock.patch.object(
            node.cassandra, 'find_java', return_value='/usr/bin/java')
        self.jars.start()
        self.java.start()
        self.addCleanup(self.jars.stop)
        self.addCleanup(self.java.stop)

    def settings(self, *words):
        return node.settings(node._parser().parse_args(
            ['prepare', '--directory', str(self.folder), *words]))

    def yaml(self):
        return yaml.safe_load(
            (self.folder / 'conf' / 'cassandra.yaml').read_text())

    def test_first_node(self):
        node.prepare(self.settings('--address', '10.0.0.1', '--auth'))
        content = self.yaml()
        self.assertEqual('10.0.0.1', content['listen_address'])
        self.assertEqual('10.0.0.1:7000', content['seed_provider'][0][
            'parameters'][0]['seeds'])
        self.assertIs(False, content['auto_bootstrap'])
        self.assertEqual('PasswordAuthenticator', content['authenticator'])
        self.assertEqual('v2', content['paxos_variant'])
        run = self.folder / 'run'
        self.assertTrue(os.access(run, os.X_OK))
        text = run.read_text()
        self.assertIn('-Dcassandra.jmx.local.port=7199', text)
        # a node that forgets others at once could not be joined
        self.assertNotIn('ring_delay_ms=0', text)
        # it lives for long: what is hot is compiled thoroughly
        self.assertNotIn('TieredStopAtLevel', text)

    def test_node_that_joins(self):
        node.prepare(self.settings('--seeds', '10.0.0.1,10.0.0.2',
                                   '--bootstrap', '--site', 'site2'))
        content = self.yaml()
        self.assertEqual('10.0.0.1:7000,10.0.0.2:7000', content[
            'seed_provider'][0]['parameters'][0]['seeds'])
        self.assertIs(True, content['auto_bootstrap'])
        rackdc = self.folder / 'conf' / 'cassandra-rackdc.properties'
        self.assertIn('dc=site2\n', rackdc.read_text())

    def test_package(self):
        node.prepare_package(self.settings())
        content = self.yaml()
        self.assertEqual(['/var/lib/cassandra/data'],
                         content['data_file_directories'])
        self.assertEqual('/var/lib/cassandra/commitlog',
                         content['commitlog_directory'])
        self.assertEqual(
            ['cassandra-rackdc.properties', 'cassandra.yaml'],
            sorted(p.name for p in (self.folder / 'conf').iterdir()))

    def test_tokens(self):
        tokens = {node.token(site, f'10.0.0.{host}')
                  for site in ('site1', 'site2') for host in range(100)}
        self.assertEqual(200, len(tokens))
        for token in tokens:
            self.assertTrue(-2 ** 63 <= token < 2 ** 63)

    def test_wait_tells_the_last_error(self):
        settings = self.settings()
        settings.log_file.parent.mkdir(parents=True)
        settings.log_file.write_text('INFO a\nERROR disk is full\nINFO b\n')
        with mock.patch.object(cqlping, 'ask',
                               side_effect=cqlping.NotReady('refused')):
            error = self.assertRaises(cassandra.CassandraError, node.wait,
                                      settings, timeout=0.0)
        self.assertIn('disk is full', str(error))
        self.assertIn('refused', str(error))

    def test_failure_is_an_exit_status(self):
        self.jars.stop()
        with mock.patch.object(node.jars, 'ensure',
                               side_effect=node.jars.JarsError('no mvn')):
            self.assertEqual(1, node.main(
                ['prepare', '--directory', str(self.folder)]))
        self.jars.start()

    def test_arguments_of_nodetool(self):
        args = node._parser().parse_args(
            ['nodetool', 'rebuild', 'site1', '--directory', '/x'])
        self.assertIsInstance(args, argparse.Namespace)
        self.assertEqual(['rebuild', 'site1'], args.words)
