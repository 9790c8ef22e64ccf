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

"""What operators do with the transport's store, as plain functions.

``luc bus`` (``luc_drivers.cmd.bus``) prints what these return.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import time
import typing as ty

from luc_drivers import cql
from luc_drivers.messaging import keys
from luc_drivers.messaging import mailbox
from luc_drivers.messaging import security
from luc_drivers.messaging import stripes
from luc_drivers.messaging.matchmaker import base
from luc_drivers.messaging.matchmaker import cassandra_schema as schema

#: Microseconds between the times of an entry and of its head, at most.
_BESIDE = 1_000_000


@dataclasses.dataclass(frozen=True)
class Role:
    """A Cassandra role to be made, for one site's registry alone."""

    name: str
    password: str = dataclasses.field(repr=False)
    plane: str = base.AGENT


def create(settings: ty.Any, roles: Iterable[Role] = (),
           username: str | None = None,
           password: str | None = None) -> list[str]:
    """Make the own site's keyspace and tables, and roles that may use them.

    Idempotent; existing tables and roles are left as they are.

    :param username: a role that may create keyspaces and roles; by default
        the one of ``[cassandra]username``.
    :returns: what was done, without passwords.
    :raises cql.Error: Cassandra refused, or can't be reached.
    """
    access = cql.from_options(settings.conf.cassandra, site=settings.site)
    if username:
        access = dataclasses.replace(access, username=username,
                                     password=password)
    session = cql.session(access)
    done = []
    for statement in schema.create_statements(settings):
        session.execute(statement, None, timeout=60.0)
    done.append('keyspace %s with %d tables'
                % (schema.keyspace(settings), len(schema.TABLE_NAMES)))
    for role in roles:
        for statement in schema.role_statements(
                settings, role.name, role.password, role.plane):
            session.execute(statement, None, timeout=60.0)
        done.append('role %s for it (%s)' % (role.name, role.plane))
    return done


def servers(matchmaker: base.Matchmaker,
            sites: Sequence[str] | None = None) -> list[dict[str, ty.Any]]:
    """Return a row for each listener that is registered, of all sites.

    ``age`` is seconds since its process started, by that host's clock;
    ``mailbox`` is how many messages wait in the store for that server;
    ``problem`` is set for a site that can't be reached.
    """
    rows: list[dict[str, ty.Any]] = []
    for site in sites or matchmaker.sites():
        try:
            endpoints = {e.instance: e for e in matchmaker.endpoints(site)}
            subscriptions = matchmaker.subscriptions(site)
            waiting = {box: matchmaker.mailbox_depth(box, site=site)
                       for box in matchmaker.mailboxes(site)}
        except base.MatchmakerUnavailable as e:
            rows.append({'site': site, 'problem': str(e)})
            continue
        silent = set(endpoints)
        for sub in subscriptions:
            endpoint = endpoints.get(sub.instance)
            if endpoint is None or endpoint.state == base.STOPPED:
                continue
            silent.discard(sub.instance)
            box = base.Box(sub.namespace, sub.exchange, sub.topic, sub.server)
            rows.append({**_server(endpoint), **dataclasses.asdict(box),
                         'kind': sub.kind, 'pool': sub.pool,
                         'mailbox': waiting.get(box, 0)})
        rows += [_server(endpoints[i]) for i in sorted(silent)]
    return rows


def _server(endpoint: base.Endpoint) -> dict[str, ty.Any]:
    return {'site': endpoint.site, 'host': endpoint.host,
            'pid': endpoint.pid, 'program': endpoint.program,
            'state': endpoint.state, 'plane': endpoint.plane,
            'address': ' '.join(endpoint.addresses),
            'versions': '%d-%d' % endpoint.versions,
            'age': round(max(0.0, time.time() - endpoint.started)),
            'instance': endpoint.instance}


def mailboxes(matchmaker: base.Matchmaker,
              sites: Sequence[str] | None = None) -> list[dict[str, ty.Any]]:
    """Return a row for each mailbox that holds anything."""
    return [{'site': site, **dataclasses.asdict(box),
             'depth': matchmaker.mailbox_depth(box, site=site),
             'oldest': _oldest(matchmaker, box, site)}
            for site in sites or matchmaker.sites()
            for box in matchmaker.mailboxes(site)]


