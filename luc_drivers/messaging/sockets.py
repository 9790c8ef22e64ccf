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

"""ZeroMQ sockets with the options that the rules ask for (rule B)."""

import random
import resource
from typing import Any

import zmq

from luc_drivers.messaging import wire

_MAX_SOCKETS = 65000
#: largest frame that any peer's settings allow
_MAX_FRAME = 1048576 + 2 * wire.FRAME_SLACK
#: frames that wait to be read, of each connection
_RECEIVE_HWM = 1000


def raise_file_limit(needed: int) -> str:
    """Let the process open as many files as it may (rule B2).

    At systemd's soft limit of 1,024 a server could not accept its peers, and
    would spin on trying to.

    :param needed: files that the transport may want.
    :returns: a warning if even the hard limit is lower than that, or ''.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > _MAX_SOCKETS:
        hard = max(soft, _MAX_SOCKETS)
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (
            hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        soft = hard
    if soft != resource.RLIM_INFINITY and soft < needed:
        return ('This process may open %d files only; [bus]max_peers may '
                'need %d: raise LimitNOFILE (ulimit -n), or lower max_peers'
                % (soft, needed))
    return ''


def context() -> zmq.Context:
    """A context that takes as many sockets as the process may open."""
    made = zmq.Context(1)
    made.set(zmq.MAX_SOCKETS, _MAX_SOCKETS)
    return made


def _socket(where: zmq.Context, kind: int, settings: Any) -> Any:
    sock = where.socket(kind)
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.IPV6, 1)
    sock.setsockopt(zmq.SNDHWM, settings.send_hwm)
    sock.setsockopt(zmq.RCVHWM, _RECEIVE_HWM)
    sock.setsockopt(zmq.MAXMSGSIZE, _MAX_FRAME)
    beat = int(settings.heartbeat_interval * 1000)
    lost = int(settings.heartbeat_timeout * 1000)
    sock.setsockopt(zmq.HEARTBEAT_IVL, beat)
    sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, lost)
    sock.setsockopt(zmq.HEARTBEAT_TTL, lost + beat)
    sock.setsockopt(zmq.HANDSHAKE_IVL,
                    int(settings.handshake_timeout * 1000))
    return sock


def serve(where: zmq.Context, settings: Any, security: Any, fd: int,
          address: str) -> Any:
    """A ROUTER on a listening TCP socket; raises ZMQError."""
    sock = _socket(where, zmq.ROUTER, settings)
    try:
        sock.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if security is not None:
            security.server(sock)
        sock.setsockopt(zmq.USE_FD, fd)
        sock.bind(address)
    except Exception:
        sock.close()
        raise
    return sock


def connect(where: zmq.Context, settings: Any, security: Any,
            endpoint: Any) -> Any:
    """A DEALER on its way to an endpoint.

    :raises ZMQError: no descriptor left, or a bad address.
    :raises SecurityError: the endpoint can't be trusted.
    """
    sock = _socket(where, zmq.DEALER, settings)
    try:
        # Else it would queue for a peer that isn't there, and deliver to
        # whoever has the port next (rule B5).
        sock.setsockopt(zmq.IMMEDIATE, 1)
        jitter = random.uniform(1.0, 1.3)
        sock.setsockopt(zmq.RECONNECT_IVL,
                        int(settings.reconnect_interval * 1000 * jitter))
        sock.setsockopt(zmq.RECONNECT_IVL_MAX,
                        int(settings.reconnect_interval_max * 1000 * jitter))
        if security is not None:
            security.client(sock, endpoint)
        sock.connect(endpoint.addresses[0])
    except Exception:
        sock.close()
        raise
    return sock


def peer_address(part: Any) -> str:
    """Where a received frame came from."""
    try:
        return part.get('Peer-Address')
    except zmq.ZMQError:
        return 'unknown'


def user_id(part: Any) -> str:
    """Whose key the connection of a received frame has."""
    try:
        return part.get('User-Id')
    except zmq.ZMQError:
        return ''
