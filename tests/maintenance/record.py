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


"""Keeps what came out, and writes the documentation's table of it."""

from collections.abc import Iterable
import dataclasses
import json
import pathlib

from tests import rst
from tests.maintenance.base import Result

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'maintenance.json'
_TABLE = (pathlib.Path(__file__).parents[2] /
          'doc/source/reference/maintenance.inc')

#: the columns of the table
_STORES = {'stock': 'Stock SQLite', 'embedded': 'Embedded',
           'cassandra': 'Cassandra'}


def _name(result: Result) -> tuple[str, str, int, bool]:
    return result.command, result.store, result.rows, result.kills > 0


def keep(result: Result) -> None:
    """Put a result in the place of an earlier one of the same kind."""
    results = {_name(one): one for one in _read()}
    results[_name(result)] = result
    _RESULTS.parent.mkdir(exist_ok=True)
    _RESULTS.write_text(json.dumps(
        [dataclasses.asdict(results[name]) for name in sorted(results)],
        indent=1) + '\n')
    _TABLE.write_text(table(results.values()))


def _read() -> list[Result]:
    if not _RESULTS.exists():
        return []
    return [Result(**one) for one in json.loads(_RESULTS.read_text())]


def _cell(result: Result) -> str:
    """Return what the table says of a result."""
    words = f'{result.seconds:g} s, start {result.start:g}'
    if result.kills:
        words += f', killed {result.kills}×'
    return (f'{words} (load {result.load:g})'
            + ''.join(f'; **{line}**' for line in result.wrong))


def table(results: Iterable[Result]) -> str:
    """Return a table: a line for each command and number of rows."""
    lines: dict[tuple[str, int], dict[str, list[str]]] = {}
    for result in sorted(results, key=_name):
        line = lines.setdefault((result.command, result.rows), {})
        line.setdefault(result.store, []).append(_cell(result))
    rows = [['Command', 'Rows', *_STORES.values()]]
    rows += [[f'``{command}``', f'{count:,}', *(
        '; '.join(line.get(store, ['–'])) for store in _STORES)]
        for (command, count), line in lines.items()]
    return rst.written_by('python -m tests.maintenance --record') + (
        rst.table(rows))
