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

"""What a Cassandra node needs to know: its files and its command line.

Everything that is not said here is Cassandra's own default.  Options are
described in Cassandra's documentation (cassandra.yaml) and in the comments
of its conf/jvm17-server.options.
"""

import dataclasses
import os
import pathlib

import yaml

# Packages of the JDK that Cassandra 5.0 reaches into on Java 17.
_EXPORTS = (
    'java.base/jdk.internal.misc',
    'java.management.rmi/com.sun.jmx.remote.internal.rmi',
    'java.rmi/sun.rmi.registry',
    'java.rmi/sun.rmi.server',
    'java.sql/java.sql',
    'java.base/java.lang.ref',
    'jdk.unsupported/sun.misc',
    'jdk.compiler/com.sun.tools.javac.file',
    'jdk.attach/sun.tools.attach',
)
_OPENS = (
    'java.base/java.lang.module',
    'java.base/jdk.internal.loader',
    'java.base/jdk.internal.ref',
    'java.base/jdk.internal.reflect',
    'java.base/jdk.internal.math',
    'java.base/jdk.internal.module',
    'java.base/jdk.internal.util.jar',
    'jdk.management/com.sun.management.internal',
    'java.base/sun.nio.ch',
    'java.base/java.io',
    'java.base/java.lang.reflect',
    'jdk.compiler/com.sun.tools.javac',
    'java.base/java.lang',
    'java.base/java.util',
)

_LOGBACK = """<configuration>
  <appender name="FILE"
      class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>{log}</file>
    <rollingPolicy
        class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>{log}.%i</fileNamePattern>
      <maxIndex>2</maxIndex>
    </rollingPolicy>
    <triggeringPolicy
        class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>20MB</maxFileSize>
    </triggeringPolicy>
    <encoder>
      <pattern>%-5level [%thread] %date{{ISO8601}} %F:%L - %msg%n</pattern>
    </encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
"""

#: the largest heap, MiB, that the serial collector gets
SERIAL_HEAP_MB = 2048


@dataclasses.dataclass(frozen=True)
class NodeSettings:
    """One node.

    :ivar directory: the node's own folder (configuration, data, logs).
    :ivar address: loopback address that it listens on, CQL and gossip.
    :ivar site: its datacenter: one site is one datacenter.
    :ivar seeds: addresses of the cluster's seed nodes.
    :ivar alone: whether it is the only node.
    :ivar token: its place on the ring, given so that nodes need not agree
        on one, which takes time.
    :ivar auth: whether clients must name a role and a password.
    :ivar heap_mb: Java heap, MiB; about 300 MiB come on top.
    :ivar durable: acknowledge a write only after fsync.  Else, as Cassandra
        does by default, ``kill -9`` may lose the last 0.1 s of a node.
    :ivar long_lived: it runs for hours: have the JVM compile what is hot a
        second time, which takes a minute or two of CPU after each start and
        a third off what requests take from then on.
    :ivar ephemeral: it is never started again on its data: do without the
        dozen flushes after each change of the schema, which are three
        quarters of what it takes.  Tables are read before the commit log is,
        so after a crash it would know nothing of those made last.
    :ivar jmx_port: port for nodetool; None: no JMX.
    """

    directory: pathlib.Path
    address: str = '127.0.0.1'
    site: str = 'site1'
    cluster_name: str = 'luc'
    seeds: tuple[str, ...] = ('127.0.0.1',)
    alone: bool = True
    token: int = 0
    cql_port: int = 9042
    storage_port: int = 7000
    auth: bool = False
    heap_mb: int = 512
    durable: bool = False
    long_lived: bool = False
    ephemeral: bool = False
    jmx_port: int | None = None
    overrides: dict = dataclasses.field(default_factory=dict)

    @property
    def conf_dir(self) -> pathlib.Path:
        return self.directory / 'conf'

    @property
    def log_file(self) -> pathlib.Path:
        return self.directory / 'logs' / 'system.log'


def cassandra_yaml(node: NodeSettings) -> dict:
    """Return the content of the node's cassandra.yaml."""
    data = node.directory / 'data'
    content = {
        'cluster_name': node.cluster_name,
        'partitioner': 'org.apache.cassandra.dht.Murmur3Partitioner',
        'endpoint_snitch': 'GossipingPropertyFileSnitch',
        'dynamic_snitch': False,
        'num_tokens': 1,
        'initial_token': str(node.token),
        'auto_bootstrap': False,
        'seed_provider': [{
            'class_name': 'org.apache.cassandra.locator.SimpleSeedProvider',
            'parameters': [{'seeds': ','.join(
                f'{seed}:{node.storage_port}' for seed in node.seeds)}],
        }],
        'listen_address': node.address,
        'storage_port': node.storage_port,
        'ssl_storage_port': node.storage_port + 1,
        'start_native_transport': True,
        'rpc_address': node.address,
        'native_transport_port': node.cql_port,
        'data_file_directories': [str(data / 'data')],
        'commitlog_directory': str(data / 'commitlog'),
        'saved_caches_directory': str(data / 'saved_caches'),
        'hints_directory': str(data / 'hints'),
        'cdc_raw_directory': str(data / 'cdc_raw'),
        # What the database layer's rules stand on (database-rules.md, 14).
        'paxos_variant': 'v2',
        'paxos_state_purging': 'repaired',
        'commitlog_segment_size': '32MiB',
        'commitlog_total_space': '256MiB',
        'authenticator': ('PasswordAuthenticator' if node.auth
                          else 'AllowAllAuthenticator'),
        'authorizer': ('CassandraAuthorizer' if node.auth
                       else 'AllowAllAuthorizer'),
        'role_manager': 'CassandraRoleManager',
        'materialized_views_enabled': False,
        'sasi_indexes_enabled': False,
        'transient_replication_enabled': False,
        'user_defined_functions_enabled': False,
        'cdc_enabled': False,
        'auto_snapshot': False,
        # Small, as one machine holds several nodes and a cloud besides.
        'key_cache_size': '16MiB',
        'counter_cache_size': '0MiB',
        'file_cache_size': '32MiB',
        'networking_cache_size': '16MiB',
        'memtable_heap_space': f'{max(32, node.heap_mb // 4)}MiB',
        'memtable_allocation_type': 'heap_buffers',
        'concurrent_compactors': 1,
        'disk_failure_policy': 'stop',
        'commit_failure_policy': 'stop',
        'disk_access_mode': 'mmap_index_only',
    }
    if node.durable:
        content['commitlog_sync'] = 'batch'
    else:
        content['commitlog_sync'] = 'periodic'
        content['commitlog_sync_period'] = '10000ms'
    content.update(node.overrides)
    return content


