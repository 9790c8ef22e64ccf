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

"""What the Cassandra manager writes, and its errors, without a server."""

import json
import os
import socket
import struct
import tempfile
import threading
import unittest
from unittest import mock

import yaml

from luc_drivers.testing import cassandra
from luc_drivers.testing import cassandra_config
from luc_drivers.testing import cqlping
from luc_drivers.testing import jars
from luc_drivers.testing import shared


def _note_parameters(cluster, report=None):
    """Stands in for a start: what it writes down, without the nodes."""
    cluster.directory.joinpath('cluster.json').write_text(
        json.dumps(cluster.parameters))


class ConfigTest(unittest.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.directory = folder.name

    def test_files(self):
        cluster = cassandra.Cluster(
            self.directory, {'paris': 1, 'rennes': 1}, auth=True,
            base_address='127.0.3.254', overrides={'concurrent_reads': 4})
        second = cluster.nodes[1]
        cassandra_config.write_files(second)
        with open(second.conf_dir / 'cassandra.yaml') as file:
            content = yaml.safe_load(file)
        self.assertEqual('127.0.3.255', content['listen_address'])
        self.assertEqual('127.0.3.254:7000,127.0.3.255:7000',
                         content['seed_provider'][0]['parameters'][0]['seeds'])
        self.assertEqual('v2', content['paxos_variant'])
        self.assertEqual('PasswordAuthenticator', content['authenticator'])
        self.assertEqual(4, content['concurrent_reads'])
        rackdc = second.conf_dir / 'cassandra-rackdc.properties'
        self.assertIn('dc=rennes\n', rackdc.read_text())

    def test_tokens_are_distinct_and_even(self):
        cluster = cassandra.Cluster(self.directory, {'a1': 3, 'b1': 2})
        tokens = [node.token for node in cluster.nodes]
        self.assertEqual(5, len(set(tokens)))
        self.assertTrue(all(-(1 << 63) < token < 1 << 63
                            for token in tokens))
        gaps = [b - a for a, b in zip(tokens[:3], tokens[1:3])]
        self.assertEqual([(1 << 64) // 3] * 2, gaps)

    def test_heap_is_bounded(self):
        node = cassandra_config.NodeSettings(
            directory=cassandra.pathlib.Path('/d'), heap_mb=640)
        words = cassandra_config.command(node, '/java',
                                         cassandra.pathlib.Path('/jars'))
        self.assertIn('-Xmx640m', words)
        self.assertEqual('/d/conf:/jars/*', words[words.index('-classpath')
                                                  + 1])

    def test_small_and_short_lived_nodes_take_little_cpu(self):
        serial, first = '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'
        for options, expected in (
                ({}, {serial, first}), ({'long_lived': True}, {serial}),
                ({'heap_mb': 4096}, {'-XX:+UseG1GC', first})):
            node = cassandra_config.NodeSettings(
                directory=cassandra.pathlib.Path('/d'), **options)
            words = cassandra_config.command(
                node, '/java', cassandra.pathlib.Path('/jars'))
            self.assertEqual(expected, {
                word for word in words
                if word in (first, serial, '-XX:+UseG1GC')})

    def test_a_node_that_flushes_no_schema_is_not_started_again(self):
        option = '-Dcassandra.test.flush_local_schema_changes=false'
        found = []
        for ephemeral in (False, True):
            cluster = cassandra.Cluster(self.directory, ephemeral=ephemeral)
            node, = cluster.nodes
            found.append(option in cassandra_config.command(
                node, '/java', cassandra.pathlib.Path('/jars')))
        self.assertEqual([False, True], found)
        node.directory.mkdir(parents=True)
        node.directory.joinpath('ready').touch()
        with mock.patch.object(cassandra.jars, 'ensure'), \
                mock.patch.object(cassandra, 'find_java'), \
                mock.patch.object(cassandra.process, 'spawn') as spawn:
            for start in (cluster.start, lambda: cluster.start_node(1)):
                with self.assertRaisesRegex(
                        cassandra.CassandraError, 'started again'):
                    start()
        spawn.assert_not_called()

    def test_logins_are_cheap(self):
        # Else all clients that come back after a restart starve each other.
        node = cassandra_config.NodeSettings(
            directory=cassandra.pathlib.Path('/d'), auth=True)
        self.assertIn(
            '-Dcassandra.auth_bcrypt_gensalt_log2_rounds=4',
            cassandra_config.command(node, '/java',
                                     cassandra.pathlib.Path('/jars')))

    def test_bad_parameters(self):
        for options, text in (
                ({'base_address': 'host'}, 'not an IPv4 address: host'),
                ({'sites': {'site1': 0}}, 'at least one node')):
            with self.assertRaisesRegex(cassandra.CassandraError, text):
                cassandra.Cluster(self.directory, **options)

    def test_load(self):
        with self.assertRaisesRegex(cassandra.CassandraError, 'no cluster in'):
            cassandra.Cluster.load(self.directory)
        path = os.path.join(self.directory, 'cluster.json')
        with open(path, 'w') as file:
            file.write('{')
        with self.assertRaisesRegex(cassandra.CassandraError, 'is damaged'):
            cassandra.Cluster.load(self.directory)

    def test_pid_of_another_process_is_not_ours(self):
        node = cassandra.Cluster(self.directory).nodes[0]
        node.directory.mkdir()
        node.directory.joinpath('pid').write_text(str(os.getpid()))
        self.assertIsNone(cassandra.find_pid(node))

    def test_command_line_errors(self):
        with mock.patch('sys.stderr'), self.assertRaises(SystemExit):
            cassandra.main(['status'])
        with mock.patch('sys.stderr') as stderr:
            self.assertEqual(
                1, cassandra.main(['stop', '--dir', self.directory]))
        self.assertIn('error: no cluster in',
                      stderr.write.call_args_list[0].args[0])

    def test_a_cluster_starts_again_as_it_was_made(self):
        with mock.patch.object(cassandra.Cluster, 'start',
                               _note_parameters):
            for arguments, address, heap in (
                    (['--base-address', '127.9.0.1', '--long-lived'],
                     '127.9.0.1', 512),
                    ([], '127.9.0.1', 512),
                    (['--heap', '700'], '127.9.0.1', 700),
                    ([], '127.9.0.1', 700)):
                # 3: nothing answers
                self.assertEqual(3, cassandra.main(
                    ['start', '--dir', self.directory, *arguments]))
                found = cassandra.Cluster.load(self.directory).parameters
                self.assertEqual(
                    (address, heap, True),
                    (found['base_address'], found['heap_mb'],
                     found['long_lived']))

    def test_jars(self):
        with mock.patch.dict(os.environ,
                             {'LUC_CASSANDRA_JARS': self.directory}):
            with self.assertRaisesRegex(jars.JarsError,
                                        'no cassandra-all'):
                jars.ensure()
            open(os.path.join(self.directory, 'cassandra-all-5.jar'),
                 'w').close()
            self.assertEqual(self.directory, str(jars.ensure()))
        with mock.patch.dict(os.environ, {'LUC_CACHE': self.directory}):
            os.environ.pop('LUC_CASSANDRA_JARS', None)
            self.assertIsNone(jars.find())
            with mock.patch('shutil.which', return_value=None), \
                    self.assertRaisesRegex(jars.JarsError, 'mvn not found'):
                jars.ensure()
        self.assertRegex(jars.version(), r'^5\.0\.\d+$')

    def test_existing_cluster_is_checked(self):
        with mock.patch.dict(os.environ, {'LUC_TEST_CASSANDRA': 'h:x'}), \
                self.assertRaisesRegex(cassandra.CassandraError,
                                       'write it as host:port'):
            shared.endpoint()
        with socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            named = '127.0.0.1:%d' % sock.getsockname()[1]
            with mock.patch.dict(os.environ, {'LUC_TEST_CASSANDRA': named}), \
                    self.assertRaisesRegex(cassandra.CassandraError,
                                           'no Cassandra answers there'):
                shared.endpoint()

    def test_busy_shared_server_is_given_time(self):
        """Else its data would be wiped under those that use it."""
        def found(pid, answers):
            return [cassandra.NodeStatus(
                'node1', '127.0.0.1', 'site1', pid, answers, 0)]

        for states, expected in (
                ([found(7, False), found(7, False), found(7, True)], True),
                ([found(7, False), found(None, False)], False),
                ([found(None, False)], False)):
            cluster = mock.Mock()
            cluster.status.side_effect = states
            with mock.patch.object(shared.time, 'sleep'):
                self.assertIs(expected, shared._answers(cluster))
            self.assertEqual(len(states), cluster.status.call_count)
        cluster = mock.Mock()
        cluster.status.return_value = found(7, False)
        with mock.patch.object(shared, 'BUSY', 0.0):
            self.assertIs(False, shared._answers(cluster))


class PingTest(unittest.TestCase):

    def _serve(self, *answers):
        """Answer each frame that comes in by the next of ``answers``."""
        server = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(server.close)

        def run():
            sock, _ = server.accept()
            with sock:
                for answer in answers:
                    sock.recv(4096)
                    sock.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        return server.getsockname()

    @staticmethod
    def _frame(opcode, body=b''):
        return struct.pack('>BBhBi', 0x84, 0, 0, opcode, len(body)) + body

    def test_answers(self):
        cqlping.ask(*self._serve(self._frame(6, b'\0\0')))
        cqlping.ask(*self._serve(self._frame(3), self._frame(0x10)), 'u', 'p')

    def test_refused(self):
        error = struct.pack('>iH', 0x100, 3) + b'bad'
        with self.assertRaisesRegex(cqlping.Refused, 'bad'):
            cqlping.ask(*self._serve(self._frame(3), self._frame(0, error)),
                        'u', 'p')

    def test_not_cassandra(self):
        for answer in (b'HTTP/1.1 400 Bad Request\r\n', b''):
            with self.assertRaises(cqlping.NotReady):
                cqlping.ask(*self._serve(answer))
