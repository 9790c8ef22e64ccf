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

"""All options of the transport, group ``[bus]`` of the host's file.

They are read from the file that ``luc_drivers.config`` names; a transport
URL's query overrides single ones: ``zmq:///nova?matchmaker=embedded``.
"""

from collections.abc import Mapping
import ipaddress
import typing as ty

from oslo_config import cfg
from oslo_config import types

from luc_drivers import config

GROUP = 'bus'

registry_opts = [
    cfg.StrOpt(
        'matchmaker', default='cassandra',
        help='Where it is kept who listens where, and messages for servers '
             'that are away: "cassandra", "embedded" (a file, one host) or '
             '"memory" (one process, for tests).'),
    cfg.FloatOpt(
        'refresh_interval', default=10.0, min=0.1,
        help='Seconds between two refreshes of a process\'s registration.'),
    cfg.FloatOpt(
        'registration_ttl', default=35.0, min=0.5,
        help='Seconds after which the registration of a process that died '
             'disappears. At least three refresh intervals and 5 seconds, '
             'for replicas whose clocks differ.'),
    cfg.FloatOpt(
        'subscription_ttl', default=86400.0, min=60.0,
        help='Seconds after which the topics of a process that died are '
             'forgotten. Living processes write them again after a third of '
             'this.'),
    cfg.FloatOpt(
        'lookup_cache', default=2.0, min=0.0,
        help='Seconds for which a look-up in the registry is fresh. Older '
             'answers are still used while a new one is fetched.'),
    cfg.FloatOpt(
        'negative_cache', default=1.0, min=0.0,
        help='Seconds for which the answer that nobody listens is kept.'),
    cfg.ListOpt(
        'nearest_sites', default=[],
        help='Sites in the order in which they are used for a topic that '
             'nobody serves in the own site, nearest first. Sites that are '
             'not named come after these, by name.'),
    cfg.FloatOpt(
        'store_timeout', default=3.0, min=0.1,
        help='Seconds to wait for an answer of Cassandra to a request of '
             'the transport.'),
    cfg.StrOpt(
        'plane', default='control', choices=['control', 'agent'],
        help='What this host is: "control" hosts write the registry\'s '
             'control table, which the Cassandra role of compute hosts '
             'should not be allowed to write; set "agent" on those.'),
    cfg.ListOpt(
        'control_topics',
        default=['conductor', 'scheduler', 'cinder-scheduler', 'q-plugin',
                 'q-reports-plugin', 'q-server-resource-versions'],
        help='Topics that only control hosts may serve: a server of one of '
             'these that is registered in the agent table is ignored.'),
    cfg.StrOpt(
        'keyspace_prefix', default='luc_bus',
        regex=r'^[a-z][a-z0-9_]{0,15}$',
        help='Cassandra keyspace of a site\'s registry: this, an underscore '
             'and the site.'),
    cfg.DictOpt(
        'replication', default={},
        help='Replicas of that keyspace in each Cassandra datacenter, as '
             'site1:3. Empty: what [cassandra]replication says of the own '
             'site, else one. Used when the keyspace is created; it can '
             'also be made beforehand (luc bus create).'),
]

network_opts = [
    cfg.StrOpt(
        'bind', default='127.0.0.1',
        help='IP address to listen on. Other than a loopback address it '
             'needs "security", or "allow_insecure".'),
    cfg.ListOpt(
        'advertise', default=[],
        help='IP addresses under which others reach this host. Empty: the '
             'address bound, or, when that is 0.0.0.0 or ::, the one that '
             'routes to the first Cassandra contact point. Containers must '
             'set it.'),
    cfg.StrOpt(
        'port_range', default='20000:21999', regex=r'^\d+:\d+$',
        help='Ports to listen on, first:last; each process of the host that '
             'serves anything takes one. Keep it outside of the kernel\'s '
             'ephemeral ports (32768-60999). 0:0 takes any free port.'),
    cfg.StrOpt(
        'host',
        help='Name of this host in the registry and of its key pair. Unset: '
             'the name that the system has.'),
    cfg.FloatOpt(
        'heartbeat_interval', default=1.0, min=0.05,
        help='Seconds between heartbeats of an open connection.'),
    cfg.FloatOpt(
        'heartbeat_timeout', default=2.0, min=0.1,
        help='Seconds without any answer after which a peer is taken for '
             'lost.'),
    cfg.FloatOpt(
        'handshake_timeout', default=3.0, min=0.1,
        help='Seconds that a new connection may take to introduce itself.'),
    cfg.FloatOpt(
        'reconnect_interval', default=0.1, min=0.01,
        help='Seconds before the first new attempt to connect.'),
    cfg.FloatOpt(
        'reconnect_interval_max', default=5.0, min=0.01,
        help='Seconds between attempts at most (they back off, jittered).'),
    cfg.IntOpt(
        'max_peers', default=2000, min=10,
        help='Connections that one process keeps open; beyond it the one '
             'that was idle longest is closed. Each costs about 35 kB.'),
    cfg.FloatOpt(
        'peer_idle_timeout', default=120.0, min=1.0,
        help='Seconds after which an idle connection is closed.'),
    cfg.IntOpt(
        'backlog', default=4096, min=1,
        help='Connections that the kernel keeps waiting to be accepted.'),
    cfg.IntOpt(
        'send_hwm', default=64, min=1,
        help='Frames that ZeroMQ may hold for a peer; the rest waits in the '
             'transport, where it can still be taken back.'),
    cfg.IntOpt(
        'chunk_size', default=131072, min=4096, max=1048576,
        help='Bytes of the parts in which larger messages are sent.'),
    cfg.IntOpt(
        'chunk_credit', default=4, min=1,
        help='Parts under way to one peer at a time.'),
    cfg.IntOpt(
        'max_message_size', default=134217728, min=65536,
        help='Bytes of the largest message that is sent or accepted.'),
]

