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


"""What services rely on, as scenarios over oslo.messaging's API alone.

One method for each behaviour of the table "The contract that services rely
on" (its letter in the docstring; row p, a rate, is ``tests/bench``'s). A
class says which transport they run on, and where that one's behaviour is
known to be another.
"""

import os
import subprocess
import threading
import time
import uuid

from oslo_config import cfg
import oslo_messaging

from tests.functional.messaging import support

#: seconds for which nothing is expected to come
QUIET = 0.7


class Notes:
    """A notification endpoint that keeps payloads."""

    def __init__(self, requeues=0):
        self.got = []
        self.requeues = requeues

    def info(self, ctxt, publisher_id, event_type, payload, metadata):
        self.got.append(payload)
        if len(self.got) <= self.requeues:
            return oslo_messaging.NotificationResult.REQUEUE
        return oslo_messaging.NotificationResult.HANDLED


class Endpoint(support.Endpoint):
    """Also raises what may and what may not be raised at the client."""

    def known_error(self, ctxt):
        raise KeyError('kk')

    def unknown_error(self, ctxt):
        raise subprocess.CalledProcessError(1, 'x')


class Contract:
    """Mixin for TransportCase; see the module."""

    #: row d: a call whose first server comes later is answered
    ANSWERS_FIRST_SERVER = True
    #: row h: a fanout stays in its exchange
    SCOPES_FANOUT = True
    #: row n: a forked child may use its parent's transport
    FORKS = True
    #: seconds for a server to be found
    SETTLE = 0.1

    def rpc_url(self, client=False):
        """URL of a transport; the client's may be another."""
        raise NotImplementedError

    def setUp(self):
        super().setUp()
        self.server_transport = self._rpc(False)
        self.client_transport = self._rpc(True)

    def _rpc(self, client):
        transport = oslo_messaging.get_rpc_transport(
            self.conf, url=self.rpc_url(client),
            allowed_remote_exmods=['builtins'])
        self.addCleanup(transport.cleanup)
        return transport

    def serve(self, server='a', exchange=None, transport=None):
        rpc, endpoint = super().serve(
            transport or self.server_transport, server, Endpoint(),
            exchange=exchange)
        time.sleep(self.SETTLE)
        return rpc, endpoint

    def client(self, server=None, timeout=10, fanout=None, exchange=None,
               **kw):
        return oslo_messaging.get_rpc_client(
            self.client_transport, self.target(server, fanout=fanout,
                                               exchange=exchange),
            timeout=timeout, **kw)

    def in_thread(self, function):
        """Start it; its result is appended to what is returned second."""
        result = []

        def run():
            try:
                result.append(function())
            except Exception as e:
                result.append(type(e).__name__)

        thread = threading.Thread(target=run)
        thread.start()
        return thread, result

    # -- calls and casts --------------------------------------------------

    def test_cast_to_a_stopped_server_is_kept(self):
        """Row a."""
        rpc, _ = self.serve()
        self.client('a').call({}, 'echo', x=0)
        self.stop(rpc)
        self.client('a').cast({}, 'echo', x=1)
        _, endpoint = self.serve()
        self.wait_for(lambda: endpoint.ran == [1])

    def test_cast_to_the_never_seen_is_lost_without_an_error(self):
        """Row b."""
        self.client('a').cast({}, 'echo', x=1)
        self.client().cast({}, 'echo', x=2)
        _, endpoint = self.serve()
        time.sleep(QUIET)
        self.assertEqual([], endpoint.ran)

    def test_call_to_a_stopped_server_that_returns_is_answered(self):
        """Row c."""
        rpc, _ = self.serve()
        self.client('a').call({}, 'echo', x=0)
        self.stop(rpc)
        thread, result = self.in_thread(
            lambda: self.client('a').call({}, 'echo', x=7))
        time.sleep(2)
        _, endpoint = self.serve()
        thread.join()
        self.assertEqual(([7], [7]), (result, endpoint.ran))

    def test_call_to_a_topic_whose_first_server_comes_later(self):
        """Row d."""
        thread, result = self.in_thread(
            lambda: self.client(timeout=6).call({}, 'echo', x=7))
        time.sleep(2)
        _, endpoint = self.serve()
        thread.join()
        if self.ANSWERS_FIRST_SERVER:
            self.assertEqual(([7], [7]), (result, endpoint.ran))
        else:
            self.assertEqual((['MessagingTimeout'], []),
                             (result, endpoint.ran))

    def test_expired_call_is_never_executed(self):
        """Row e."""
        rpc, _ = self.serve()
        self.client('a').call({}, 'echo', x=0)
        self.stop(rpc)
        with self.assertRaises(oslo_messaging.MessagingTimeout):
            self.client('a', timeout=1).call({}, 'echo', x=9)
        time.sleep(0.5)
        _, endpoint = self.serve()
        time.sleep(QUIET)
        self.assertEqual([], endpoint.ran)

    def test_call_to_the_unknown_times_out_and_not_before(self):
        """Row f."""
        with self.lasts(1, 2), self.assertRaises(
                oslo_messaging.MessagingTimeout):
            self.client('zz', timeout=1).call({}, 'echo')

    def test_at_least_once_call_to_the_unknown_fails_at_once(self):
        """Row g."""
        options = oslo_messaging.TransportOptions(at_least_once=True)
        with self.lasts(0, 3), self.assertRaises(
                oslo_messaging.MessageUndeliverable):
            self.client('zz', timeout=30, transport_options=options).call(
                {}, 'echo')

    def test_fanout_and_exchanges(self):
        """Row h."""
        _, one = self.serve('a', 'x1')
        _, two = self.serve('b', 'x2')
        self.client(fanout=True, exchange='x1').cast({}, 'echo', x=1)
        self.wait_for(lambda: one.ran == [1])
        time.sleep(QUIET)
        self.assertEqual([] if self.SCOPES_FANOUT else [1], two.ran)

    def test_workers_of_one_server_alternate_and_all_get_fanouts(self):
        """Row i."""
        _, one = self.serve()
        _, two = self.serve(transport=self._rpc(False))
        client = self.client('a')
        for i in range(10):
            client.call({}, 'echo', x=i)
        self.assertEqual((5, 5), (len(one.ran), len(two.ran)))
        self.client(fanout=True).cast({}, 'echo', x='F')
        self.wait_for(lambda: one.ran[-1:] == two.ran[-1:] == ['F'])
        time.sleep(QUIET)
        self.assertEqual((6, 6), (len(one.ran), len(two.ran)))

    def test_late_reply_leaves_the_client_unharmed(self):
        """Row m."""
        self.serve()
        client = self.client('a', timeout=1)
        with self.lasts(1, 1.9), self.assertRaises(
                oslo_messaging.MessagingTimeout):
            client.call({}, 'slow', seconds=2)
        time.sleep(1.5)
        self.assertEqual(5, client.call({}, 'echo', x=5))

    def test_forked_child_uses_an_inherited_transport(self):
        """Row n."""
        self.serve()
        client = self.client('a', timeout=5)
        client.call({}, 'echo', x=0)
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                result = str(client.call({}, 'echo', x=42))
            except BaseException as e:
                result = type(e).__name__
            os.write(write, result.encode())
            os._exit(0)
        result = os.read(read, 100).decode()
        os.waitpid(pid, 0)
        for fd in (read, write):
            os.close(fd)
        self.assertEqual('42' if self.FORKS else 'MessagingTimeout', result)
        self.assertEqual(1, client.call({}, 'echo', x=1))

    def test_large_argument(self):
        """Row o."""
        self.serve()
        text = 'x' * (32 << 20)
        self.assertEqual(text, self.client('a', timeout=60).call(
            {}, 'echo', x=text))

    def test_exceptions(self):
        """Row q."""
        self.serve()
        client = self.client('a')
        with self.assertRaisesRegex(ValueError, 'boom'):
            client.call({}, 'boom')
        with self.assertRaises(KeyError):
            client.call({}, 'known_error')
        for method in ('unknown_error', 'nosuch'):
            with self.assertRaises(oslo_messaging.RemoteError):
                client.call({}, method)

    def test_monitored_call_outlives_its_monitor(self):
        """Beats restart the monitor's timer."""
        self.serve()
        client = self.client('a', timeout=20)
        self.assertEqual(1, client.prepare(call_monitor_timeout=2).call(
            {}, 'slow', seconds=3, x=1))

    def test_stop_waits_for_the_running_method(self):
        """A graceful stop loses no reply."""
        rpc, endpoint = self.serve()
        thread, result = self.in_thread(
            lambda: self.client('a').call({}, 'slow', seconds=1, x=7))
        self.wait_for(lambda: endpoint.ran)
        self.stop(rpc)
        thread.join()
        self.assertEqual([7], result)

    # -- notifications ----------------------------------------------------

    def notify_url(self):
        """URL of a notification transport."""
        return self.rpc_url()

    def notifications(self):
        """A notification transport."""
        transport = oslo_messaging.get_notification_transport(
            self.conf, url=self.notify_url())
        self.addCleanup(transport.cleanup)
        return transport

    def notifier(self, transport):
        return oslo_messaging.Notifier(transport, 'pub', driver='messaging',
                                       topics=[self.topic])

    def listen(self, transport, notes, pool=None, **kw):
        listener = oslo_messaging.get_notification_listener(
            transport, [oslo_messaging.Target(topic=self.topic)], [notes],
            executor='threading', pool=pool, **kw)
        listener.start()
        self.addCleanup(self.stop, listener)
        return listener

    def test_pools(self):
        """Row j."""
        transport = self.notifications()
        pools = [('p1', Notes()), ('p1', Notes()), ('p2', Notes()),
                 (None, Notes())]
        for pool, notes in pools:
            self.listen(transport, notes, pool)
        time.sleep(0.5)
        notifier = self.notifier(transport)
        for i in range(10):
            notifier.info({}, 'ev', i)
        counts = [5, 5, 10, 10]
        self.wait_for(lambda: sum(len(n.got) for _, n in pools) >= 30, 15)
        time.sleep(QUIET)
        self.assertEqual(counts, [len(n.got) for _, n in pools])

    def test_notifications_before_any_listener_are_stored(self):
        """Row k."""
        transport = self.notifications()
        notifier = self.notifier(transport)
        for i in range(3):
            notifier.info({}, 'ev', i)
        notes = Notes()
        self.listen(transport, notes)
        self.wait_for(lambda: sorted(notes.got) == [0, 1, 2])

    def test_requeued_notifications_come_again(self):
        """Row l."""
        transport = self.notifications()
        notes = Notes(requeues=2)
        self.listen(transport, notes, allow_requeue=True)
        time.sleep(0.3)
        self.notifier(transport).info({}, 'ev', 'r')
        self.wait_for(lambda: notes.got == ['r'] * 3)
        time.sleep(QUIET)
        self.assertEqual(['r'] * 3, notes.got)


class OwnContract(Contract):
    """Over our transport."""

    MATCHMAKER = 'embedded'

    def setUp(self):
        self.OPTIONS = self.options()
        self.virtual_host = 'v' + uuid.uuid4().hex[:8]
        super().setUp()

    def options(self):
        """Options of ``[bus]``."""
        return {'matchmaker': self.MATCHMAKER}

    def rpc_url(self, client=False):
        # Other settings: the client has a node of its own.
        return 'zmq:///%s%s' % (
            self.virtual_host, '?queue_max_messages=9999' if client else '')


class RabbitContract(Contract):
    """Over RabbitMQ, as long as the table says what it does."""

    ANSWERS_FIRST_SERVER = False
    SCOPES_FANOUT = False
    FORKS = False
    SETTLE = 0.3
    broker = None

    def rpc_url(self, client=False):
        return self.broker.url('')

    def setUp(self):
        cfg.CONF([], project='test', default_config_files=[])
        super().setUp()
