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

"""The driver that oslo.messaging loads for ``zmq://`` URLs.

    zmq:///VIRTUAL_HOST[?option=value&...]

The virtual host is a name space: transports with different ones don't hear
each other. The query may override options of the group ``[bus]``. There is no
broker that a user, password or address in the URL could be for: what
templates put there is ignored with one warning.
"""

import logging
import os
from typing import Any

from oslo_messaging._drivers import base as driver_base
from oslo_messaging._drivers import common
from oslo_serialization import jsonutils

from luc_drivers.messaging import client
from luc_drivers.messaging import node as node_module
from luc_drivers.messaging import notifier
from luc_drivers.messaging import routing
from luc_drivers.messaging import server

LOG = logging.getLogger(__name__)

_DEFAULT_NAMESPACE = 'default'
_DEFAULT_EXCHANGE = 'openstack'
#: what oslo.messaging's executors have if the program sets nothing
_DEFAULT_POOL = 64
#: targets whose keys are remembered
_MAX_KEYS = 10000


_warned: set[tuple[str, ...]] = set()


def _warn_of_hosts(hosts: list[Any]) -> None:
    """Say once that a URL's addresses do nothing; never its passwords."""
    names = tuple('%s:%s' % (host.hostname, host.port or '')
                  for host in hosts if host.hostname or host.username)
    if names and names not in _warned:
        _warned.add(names)
        LOG.warning('The address and user in the transport URL zmq://…@%s '
                    'are ignored: there is no broker. Who listens where is '
                    'kept by [bus]matchmaker in luc.conf; write '
                    'zmq:///VIRTUAL_HOST', ','.join(names))


class ZmqDriver(driver_base.BaseDriver):
    """Maps oslo.messaging's contract to a node, its clients and servers."""

    def __init__(self, conf: Any, url: Any,
                 default_exchange: str | None = None,
                 allowed_remote_exmods: list[str] | None = None) -> None:
        """No connection is made here, so that the process may fork.

        :raises opts.SettingsError: an option is wrong; it is named.
        """
        super().__init__(conf, url, default_exchange, allowed_remote_exmods)
        self.settings = node_module.load_settings(url.query)
        _warn_of_hosts(url.hosts)
        self.namespace = url.virtual_host or _DEFAULT_NAMESPACE
        self._turns = client.Turns()
        self._node: node_module.Node | None = None
        self._keys: dict[tuple, routing.Key] = {}
        node_module.prepare(self.settings)

    # -- addresses --------------------------------------------------------

    @property
    def node(self) -> node_module.Node:
        """This process's node, which may be a forked one."""
        node = self._node
        if node is None or node.pid != os.getpid() or not node.io.alive:
            node = self._node = node_module.get(self.settings)
        return node

    def _exchange(self, target: Any) -> str:
        return (target.exchange or self._default_exchange or
                _DEFAULT_EXCHANGE)

    def _key(self, target: Any, server_name: str | None) -> routing.Key:
        parts = target.exchange, target.topic, server_name
        key = self._keys.get(parts)
        if key is None:
            key = routing.Key(self.namespace, self._exchange(target),
                              target.topic, server_name)
            if '\0' in ''.join(part or '' for part in key):
                raise ValueError('a NUL character in target %s' % target)
            if len(self._keys) >= _MAX_KEYS:
                self._keys.clear()
            self._keys[parts] = key
        return key

    def _prefetch(self) -> int:
        if self.settings.rpc_prefetch:
            return self.settings.rpc_prefetch
        return (getattr(self.conf, 'executor_thread_pool_size', None) or
                _DEFAULT_POOL)

    def _check_size(self, body: bytes, target: Any) -> None:
        if len(body) > self.settings.max_message_size:
            raise common.RPCException(
                'The message of %d bytes for %s is larger than '
                '[bus]max_message_size %d' % (
                    len(body), target, self.settings.max_message_size))

    # -- BaseDriver -------------------------------------------------------

    def require_features(self, requeue: bool = False) -> None:
        """All features are there."""

    def send(self, target: Any, ctxt: dict, message: dict,
             wait_for_reply: bool | None = None,
             timeout: float | None = None,
             call_monitor_timeout: float | None = None,
             retry: int | None = None,
             transport_options: Any = None) -> Any:
        """Send a call, cast or fanout; see BaseDriver.send."""
        body = jsonutils.dump_as_bytes({'c': ctxt, 'm': message})
        self._check_size(body, target)
        node = self.node
        at_least_once = bool(transport_options and
                             transport_options.at_least_once)
        if target.fanout:
            node.fanouts.send(self._key(target, None), body)
            return None
        key = self._key(target, target.server or None)
        if wait_for_reply:
            return client.call(node, self._turns, key, body, timeout,
                               call_monitor_timeout, retry, at_least_once,
                               self._allowed_remote_exmods)
        client.cast(node, self._turns, key, body, retry, at_least_once)
        return None

    def send_notification(self, target: Any, ctxt: dict, message: dict,
                          version: float, retry: int | None = None) -> None:
        """Store a notification; it is stored when this returns."""
        body = jsonutils.dump_as_bytes({'c': ctxt, 'm': message})
        self._check_size(body, target)
        notifier.send(self.node, self.namespace, self._exchange(target),
                      target.topic, body, retry)

    def listen(self, target: Any, batch_size: int,
               batch_timeout: float | None) -> driver_base.Listener:
        """Serve a target; see BaseDriver.listen."""
        node = self.node
        node.bind()
        listener = server.RpcListener(
            node, self._key(target, target.server or ''), self._prefetch())
        node.add_listener(listener, [listener.subscription])
        return driver_base.PollStyleListenerAdapter(listener, batch_size,
                                                    batch_timeout)

    def listen_for_notifications(
            self, targets_and_priorities: list, pool: str | None,
            batch_size: int,
            batch_timeout: float | None) -> driver_base.Listener:
        """Read notifications; see BaseDriver.listen_for_notifications."""
        node = self.node
        node.bind()
        logs = [(self._exchange(target), '%s.%s' % (target.topic, priority))
                for target, priority in targets_and_priorities]
        listener = notifier.NotificationListener(
            node, self.namespace, logs, pool or '', self._prefetch())
        node.add_listener(listener, listener.subscriptions)
        return driver_base.PollStyleListenerAdapter(listener, batch_size,
                                                    batch_timeout)

    def cleanup(self) -> None:
        """See that what was sent leaves; the node stays for the process."""
        node = node_module.find(self.settings)
        if node is not None:
            node.flush(min(1.0, self.settings.stop_timeout))