delivery_opts = [
    cfg.FloatOpt(
        'resend_interval', default=1.0, min=0.05,
        help='Seconds after which a message that nobody acknowledged is '
             'sent again (to the same process, with jitter).'),
    cfg.FloatOpt(
        'cast_timeout', default=3.0, min=0.1,
        help='Seconds that a cast waits for a server\'s acknowledgement '
             'before it is put into the server\'s mailbox.'),
    cfg.IntOpt(
        'rpc_prefetch', default=0, min=0,
        help='Requests of one server handed to its executor and unfinished. '
             '0: as many as the executor has threads.'),
    cfg.IntOpt(
        'queue_max_messages', default=10000, min=1,
        help='Requests that wait in one server; more are refused, and the '
             'sender tries another or waits.'),
    cfg.IntOpt(
        'queue_max_bytes', default=268435456, min=1048576,
        help='Bytes of the requests that wait in one server.'),
    cfg.IntOpt(
        'reply_cache_bytes', default=67108864, min=0,
        help='Bytes of replies kept until their callers acknowledge them.'),
    cfg.FloatOpt(
        'dedup_window', default=600.0, min=1.0,
        help='Seconds for which a server remembers a message that it has '
             'had, so that a repeated one runs nothing twice.'),
    cfg.FloatOpt(
        'stop_timeout', default=2.0, min=0.0,
        help='Seconds that a stopping process waits for its last replies to '
             'be acknowledged.'),
    cfg.FloatOpt(
        'switch_interval', default=0.0, min=0.0, max=0.005,
        help='Python\'s thread switch interval in seconds, for processes '
             'with CPU-bound threads: 0.0005 made calls ten times faster '
             'there. 0 leaves it.'),
]

storage_opts = [
    cfg.FloatOpt(
        'mailbox_ttl', default=86400.0, min=1.0,
        help='Seconds that a message waits for a server that is away, and '
             'that a server which is away stays known.'),
    cfg.IntOpt(
        'mailbox_max_messages', default=10000, min=1,
        help='Messages that one mailbox takes; more are refused.'),
    cfg.FloatOpt(
        'mailbox_lease', default=30.0, min=1.0,
        help='Seconds for which one process holds a mailbox to empty it.'),
    cfg.IntOpt(
        'mailbox_batch', default=100, min=1, max=1000,
        help='Messages taken from a mailbox at once.'),
    cfg.IntOpt(
        'store_max_message_size', default=8388608, min=65536,
        help='Bytes of the largest message or notification that is put into '
             'the store. Cassandra refuses writes larger than half of its '
             'commit log\'s segment size, 16 MiB by default.'),
    cfg.FloatOpt(
        'notification_ttl', default=86400.0, min=60.0,
        help='Seconds that notifications are kept for their listeners.'),
    cfg.IntOpt(
        'notification_stripes', default=16, min=1, max=256,
        help='Parts of a notification log, shared out among the listeners '
             'of a pool. Must be the same everywhere.'),
    cfg.FloatOpt(
        'notification_poll', default=1.0, min=0.05,
        help='Seconds between looks for new notifications, beside the '
             'senders\' own hints.'),
    cfg.FloatOpt(
        'notification_lease', default=15.0, min=1.0,
        help='Seconds after which the notifications of a listener that died '
             'go to another of its pool.'),
    cfg.FloatOpt(
        'notification_late_window', default=5.0, min=0.0,
        help='Seconds by which a write may arrive late and still be read.'),
]

operation_opts = [
    cfg.StrOpt(
        'metrics_ports', default='0:0', regex=r'^\d+:\d+$',
        help='Ports, first:last, on which processes offer their counters to '
             'Prometheus; each process of the host takes one. 0:0: none '
             'does. Needs the Python package prometheus_client.'),
    cfg.StrOpt(
        'metrics_bind', default='127.0.0.1',
        help='IP address on which they are offered. They name topics and '
             'servers, and have no access control.'),
]

