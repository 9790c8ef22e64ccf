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


"""Counters for Prometheus (``[bus]metrics_ports``); off by default.

The one module that needs prometheus_client. Figures are asked of the I/O
thread when they are scraped; nothing is kept here.
"""

from collections.abc import Iterator
import errno
import logging
import os
import threading
from typing import Any
import wsgiref.simple_server

import prometheus_client
from prometheus_client import core

from luc_drivers.messaging import counters

LOG = logging.getLogger(__name__)

_TOPIC = ('namespace', 'exchange', 'topic')
#: figure -> help; those that only grow
_TOTALS = {
    'received': 'Messages queued for servers of this process',
    'duplicate': 'Messages that came a second time and were not run again',
    'resent': 'Messages sent again because nobody confirmed them',
    'busy': 'Messages not taken because a queue was full',
    'late_replies': 'Replies that came after their caller had given up',
    'replies_dropped': 'Replies not kept for want of room',
    'malformed': 'Frames that could not be read',
    'refused': 'Frames of peers that may not send them',
    'wrong_instance': 'Frames for a process that had the port before',
    'reopened': 'Connections made anew because the peer did not answer',
    'peers_gone': 'Peers that were proven dead',
    'relayed': 'Fanouts passed on to the other listeners of the site',
    'relays_failed': 'Fanouts that had to take another way',
    'faults': 'Faults of the transport itself, which are in the log',
}
#: figure -> help; those that come and go
_GAUGES = {
    'connections': 'Connections to peers',
    'in_peers': 'Peers that have sent requests',
    'outstanding': 'Requests that are not settled yet',
    'unanswered': 'Replies that their callers have not confirmed',
    'reply_bytes': 'Bytes of these',
}


class Collector:
    """Reads a node's figures for each scrape."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def collect(self) -> Iterator[core.Metric]:
        """Give all metrics; none if the node doesn't answer."""
        report = self._node.report()
        if not report:
            return
        events = core.CounterMetricFamily(
            'luc_bus_messages', 'Messages by event: ' + '; '.join(
                '%s: %s' % item for item in counters.EVENTS.items()),
            labels=('event', *_TOPIC))
        for row in report['topics']:
            for event in counters.EVENTS:
                events.add_metric([event, *(row[x] for x in _TOPIC)],
                                  row.get(event, 0))
        yield events
        depth = core.GaugeMetricFamily(
            'luc_bus_queue_depth', 'Messages that wait in a server',
            labels=(*_TOPIC, 'server'))
        for row in report['queues']:
            depth.add_metric([row[x] for x in (*_TOPIC, 'server')],
                             row['depth'])
        yield depth
        totals = report['totals']
        for name, text in _TOTALS.items():
            yield core.CounterMetricFamily('luc_bus_' + name, text,
                                           value=totals.get(name, 0))
        for name, text in _GAUGES.items():
            yield core.GaugeMetricFamily('luc_bus_' + name, text,
                                         value=totals.get(name, 0))


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    """Writes no line for each scrape."""

    def log_message(self, format: str, *args: Any) -> None:
        """Be silent."""


class Server:
    """The HTTP server of one process."""

    def __init__(self, server: wsgiref.simple_server.WSGIServer) -> None:
        self._server = server
        self.port = server.server_port
        self._pid = os.getpid()
        threading.Thread(target=server.serve_forever, daemon=True,
                         name='luc-bus-metrics').start()

    def close(self) -> None:
        """Stop serving."""
        if self._pid == os.getpid():
            self._server.shutdown()
        self._server.server_close()


def serve(node: Any) -> Server | None:
    """Serve a node's figures on the first free port.

    :returns: None if there is no free one, which is logged.
    """
    settings = node.settings
    registry = prometheus_client.CollectorRegistry()
    registry.register(Collector(node))
    app = prometheus_client.make_wsgi_app(registry)
    first, last = settings.metrics_ports
    for port in range(first, last + 1):
        try:
            made = wsgiref.simple_server.make_server(
                settings.metrics_bind, port, app, handler_class=_Quiet)
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                continue
            LOG.error('[bus]metrics_bind %s: %s', settings.metrics_bind, e)
            return None
        LOG.info('Counters are offered on port %d', port)
        return Server(made)
    LOG.warning('No counters for Prometheus: all ports of [bus]metrics_ports '
                '%d:%d are taken', first, last)
    return None
