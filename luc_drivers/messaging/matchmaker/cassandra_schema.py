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

"""Keyspace, tables and roles of the Cassandra matchmaker.

One keyspace for each site, replicated in that site alone, so that a quorum
of it is a quorum of the site, whoever coordinates (rule C10).
"""

import re
import typing as ty

#: Write timestamp of messages in mailboxes. It is the same in each attempt
#: to store one, and older than any removal, whatever clocks say: a message
#: that was taken can't come back.
MESSAGE_TIMESTAMP = 1

_ENDPOINTS = '''
CREATE TABLE IF NOT EXISTS {keyspace}.%s (
    instance text PRIMARY KEY, host text, pid int, site text,
    addresses frozen<list<text>>, state text, curve_key text, boot text,
    version_low int, version_high int, program text, started double,
    signature text)
    WITH gc_grace_seconds = 3600
    AND comment = 'Who can be talked to; one row per process, with a TTL'
'''

TABLES = (
    _ENDPOINTS % 'endpoints_control',
    _ENDPOINTS % 'endpoints_agent',
    '''
CREATE TABLE IF NOT EXISTS {keyspace}.boots (
    host text PRIMARY KEY, boot text)
    WITH comment = 'Last start of each host'
''', '''
CREATE TABLE IF NOT EXISTS {keyspace}.subscriptions (
    namespace text, exchange text, topic text, kind text, server text,
    instance text, listener text, pool text, plane text,
    PRIMARY KEY ((namespace, exchange, topic, kind), server, instance,
                 listener, pool))
    WITH gc_grace_seconds = 86400
    AND comment = 'Who listens to what; valid with a live endpoint'
''', '''
CREATE TABLE IF NOT EXISTS {keyspace}.known (
    namespace text, exchange text, topic text, server text,
    PRIMARY KEY ((namespace, exchange, topic), server))
    WITH gc_grace_seconds = 86400
    AND comment = 'Servers that were ever seen: they have mailboxes'
''', '''
CREATE TABLE IF NOT EXISTS {keyspace}.mailbox (
    namespace text, exchange text, topic text, server text, id text,
    owner text static, taken text static,
    suspect text, stored timestamp, body blob,
    PRIMARY KEY ((namespace, exchange, topic, server), id))
    WITH gc_grace_seconds = {mailbox_grace}
    AND comment = 'Messages for servers that are away'
''', '''
CREATE TABLE IF NOT EXISTS {keyspace}.log_entries (
    namespace text, exchange text, topic text, stripe int, bucket int,
    position timeuuid, id text, count int, pool text, body blob,
    PRIMARY KEY ((namespace, exchange, topic, stripe, bucket), position))
    WITH gc_grace_seconds = 3600
    AND compaction = {{'class': 'TimeWindowCompactionStrategy',
                       'compaction_window_unit': 'HOURS',
                       'compaction_window_size': '{log_window}'}}
    AND comment = 'Notifications'
''', '''
CREATE TABLE IF NOT EXISTS {keyspace}.log_heads (
    namespace text, exchange text, topic text, bucket int, stripe int,
    at timeuuid,
    PRIMARY KEY ((namespace, exchange, topic), bucket, stripe))
    WITH gc_grace_seconds = 3600
    AND comment = 'Which parts of a notification log have entries'
''', '''
CREATE TABLE IF NOT EXISTS {keyspace}.pools (
    namespace text, exchange text, topic text, pool text, start bigint,
    PRIMARY KEY ((namespace, exchange, topic), pool))
    WITH comment = 'Pools of notification listeners'
''', '''
CREATE TABLE IF NOT EXISTS {keyspace}.leases (
    namespace text, exchange text, topic text, pool text, stripe int,
    owner text, state text,
    PRIMARY KEY ((namespace, exchange, topic, pool), stripe))
    WITH gc_grace_seconds = 86400
    AND comment = 'What pools of notification listeners have read'
''')

TABLE_NAMES = tuple(re.findall(r'\{keyspace\}\.(\w+)', ''.join(TABLES)))

#: Tables that a compute host's role may write (rule D2).
AGENT_TABLES = ('endpoints_agent', 'boots', 'subscriptions', 'known',
                'mailbox', 'log_entries', 'log_heads', 'pools', 'leases')

_NAME = re.compile(r'^[a-z][a-z0-9_]{0,47}$')


def keyspace(settings: ty.Any, site: str | None = None) -> str:
    """Return the name of a site's keyspace (the own one's by default)."""
    return '%s_%s' % (settings.keyspace_prefix, site or settings.site)


def _replication(settings: ty.Any) -> str:
    chosen = dict(settings.replication)
    if not chosen:
        everywhere = settings.conf.cassandra.replication
        chosen = {settings.site: everywhere.get(settings.site, '1')}
    for site, count in chosen.items():
        if not re.fullmatch(r'[A-Za-z0-9_.-]+', site) or not str(
                count).isdigit():
            raise ValueError('[bus]replication %s:%s: give SITE:NUMBER'
                             % (site, count))
    return "{'class': 'NetworkTopologyStrategy', %s}" % ', '.join(
        "'%s': %d" % (site, int(count)) for site, count in chosen.items())


def create_statements(settings: ty.Any) -> list[str]:
    """Return CQL that makes the own site's keyspace and tables.

    Each may be run again; nothing that exists is changed.
    """
    name = keyspace(settings)
    window = max(1, round(settings.notification_ttl / 3600 / 20))
    return ['CREATE KEYSPACE IF NOT EXISTS %s WITH replication = %s'
            % (name, _replication(settings)),
            *(table.format(
                keyspace=name, log_window=window,
                # A replica that missed a removal must not bring a message
                # back: by then it has expired there, too.
                mailbox_grace=int(settings.mailbox_ttl) + 3600).strip()
              for table in TABLES)]


def role_statements(settings: ty.Any, role: str, password: str,
                    plane: str = 'agent') -> list[str]:
    """Return CQL for a role that may use this keyspace and nothing else.

    :param plane: ``agent`` for compute hosts: it can't register an endpoint
        that others would take for a control service (rule D2).
    """
    if not _NAME.match(role):
        raise ValueError('role %r: use lower-case letters, digits and _'
                         % role)
    name = keyspace(settings)
    statements = [
        "CREATE ROLE IF NOT EXISTS %s WITH LOGIN = true AND PASSWORD = '%s'"
        % (role, password.replace("'", "''")),
        'GRANT SELECT ON KEYSPACE %s TO %s' % (name, role)]
    if plane == 'control':
        statements.append('GRANT MODIFY ON KEYSPACE %s TO %s' % (name, role))
    else:
        statements += ['GRANT MODIFY ON TABLE %s.%s TO %s'
                       % (name, table, role) for table in AGENT_TABLES]
    return statements
