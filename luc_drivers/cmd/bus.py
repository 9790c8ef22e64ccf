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

"""``luc bus``: look into and look after the transport.

Every command takes its settings from the host's file (``LUC_CONFIG``).
"""

import argparse
import base64
import contextlib
import os
import typing as ty

from cliff import command
from cliff import lister

from luc_drivers import cql
from luc_drivers.messaging import admin
from luc_drivers.messaging import counters
from luc_drivers.messaging import keys
from luc_drivers.messaging import matchmaker
from luc_drivers.messaging import node as node_module
from luc_drivers.messaging import opts
from luc_drivers.messaging import probe
from luc_drivers.messaging import security
from luc_drivers.messaging.matchmaker import base

Table = tuple[tuple[str, ...], list[tuple]]


def _table(rows: list[dict[str, ty.Any]], columns: tuple[str, ...]) -> Table:
    return columns, [tuple(row.get(name, '') for name in columns)
                     for row in rows]


def _connect() -> tuple[opts.Settings, base.Matchmaker]:
    settings = opts.load()
    found = matchmaker.load(settings)
    found.prepare()
    return settings, found


def _add_box(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('topic', help='topic of the mailbox')
    parser.add_argument('server', nargs='?', default='',
                        help='server; none: the mailbox for any server')
    parser.add_argument('--namespace', default='', metavar='NAME',
                        help="the transport URL's virtual host")
    parser.add_argument('--exchange', default='openstack', metavar='NAME',
                        help='exchange, often the name of the service '
                             '(default: openstack)')
    parser.add_argument('--site', help='site (default: this host\'s)')


def _box(args: argparse.Namespace) -> base.Box:
    return base.Box(args.namespace, args.exchange, args.topic, args.server)


class Status(lister.Lister):
    """List who listens to what, of all sites."""

    COLUMNS = ('site', 'namespace', 'exchange', 'topic', 'server', 'kind',
               'pool', 'state', 'host', 'pid', 'program', 'age', 'versions',
               'address', 'mailbox')
    LIVE = ('release', 'queue', *counters.EVENTS, 'problem')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--site', action='append',
                            help='only this site (repeatable)')
        parser.add_argument('--topic', help='only this topic')
        parser.add_argument(
            '--live', action='store_true',
            help='ask each process, too: depth of its queues, and its '
                 'counters of the topic')
        parser.add_argument('--timeout', type=float, default=3.0,
                            metavar='S', help='seconds for each (default: 3)')
        return parser

    def take_action(self, args: argparse.Namespace) -> Table:
        settings, found = _connect()
        rows = admin.servers(found, args.site)
        _report_problems(self.app, rows)
        rows = [row for row in rows if 'problem' not in row
                and args.topic in (None, row.get('topic'))]
        if not args.live:
            return _table(rows, self.COLUMNS)
        with _node(settings) as node:
            probe.live(node, rows, args.timeout)
        return _table(rows, self.COLUMNS + self.LIVE)


def _report_problems(app: ty.Any, rows: list[dict[str, ty.Any]]) -> None:
    """Say which sites can't be read."""
    for row in rows:
        if 'problem' in row and 'host' not in row:
            app.stderr.write('site %s can\'t be read: %s\n'
                             % (row['site'], row['problem']))


@contextlib.contextmanager
def _node(settings: opts.Settings) -> ty.Iterator[node_module.Node]:
    """A node that talks and does not listen."""
    node = node_module.Node(settings)
    node.start()
    try:
        yield node
    finally:
        node.close()


class Ping(lister.Lister):
    """Measure round trips to all processes that serve a topic or server.

    cold is the first one, with the connection's making; best and mean are
    those of the ones after it; all in milliseconds.
    """

    COLUMNS = ('site', 'server', 'host', 'pid', 'program', 'release', 'cold',
               'best', 'mean', 'problem')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('name', help='a topic, or the name of a server')
        parser.add_argument('--site', action='append',
                            help='only this site (repeatable)')
        parser.add_argument('--count', type=int, default=3, metavar='N',
                            help='round trips after the first (default: 3)')
        parser.add_argument('--timeout', type=float, default=3.0,
                            metavar='S', help='seconds for each (default: 3)')
        return parser

    def take_action(self, args: argparse.Namespace) -> Table:
        settings, _ = _connect()
        with _node(settings) as node:
            rows = probe.ping(node, args.name, args.site, args.count,
                              args.timeout)
        _report_problems(self.app, rows)
        rows = [row for row in rows if 'host' in row]
        if not rows:
            raise base.MatchmakerRefused(
                'nobody is registered for topic or server %s' % args.name)
        return _table(rows, self.COLUMNS)


class MailboxList(lister.Lister):
    """List mailboxes that hold messages for servers which are away."""

    COLUMNS = ('site', 'namespace', 'exchange', 'topic', 'server', 'depth',
               'oldest')

    def take_action(self, args: argparse.Namespace) -> Table:
        _, found = _connect()
        return _table(admin.mailboxes(found), self.COLUMNS)


