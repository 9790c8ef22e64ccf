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

"""Fanout: every live listener of a topic gets one copy."""

import time
from typing import Any

from luc_drivers.messaging import outgoing
from luc_drivers.messaging import routing
from luc_drivers.messaging import waiting
from luc_drivers.messaging import wire

#: seconds that the caller waits for listeners to acknowledge
_WAIT = 1.0
#: seconds that it waits for the registry
_LOOKUP_WAIT = 5.0
#: seconds for which a listener that can't be reached is tried
_WINDOW = 60.0


def send(node: Any, key: routing.Key, body: bytes) -> None:
    """Send a message to every listener of a topic.

    Returns when those that can be reached have it; the others get it if they
    come back within a minute.
    """
    candidates = node.routing.present(key, _LOOKUP_WAIT)
    slot = waiting.slot()
    io = node.io
    now = time.monotonic()
    for candidate in candidates:
        pending = outgoing.Pending(
            candidate.listener, candidate.target, body, 0, 0,
            wire.F_CAST | wire.F_FANOUT, slot, now + _WINDOW)
        io.push(io.submit, candidate.endpoint, pending)
    for _ in candidates:
        if slot.get(max(0.0, now + _WAIT - time.monotonic())) is None:
            return
