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


"""Makes the documentation's compatibility tables from recorded runs.

    python tools/matrix.py FOLDER

Runners of suites write what ran, on what and how it ended as JSON into
``tests/*/results``; this makes ``FOLDER/suites.inc`` of it (a list-table in
reStructuredText).  ``doc/source/conf.py`` runs it before each build.
"""

from collections.abc import Iterable
import json
import pathlib
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
_NEEDED = {'passed', 'failed', 'skipped', 'date'}
_ORDER = {'stock': 0, 'baseline': 0, 'embedded': 1, 'cassandra': 2}
#: what a column says of libraries, beside the service that was tested
_LIBRARIES = {'python', 'SQLAlchemy', 'oslo.db', 'alembic', 'apsw', 'pytest',
              'pyzmq', 'eventlet', 'cassandra-driver', 'oslo.messaging'}


def records(root: pathlib.Path = ROOT) -> list[dict[str, Any]]:
    """Return the recorded runs of whole suites, in order of the table."""
    found = []
    for path in sorted(root.glob('tests/*/results/**/*.json')):
        record = json.loads(path.read_text())
        if not isinstance(record, dict) or not record.keys() >= _NEEDED:
            continue
        record.setdefault('suite', path.parts[-3])
        record.setdefault('backend', record.get('store', path.stem))
        found.append(record)
    return sorted(found, key=lambda r: (
        r['suite'], _ORDER.get(r['backend'], 9), r['backend']))


def tested(record: dict[str, Any]) -> str:
    """Return the package under test with its version."""
    versions = record.get('versions', {})
    services = [f'{name} {version}' for name, version in versions.items()
                if name not in _LIBRARIES]
    return ', '.join(services) or ', '.join(
        f'{name} {versions[name]}' for name in ('oslo.messaging',
                                                'SQLAlchemy')
        if name in versions)


def table(runs: Iterable[dict[str, Any]]) -> str:
    """Return the table of the runs."""
    lines = ['.. list-table::', '   :header-rows: 1', '']
    rows = [('suite', 'of', 'on', 'passed', 'failed', 'skipped', 'date',
             'commit')]
    rows += [(r['suite'], tested(r), r['backend'], r['passed'], r['failed'],
              r['skipped'], r['date'][:10], r.get('commit', ''))
             for r in runs]
    for row in rows:
        for number, cell in enumerate(row):
            lines.append(f'   {"*" if not number else " "} - {cell}'.rstrip())
    return '\n'.join(lines) + '\n'


def main(folder: str | pathlib.Path) -> None:
    """Write the tables into a folder."""
    target = pathlib.Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    target.joinpath('suites.inc').write_text(table(records()))


if __name__ == '__main__':
    main(sys.argv[1])
