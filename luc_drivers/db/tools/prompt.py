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

"""Statements from a terminal, and their results as people read them."""

import contextlib
import csv
import json
import os
from typing import Any
from typing import TextIO

import prettytable

from luc_drivers.db import dbapi
from luc_drivers.db import errors
from luc_drivers.db import script
from luc_drivers.db.planner import planner
from luc_drivers.db.planner.plan import Kind

#: what changes nothing
_READS = frozenset((Kind.SELECT, Kind.SCHEMA, Kind.BEGIN, Kind.COMMIT,
                    Kind.ROLLBACK, Kind.SAVEPOINT, Kind.ROLLBACK_TO,
                    Kind.RELEASE))
_HISTORY = '~/.luc_db_history'
_HELP = """Statements end with a semicolon and may take several lines.
  .tables     the tables
  .schema T   what made table T
  .help       this
  .quit       leave (also Ctrl-D)"""


class Prompt:
    """Runs statements on a connection, and shows what they return.

    :param output: where results go.
    :param write: whether statements may change something.
    :param form: table, json or csv.
    """

    def __init__(self, connection: dbapi.Connection, output: TextIO,
                 write: bool = False, form: str = 'table') -> None:
        self.connection = connection
        self.output = output
        self.write = write
        self.form = form

    def run(self, sql: str) -> None:
        """Run the statements of a text.

        :raises ProgrammingError: one would change something, and may not.
        :raises Error: a statement fails.
        """
        for statement in script.split(sql):
            schema = self.connection.database.catalog.current()
            kind = planner.plan(statement, (), schema).kind
            if kind not in _READS and not self.write:
                raise errors.ProgrammingError(
                    f'this is a statement that writes ({kind.value}): say '
                    '--write to allow it')
            cursor = self.connection.execute(statement)
            if cursor.description is not None:
                self._show([d[0] for d in cursor.description],
                           cursor.fetchall())
            elif cursor.rowcount >= 0:
                self.output.write(f'{cursor.rowcount} rows changed\n')

    def _show(self, names: list[str], rows: list[tuple[Any, ...]]) -> None:
        if self.form == 'json':
            json.dump([dict(zip(names, map(_readable, row))) for row in rows],
                      self.output, indent=2)
            self.output.write('\n')
        elif self.form == 'csv':
            writer = csv.writer(self.output)
            writer.writerow(names)
            writer.writerows(map(_readable, row) for row in rows)
        else:
            # a result may have two columns of one name
            table = prettytable.PrettyTable()
            table.header = False
            table.align = 'l'
            table.add_row(names, divider=True)
            for row in rows:
                table.add_row([_readable(value) for value in row])
            self.output.write(f'{table}\n{len(rows)} rows\n')

    def loop(self) -> None:
        """Read statements from the terminal until its end."""
        import readline
        history = os.path.expanduser(_HISTORY)
        with contextlib.suppress(FileNotFoundError):
            readline.read_history_file(history)
        self.output.write('.help tells what there is besides SQL\n')
        pending = ''
        try:
            while True:
                line = input('   ...> ' if pending
                             else f'{self.connection.database.name}> ')
                if not pending and line.startswith('.'):
                    if line.split()[0] in ('.quit', '.exit'):
                        return
                    self._command(line)
                    continue
                pending += line + '\n'
                if not line.rstrip().endswith(';'):
                    continue
                statement, pending = pending, ''
                self._try(statement)
        except (EOFError, KeyboardInterrupt):
            self.output.write('\n')
        finally:
            readline.write_history_file(history)
            os.chmod(history, 0o600)

    def _try(self, sql: str) -> None:
        try:
            self.run(sql)
        except errors.Error as exc:
            self.output.write(f'error: {exc}\n')

    def _command(self, line: str) -> None:
        word, *rest = line.split()
        if word == '.tables':
            self._try("SELECT name FROM sqlite_master WHERE type = 'table' "
                      'ORDER BY name')
        elif word == '.schema' and rest:
            self._try('SELECT sql FROM sqlite_master WHERE tbl_name = %s'
                      % script.literal(rest[0]))
        else:
            self.output.write(_HELP + '\n')


def _readable(value: Any) -> Any:
    return "X'%s'" % value.hex() if isinstance(value, bytes) else value
