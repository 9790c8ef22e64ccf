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


"""Makes the documentation's table of the services' database functions.

    python tools/functions.py FOLDER

``tests/peers`` writes down which functions the services' database layers have
(``results/functions.json``) and which of them sent statements in which suite
on which store (``results/calls``); this makes ``FOLDER/functions.inc`` of it.
"""

from collections import defaultdict
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

Seen = dict[str, dict[str, set[str]]]


def recorded(results: pathlib.Path) -> tuple[dict[str, list[str]], Seen]:
    """Return what the runs recorded.

    :param results: the folder ``tests/peers/results``.
    :returns: ({module: its functions}, {'module:function': {store: suites}}).
    """
    path = results / 'functions.json'
    listed = json.loads(path.read_text()) if path.exists() else {}
    seen: Seen = defaultdict(lambda: defaultdict(set))
    for file in sorted((results / 'calls').glob('*.json')):
        suite, _, store = file.stem.rpartition('-')
        for name in json.loads(file.read_text()):
            seen[_own(name)][store].add(suite)
    return listed, seen


def _own(name: str) -> str:
    """Return the function that a function inside it belongs to."""
    return name.partition('.<locals>')[0]


def table(module: str, names: list[str], seen: Seen) -> str:
    """Return a module's section: a list-table, and how many were seen."""
    stores = ('embedded', 'cassandra')
    rows = [('function', *stores)]
    for name in names:
        suites = seen.get(f'{module}:{name}', {})
        rows.append((f'``{name}``', *(
            ', '.join(sorted(suites.get(store, ()))) for store in stores)))
    done = [sum(bool(row[at]) for row in rows[1:]) for at in (1, 2)]
    lines = [module, '-' * len(module), '',
             'Of %d functions %d sent statements to the embedded store, %d to '
             'Cassandra.' % (len(names), *done), '',
             '.. list-table::', '   :header-rows: 1', '']
    for row in rows:
        for number, cell in enumerate(row):
            lines.append(f'   {"*" if not number else " "} - {cell}'.rstrip())
    return '\n'.join(lines) + '\n'


def main(folder: str | pathlib.Path) -> None:
    """Write the tables into a folder."""
    target = pathlib.Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    listed, seen = recorded(ROOT / 'tests' / 'peers' / 'results')
    target.joinpath('functions.inc').write_text('\n'.join(
        table(module, names, seen) for module, names in listed.items()))


if __name__ == '__main__':
    main(sys.argv[1])
