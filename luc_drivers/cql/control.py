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

"""The driver's cluster: topology and schema; and how it is made.

Requests go past it, over connections of our own (see `connection`).
"""

from collections.abc import Iterable
from collections.abc import Sequence
import socket
import time
from typing import Any

from luc_drivers import cqldriver
from luc_drivers.cql import connection
from luc_drivers.cql import errors
from luc_drivers.cql import frames
from luc_drivers.cql.nodes import Nodes
from luc_drivers.cql.settings import CqlSettings

#: seconds for one change of the schema, which all nodes must take
_DDL_TIMEOUT = 60.0
#: seconds between attempts while no node is connected
PAUSE = 0.2


class Control:
    """A connected cluster of the driver's, and the nodes of its site.

    :raises errors.Unavailable: not within connect_timeout, wrong password,
        no such site: the message says which setting to look at.
    """

    def __init__(self, settings: CqlSettings) -> None:
        self.settings = settings
        self._context: Any = None
        self.cluster: Any
        self._session: Any
        self._connect()
        self.nodes = Nodes(
            self.cluster.metadata, settings.site, self._open)

    def _open(self, address: tuple[str, int], timeout: float
              ) -> connection.Connection:
        provider = self.cluster.auth_provider
        return connection.Connection(
            address, self._context,
            provider.new_authenticator if provider else None,
            min(timeout, self.settings.connect_timeout))

    # --- connecting

    def _connect(self) -> None:
        settings = self.settings
        deadline = time.monotonic() + settings.connect_timeout
        cluster_module = cqldriver.load()
        while True:
            left = max(0.1, deadline - time.monotonic())
            cluster = self._make_cluster(cluster_module, left)
            try:
                found = cluster.connect()
            except Exception as exc:  # whatever it is, say where and why
                message, final = self._explain(cluster_module, cluster, exc)
                cluster.shutdown()
                # a server that is just starting refuses connections
                if not final and time.monotonic() + PAUSE < deadline:
                    time.sleep(PAUSE)
                    continue
                raise errors.Unavailable(message) from exc
            self.cluster, self._session = cluster, found
            return

    def _make_cluster(self, module: Any, timeout: float) -> Any:
        from cassandra import auth
        from cassandra import policies
        settings = self.settings
        profile = module.ExecutionProfile(
            load_balancing_policy=policies.DCAwareRoundRobinPolicy(
                local_dc=settings.site),
            retry_policy=policies.FallthroughRetryPolicy(),
            request_timeout=settings.request_timeout)
        credentials = None
        if settings.username:
            credentials = auth.PlainTextAuthProvider(
                settings.username, settings.password or '')
        if settings.tls:
            try:
                self._context = cqldriver.ssl_context(
                    settings.tls_ca_file, settings.tls_cert_file,
                    settings.tls_key_file)
            except OSError as exc:
                raise errors.Unavailable(
                    f'{exc} ([cassandra] tls_ca_file, tls_cert_file and '
                    'tls_key_file)') from exc
        each = timeout / len(settings.contact_points)
        try:
            return module.Cluster(
                settings.contact_points, settings.port,
                auth_provider=credentials, ssl_context=self._context,
                execution_profiles={module.EXEC_PROFILE_DEFAULT: profile},
                connection_class=cqldriver.connection_class(),
                # v4: frames without a checksum in Python; v5 offers nothing
                # that we need
                protocol_version=frames.VERSION, compression=False,
                # the driver writes in pieces of 4 KiB; Nagle's algorithm
                # would hold the second one back for 40 ms
                sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
                connect_timeout=each, control_connection_timeout=each,
                reconnection_policy=policies.ExponentialReconnectionPolicy(
                    # for ever: the driver's default ends after 64 attempts
                    0.5, 4.0, max_attempts=None),
                # others' DDL: the databases' catalogs tell, not the driver
                schema_event_refresh_window=-1,
                monitor_reporting_enabled=False)
        except module.UnresolvableContactPoints as exc:
            raise errors.Unavailable(
                f'no contact point of Cassandra can be resolved: '
                f'{settings.where} ([cassandra] contact_points or the hosts '
                'in the connection URL)') from exc

    def _explain(self, module: Any, cluster: Any,
                 exc: Exception) -> tuple[str, bool]:
        """Return (one clear message, whether trying again is pointless)."""
        settings = self.settings
        where = f'Cassandra at {settings.where}'
        causes = [exc]
        if isinstance(exc, module.NoHostAvailable):
            causes = errors.causes(exc) or [exc]
        for cause in causes:
            if cqldriver.login_refused(cause):
                who = (f'user {settings.username!r} and its password'
                       if settings.username else 'a connection without a user')
                return (f'{where} refuses {who} ([cassandra] username and '
                        f'password, or user:password@ in the URL): {cause}',
                        True)
        if settings.tls and any('SSL' in str(cause) for cause in causes):
            text = errors.reasons(causes)
            return (f'{where}: TLS fails ([cassandra] tls_ca_file, '
                    f'tls_cert_file and tls_key_file): {text}',
                    'CERTIFICATE' in text.upper())
        sites = sorted({h.datacenter for h in cluster.metadata.all_hosts()
                        if h.datacenter})
        if sites and settings.site not in sites:
            return (f'{where} has no datacenter {settings.site!r}, only '
                    f'{", ".join(sites)} ([DEFAULT] site in luc.conf)', True)
        return (f'{where} does not answer ([cassandra] contact_points, port, '
                f'or the hosts in the URL; waited {settings.connect_timeout:g}'
                f' s, connect_timeout): {errors.reasons(causes)}', False)

    def close(self) -> None:
        """Close all connections."""
        self.nodes.close()
        self.cluster.shutdown()

    # --- schema

    @property
    def sites(self) -> set[str]:
        """The datacenters that the cluster has."""
        return {h.datacenter for h in self.cluster.metadata.all_hosts()}

    def ddl(self, statements: Sequence[str]) -> None:
        """Run CREATE … IF NOT EXISTS statements one after the other.

        All processes send theirs to one and the same node, since two nodes
        that create one table at a time can give it two ids.
        """
        hosts = [h for h in self.cluster.metadata.all_hosts()
                 if h.is_up and h.datacenter == self.settings.site]
        first = min(hosts, key=lambda h: str(h.host_id), default=None)
        for statement in statements:
            self._session.execute(statement, timeout=_DDL_TIMEOUT, host=first)
        # IF NOT EXISTS on what another process is just making
        self.cluster.control_connection.wait_for_schema_agreement()

    def learn(self, keyspaces: Iterable[str]) -> None:
        """Have the driver know where replicas of these keyspaces are.

        It knows those that were there when it connected, or made by `ddl`.
        """
        for keyspace in set(keyspaces) - set(self.cluster.metadata.keyspaces):
            self.cluster.refresh_keyspace_metadata(keyspace)