security_opts = [
    cfg.StrOpt(
        'security', default='none', choices=['none', 'curve'],
        help='"curve": every byte between peers is encrypted and both ends '
             'are authenticated, and stored messages are encrypted, with '
             'the keys in "keys_dir".'),
    cfg.BoolOpt(
        'allow_insecure', default=False,
        help='Allow to listen on other than loopback addresses without '
             'security. Anyone who reaches the port can then do anything.'),
    cfg.StrOpt(
        'keys_dir', default='/etc/luc/keys',
        help='Folder with this host\'s keys (HOST.secret, store.secret) and '
             'the public keys of the hosts that are allowed (HOST.key in '
             'its folder "allowed").'),
    cfg.FloatOpt(
        'keys_reload', default=10.0, min=0.1,
        help='Seconds between looks for changes of the allowed keys.'),
]

all_opts = [*registry_opts, *network_opts, *delivery_opts, *storage_opts,
            *operation_opts, *security_opts]


class SettingsError(ValueError):
    """A setting that can't be; the text names it."""


class Settings:
    """Read-only values of all ``[bus]`` options, and of the host's.

    Attributes are the options' names; besides ``site``, ``state_path`` and
    ``conf``, the ConfigOpts they came from (with the group ``cassandra``).
    ``key`` is equal for equal settings: transports of one process that have
    equal keys can share a node.
    """

    __slots__ = ('_values', 'conf', 'key')

    _values: dict[str, ty.Any]
    conf: cfg.ConfigOpts
    key: tuple

    def __init__(self, conf: cfg.ConfigOpts,
                 values: Mapping[str, ty.Any]) -> None:
        object.__setattr__(self, 'conf', conf)
        object.__setattr__(self, '_values', dict(values))
        object.__setattr__(self, 'key', tuple(
            (name, repr(value)) for name, value in sorted(values.items())))

    def __getattr__(self, name: str) -> ty.Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: ty.Any) -> None:
        raise AttributeError('settings are read-only')

    def replace(self, **changes: ty.Any) -> 'Settings':
        """Return a copy with some values changed (for tests)."""
        unknown = set(changes) - set(self._values)
        if unknown:
            raise SettingsError('no such setting: %s'
                                % ', '.join(sorted(unknown)))
        return Settings(self.conf, {**self._values, **changes})


def _port_range(name: str, text: str) -> tuple[int, int]:
    first, last = (int(part) for part in text.split(':'))
    if first > last or last > 65535 or (first == 0 and last != 0):
        raise SettingsError(
            '[bus]%s %s: give first:last, both in 1..65535, '
            'or 0:0' % (name, text))
    return first, last


def is_loopback(address: str) -> bool:
    """Return whether an IP literal is a loopback address."""
    return ipaddress.ip_address(address.strip('[]')).is_loopback


def _check(values: dict[str, ty.Any]) -> None:
    """Refuse combinations that can't work or aren't safe."""
    least = 3 * values['refresh_interval']
    if values['matchmaker'] == 'cassandra':
        # Replicas' clocks differ, and a TTL is a whole number of seconds.
        least += 5
    if values['registration_ttl'] < least:
        raise SettingsError(
            '[bus]registration_ttl %g is too short: with refresh_interval '
            '%g it must be at least %g'
            % (values['registration_ttl'], values['refresh_interval'], least))
    for name in ('bind', *(['advertise'] if values['advertise'] else [])):
        given = values[name]
        for address in [given] if isinstance(given, str) else given:
            try:
                ipaddress.ip_address(address.strip('[]'))
            except ValueError:
                raise SettingsError(
                    '[bus]%s %s: give an IP address, not a name: ZeroMQ '
                    'would resolve names in the thread that serves all '
                    'peers' % (name, address)) from None
    if (not is_loopback(values['bind']) and values['security'] == 'none'
            and not values['allow_insecure']):
        raise SettingsError(
            '[bus]bind %s is not a loopback address: set [bus]security = '
            'curve (luc bus keys makes the keys), or allow_insecure = true '
            'if nobody but your own hosts can reach it' % values['bind'])
    for name in ('port_range', 'metrics_ports'):
        values[name] = _port_range(name, values[name])


def load(query: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a transport.

    :param query: options from a transport URL; they override the file's.
    :raises SettingsError: an option is unknown, malformed or unsafe.
    """
    conf = config.load()
    conf.register_opts(all_opts, group=GROUP)
    values: dict[str, ty.Any] = {}
    by_name = {opt.dest: opt for opt in all_opts}
    try:
        for name in by_name:
            values[name] = conf[GROUP][name]
        values['site'] = conf.site
        values['state_path'] = conf.state_path
    except (ValueError, cfg.ConfigFileValueError) as e:
        raise SettingsError('%s: %s' % (config.path(), e)) from e
    host = {opt.dest: opt for opt in config.host_opts}
    for name, text in (query or {}).items():
        opt = by_name.get(name) or host.get(name)
        if opt is None:
            raise SettingsError(
                'unknown option "%s" in the transport URL; the options are '
                'those of [bus] in %s' % (name, config.path()))
        try:
            kind = opt.type or types.String()
            values[name] = kind(text)
        except ValueError as e:
            raise SettingsError('option "%s" in the transport URL: %s'
                                % (name, e)) from e
    _check(values)
    return Settings(conf, values)


def list_opts() -> list:
    """Return the options of this module, for oslo-config-generator."""
    return [(GROUP, all_opts)]
