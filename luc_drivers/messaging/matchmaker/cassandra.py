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

"""The matchmaker in Cassandra: the registry of a site that all hosts share.

Plain rows are written and read at QUORUM, which in a keyspace of one site is
a quorum of that site; claims and leases are conditional writes.  A
conditional write whose outcome is unknown is made again: all of them can
be, since each holds a token of its own.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import functools
import inspect
import os
import threading
import time
import typing as ty
import uuid

from luc_drivers.messaging.matchmaker import base
from luc_drivers.messaging.matchmaker import cassandra_schema as schema
from luc_drivers.messaging.matchmaker import cassandra_session as session
from luc_drivers.messaging.matchmaker import cassandra_time as times

#: Seconds for which a site that could not be reached is left alone.
CUT_OFF = 5.0
#: Beyond so many instances a look-up reads the endpoint table as a whole.
MANY = 400
#: Rows read for each listener wanted when any would do.
_SPARE = 4
#: Seconds for which the list of sites is believed.
_SITES_AGE = 60.0
#: Seconds between measurements of the store's clock.
_CLOCK_AGE = 60.0

_BOX = 'namespace = ? AND exchange = ? AND topic = ? AND server = ?'
_LOG = 'namespace = ? AND exchange = ? AND topic = ?'
_ENDPOINT = ('instance, host, pid, site, addresses, state, curve_key, boot, '
             'version_low, version_high, program, started, signature')
_SUB = ('namespace = ? AND exchange = ? AND topic = ? AND kind = ? AND '
        'server = ? AND instance = ? AND listener = ? AND pool = ?')


def _of_site(method: ty.Callable) -> ty.Callable:
    """Make a method whose last argument is a site fail at once for a site
    that could not be reached a moment ago.

    Otherwise each look-up of an unknown target would wait for each of the
    sites that are cut off.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def wrapper(self: 'CassandraMatchmaker', *args: ty.Any,
                **kwargs: ty.Any) -> ty.Any:
        site = signature.bind(self, *args, **kwargs).arguments.get('site')
        if site in (None, self.site):
            return method(self, *args, **kwargs)
        when, why = self._cut_off.get(site, (float('-inf'), ''))
        if time.monotonic() - when < CUT_OFF:
            raise base.MatchmakerUnavailable(why)
        try:
            return method(self, *args, **kwargs)
        except base.MatchmakerUnavailable as e:
            self._cut_off[site] = time.monotonic(), 'site %s: %s' % (site, e)
            raise
    return wrapper


