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

"""The matchmaker of one host: an SQLite file that all its processes share.

Registrations and leases end by the clock that counts from the host's start
(no one can set it), and with the host's next start; what lives for hours
ends by the clock of the calendar.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import json
import time
import typing as ty

import apsw

from luc_drivers.messaging import registrar
from luc_drivers.messaging.matchmaker import base
from luc_drivers.messaging.matchmaker import embedded_file

_BOX = ('site = ? AND namespace = ? AND exchange = ? AND topic = ? '
        'AND server = ?')
_LOG = 'site = ? AND namespace = ? AND exchange = ? AND topic = ?'


def _endpoint(doc: str) -> base.Endpoint:
    values = json.loads(doc)
    for name in ('addresses', 'versions'):
        values[name] = tuple(values[name])
    return base.Endpoint(**values)


class EmbeddedMatchmaker(base.Matchmaker):
    """Keeps everything in ``STATE_PATH/bus.sqlite``."""

    def __init__(self, settings: ty.Any) -> None:
        super().__init__(settings)
        self.file = embedded_file.File(settings.state_path)

    @embedded_file.guarded
    def prepare(self) -> None:
        self.file.open()

    def close(self) -> None:
        self.file.close()

    @embedded_file.guarded
    def sites(self) -> list[str]:
        rows = self.file.rows('SELECT DISTINCT site FROM endpoints')
        return [self.site, *sorted({r[0] for r in rows} - {self.site})]

    def now(self) -> int:
        return time.time_ns() // 1000

    # -- registry ---------------------------------------------------------

    @embedded_file.guarded
    def register(self, endpoint: base.Endpoint, ttl: float) -> bool:
        with self.file.transaction() as connection:
            self.file.sweep(connection)
            there = connection.execute(
                'SELECT 1 FROM endpoints WHERE site = ? AND instance = ? '
                'AND boot = ? AND until > ?',
                (self.site, endpoint.instance, registrar.boot_id(),
                 embedded_file.uptime())).fetchone()
            connection.execute(
                'INSERT OR REPLACE INTO endpoints VALUES (?, ?, ?, ?, ?, ?)',
                (self.site, endpoint.instance, registrar.boot_id(),
                 embedded_file.uptime() + ttl, endpoint.plane,
                 json.dumps(dataclasses.asdict(endpoint))))
            if endpoint.boot:
                connection.execute(
                    'INSERT OR REPLACE INTO boots VALUES (?, ?, ?)',
                    (self.site, endpoint.host, endpoint.boot))
        return there is not None

    @embedded_file.guarded
    def unregister(self, endpoint: base.Endpoint) -> None:
        with self.file.transaction() as connection:
            connection.execute(
                'DELETE FROM endpoints WHERE site = ? AND instance = ?',
                (self.site, endpoint.instance))

    @embedded_file.guarded
    def endpoint(self, instance: str,
                 site: str | None = None) -> base.Endpoint | None:
        rows = self.file.rows(
            'SELECT doc FROM endpoints WHERE site = ? AND instance = ? '
            'AND boot = ? AND until > ?', site or self.site, instance,
            registrar.boot_id(), embedded_file.uptime())
        return _endpoint(rows[0][0]) if rows else None

    @embedded_file.guarded
    def endpoints(self, site: str | None = None) -> list[base.Endpoint]:
        return [_endpoint(doc) for doc, in self.file.rows(
            'SELECT doc FROM endpoints WHERE site = ? AND boot = ? '
            'AND until > ? ORDER BY instance', site or self.site,
            registrar.boot_id(), embedded_file.uptime())]

    @embedded_file.guarded
    def boot(self, host: str, site: str | None = None) -> str:
        rows = self.file.rows('SELECT boot FROM boots WHERE site = ? '
                          'AND host = ?', site or self.site, host)
        return rows[0][0] if rows else ''

    @embedded_file.guarded
    def subscribe(self, subscriptions: Sequence[base.Subscription],
                  ttl: float, known_ttl: float) -> None:
        now = time.time()
        with self.file.transaction() as connection:
            for sub in subscriptions:
                connection.execute(
                    'INSERT OR REPLACE INTO subscriptions VALUES '
                    '(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
                    (*self._key(sub), now + ttl))
                if sub.kind == base.RPC:
                    connection.execute(
                        'INSERT OR REPLACE INTO known VALUES '
                        '(?, ?, ?, ?, ?, ?)',
                        (self.site, sub.namespace, sub.exchange, sub.topic,
                         sub.server, now + known_ttl))

    def _key(self, sub: base.Subscription) -> tuple:
        return (self.site, sub.namespace, sub.exchange, sub.topic, sub.kind,
                sub.server, sub.instance, sub.listener, sub.pool)

    _KEY = ('site = ? AND namespace = ? AND exchange = ? AND topic = ? AND '
            'kind = ? AND server = ? AND instance = ? AND listener = ? AND '
            'pool = ?')

    @embedded_file.guarded
    def unsubscribe(self,
                    subscriptions: Sequence[base.Subscription]) -> None:
        with self.file.transaction() as connection:
            for sub in subscriptions:
                connection.execute(
                    'DELETE FROM subscriptions WHERE ' + self._KEY,
                    self._key(sub))

    @embedded_file.guarded
    def subscribed(self, subscription: base.Subscription) -> bool:
        return bool(self.file.rows(
            'SELECT 1 FROM subscriptions WHERE ' + self._KEY
            + ' AND until > ?', *self._key(subscription), time.time()))

    @embedded_file.guarded
    def lookup(self, namespace: str, exchange: str, topic: str,
               server: str | None = None, kind: str = base.RPC,
               site: str | None = None,
               limit: int | None = None) -> list[base.Route]:
        rows = self.file.rows(
            'SELECT server, s.instance, listener, pool, doc '
            'FROM subscriptions s JOIN endpoints e USING (site, instance) '
            'WHERE s.site = ? AND namespace = ? AND exchange = ? AND '
            'topic = ? AND kind = ? AND (server = ? OR ? IS NULL) AND '
            's.until > ? AND e.boot = ? AND e.until > ?',
            site or self.site, namespace, exchange, topic, kind, server,
            server, time.time(), registrar.boot_id(), embedded_file.uptime())
        return self.routes(topic, [
            (base.Subscription(namespace, exchange, topic, name, instance,
                               listener, kind, pool), _endpoint(doc))
            for name, instance, listener, pool, doc in rows])[:limit]

    @embedded_file.guarded
    def subscriptions(self,
                      site: str | None = None) -> list[base.Subscription]:
        return [base.Subscription(*row) for row in self.file.rows(
            'SELECT namespace, exchange, topic, server, instance, listener, '
            'kind, pool FROM subscriptions WHERE site = ? AND until > ? '
            'ORDER BY 1, 2, 3, 4, 5, 6, 7, 8', site or self.site,
            time.time())]

    @embedded_file.guarded
    def known(self, namespace: str, exchange: str, topic: str,
              site: str | None = None) -> frozenset[str]:
        return frozenset(server for server, in self.file.rows(
            'SELECT server FROM known WHERE ' + _LOG + ' AND until > ?',
            site or self.site, namespace, exchange, topic, time.time()))

    # -- mailboxes --------------------------------------------------------

    def _box(self, box: base.Box, site: str | None = None) -> tuple:
        return (site or self.site, box.namespace, box.exchange, box.topic,
                box.server)

    @embedded_file.guarded
    def mailbox_put(self, box: base.Box, message: base.StoredMessage,
                    ttl: float, site: str | None = None) -> None:
        now = time.time()
        with self.file.transaction() as connection:
            # A row without body says that it was taken: a late attempt to
            # store it again must not bring it back.
            connection.execute(
                'INSERT OR IGNORE INTO mailbox VALUES '
                '(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
                (*self._box(box, site), message.id, message.suspect, now,
                 now + ttl, message.body))

    @embedded_file.guarded
    def mailbox_claim(self, box: base.Box, owner: str, ttl: float) -> bool:
        with self.file.transaction() as connection:
            held = connection.execute(
                'SELECT 1 FROM claims WHERE ' + _BOX
                + ' AND boot = ? AND until > ?',
                (*self._box(box), registrar.boot_id(),
                 embedded_file.uptime())).fetchone()
            if held:
                return False
            connection.execute(
                'INSERT OR REPLACE INTO claims VALUES '
                '(?, ?, ?, ?, ?, ?, ?, ?)',
                (*self._box(box), owner, registrar.boot_id(),
                 embedded_file.uptime() + ttl))
            return True

    @embedded_file.guarded
    def mailbox_release(self, box: base.Box, owner: str) -> None:
        with self.file.transaction() as connection:
            connection.execute(
                'DELETE FROM claims WHERE ' + _BOX + ' AND owner = ?',
                (*self._box(box), owner))

    @embedded_file.guarded
    def mailbox_fetch(self, box: base.Box, limit: int, after: str = '',
                      site: str | None = None) -> list[base.StoredMessage]:
        return [base.StoredMessage(key, body, suspect, stored)
                for key, body, suspect, stored in self.file.rows(
                    'SELECT id, body, suspect, stored FROM mailbox WHERE '
                    + _BOX + ' AND id > ? AND until > ? AND body IS NOT '
                    'NULL ORDER BY id LIMIT ?', *self._box(box, site), after,
                    time.time(), limit)]

    @embedded_file.guarded
    def mailbox_take(self, box: base.Box, owner: str,
                     ids: Sequence[str]) -> bool:
        with self.file.transaction() as connection:
            held = connection.execute(
                'SELECT 1 FROM claims WHERE ' + _BOX
                + ' AND owner = ? AND boot = ? AND until > ?',
                (*self._box(box), owner, registrar.boot_id(),
                 embedded_file.uptime())).fetchone()
            if not held:
                return False
            self._empty(connection, self._box(box), ids)
            return True

    @staticmethod
    def _empty(connection: apsw.Connection, box: tuple,
               ids: Iterable[str]) -> None:
        for key in ids:
            connection.execute(
                'UPDATE mailbox SET body = NULL WHERE ' + _BOX
                + ' AND id = ?', (*box, key))

    @embedded_file.guarded
    def mailbox_depth(self, box: base.Box, limit: int = 10000,
                      site: str | None = None) -> int:
        return self.file.rows(
            'SELECT count(*) FROM (SELECT 1 FROM mailbox WHERE ' + _BOX
            + ' AND until > ? AND body IS NOT NULL LIMIT ?)',
            *self._box(box, site), time.time(), limit)[0][0]

    @embedded_file.guarded
    def mailbox_purge(self, box: base.Box, ids: Iterable[str] | None = None,
                      site: str | None = None) -> int:
        with self.file.transaction() as connection:
            waiting = [key for key, in connection.execute(
                'SELECT id FROM mailbox WHERE ' + _BOX
                + ' AND until > ? AND body IS NOT NULL',
                (*self._box(box, site), time.time()))]
            if ids is not None:
                wanted = set(ids)
                waiting = [key for key in waiting if key in wanted]
            self._empty(connection, self._box(box, site), waiting)
        return len(waiting)

    @embedded_file.guarded
    def mailboxes(self, site: str | None = None) -> list[base.Box]:
        return [base.Box(*row) for row in self.file.rows(
            'SELECT DISTINCT namespace, exchange, topic, server '
            'FROM mailbox WHERE site = ? AND until > ? AND body IS NOT NULL '
            'ORDER BY 1, 2, 3, 4', site or self.site, time.time())]

    # -- notifications ----------------------------------------------------

    def _log(self, log: base.Log) -> tuple:
        return self.site, log.namespace, log.exchange, log.topic

    @embedded_file.guarded
    def log_append(self, log: base.Log, stripe: int, entry: base.LogEntry,
                   ttl: float) -> None:
        until = time.time() + ttl
        with self.file.transaction() as connection:
            self.file.sweep(connection)
            # Taken under the write lock, positions grow in the order in
            # which entries become visible.
            position, = ty.cast(tuple, connection.execute(
                'UPDATE positions SET last = max(last + 1, ?) '
                'RETURNING last', (self.now(),)).fetchone())
            bucket = position // 1_000_000 // base.BUCKET
            connection.execute(
                'INSERT INTO log VALUES '
                '(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
                (*self._log(log), stripe, bucket, position, entry.id,
                 entry.count, entry.pool, until, entry.body))
            connection.execute(
                'INSERT OR REPLACE INTO heads VALUES '
                '(?, ?, ?, ?, ?, ?, ?, ?)',
                (*self._log(log), bucket, stripe, position, until))

    @embedded_file.guarded
    def log_heads(self, log: base.Log, since: int) -> list[base.LogHead]:
        return [base.LogHead(bucket, stripe, str(position), position)
                for bucket, stripe, position in self.file.rows(
                    'SELECT bucket, stripe, position FROM heads WHERE '
                    + _LOG + ' AND bucket >= ? AND until > ? ORDER BY 1, 2',
                    *self._log(log), since, time.time())]

    @embedded_file.guarded
    def log_read(self, log: base.Log, stripe: int, bucket: int, since: int,
                 limit: int) -> list[base.LogEntry]:
        return [base.LogEntry(key, body, count, pool, position)
                for key, body, count, pool, position in self.file.rows(
                    'SELECT id, body, count, pool, position FROM log WHERE '
                    + _LOG + ' AND stripe = ? AND bucket = ? AND '
                    'position >= ? AND until > ? ORDER BY position LIMIT ?',
                    *self._log(log), stripe, bucket, since, time.time(),
                    limit)]

    @embedded_file.guarded
    def pool_add(self, log: base.Log, pool: str, start: int) -> int:
        with self.file.transaction() as connection:
            connection.execute(
                'INSERT OR IGNORE INTO pools VALUES (?, ?, ?, ?, ?, ?)',
                (*self._log(log), pool, start))
            return ty.cast(tuple, connection.execute(
                'SELECT start FROM pools WHERE ' + _LOG + ' AND pool = ?',
                (*self._log(log), pool)).fetchone())[0]

    @embedded_file.guarded
    def pools(self, log: base.Log) -> dict[str, int]:
        return dict(self.file.rows(
            'SELECT pool, start FROM pools WHERE ' + _LOG, *self._log(log)))

    @embedded_file.guarded
    def logs(self) -> list[base.Log]:
        return [base.Log(*row) for row in self.file.rows(
            'SELECT namespace, exchange, topic FROM heads WHERE site = ? '
            'AND until > ? UNION SELECT namespace, exchange, topic '
            'FROM pools WHERE site = ? ORDER BY 1, 2, 3',
            self.site, time.time(), self.site)]

    @embedded_file.guarded
    def leases(self, log: base.Log,
               pool: str) -> dict[int, base.StripeLease]:
        return {stripe: base.StripeLease(stripe, owner, state)
                for stripe, owner, state in self.file.rows(
                    "SELECT stripe, iif(boot = ? AND until > ?, owner, ''), "
                    'state FROM leases WHERE ' + _LOG + ' AND pool = ?',
                    registrar.boot_id(), embedded_file.uptime(),
                    *self._log(log), pool)}

    @embedded_file.guarded
    def lease_claim(self, log: base.Log, pool: str, stripe: int, owner: str,
                    ttl: float) -> base.StripeLease | None:
        key = (*self._log(log), pool, stripe)
        now = embedded_file.uptime()
        with self.file.transaction() as connection:
            rows: list[tuple] = connection.execute(
                'INSERT INTO leases VALUES '
                "(?, ?, ?, ?, ?, ?, ?, ?, ?, '') "
                'ON CONFLICT DO UPDATE SET owner = excluded.owner, '
                'boot = excluded.boot, until = excluded.until '
                "WHERE owner = '' OR boot <> excluded.boot OR until <= ? "
                'RETURNING state',
                (*key, owner, registrar.boot_id(), now + ttl,
                 now)).fetchall()
        return base.StripeLease(stripe, owner, rows[0][0]) if rows else None

    @embedded_file.guarded
    def lease_commit(self, log: base.Log, pool: str, stripe: int, owner: str,
                     ttl: float, state: str) -> bool:
        with self.file.transaction() as connection:
            rows = connection.execute(
                'UPDATE leases SET state = ?, until = ?, owner = ? WHERE '
                + _LOG + ' AND pool = ? AND stripe = ? AND owner = ? AND '
                'boot = ? AND until > ? RETURNING 1',
                (state, embedded_file.uptime() + ttl, owner if ttl > 0 else '',
                 *self._log(log), pool, stripe, owner, registrar.boot_id(),
                 embedded_file.uptime())).fetchall()
        return bool(rows)
