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

"""What the transport's functional tests share: settings, peers, servers."""

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import uuid

from oslo_config import cfg
import oslo_messaging

from luc_drivers import config
from luc_drivers.messaging import node as node_module
from tests import waiting

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__)))))
PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'peer.py')


class Endpoint:
    """Methods that tests call; notes what ran."""

    def __init__(self, log_path=None):
        self.ran = []
        self.log_path = log_path
        self.lock = threading.Lock()

    def _note(self, what):
        with self.lock:
            self.ran.append(what)
            if self.log_path:
                with open(self.log_path, 'a') as f:
                    f.write(json.dumps([os.getpid(), what]) + '\n')

    def echo(self, ctxt, x=None):
        self._note(x)
        return x

    def pid(self, ctxt, x=None):
        self._note(x)
        return os.getpid()

    def slow(self, ctxt, seconds, x=None):
        self._note(x)
        time.sleep(seconds)
        return x

    def context(self, ctxt):
        return ctxt

    def boom(self, ctxt):
        raise ValueError('boom')

    def unsendable(self, ctxt):
        return {('a',): 1}


class TransportCase(unittest.TestCase):
    """A directory, a host file and a name space of its own."""

    OPTIONS = {'matchmaker': 'embedded'}

    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(prefix='luc-bus-')
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.config_path = os.path.join(self.folder, 'luc.conf')
        self.write_config(**self.OPTIONS)
        before = os.environ.get('LUC_CONFIG')
        os.environ['LUC_CONFIG'] = self.config_path
        self.addCleanup(self._restore, before)
        self.addCleanup(self._close_nodes)
        self.topic = 't' + uuid.uuid4().hex[:8]
        self.log_path = os.path.join(self.folder, 'ran')
        # oslo.messaging's tracing options exist on the global one only.
        self.conf = cfg.CONF
        self.conf([], project='test', default_config_files=[])
        logging.getLogger('oslo_messaging').setLevel(logging.CRITICAL)

    def _restore(self, before):
        config._cache.pop(self.config_path, None)
        if before is None:
            os.environ.pop('LUC_CONFIG', None)
        else:
            os.environ['LUC_CONFIG'] = before

    def _close_nodes(self):
        for key, node in list(node_module._nodes.items()):
            if node.settings.state_path == self.folder:
                node.close()
                del node_module._nodes[key]

    def write_config(self, **options):
        """Write the host's file; ``[bus]`` options by keyword."""
        options.setdefault('port_range', '0:0')
        with open(self.config_path, 'w') as f:
            f.write('[DEFAULT]\nstate_path = %s\n[bus]\n' % self.folder)
            for name, value in options.items():
                f.write('%s = %s\n' % (name, value))

    def url(self, **query):
        return 'zmq:///test%s' % ('?' + '&'.join(
            '%s=%s' % item for item in query.items()) if query else '')

    def transport(self, **query):
        transport = oslo_messaging.get_rpc_transport(
            self.conf, url=self.url(**query),
            allowed_remote_exmods=['builtins'])
        self.addCleanup(transport.cleanup)
        return transport

    def node(self, transport):
        return transport._driver.node

    def target(self, server=None, **kw):
        return oslo_messaging.Target(topic=self.topic, server=server, **kw)

    def serve(self, transport, server='a', endpoint=None, **kw):
        """A started server and its endpoint."""
        endpoint = endpoint or Endpoint()
        rpc = oslo_messaging.get_rpc_server(
            transport, self.target(server, **kw), [endpoint],
            executor='threading')
        rpc.start()
        self.addCleanup(self.stop, rpc)
        return rpc, endpoint

    @staticmethod
    def stop(rpc):
        rpc.stop()
        rpc.wait()

    def client(self, transport, server=None, timeout=10, fanout=None, **kw):
        return oslo_messaging.get_rpc_client(
            transport, self.target(server, fanout=fanout), timeout=timeout,
            **kw)

    def peer(self, server='a', topic=None, env=None, **query):
        """Another process that serves the topic."""
        peer = Peer(self, topic or self.topic, server, self.url(**query),
                    env)
        self.addCleanup(peer.end)
        return peer

    def ran(self):
        """[pid, what] of all that ran in other processes."""
        try:
            with open(self.log_path) as f:
                return [json.loads(line) for line in f]
        except FileNotFoundError:
            return []

    def wait_for(self, condition, seconds=10.0, what='condition'):
        """The condition's first true value."""
        return waiting.until(condition, seconds, what)

    @contextlib.contextmanager
    def lasts(self, least, most):
        start = time.monotonic()
        yield
        took = time.monotonic() - start
        self.assertGreaterEqual(took, least)
        self.assertLessEqual(took, most)


class Peer:
    """A server in a process of its own."""

    def __init__(self, case, topic, server, url, env=None):
        self.process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', PEER, url, topic, server,
             case.log_path],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, 'PYTHONPATH': ROOT, **(env or {})}, text=True)
        line = self.process.stdout.readline()
        if not line.startswith('up'):
            raise AssertionError('the peer did not start: %r' % line)
        self.pid = int(line.split()[1])

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Stop it as a service manager would."""
        self.process.stdin.close()
        self.process.wait(20)

    def end(self):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


class Proxy:
    """A TCP proxy whose connections can be cut or frozen."""

    def __init__(self, port):
        self.target = port
        self.frozen = threading.Event()
        self.refusing = False
        self._pairs = []
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                near.close()
                continue
            far = socket.create_connection(('127.0.0.1', self.target))
            self._pairs.append((near, far))
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(a, b),
                                 daemon=True).start()

    def _copy(self, a, b):
        try:
            while data := a.recv(65536):
                while self.frozen.is_set():
                    time.sleep(0.01)
                b.sendall(data)
        except OSError:
            pass  # cut
        for sock in (a, b):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def cut(self):
        """Break all connections."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()
        self.cut()


def through_proxy(case, node):
    """Have a node reach all others through one proxy, made on demand.

    :returns: dict of port -> Proxy, filled as listeners are looked up.
    """
    proxies = {}
    original = node.routing._lookup_site

    def lookup(key, site, limit=None):
        found = []
        for candidate, live in original(key, site, limit):
            port = int(candidate.endpoint.addresses[0].rpartition(':')[2])
            if port not in proxies:
                proxies[port] = Proxy(port)
                case.addCleanup(proxies[port].close)
            endpoint = candidate.endpoint.replace(
                addresses=('tcp://127.0.0.1:%d' % proxies[port].port,))
            found.append((candidate._replace(endpoint=endpoint), live))
        return found

    node.routing._lookup_site = lookup
    return proxies
