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


"""What is counted of each topic.

Counted in the I/O thread, read by anyone: a reader may see a number that is
one behind.
"""

from typing import Any

_MAX_ADDRESSES = 20000

#: event -> what it means, for people and for metrics
EVENTS = {
    'sent': 'messages handed to a connection, or to wait for one',
    'acknowledged': 'messages that a server confirmed',
    'retried': 'messages sent again because nobody confirmed them',
    'refused': 'messages that a server did not take (busy, stopping, gone)',
    'timed_out': 'calls whose caller gave up',
    'stored': 'casts put into a mailbox',
    'dropped': 'messages given up: nobody ever listened there',
    'received': 'messages queued for a server of this process',
    'duplicate': 'messages that came a second time and were not run again',
    'expired': 'messages too old to be run, or to be sent any longer',
    'busy': 'messages not taken because the queue was full',
}


class Topic:
    """Counts of one topic, by event."""

    __slots__ = ('sent', 'acknowledged', 'retried', 'refused', 'timed_out',
                 'stored', 'dropped', 'received', 'duplicate', 'expired',
                 'busy')

    def __init__(self) -> None:
        self.sent = 0
        self.acknowledged = 0
        self.retried = 0
        self.refused = 0
        self.timed_out = 0
        self.stored = 0
        self.dropped = 0
        self.received = 0
        self.duplicate = 0
        self.expired = 0
        self.busy = 0

    def as_dict(self) -> dict[str, int]:
        """Return those that are not 0."""
        return {event: value for event in EVENTS
                if (value := getattr(self, event))}


class Topics:
    """Counts of all topics that this process sends to or serves."""

    def __init__(self) -> None:
        self._by_address: dict[bytes, Topic] = {}
        self._by_topic: dict[bytes, Topic] = {}

    def of(self, address: bytes) -> Topic:
        """Return the counts of the topic of an address (``wire.address``).

        Servers of one topic are counted together: there may be thousands.
        """
        found = self._by_address.get(address)
        if found is None:
            if len(self._by_address) >= _MAX_ADDRESSES:
                self._by_address.clear()
            found = self._by_address[address] = self._by_topic.setdefault(
                address.rpartition(b'\0')[0], Topic())
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Return namespace, exchange, topic and counts of each topic."""
        rows = []
        for raw, topic in list(self._by_topic.items()):
            namespace, exchange, name = raw.decode().split('\0')
            rows.append({'namespace': namespace, 'exchange': exchange,
                         'topic': name, **topic.as_dict()})
        return rows
