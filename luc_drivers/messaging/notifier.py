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

"""Notifications between oslo.messaging and the log in the store."""

import logging
import random
import threading
import time
from typing import Any

import oslo_messaging
from oslo_messaging._drivers import base as driver_base
from oslo_serialization import jsonutils

from luc_drivers.messaging import notifications
from luc_drivers.messaging import wire
from luc_drivers.messaging.matchmaker import base

LOG = logging.getLogger(__name__)

_RETRY_FIRST = 0.2
_RETRY_MAX = 2.0
#: seconds between calls of the log's reader, which prolongs its leases
_TURN = 1.0


def send(node: Any, namespace: str, exchange: str, topic: str, body: bytes,
         retry: int | None) -> None:
    """Store a notification and tell its readers.

    :param retry: attempts after the first one; None and -1 are endless.
    :raises MessageDeliveryFailure: the store did not take it.
    """
    place = node.notifications.place(namespace, exchange, topic)
    attempts = 0
    wait = _RETRY_FIRST
    while True:
        try:
            node.notifications.send(place, body)
            break
        except base.MatchmakerError as e:
            attempts += 1
            endless = retry is None or retry < 0
            if not endless and attempts > (retry or 0):
                raise oslo_messaging.MessageDeliveryFailure(
                    'The notification on topic %s can\'t be stored: %s' %
                    (topic, e)) from e
            if attempts == 1:
                LOG.warning('A notification on topic %s can\'t be stored; '
                            'trying on: %s', topic, e)
        time.sleep(wait * random.uniform(0.7, 1.0))
        wait = min(wait * 2, _RETRY_MAX)
    _poke(node, place)


def _poke(node: Any, place: notifications.Place) -> None:
    """A hint to one reader of each pool; they look by themselves, too."""
    log = place.log
    try:
        routes = node.notifications.pokes(place)
    except base.MatchmakerError as e:
        LOG.debug('Readers of topic %s are not told: %s', log.topic, e)
        return
    for endpoint in {r.endpoint.instance: r.endpoint for r in routes
                     }.values():
        node.io.push(node.io.poke, endpoint,
                     wire.address(log.namespace, log.exchange, log.topic,
                                  None))


class NotificationMessage(driver_base.RpcIncomingMessage):
    """One notification, as oslo.messaging sees it."""

    def __init__(self, listener: 'NotificationListener',
                 delivery: Any) -> None:
        content = jsonutils.loads(delivery.body)
        super().__init__(content['c'], content['m'], delivery.entry.id)
        self._listener = listener
        self._delivery = delivery

    def acknowledge(self) -> None:
        """This pool is done with it."""
        self._listener.finished()
        self._delivery.ack()

    def requeue(self) -> None:
        """Let the pool have it again."""
        self._listener.finished()
        try:
            self._delivery.requeue()
        except base.MatchmakerError as e:
            LOG.warning('A notification could not be put back; it comes '
                        'again when the lease on it ends: %s', e)

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """Nobody waits for one."""

    def heartbeat(self) -> None:
        """Nobody waits for one."""


class NotificationListener(driver_base.PollStyleListener):
    """Reads the logs of some topics for one pool."""

    def __init__(self, node: Any, namespace: str,
                 logs: list[tuple[str, str]], pool: str,
                 prefetch: int) -> None:
        """A listener that others of its pool know once ``node`` has it.

        :param logs: (exchange, topic with priority).
        :param prefetch: how many may be handed out unfinished.
        """
        super().__init__()
        self.node = node
        self.number = node.new_number()
        self.namespace = namespace
        self.logs = logs
        self.closed = False
        self.subscriptions = [
            base.Subscription(namespace, exchange, topic, '', node.name,
                              str(self.number), base.NOTIFICATION, pool)
            for exchange, topic in logs]
        self._reader = notifications.Listener(
            node.matchmaker, node.settings, namespace, logs, pool, node.name,
            str(self.number), node.cipher)
        self._prefetch = prefetch
        self._unfinished = 0
        self._lock = threading.Lock()

    # -- for the node -----------------------------------------------------

    def accepts(self, target: bytes) -> bool:
        """Requests are never for this listener."""
        return False

    def shares_mail(self, target: bytes) -> bool:
        """It has none."""
        return False

    def drain(self) -> None:
        """There is no mailbox."""

    def reads(self, namespace: str, exchange: str, topic: str) -> bool:
        """Is this one of its logs?"""
        return (namespace == self.namespace and
                (exchange, topic) in self.logs)

    def wake(self, exchange: str, topic: str) -> None:
        """There is something new in this log."""
        self._reader.poke(exchange, topic)

    # -- oslo.messaging ---------------------------------------------------

    def poll(self, timeout: float | None = None, batch_size: int = 1,
             batch_timeout: float | None = None) -> list:
        """Notifications to dispatch; see PollStyleListener."""
        messages: list[NotificationMessage] = []
        end = float('inf') if timeout is None else time.monotonic() + timeout
        while not self.closed and len(messages) < batch_size:
            now = time.monotonic()
            if now >= end:
                break
            # Batches that are larger than the executor's pool are handed
            # out as one.
            room = max(self._prefetch, batch_size) - self._unfinished
            got = self._reader.poll(
                min(_TURN, end - now) if room > 0 else 0.05,
                max(0, min(room, batch_size - len(messages))))
            if not got:
                continue
            if not messages and batch_timeout is not None:
                end = min(end, time.monotonic() + batch_timeout)
            with self._lock:
                self._unfinished += len(got)
            messages += [NotificationMessage(self, d) for d in got]
        return messages

    def finished(self) -> None:
        """One that was handed out is done."""
        with self._lock:
            self._unfinished -= 1

    def stop(self) -> None:
        """Hand out nothing more."""
        if not self.closed:
            self.closed = True
            self._reader.stop()

    def cleanup(self) -> None:
        """All that was handed out is done: leave the rest to others."""
        self.stop()
        self.node.remove_listener(self, self.subscriptions)
        self._reader.close()