class CassandraMatchmaker(base.Matchmaker):
    """Keeps everything in the keyspace ``luc_bus_SITE``."""

    def __init__(self, settings: ty.Any) -> None:
        super().__init__(settings)
        self.cql = session.Session(settings)
        # Site -> when it could not be reached, and why.
        self._cut_off: dict[str, tuple[float, str]] = {}
        self._sites: tuple[list[str], float] = ([], float('-inf'))
        # Store's clock minus the monotonic one, in seconds, and when.
        self._offset: tuple[float, float] = (0.0, float('-inf'))
        self._prepared = False
        # By process: one that is held at a fork is held for ever there.
        self._prepare_locks: dict[int, threading.Lock] = {}

    def prepare(self) -> None:
        """Create the keyspace if it is missing and this role may."""
        if self._prepared:
            return
        lock = self._prepare_locks.setdefault(os.getpid(),
                                              threading.Lock())
        with lock:
            if not self._prepared:
                self.cql.create(schema.create_statements(self.settings),
                                schema.keyspace(self.settings),
                                schema.TABLE_NAMES)
                self._prepared = True

    def _table(self, name: str, site: str | None = None) -> str:
        self.prepare()
        return '%s.%s' % (schema.keyspace(self.settings, site), name)

    def sites(self) -> list[str]:
        found, when = self._sites
        if time.monotonic() - when > _SITES_AGE:
            prefix = self.settings.keyspace_prefix + '_'
            names = {name[len(prefix):] for name, in self.cql.run(
                'SELECT keyspace_name FROM system_schema.keyspaces', (),
                consistency='ONE') if name.startswith(prefix)}
            found = [self.site, *sorted(names - {self.site})]
            self._sites = found, time.monotonic()
        return found

    def now(self) -> int:
        (at,), = self.cql.run('SELECT now() FROM system.local', (),
                              consistency='ONE')
        return times.micros(at)

    def _bucket(self) -> int:
        """Return the current bucket by the store's clock."""
        offset, when = self._offset
        now = time.monotonic()
        if now - when > _CLOCK_AGE:
            offset = self.now() / 1e6 - now
            self._offset = offset, now
        return int(now + offset) // base.BUCKET

    # -- registry ---------------------------------------------------------

    def register(self, endpoint: base.Endpoint, ttl: float) -> bool:
        table = self._table('endpoints_' + endpoint.plane)
        there = self.cql.run('SELECT instance FROM %s WHERE instance = ?'
                             % table, (endpoint.instance,))
        writes: list[session.Statement] = [(
            'INSERT INTO ' + table + ' (' + _ENDPOINT + ') VALUES '
            '(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?',
            (endpoint.instance, endpoint.host, endpoint.pid, endpoint.site,
             list(endpoint.addresses), endpoint.state, endpoint.curve_key,
             endpoint.boot, *endpoint.versions, endpoint.program,
             endpoint.started, endpoint.signature, times.ttl(ttl)))]
        if endpoint.boot and not there:
            writes.append(('INSERT INTO %s (host, boot) VALUES (?, ?)'
                           % self._table('boots'),
                           (endpoint.host, endpoint.boot)))
        self.cql.run_many(writes)
        return bool(there)

    def unregister(self, endpoint: base.Endpoint) -> None:
        self.cql.run('DELETE FROM %s WHERE instance = ?'
                     % self._table('endpoints_' + endpoint.plane),
                     (endpoint.instance,))

    _PLANES = (base.CONTROL, base.AGENT)

    @staticmethod
    def _endpoint(row: tuple, plane: str) -> base.Endpoint:
        (instance, host, pid, site, addresses, state, curve_key, boot, low,
         high, program, started, signature) = row
        return base.Endpoint(
            instance, host, pid, site, tuple(addresses or ()), state,
            curve_key, boot, (low, high), plane, program, started, signature)

    @_of_site
    def endpoint(self, instance: str,
                 site: str | None = None) -> base.Endpoint | None:
        found = self._endpoints([(instance, plane)
                                 for plane in self._PLANES], site)
        return next(iter(found.values()), None)

    def _endpoints(self, wanted: Sequence[tuple[str, str]],
                   site: str | None) -> dict[tuple[str, str], base.Endpoint]:
        """Return endpoints by instance and plane."""
        if len(wanted) > MANY:
            return {(e.instance, e.plane): e for e in self.endpoints(site)}
        answers = self.cql.run_many([
            ('SELECT ' + _ENDPOINT + ' FROM '
             + self._table('endpoints_' + plane, site)
             + ' WHERE instance = ?', (instance,))
            for instance, plane in wanted])
        return {(instance, plane): self._endpoint(rows[0], plane)
                for (instance, plane), rows in zip(wanted, answers) if rows}

    def endpoints(self, site: str | None = None) -> list[base.Endpoint]:
        return sorted(
            (self._endpoint(row, plane) for plane in self._PLANES
             for row in self.cql.run(
                 'SELECT ' + _ENDPOINT + ' FROM '
                 + self._table('endpoints_' + plane, site), ())),
            key=lambda e: e.instance)

    @_of_site
    def boot(self, host: str, site: str | None = None) -> str:
        rows = self.cql.run('SELECT boot FROM %s WHERE host = ?'
                            % self._table('boots', site), (host,))
        return rows[0][0] if rows else ''

    @staticmethod
    def _sub_key(sub: base.Subscription) -> tuple:
        return (sub.namespace, sub.exchange, sub.topic, sub.kind, sub.server,
                sub.instance, sub.listener, sub.pool)

    def subscribe(self, subscriptions: Sequence[base.Subscription],
                  ttl: float, known_ttl: float) -> None:
        # Known first: a sender that finds the listener finds it known.
        self.cql.run_many([
            ('INSERT INTO %s (namespace, exchange, topic, server) '
             'VALUES (?, ?, ?, ?) USING TTL ?' % self._table('known'),
             (sub.namespace, sub.exchange, sub.topic, sub.server,
              times.ttl(known_ttl)))
            for sub in subscriptions if sub.kind == base.RPC])
        self.cql.run_many([
            ('INSERT INTO %s (namespace, exchange, topic, kind, server, '
             'instance, listener, pool, plane) VALUES '
             '(?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?'
             % self._table('subscriptions'),
             (*self._sub_key(sub), self.settings.plane, times.ttl(ttl)))
            for sub in subscriptions])

    def unsubscribe(self,
                    subscriptions: Sequence[base.Subscription]) -> None:
        self.cql.run_many([
            ('DELETE FROM %s WHERE ' % self._table('subscriptions') + _SUB,
             self._sub_key(sub)) for sub in subscriptions])

    def subscribed(self, subscription: base.Subscription) -> bool:
        return bool(self.cql.run(
            'SELECT instance FROM %s WHERE ' % self._table('subscriptions')
            + _SUB, self._sub_key(subscription)))

    @_of_site
    def lookup(self, namespace: str, exchange: str, topic: str,
               server: str | None = None, kind: str = base.RPC,
               site: str | None = None,
               limit: int | None = None) -> list[base.Route]:
        cql = ('SELECT server, instance, listener, pool, plane FROM %s '
               'WHERE namespace = ? AND exchange = ? AND topic = ? AND '
               'kind = ?' % self._table('subscriptions', site))
        values: tuple = (namespace, exchange, topic, kind)
        if server is not None:
            cql, values = cql + ' AND server = ?', (*values, server)
        if limit is None:
            return self._routes(values, self.cql.run(cql, values), site)
        # Rows outlive their instances: some of these may be of dead ones.
        some = _SPARE * limit
        rows = self.cql.run(cql + ' LIMIT ?', (*values, some))
        found = self._routes(values, rows, site)
        if len(found) < limit and len(rows) == some:
            found = self._routes(values, self.cql.run(cql, values), site)
        return found[:limit]

    def _routes(self, address: tuple, rows: list[tuple],
                site: str | None) -> list[base.Route]:
        namespace, exchange, topic, kind = address[:4]
        # The row says in which table to look; what is there decides.
        wanted = sorted({(instance, plane)
                         for _, instance, _, _, plane in rows
                         if plane in self._PLANES})
        found = self._endpoints(wanted, site)
        return self.routes(topic, [
            (base.Subscription(namespace, exchange, topic, name, instance,
                               listener, kind, pool),
             found.get((instance, plane)))
            for name, instance, listener, pool, plane in rows])

    def subscriptions(self,
                      site: str | None = None) -> list[base.Subscription]:
        return sorted(
            (base.Subscription(*row) for row in self.cql.run(
                'SELECT namespace, exchange, topic, server, instance, '
                'listener, kind, pool FROM %s'
                % self._table('subscriptions', site), ())),
            key=self._sub_key)

    @_of_site
    def known(self, namespace: str, exchange: str, topic: str,
              site: str | None = None) -> frozenset[str]:
        return frozenset(server for server, in self.cql.run(
            'SELECT server FROM %s WHERE ' % self._table('known', site)
            + _LOG, (namespace, exchange, topic)))

    # -- mailboxes --------------------------------------------------------

    @staticmethod
    def _box(box: base.Box) -> tuple[str, str, str, str]:
        return box.namespace, box.exchange, box.topic, box.server

    @_of_site
    def mailbox_put(self, box: base.Box, message: base.StoredMessage,
                    ttl: float, site: str | None = None) -> None:
        self.cql.run(
            'INSERT INTO %s (namespace, exchange, topic, server, id, '
            'suspect, stored, body) VALUES (?, ?, ?, ?, ?, ?, '
            'toTimestamp(now()), ?) USING TTL ? AND TIMESTAMP %d'
            % (self._table('mailbox', site), schema.MESSAGE_TIMESTAMP),
            (*self._box(box), message.id, message.suspect, message.body,
             times.ttl(ttl)))

    def mailbox_claim(self, box: base.Box, owner: str, ttl: float) -> bool:
        return self.cql.run_if(
            [('UPDATE %s USING TTL ? SET owner = ? WHERE '
              % self._table('mailbox') + _BOX + ' IF owner = null',
              (times.ttl(ttl), owner, *self._box(box)))],
            lambda row: row is not None and row[0] == owner,
            ('SELECT owner FROM %s WHERE ' % self._table('mailbox') + _BOX
             + ' LIMIT 1', self._box(box)))

    def mailbox_release(self, box: base.Box, owner: str) -> None:
        self.cql.run_if(
            [('UPDATE %s SET owner = null WHERE ' % self._table('mailbox')
              + _BOX + ' IF owner = ?', (*self._box(box), owner))],
            lambda row: row is None or row[0] != owner,
            ('SELECT owner FROM %s WHERE ' % self._table('mailbox') + _BOX
             + ' LIMIT 1', self._box(box)))

    def mailbox_fetch(self, box: base.Box, limit: int, after: str = '',
                      site: str | None = None) -> list[base.StoredMessage]:
        return [base.StoredMessage(key, body or b'', suspect or '',
                                   times.seconds(stored))
                for key, body, suspect, stored in self.cql.run(
                    'SELECT id, body, suspect, stored FROM %s WHERE '
                    % self._table('mailbox', site) + _BOX
                    + ' AND id > ? LIMIT ?', (*self._box(box), after, limit))]

    def mailbox_take(self, box: base.Box, owner: str,
                     ids: Sequence[str]) -> bool:
        table = self._table('mailbox')
        token = uuid.uuid4().hex
        return self.cql.run_if(
            [('UPDATE %s SET taken = ? WHERE ' % table + _BOX
              + ' IF owner = ?', (token, *self._box(box), owner)),
             *(('DELETE FROM %s WHERE ' % table + _BOX + ' AND id = ?',
                (*self._box(box), key)) for key in ids)],
            lambda row: row is not None and row[0] == token,
            ('SELECT taken FROM %s WHERE ' % table + _BOX + ' LIMIT 1',
             self._box(box)))

    def mailbox_depth(self, box: base.Box, limit: int = 10000,
                      site: str | None = None) -> int:
        return len(self.cql.run(
            'SELECT id FROM %s WHERE ' % self._table('mailbox', site) + _BOX
            + " AND id > '' LIMIT ?", (*self._box(box), limit)))

    def mailbox_purge(self, box: base.Box, ids: Iterable[str] | None = None,
                      site: str | None = None) -> int:
        waiting = [key for key, in self.cql.run(
            'SELECT id FROM %s WHERE ' % self._table('mailbox', site) + _BOX
            + " AND id > ''", self._box(box))]
        if ids is not None:
            wanted = set(ids)
            waiting = [key for key in waiting if key in wanted]
        self.cql.run_many([
            ('DELETE FROM %s WHERE ' % self._table('mailbox', site) + _BOX
             + ' AND id = ?', (*self._box(box), key)) for key in waiting])
        return len(waiting)

    def mailboxes(self, site: str | None = None) -> list[base.Box]:
        rows = self.cql.run(
            'SELECT DISTINCT namespace, exchange, topic, server FROM %s'
            % self._table('mailbox', site), ())
        boxes = sorted((base.Box(*row) for row in rows), key=self._box)
        return [box for box in boxes if self.mailbox_depth(box, 1, site)]

    # -- notifications ----------------------------------------------------

    @staticmethod
    def _log(log: base.Log) -> tuple[str, str, str]:
        return log.namespace, log.exchange, log.topic

    def log_append(self, log: base.Log, stripe: int, entry: base.LogEntry,
                   ttl: float) -> None:
        bucket = self._bucket()
        self.cql.run_many([
            ('INSERT INTO %s (namespace, exchange, topic, stripe, bucket, '
             'position, id, count, pool, body) VALUES '
             '(?, ?, ?, ?, ?, now(), ?, ?, ?, ?) USING TTL ?'
             % self._table('log_entries'),
             (*self._log(log), stripe, bucket, entry.id, entry.count,
              entry.pool, entry.body, times.ttl(ttl))),
            ('INSERT INTO %s (namespace, exchange, topic, bucket, stripe, '
             'at) VALUES (?, ?, ?, ?, ?, now()) USING TTL ?'
             % self._table('log_heads'),
             (*self._log(log), bucket, stripe, times.ttl(ttl)))],
            repeat=False)

    def log_heads(self, log: base.Log, since: int) -> list[base.LogHead]:
        return [base.LogHead(bucket, stripe, at.hex, times.micros(at))
                for bucket, stripe, at in self.cql.run(
                    'SELECT bucket, stripe, at FROM %s WHERE '
                    % self._table('log_heads') + _LOG + ' AND bucket >= ?',
                    (*self._log(log), since))]

    def log_read(self, log: base.Log, stripe: int, bucket: int, since: int,
                 limit: int) -> list[base.LogEntry]:
        return self.log_reads(log, [(stripe, bucket, since)], limit)[0]

    def log_reads(self, log: base.Log,
                  places: Sequence[tuple[int, int, int]],
                  limit: int) -> list[list[base.LogEntry]]:
        answers = self.cql.run_many([
            ('SELECT id, body, count, pool, position FROM %s WHERE '
             % self._table('log_entries') + _LOG + ' AND stripe = ? '
             'AND bucket = ? AND position >= ? LIMIT ?',
             (*self._log(log), stripe, bucket, times.least_uuid(since),
              limit)) for stripe, bucket, since in places])
        return [[base.LogEntry(key, body or b'', count, pool,
                               times.micros(at))
                 for key, body, count, pool, at in rows] for rows in answers]

    def pool_add(self, log: base.Log, pool: str, start: int) -> int:
        table = self._table('pools')
        read = ('SELECT start FROM %s WHERE ' % table + _LOG
                + ' AND pool = ?', (*self._log(log), pool))
        rows = self.cql.run(*read)
        if not rows:
            self.cql.run_if(
                [('INSERT INTO %s (namespace, exchange, topic, pool, start) '
                  'VALUES (?, ?, ?, ?, ?) IF NOT EXISTS' % table,
                  (*self._log(log), pool, start))],
                lambda row: row is not None, read)
            rows = self.cql.run(*read)
        return rows[0][0]

    def pools(self, log: base.Log) -> dict[str, int]:
        return {name: start for name, start in self.cql.run(
            'SELECT pool, start FROM %s WHERE ' % self._table('pools')
            + _LOG, self._log(log))}

    def logs(self) -> list[base.Log]:
        return sorted(
            {base.Log(*row) for table in ('log_heads', 'pools')
             for row in self.cql.run(
                 'SELECT DISTINCT namespace, exchange, topic FROM %s'
                 % self._table(table), ())}, key=self._log)

    def leases(self, log: base.Log,
               pool: str) -> dict[int, base.StripeLease]:
        return {stripe: base.StripeLease(stripe, owner or '', state or '')
                for stripe, owner, state in self.cql.run(
                    'SELECT stripe, owner, state FROM %s WHERE '
                    % self._table('leases') + _LOG + ' AND pool = ?',
                    (*self._log(log), pool))}

    def _lease(self, log: base.Log, pool: str,
               stripe: int) -> tuple[tuple, tuple[str, tuple]]:
        """Return a lease's key and what reads it."""
        key = (*self._log(log), pool, stripe)
        return key, ('SELECT owner, state FROM %s WHERE '
                     % self._table('leases') + _LOG
                     + ' AND pool = ? AND stripe = ?', key)

    def lease_claim(self, log: base.Log, pool: str, stripe: int, owner: str,
                    ttl: float) -> base.StripeLease | None:
        key, read = self._lease(log, pool, stripe)
        if not self.cql.run_if(
                [('UPDATE %s USING TTL ? SET owner = ? WHERE '
                  % self._table('leases') + _LOG + ' AND pool = ? AND '
                  'stripe = ? IF owner = null',
                  (times.ttl(ttl), owner, *key))],
                lambda row: row is not None and row[0] == owner, read):
            return None
        rows = self.cql.run(*read)
        if not rows or rows[0][0] != owner:
            return None
        return base.StripeLease(stripe, owner, rows[0][1] or '')

    def lease_commit(self, log: base.Log, pool: str, stripe: int, owner: str,
                     ttl: float, state: str) -> bool:
        key, read = self._lease(log, pool, stripe)
        where = _LOG + ' AND pool = ? AND stripe = ?'
        table = self._table('leases')
        if ttl <= 0:
            return self.cql.run_if(
                [('UPDATE %s SET owner = null, state = ? WHERE ' % table
                  + where + ' IF owner = ?', (state, *key, owner))],
                lambda row: row is not None and not row[0]
                and row[1] == state, read)
        # Two statements, for the state must outlive the TTL.
        return self.cql.run_if(
            [('UPDATE %s USING TTL ? SET owner = ? WHERE ' % table + where
              + ' IF owner = ?', (times.ttl(ttl), owner, *key, owner)),
             ('UPDATE %s SET state = ? WHERE ' % table + where,
              (state, *key))],
            lambda row: row is not None and tuple(row) == (owner, state),
            read)
