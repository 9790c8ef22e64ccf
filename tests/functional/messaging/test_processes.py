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

"""Forked workers, eventlet, CURVE: what needs processes of its own."""

import os
import subprocess
import sys
import threading
import time

from oslo_config import cfg
import oslo_messaging

from luc_drivers.messaging import keys
from luc_drivers.messaging.matchmaker import base
from tests.functional.messaging import support

_FORK_BOMB = """
import json, os, sys, threading
from oslo_config import cfg
import oslo_messaging
url, topic = sys.argv[1:3]
cfg.CONF([], project='x', default_config_files=[])
transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
client = oslo_messaging.get_rpc_client(
    transport, oslo_messaging.Target(topic=topic), timeout=30)
client.call({}, 'echo', x='parent')
pids = []
for worker in range(4):
    pid = os.fork()
    if not pid:
        status = 0
        def run(n):
            global status
            for i in range(50):
                if client.call({}, 'echo', x=[worker, n, i]) != [
                        worker, n, i]:
                    status = 1
        threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        os._exit(status)
    pids.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in pids]
client.call({}, 'echo', x='parent again')
print(json.dumps(codes))
"""

_FORKED_SERVERS = """
import os, sys, time
from oslo_config import cfg
import oslo_messaging
from tests.functional.messaging import support
url, topic, log = sys.argv[1:4]
cfg.CONF([], project='x', default_config_files=[])
transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
# The transport is made, and used, in the parent; servers start in children.
client = oslo_messaging.get_rpc_client(
    transport, oslo_messaging.Target(topic='nobody'), timeout=1)
client.cast({}, 'echo')
for worker in range(3):
    if not os.fork():
        rpc = oslo_messaging.get_rpc_server(
            transport, oslo_messaging.Target(topic=topic, server='host'),
            [support.Endpoint(log)], executor='threading')
        rpc.start()
        time.sleep(60)
        os._exit(0)
print('up', flush=True)
sys.stdin.read()
os.killpg(0, 9)
"""

_GREEN = """
import eventlet
eventlet.monkey_patch()
import json, sys, threading, time
from oslo_config import cfg
import oslo_messaging
from tests.functional.messaging import support
url, topic = sys.argv[1:3]
cfg.CONF([], project='x', default_config_files=[])
transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
out = {}
client = oslo_messaging.get_rpc_client(
    transport, oslo_messaging.Target(topic=topic), timeout=5)
endpoint = support.Endpoint()
rpc = oslo_messaging.get_rpc_server(
    transport, oslo_messaging.Target(topic=topic + 'g', server='green'),
    [endpoint], executor='eventlet')
rpc.start()
# Calls to a native process, in parallel greenlets.
start = time.monotonic()
pool = eventlet.GreenPool()
out['parallel'] = list(pool.imap(
    lambda i: client.call({}, 'slow', seconds=1, x=i), range(10)))
out['took'] = time.monotonic() - start
# To our own green server, while the hub goes on.
own = oslo_messaging.get_rpc_client(
    transport, oslo_messaging.Target(topic=topic + 'g'), timeout=1)
ticks = []
def tick():
    while True:
        ticks.append(1)
        eventlet.sleep(0.01)
ticker = eventlet.spawn(tick)
out['own'] = [own.call({}, 'echo', x=i) for i in range(50)]
start = time.monotonic()
try:
    own.call({}, 'slow', seconds=1.5)
except oslo_messaging.MessagingTimeout:
    out['timeout'] = time.monotonic() - start
out['ticks'] = len(ticks)
start = time.monotonic()
try:
    oslo_messaging.get_rpc_client(
        transport, oslo_messaging.Target(topic='missing'),
        timeout=1).call({}, 'echo')
except oslo_messaging.MessagingTimeout:
    out['missing'] = time.monotonic() - start
own.cast({}, 'echo', x='cast')
eventlet.sleep(0.7)
out['late'] = transport._driver.node.state().get('late_replies')
rpc.stop()
rpc.wait()
out['ran'] = endpoint.ran[-1]
print(json.dumps(out))
"""


class ProcessCase(support.TransportCase):

    OPTIONS = {'matchmaker': 'embedded'}

    def script(self, text, *arguments, **kw):
        return subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c', text, self.url(),
             self.topic, *arguments],
            cwd=support.ROOT, env={**os.environ, 'PYTHONPATH': support.ROOT},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **kw)

    def result(self, process):
        out, _ = process.communicate(timeout=60)
        self.assertEqual(0, process.returncode)
        return support.json.loads(out)