def write_files(node: NodeSettings) -> None:
    """Write the node's configuration files; its data is left alone."""
    for folder in (node.conf_dir, node.log_file.parent,
                   node.directory / 'data', node.directory / 'tmp'):
        folder.mkdir(parents=True, exist_ok=True)
    node.conf_dir.joinpath('cassandra.yaml').write_text(
        yaml.safe_dump(cassandra_yaml(node), sort_keys=False))
    node.conf_dir.joinpath('cassandra-rackdc.properties').write_text(
        f'dc={node.site}\nrack=rack1\n')
    node.conf_dir.joinpath('logback.xml').write_text(
        _LOGBACK.format(log=node.log_file))


def module_access() -> list[str]:
    """Return the options of Java 17 that Cassandra and its tools need."""
    return [*(f'--add-exports={name}=ALL-UNNAMED' for name in _EXPORTS),
            *(f'--add-opens={name}=ALL-UNNAMED' for name in _OPENS)]


def _jvm(node: NodeSettings) -> list[str]:
    """Return the JVM's options for memory and compilation.

    A small heap is collected by the serial collector: its pauses are short,
    and G1's barriers and threads would cost half as much CPU again.
    """
    options = [
        f'-Xms{min(256, node.heap_mb)}m', f'-Xmx{node.heap_mb}m',
        f'-XX:MaxDirectMemorySize={max(128, node.heap_mb // 2)}m',
        '-Xss384k', '-XX:+PerfDisableSharedMem',
        '-XX:+ExitOnOutOfMemoryError']
    if node.heap_mb <= SERIAL_HEAP_MB:
        options.append('-XX:+UseSerialGC')
    else:
        options += ['-XX:+UseG1GC', '-XX:MaxGCPauseMillis=300',
                    '-XX:+ParallelRefProcEnabled']
    if not node.long_lived:
        options.append('-XX:TieredStopAtLevel=1')
    return options


def command(node: NodeSettings, java: str, jars: pathlib.Path) -> list[str]:
    """Return the command line that runs the node in the foreground."""
    conf = node.conf_dir
    properties = {
        'cassandra.config': f'file://{conf}/cassandra.yaml',
        'cassandra-rackdc.properties':
            f'file://{conf}/cassandra-rackdc.properties',
        'logback.configurationFile': f'{conf}/logback.xml',
        'cassandra.storagedir': str(node.directory / 'data'),
        # A fresh or known, small ring: no waiting for others to speak up.
        # Twice the ring delay is how long a node that is silent while it
        # joins is remembered, so it can't be 0 where others join.
        'cassandra.ring_delay_ms': '0' if node.alone else '10000',
        'cassandra.skip_wait_for_gossip_to_settle': '0',
        'cassandra.superuser_setup_delay_ms': '0',
        # A login costs 2^rounds of bcrypt. With the default of 10 (0.1 s of
        # a core) the clients that all come back after a restart keep a small
        # machine busy with logins that nobody waits for any more.
        'cassandra.auth_bcrypt_gensalt_log2_rounds': '4',
        'cassandra.consistent.rangemovement': 'false',
        'java.net.preferIPv4Stack': 'true',
        'java.io.tmpdir': str(node.directory / 'tmp'),
        'jdk.attach.allowAttachSelf': 'true',
        'io.netty.tryReflectionSetAccessible': 'true',
        'io.netty.allocator.useCacheForAllThreads': 'true',
        'io.netty.allocator.maxOrder': '11',
    }
    if node.ephemeral:
        properties['cassandra.test.flush_local_schema_changes'] = 'false'
    if node.jmx_port is not None:
        properties['cassandra.jmx.local.port'] = str(node.jmx_port)
    return [
        java,
        *_jvm(node),
        *module_access(),
        *[f'-D{name}={value}' for name, value in properties.items()],
        '-classpath', f'{conf}{os.pathsep}{jars}/*',
        'org.apache.cassandra.service.CassandraDaemon',
    ]
