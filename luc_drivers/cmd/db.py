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

"""``luc db``: look into and look after databases.

A database is named as in its connection URL (``nova_cell1``), or by a whole
URL; what the name does not say comes from the host's file (``LUC_CONFIG``).
"""

import argparse
import contextlib
import os
import sys
from typing import Any
from typing import TextIO

from cliff import command
from cliff import lister
import tqdm

from luc_drivers.db import errors
from luc_drivers.db.planner import explain
from luc_drivers.db.tools import check
from luc_drivers.db.tools import naming
from luc_drivers.db.tools import prompt
from luc_drivers.db.tools import repair
from luc_drivers.db.tools import transfer

Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('database', help='name of a database, or its '
                                         'connection URL')


class _Progress:
    """A line on the terminal that says how far it is; else nothing."""

    def __init__(self, what: str, unit: str) -> None:
        self._bar = tqdm.tqdm(desc=what, unit=f' {unit}', leave=False,
                              disable=None, file=sys.stderr)

    def __enter__(self) -> '_Progress':
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.close()

    def reached(self, total: int, note: str = '') -> None:
        """Say that so many are done."""
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(total - self._bar.n)


class Status(lister.Lister):
    """List databases: schema version, processes that use it, size."""

    COLUMNS = ('database', 'tables', 'version', 'processes', 'place', 'size')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('database', nargs='*',
                            help='names or connection URLs (default: all '
                                 'databases in the host\'s store)')
        return parser

    def take_action(self, args: argparse.Namespace) -> Table:
        found: list[tuple[Any, ...]] = []
        for name in args.database or naming.names():
            database = naming.database(name)
            schema = database.catalog.current()
            others = database.store.leases() - {database.catalog.holder}
            sizes = database.store.sizes(naming.localities(database))
            found.append((database.name, len(schema.tables), schema.version,
                          len(others), '', sum(s.size for s in sizes)))
            if args.database:
                found += [('', '', '', '', s.place, s.size) for s in sizes]
        return self.COLUMNS, found


class Explain(lister.Lister):
    """List what a statement reads: tables, indexes, rounds of requests."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_database(parser)
        parser.add_argument('statement', help='SQL; values may be ?')
        return parser

    def take_action(self, args: argparse.Namespace) -> Table:
        schema = naming.database(args.database).catalog.current()
        rows = explain.explain(args.statement, schema)
        return explain.Row._fields, [tuple(row) for row in rows]


class Sql(command.Command):
    """Run SQL, given or at a prompt. Only reads unless --write."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_database(parser)
        parser.add_argument('-e', '--execute', metavar='SQL',
                            help='statements (default: a prompt, or what '
                                 'standard input holds)')
        parser.add_argument('--write', action='store_true',
                            help='allow statements that change something')
        parser.add_argument('--format', choices=('table', 'json', 'csv'),
                            default='table', help='of results '
                                                  '(default: table)')
        return parser

    def take_action(self, args: argparse.Namespace) -> int:
        connection = naming.connect(args.database)
        run = prompt.Prompt(connection, self.app.stdout, args.write,
                            args.format)
        if args.execute:
            run.run(args.execute)
        elif sys.stdin.isatty():
            run.loop()
        else:
            for statement in transfer.statements(sys.stdin):
                run.run(statement)
        return 0


class Check(lister.Lister):
    """List what is wrong in a database; exit with 1 if anything is.

    Every row must have its index entries and unique rows, every entry its
    row, every foreign key its parent; locks and transaction markers must not
    be older than they may be. Services may go on meanwhile.
    """

    COLUMNS: tuple[str, ...] = ('problem', 'table', 'what', 'harm')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_database(parser)
        return parser

    def take_action(self, args: argparse.Namespace) -> Table:
        rows = [(f.kind.value, f.table, f.what,
                 'none' if f.kind in check.HARMLESS else 'wrong answers')
                for f in self.findings(args)]
        self.exit_code = int(bool(rows))
        return self.COLUMNS, rows

    exit_code = 0

    def run(self, parsed_args: argparse.Namespace) -> int:
        return super().run(parsed_args) or self.exit_code

    @staticmethod
    def findings(args: argparse.Namespace) -> list[check.Finding]:
        """Return all that is wrong, with progress on the terminal."""
        database = naming.database(args.database)
        with _Progress(database.name, 'rows') as progress:
            one = check.Check(
                database, naming.localities(database),
                lambda rows, entries: progress.reached(
                    rows, f'{entries} index entries'))
            return list(one.findings())


class Repair(Check):
    """Mend what check finds; list what is left for you."""

    COLUMNS = ('problem', 'table', 'what', 'mended', 'note')

    def take_action(self, args: argparse.Namespace) -> Table:
        database = naming.database(args.database)
        rows = []
        for finding in self.findings(args):
            mended, note = repair.repair(database, finding)
            rows.append((finding.kind.value, finding.table, finding.what,
                         'yes' if mended else 'no', note))
        self.exit_code = int(any(row[3] == 'no' for row in rows))
        return self.COLUMNS, rows


class Dump(command.Command):
    """Write a database as SQL text, which SQLite and ``luc db load`` read."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_database(parser)
        parser.add_argument('--output', metavar='FILE',
                            help='a new file (default: standard output)')
        parser.add_argument('--data-only', action='store_true',
                            help='no CREATE statements')
        return parser

    def take_action(self, args: argparse.Namespace) -> None:
        with contextlib.ExitStack() as stack:
            output: TextIO = self.app.stdout
            if args.output:
                output = stack.enter_context(_new_file(args.output))
            progress = stack.enter_context(
                _Progress(args.database, 'statements'))
            for number, statement in enumerate(transfer.dump(
                    args.database, args.data_only), 1):
                output.write(statement + '\n')
                progress.reached(number)


def _new_file(path: str) -> TextIO:
    """Open a new file that only its owner may read: it holds secrets."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise errors.OperationalError(
            f'{path} is there already: give --output a new name') from exc
    return os.fdopen(handle, 'w')


class Load(command.Command):
    """Run a file of SQL on a database: a dump, from us or from SQLite."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_database(parser)
        parser.add_argument('file', help='"-": standard input')
        return parser

    def take_action(self, args: argparse.Namespace) -> None:
        with contextlib.ExitStack() as stack:
            text = sys.stdin if args.file == '-' else stack.enter_context(
                open(args.file))
            progress = stack.enter_context(_Progress(args.database, 'rows'))
            rows = transfer.load(
                args.database, text,
                lambda what, count: progress.reached(count))
        self.app.stdout.write(f'{rows} rows written\n')


class Copy(lister.Lister):
    """Copy all rows from one database into another, of any kinds.

    The way in for an existing cloud (mysql+pymysql://… into a database of
    ours), and the way out. Make the target's schema first, by the service's
    own command; stop the services meanwhile.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('source', help='name or connection URL')
        parser.add_argument('target', help='name or connection URL')
        return parser

    def take_action(self, args: argparse.Namespace) -> Table:
        with _Progress('copying', 'rows') as progress:
            before = {'total': 0, 'table': 0}

            def report(table: str, count: int) -> None:
                progress.reached(before['total'] + count, table)
                before['table'] = count

            rows = []
            for copied in transfer.copy(args.source, args.target, report):
                before['total'] += copied.source
                rows.append((copied.table, copied.source, copied.target))
        wrong = [row[0] for row in rows if row[1] != row[2]]
        if wrong:
            raise errors.OperationalError(
                'tables that differ in their number of rows, was the source '
                'written to meanwhile? ' + ', '.join(wrong))
        return ('table', 'source', 'target'), rows