class ForkTest(ProcessCase):

    def test_children_call_over_an_inherited_and_used_transport(self):
        tr = self.transport()
        _, endpoint = self.serve(tr)
        self.assertEqual([0] * 4, self.result(self.script(_FORK_BOMB)))
        self.assertEqual(4 * 4 * 50 + 2, len(endpoint.ran))

    def test_servers_in_children(self):
        process = self.script(_FORKED_SERVERS, self.log_path,
                              start_new_session=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdin.close)
        process.stdout.readline()
        tr = self.transport(lookup_cache=0.1)
        client = self.client(tr, 'host')
        matchmaker = self.node(tr).matchmaker
        self.wait_for(lambda: len(matchmaker.lookup(
            'test', 'openstack', self.topic)) == 3)
        pids = [client.call({}, 'pid') for _ in range(12)]
        self.assertEqual(3, len(set(pids)))
        self.client(tr, fanout=True).cast({}, 'echo', x='F')
        self.wait_for(lambda: len([1 for _pid, what in self.ran()
                                   if what == 'F']) == 3)

    def test_child_does_not_keep_the_parents_port(self):
        tr = self.transport()
        self.serve(tr)
        node = self.node(tr)
        pid = os.fork()
        if not pid:
            # A child that never uses the transport.
            try:
                os.fstat(node.listening_fd)
            except OSError:
                os._exit(0)
            os._exit(1)
        self.assertEqual(0, os.waitpid(pid, 0)[1])
        self.assertEqual(1, self.client(tr, 'a').call({}, 'echo', x=1))


class EventletTest(ProcessCase):

    def test_green_client_and_server(self):
        self.peer('a')
        out = self.result(self.script(_GREEN))
        self.assertEqual(list(range(10)), out['parallel'])
        self.assertLess(out['took'], 3)
        self.assertEqual(list(range(50)), out['own'])
        self.assertGreaterEqual(out['timeout'], 1)
        self.assertLess(out['timeout'], 1.4)
        self.assertGreater(out['ticks'], 50)
        self.assertLess(out['missing'], 1.5)
        self.assertEqual('cast', out['ran'])
        self.assertEqual(1, out['late'])


class ImportTest(ProcessCase):

    def test_importing_the_driver_loads_neither_eventlet_nor_zmq_sockets(self):
        text = ('import sys; import luc_drivers.messaging.opts; '
                'import luc_drivers; '
                'assert "eventlet" not in sys.modules; '
                'assert "zmq" not in sys.modules; '
                'assert "cassandra" not in sys.modules; print("[]")')
        self.result(self.script(text))


class CurveTest(ProcessCase):

    def setUp(self):
        super().setUp()
        self.keys_dir = self.make_keys('host1')
        self.configure(host='host1', keys_dir=self.keys_dir)

    def make_keys(self, host):
        folder = os.path.join(self.folder, 'keys-' + host)
        keys.save(folder, keys.generate(host, base.CONTROL))
        keys.add_store_key(folder)
        return folder

    def configure(self, **options):
        self.write_config(matchmaker='embedded', security='curve',
                          keys_reload=0.1, lookup_cache=0.1, **options)
        support.config._cache.pop(self.config_path, None)

    def test_encrypted_calls(self):
        tr = self.transport()
        _, endpoint = self.serve(tr)
        self.assertEqual(1, self.client(tr, 'a').call({}, 'echo', x=1))
        peer = self.peer('b')
        client = self.client(tr, 'b', timeout=30)
        self.assertEqual(peer.pid, client.call({}, 'pid'))
        text = 'x' * (2 << 20)
        self.assertEqual(text, client.call({}, 'echo', x=text))
        peer.stop()
        client.cast({}, 'echo', x='stored')
        with open(os.path.join(self.folder, 'bus.sqlite'), 'rb') as f:
            self.assertNotIn(b'stored', f.read())
        self.peer('b')
        self.wait_for(lambda: self.ran()[-1][1] == 'stored')

    def test_plain_and_encrypted_servers_of_one_topic(self):
        encrypted, plain = self.transport(), self.transport(security='none')
        _, theirs = self.serve(encrypted, 'a')
        _, ours = self.serve(plain, 'b')
        client = self.client(plain)
        with self.assertLogs('luc_drivers.messaging.routing',
                             'WARNING') as logs:
            for x in range(5):
                client.call({}, 'echo', x=x)
        # Each has only those that it can talk to, from the first call on.
        self.assertEqual(list(range(5)), ours.ran)
        self.assertEqual(1, self.node(plain).state()['connections'])
        self.assertEqual(1, len(logs.output), logs.output)
        self.assertIn('uses CURVE', logs.output[0])
        for x in range(3):
            self.client(encrypted).call({}, 'echo', x=x)
        self.assertEqual([0, 1, 2], theirs.ran)

    def test_stranger_can_neither_call_nor_serve(self):
        tr = self.transport()
        _, endpoint = self.serve(tr)
        node = self.node(tr)
        other = self.make_keys('evil')
        # It knows our key, but we do not know its key.
        for key in keys.allowed(self.keys_dir).values():
            keys.allow(other, key)
        self.configure(host='evil', keys_dir=other)
        evil = self.transport()
        self.assertIsNot(node, self.node(evil))
        with self.assertLogs('luc_drivers.messaging.agent',
                             'WARNING') as logs:
            with self.assertRaises(oslo_messaging.MessagingTimeout):
                self.client(evil, 'a', timeout=2).call({}, 'echo', x=1)
        self.assertIn('not among the allowed', logs.output[0])
        self.assertEqual([], endpoint.ran)
        # Nor is what it registers believed.
        self.serve(evil, 'fake')
        with self.assertRaises(oslo_messaging.MessagingTimeout):
            self.client(tr, 'fake', timeout=1).call({}, 'echo')

    def test_revoked_host_is_cut_off(self):
        other = self.make_keys('host2')
        for key in keys.allowed(self.keys_dir).values():
            keys.allow(other, key)
        keys.allow(self.keys_dir, keys.load(other, 'host2').public)
        tr = self.transport()
        _, endpoint = self.serve(tr)
        self.configure(host='host2', keys_dir=other)
        client = self.client(self.transport(), 'a', timeout=2)
        self.assertEqual(1, client.call({}, 'echo', x=1))
        keys.revoke(self.keys_dir, 'host2')
        time.sleep(0.3)
        with self.assertRaises(oslo_messaging.MessagingTimeout):
            client.call({}, 'echo', x=2)
        self.assertEqual([1], endpoint.ran)