class MailboxShow(lister.Lister):
    """List the messages of a mailbox."""

    COLUMNS = ('id', 'stored', 'suspect', 'size', 'problem')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_box(parser)
        parser.add_argument('--limit', type=int, default=100, metavar='N',
                            help='no more than N (default: 100)')
        parser.add_argument('--body', action='store_true',
                            help='show bodies, too: they may hold passwords')
        return parser

    def take_action(self, args: argparse.Namespace) -> Table:
        settings, found = _connect()
        cipher = None
        if settings.security == 'curve':
            cipher = security.BodyCipher(settings.keys_dir,
                                         settings.keys_reload)
        rows = admin.messages(found, _box(args), cipher, args.limit,
                              args.site)
        columns: tuple[str, ...] = self.COLUMNS
        if args.body:
            columns = (*columns, 'body')
            for row in rows:
                row['body'] = _readable(row['body'])
        return _table(rows, columns)


def _readable(body: bytes | None) -> str:
    if body is None:
        return ''
    try:
        return body.decode()
    except UnicodeDecodeError:
        return 'base64:' + base64.b64encode(body).decode()


class MailboxPurge(command.Command):
    """Remove messages from a mailbox."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_box(parser)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument('--all', action='store_true',
                           help='remove all messages')
        which.add_argument('--id', action='append', metavar='ID',
                           help='remove this message (repeatable)')
        return parser

    def take_action(self, args: argparse.Namespace) -> None:
        _, found = _connect()
        count = admin.purge(found, _box(args), args.id, args.site)
        self.app.stdout.write('%d removed\n' % count)


class PoolList(lister.Lister):
    """List pools of notification listeners and how far they are behind."""

    COLUMNS = ('namespace', 'exchange', 'topic', 'pool', 'readers', 'lag')

    def take_action(self, args: argparse.Namespace) -> Table:
        _, found = _connect()
        return _table(admin.pools(found), self.COLUMNS)


class Create(command.Command):
    """Make this site's keyspace, tables and roles in Cassandra.

    Passwords are taken from environment variables, so that they are seen
    neither in the list of processes nor in the shell's history.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--as', dest='username', metavar='ROLE',
            help='role that may create keyspaces and roles; its password is '
                 'in LUC_ADMIN_PASSWORD (default: [cassandra]username)')
        parser.add_argument(
            '--agent-role', metavar='ROLE',
            help='also make a role for compute hosts; its password is in '
                 'LUC_AGENT_PASSWORD')
        parser.add_argument(
            '--control-role', metavar='ROLE',
            help='also make a role for control hosts; its password is in '
                 'LUC_CONTROL_PASSWORD')
        return parser

    def take_action(self, args: argparse.Namespace) -> None:
        settings = opts.load()
        roles = [admin.Role(name, _password(variable), plane)
                 for name, variable, plane in (
                     (args.agent_role, 'LUC_AGENT_PASSWORD', base.AGENT),
                     (args.control_role, 'LUC_CONTROL_PASSWORD',
                      base.CONTROL)) if name]
        password = (_password('LUC_ADMIN_PASSWORD') if args.username
                    else None)
        try:
            for line in admin.create(settings, roles, args.username,
                                     password):
                self.app.stdout.write(line + '\n')
        finally:
            cql.close_all()


def _password(variable: str) -> str:
    found = os.environ.get(variable)
    if not found:
        raise base.MatchmakerRefused(
            'set the environment variable %s to the password' % variable)
    return found


class KeysCreate(command.Command):
    """Make a host's keys (and, the first time, that of stored messages)."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--host', help='name (default: this host\'s)')
        parser.add_argument('--plane', choices=[base.CONTROL, base.AGENT],
                            help='what the host may register as (default: '
                                 '[bus]plane)')
        return parser

    def take_action(self, args: argparse.Namespace) -> None:
        for path in admin.create_keys(opts.load(), args.host, args.plane):
            self.app.stdout.write('wrote %s\n' % path)


class KeysList(lister.Lister):
    """List the hosts whose keys are allowed here."""

    COLUMNS = ('host', 'plane', 'fingerprint', 'curve')

    def take_action(self, args: argparse.Namespace) -> Table:
        return _table(admin.list_keys(opts.load()), self.COLUMNS)


class KeysAllow(command.Command):
    """Let the host of a .key file talk to this one."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('file', nargs='+', help='file with a public key')
        return parser

    def take_action(self, args: argparse.Namespace) -> None:
        for name in args.file:
            self.app.stdout.write('wrote %s\n'
                                  % admin.allow_key(opts.load(), name))


class KeysRevoke(command.Command):
    """Shut out a host, or one of its keys; open connections end, too."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('host')
        parser.add_argument('--fingerprint', help='only this key of it')
        return parser

    def take_action(self, args: argparse.Namespace) -> int:
        count = admin.revoke_key(opts.load(), args.host, args.fingerprint)
        self.app.stdout.write('%d removed\n' % count)
        return 0 if count else 1


class KeysStore(command.Command):
    """Make a new key for stored messages; older ones still open.

    Copy the file to all hosts; they read it again by themselves.
    """

    def take_action(self, args: argparse.Namespace) -> None:
        path = keys.add_store_key(opts.load().keys_dir)
        self.app.stdout.write('wrote %s\n' % path)
