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


"""``luc bus ping``, ``status --live`` and the counters, on running processes.
"""

import io
import json
import signal
import urllib.request

from cliff import app
from cliff import commandmanager
import oslo_messaging

from luc_drivers.cmd import bus
from luc_drivers.messaging import counters
from tests.functional.messaging import support


class OperationCase(support.TransportCase):

    OPTIONS = {'matchmaker': 'embedded'}

    def run_command(self, name, *arguments):
        """(status, rows) of a ``luc bus`` command."""
        commands = commandmanager.CommandManager('luc.none')
        for words, command in (('ping', bus.Ping), ('status', bus.Status)):
            commands.add_command(words, command)
        out, err = io.StringIO(), io.StringIO()
        status = app.App('', '', commands, stdout=out, stderr=err).run(
            [name, *arguments, '--format', 'json'])
        self.errors = err.getvalue()
        return status, json.loads(out.getvalue() or '[]')


class PingTest(OperationCase):

    def test_each_process_of_a_topic(self):
        peers = [self.peer('a', site='paris'), self.peer('b', site='rennes')]
        status, rows = self.run_command('ping', self.topic)
        self.assertEqual(0, status)
        self.assertEqual(
            {('paris', 'a', peers[0].pid), ('rennes', 'b', peers[1].pid)},
            {(r['site'], r['server'], r['pid']) for r in rows})
        for row in rows:
            self.assertGreater(row['best'], 0)
            self.assertGreaterEqual(row['mean'], row['best'])
            self.assertLess(row['best'], 3000)
            self.assertEqual('', row['problem'])

    def test_one_server(self):
        self.peer('a')
        self.peer('b')
        status, rows = self.run_command('ping', 'b', '--count', '1')
        self.assertEqual(['b'], [r['server'] for r in rows])

    def test_frozen_and_dead_processes_are_named(self):
        frozen, dead = self.peer('a'), self.peer('b')
        frozen.signal(signal.SIGSTOP)
        self.addCleanup(frozen.signal, signal.SIGCONT)
        dead.kill()
        status, rows = self.run_command('ping', self.topic, '--timeout',
                                        '1.5')
        problems = {r['server']: r['problem'] for r in rows}
        self.assertRegex(problems['a'], 'no answer|can\'t connect')
        self.assertRegex(problems['b'], 'gone|can\'t connect')

    def test_nobody(self):
        status, rows = self.run_command('ping', 'nobody')
        self.assertEqual(1, status)


class StatusTest(OperationCase):

    def test_live_figures(self):
        tr = self.transport(rpc_prefetch=1)
        _, endpoint = self.serve(tr)
        client = self.client(self.transport(), 'a')
        client.call({}, 'echo', x=1)
        for _ in range(4):
            client.cast({}, 'slow', seconds=3)
        self.wait_for(lambda: len(endpoint.ran) == 2)
        status, rows = self.run_command('status', '--live')
        self.assertEqual(0, status)
        row, = [r for r in rows if r['topic'] == self.topic]
        self.assertEqual(('a', 5, 3, 0, ''),
                         (row['server'], row['received'], row['queue'],
                          row['mailbox'], row['problem']))
        self.assertTrue(row['release'])
        # Without asking: the registry alone.
        _, rows = self.run_command('status', '--topic', self.topic)
        self.assertNotIn('queue', rows[0])
        endpoint.slow = None


class CountersTest(support.TransportCase):

    OPTIONS = {'matchmaker': 'memory'}

    def of(self, transport):
        rows = self.node(transport).report()['topics']
        found = [r for r in rows if r['topic'] == self.topic]
        return {k: v for row in found for k, v in row.items()
                if k in counters.EVENTS}

    def test_both_ends(self):
        server = self.transport(queue_max_messages=9999)
        self.serve(server)
        tr = self.transport()
        client = self.client(tr, 'a')
        for i in range(5):
            client.call({}, 'echo', x=i)
        for i in range(3):
            client.cast({}, 'echo', x=i)
        self.assertEqual({'sent': 8, 'acknowledged': 8}, self.of(tr))
        self.assertEqual({'received': 8}, self.of(server))

    def test_stored_and_dropped(self):
        tr = self.transport()
        self.client(tr, 'a').cast({}, 'echo', x=1)
        self.wait_for(lambda: self.of(tr) == {'dropped': 1})
        rpc, _ = self.serve(tr)
        self.stop(rpc)
        self.client(tr, 'a').cast({}, 'echo', x=2)
        self.wait_for(lambda: self.of(tr) == {'dropped': 1, 'stored': 1})

    def test_time_out(self):
        server = self.transport(queue_max_messages=9999)
        self.serve(server)
        tr = self.transport()
        client = self.client(tr, 'a', timeout=0.5)
        with self.assertRaises(oslo_messaging.MessagingTimeout):
            client.call({}, 'slow', seconds=1)
        self.wait_for(lambda: self.of(tr).get('timed_out') == 1)


class MetricsTest(support.TransportCase):

    OPTIONS = {'matchmaker': 'memory'}

    def setUp(self):
        super().setUp()
        try:
            import prometheus_client
            self.prometheus = prometheus_client
        except ImportError:
            self.skipTest('prometheus_client is not installed')

    def scrape(self, transport):
        with urllib.request.urlopen(
                'http://127.0.0.1:%d/metrics'
                % self.node(transport).metrics.port) as answer:
            text = answer.read().decode()
        return {(sample.name, *sorted(sample.labels.items())): sample.value
                for family in self.prometheus.parser
                .text_string_to_metric_families(text)
                for sample in family.samples}

    def test_scrape(self):
        import prometheus_client.parser  # noqa: F401
        tr = self.transport(metrics_ports='23100:23199')
        other = self.transport(metrics_ports='23100:23199',
                               queue_max_messages=9999)
        self.serve(tr)
        for i in range(3):
            self.client(other, 'a').call({}, 'echo', x=i)
        labels = (('exchange', 'openstack'), ('namespace', 'test'),
                  ('topic', self.topic))
        found = self.scrape(tr)
        self.assertEqual(3, found[(
            'luc_bus_messages_total', ('event', 'received'), *labels)])
        self.assertEqual(0, found[(
            'luc_bus_queue_depth', labels[0], labels[1], ('server', 'a'),
            labels[2])])
        self.assertEqual(0, found[('luc_bus_faults_total',)])
        # The other node of this process took another port.
        found = self.scrape(other)
        self.assertEqual(3, found[(
            'luc_bus_messages_total', ('event', 'acknowledged'), *labels)])
        self.assertEqual(1, found[('luc_bus_connections',)])

    def test_off_by_default(self):
        tr = self.transport()
        self.client(tr, 'a').cast({}, 'echo')
        self.assertIsNone(self.node(tr).metrics)

    def test_no_free_port_is_a_warning(self):
        first = self.transport(metrics_ports='23200:23200')
        self.serve(first)
        with self.assertLogs('luc_drivers.messaging.metrics',
                             'WARNING') as logs:
            second = self.transport(metrics_ports='23200:23200',
                                    queue_max_messages=9999)
            self.assertEqual(1, self.client(second, 'a').call(
                {}, 'echo', x=1))
        self.assertEqual(1, len(logs.output))