class BindTest(ProcessCase):

    def test_public_address_needs_security(self):
        with self.assertRaisesRegex(Exception, 'allow_insecure'):
            self.transport(bind='0.0.0.0')

    def test_taken_port_names_the_setting(self):
        tr = self.transport()
        self.serve(tr)
        port = self.node(tr).addresses[0].rpartition(':')[2]
        other = self.transport(port_range='%s:%s' % (port, port))
        with self.assertRaisesRegex(Exception, 'port_range'):
            self.serve(other)

    def test_unknown_option_and_matchmaker(self):
        with self.assertRaisesRegex(Exception, 'nonsense'):
            self.transport(nonsense=1)
        with self.assertRaisesRegex(Exception, 'matchmaker'):
            self.transport(matchmaker='redis')

    def test_ipv6(self):
        tr = self.transport(bind='::1')
        self.serve(tr)
        self.assertIn('[::1]', self.node(tr).addresses[0])
        self.assertEqual(1, self.client(tr, 'a').call({}, 'echo', x=1))


class PureClientTest(ProcessCase):

    def test_listens_nowhere_and_is_answered(self):
        peer = self.peer('a')
        tr = self.transport()
        client = self.client(tr, 'a')
        self.assertEqual(peer.pid, client.call({}, 'pid'))
        client.cast({}, 'echo', x=1)
        node = self.node(tr)
        self.assertFalse(node.bound)
        self.assertIsNone(node.listening_fd)
        self.assertEqual([peer.pid], [e.pid for e in
                                      node.matchmaker.endpoints()])


class UrlTest(ProcessCase):

    def test_user_and_address_are_ignored_with_one_warning(self):
        url = 'zmq://nova:sesame@192.0.2.1:5672,192.0.2.2/test'
        with self.assertLogs('luc_drivers.messaging.driver') as logs:
            first, second = (oslo_messaging.get_rpc_transport(
                cfg.CONF, url=url) for _ in range(2))
        self.assertEqual(1, len(logs.output))
        self.assertIn('192.0.2.1:5672,192.0.2.2:', logs.output[0])
        self.assertNotIn('sesame', logs.output[0])
        self.serve(first)
        self.assertEqual(1, self.client(second, 'a').call({}, 'echo', x=1))

    def test_plain_url_has_no_warning(self):
        with self.assertNoLogs('luc_drivers.messaging.driver'):
            self.transport()


_FILES = """
import json, logging, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, int(sys.argv[3])))
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
from oslo_config import cfg
import oslo_messaging
cfg.CONF([], project='x', default_config_files=[])
transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=sys.argv[1])
oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(
    topic=sys.argv[2]), timeout=5).call({}, 'echo')
print(json.dumps(resource.getrlimit(resource.RLIMIT_NOFILE)))
"""


class FileLimitTest(ProcessCase):

    def test_soft_limit_is_raised(self):
        self.peer('a')
        process = self.script(_FILES, '6000', stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        out, err = process.communicate(timeout=60)
        self.assertEqual('[6000, 6000]', out.strip(), err)
        self.assertNotIn('LimitNOFILE', err)

    def test_low_hard_limit_is_told(self):
        self.peer('a')
        process = self.script(_FILES, '300', stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        out, err = process.communicate(timeout=60)
        self.assertEqual('[300, 300]', out.strip(), err)
        self.assertEqual(1, err.count('LimitNOFILE'), err)


class SharedNodeTest(ProcessCase):

    def test_many_transports_and_servers_on_one_socket(self):
        before = threading.active_count()
        transports = [oslo_messaging.get_rpc_transport(
            cfg.CONF, url='zmq:///cell%d' % i) for i in range(5)]
        servers = []
        for i, tr in enumerate(transports):
            for name in 'ab':
                endpoint = support.Endpoint()
                rpc, _ = self.serve(tr, name, endpoint)
                servers.append(endpoint)
            self.client(tr, 'a').call({}, 'echo', x=i)
        self.assertEqual(1, len({id(self.node(tr)) for tr in transports}))
        state = self.node(transports[0]).state()
        self.assertEqual((1, 1), (state['connections'], state['in_peers']))
        # Two for the node, one for each listener, one in each executor used.
        self.assertLessEqual(threading.active_count() - before, 2 + 10 + 5)
