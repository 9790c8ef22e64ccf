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

"""The host's shared configuration, one file for both drivers.

Everything that all services of a host share (site, contact points,
credentials, TLS) comes from one oslo.config file, so that connection URLs
stay short.  Its path is ``/etc/luc/luc.conf`` unless the environment
variable ``LUC_CONFIG`` names another.  A missing default file means defaults;
a missing *named* file is an error.
"""

import os
import threading

from oslo_config import cfg

DEFAULT_PATH = '/etc/luc/luc.conf'

host_opts = [
    cfg.StrOpt(
        'site', default='site1',
        regex=r'^[a-z][a-z0-9_]{0,30}$',
        help='Name of the site that this host belongs to: its Cassandra '
             'datacenter. Lower-case letters, digits and underscores.'),
    cfg.StrOpt(
        'state_path', default='/var/lib/luc',
        help='Folder for what the embedded store and matchmaker keep on this '
             'host.'),
]

cassandra_opts = [
    cfg.ListOpt(
        'contact_points', default=['127.0.0.1'],
        help='Addresses of Cassandra nodes to connect to first, nodes of '
             "this host's own site before others. The driver finds the "
             'rest of the cluster by itself.'),
    cfg.PortOpt('port', default=9042, help='CQL port of the nodes.'),
    cfg.StrOpt(
        'username',
        help='Cassandra role of the services on this host. Unset: no '
             'authentication.'),
    cfg.StrOpt('password', secret=True, help='Password of that role.'),
    cfg.BoolOpt(
        'tls', default=False,
        help='Encrypt connections to Cassandra and verify its certificate.'),
    cfg.StrOpt('tls_ca_file', help='CA certificates that nodes must present.'),
    cfg.StrOpt('tls_cert_file', help='Client certificate, if one is asked.'),
    cfg.StrOpt('tls_key_file', help="The client certificate's private key."),
    cfg.FloatOpt(
        'connect_timeout', default=10.0, min=0.1,
        help='Seconds to wait for a first connection before a service gets '
             'an error that names the contact points.'),
    cfg.FloatOpt(
        'request_timeout', default=10.0, min=0.1,
        help='Seconds to wait for the answer to one CQL request. Reads, and '
             'other requests that may be repeated, are sent again within '
             'this time when Cassandra reports a time-out or too few '
             'replicas, or a connection breaks.'),
    cfg.FloatOpt(
        'speculative_delay', default=1.0, min=0.0,
        help='Seconds without an answer after which a request that may be '
             'repeated is sent to another node of the site as well; the '
             'first answer counts. 0: never.'),
    cfg.DictOpt(
        'replication', default={},
        help='Replicas of each site (Cassandra datacenter), as '
             'site1:3,site2:3. Used when keyspaces are created. Empty: one '
             'replica in every site that is known (a single node).'),
]

_cache: dict[str, cfg.ConfigOpts] = {}
_lock = threading.Lock()


def path() -> str:
    """Return the path of the host's configuration file."""
    return os.environ.get('LUC_CONFIG') or DEFAULT_PATH


def load() -> cfg.ConfigOpts:
    """Read the host's file once per path.

    :returns: a ConfigOpts of its own (never the service's ``cfg.CONF``) with
        the options of this module registered; other modules register theirs
        on it (registering twice is harmless).
    :raises oslo_config.cfg.ConfigFilesNotFoundError: LUC_CONFIG names a file
        that is not there.
    """
    name = path()
    with _lock:
        conf = _cache.get(name)
        if conf is None:
            files = [name]
            if not os.environ.get('LUC_CONFIG') and not os.path.exists(name):
                files = []
            conf = cfg.ConfigOpts()
            conf(args=[], project='luc', prog='luc',
                 default_config_files=files, default_config_dirs=[])
            conf.register_opts(host_opts)
            conf.register_opts(cassandra_opts, group='cassandra')
            _cache[name] = conf
    return conf


def list_opts() -> list:
    """Return the options of this module, for oslo-config-generator."""
    return [(None, host_opts), ('cassandra', cassandra_opts)]