def _oldest(matchmaker: base.Matchmaker, box: base.Box,
            site: str) -> int | None:
    """Return the age of the first message in seconds."""
    first = matchmaker.mailbox_fetch(box, 1, site=site)
    return round(time.time() - first[0].stored) if first else None


def messages(matchmaker: base.Matchmaker, box: base.Box,
             cipher: mailbox.Cipher | None = None, limit: int = 100,
             site: str | None = None) -> list[dict[str, ty.Any]]:
    """Return the messages of a mailbox, bodies decrypted if possible."""
    rows = []
    for message in matchmaker.mailbox_fetch(box, limit, site=site):
        body: bytes | None = message.body
        problem = ''
        if cipher is not None:
            try:
                body = cipher.open(message.body,
                                   mailbox.about(box, message.id))
            except ValueError as e:
                body, problem = None, str(e)
        rows.append({'id': message.id, 'stored': message.stored,
                     'suspect': message.suspect, 'size': len(message.body),
                     'body': body, 'problem': problem})
    return rows


def purge(matchmaker: base.Matchmaker, box: base.Box,
          ids: Iterable[str] | None = None, site: str | None = None) -> int:
    """Remove messages of a mailbox (all by default); return how many."""
    return matchmaker.mailbox_purge(box, ids, site)


def pools(matchmaker: base.Matchmaker) -> list[dict[str, ty.Any]]:
    """Return a row for each pool of notification listeners of the site.

    ``lag`` is the age in seconds of the oldest notification that may not be
    acknowledged yet; None if all are.
    """
    rows = []
    now = matchmaker.now()
    for log in matchmaker.logs():
        newest: dict[int, base.LogHead] = {}
        for head in matchmaker.log_heads(log, 0):
            newest[head.stripe] = head
        for pool, start in sorted(matchmaker.pools(log).items()):
            leases = matchmaker.leases(log, pool)
            behind = []
            for number, head in newest.items():
                state = leases[number].state if number in leases else ''
                done = stripes.parse(state, start)
                # A head's time is taken beside its entry's, not from it.
                top = max([done.low, *(at for at, _ in done.seen)])
                if head.position > top + _BESIDE and done.mark != head.mark:
                    behind.append(max(done.low, start, head.bucket
                                      * base.BUCKET * 1_000_000))
            rows.append({
                **dataclasses.asdict(log), 'pool': pool,
                'readers': len({lease.owner.rpartition('/')[0]
                                for lease in leases.values()
                                if lease.owner}),
                'lag': round((now - min(behind)) / 1e6) if behind else None})
        if not matchmaker.pools(log):
            rows.append({**dataclasses.asdict(log), 'pool': None,
                         'readers': 0, 'lag': None})
    return rows


def create_keys(settings: ty.Any, host: str | None = None,
                plane: str | None = None) -> list[str]:
    """Make a host's keys, and the key of stored bodies if there is none.

    :param host: name; by default this host's.
    :param plane: control or agent; by default ``[bus]plane``.
    :returns: the files written.
    """
    folder = settings.keys_dir
    secret = keys.generate(host or security.host_name(settings),
                           plane or settings.plane)
    written = [keys.save(folder, secret)]
    try:
        keys.load_store_keys(folder)
    except keys.KeyFileError:
        written.append(keys.add_store_key(folder))
    return written


def list_keys(settings: ty.Any) -> list[dict[str, ty.Any]]:
    """Return a row for each allowed key."""
    return [{'host': key.host, 'plane': key.plane,
             'fingerprint': key.fingerprint, 'curve': key.curve}
            for key in sorted(keys.allowed(settings.keys_dir).values(),
                              key=lambda key: (key.host, key.fingerprint))]


def allow_key(settings: ty.Any, path: str) -> str:
    """Let the host of a ``.key`` file take part; return the file written."""
    return keys.allow(settings.keys_dir, keys.load_public(path))


def revoke_key(settings: ty.Any, host: str,
               fingerprint: str | None = None) -> int:
    """Shut out a host, or one of its keys; return how many keys."""
    return keys.revoke(settings.keys_dir, host, fingerprint)
