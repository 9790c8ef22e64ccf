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


"""Makes the documentation's compatibility table from recorded runs.

    python tools/matrix.py FOLDER

Runners of suites write what ran, on what and how it ended as JSON into
``tests/*/results``; this makes ``FOLDER/suites.inc`` of it, a row for each
suite.  ``doc/source/conf.py`` runs it before each build.
"""

from collections.abc import Iterable
import dataclasses
import json
import pathlib
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
COLUMNS = ('stock', 'embedded', 'cassandra')
#: libraries, which a row names only if no service was under test
_LIBRARIES = ('oslo.messaging', 'SQLAlchemy')
_OTHERS = {'python', 'oslo.db', 'alembic', 'apsw', 'pytest', 'pyzmq',
           'eventlet', 'cassandra-driver', 'computes', 'concurrency',
           'processors', *_LIBRARIES}


@dataclasses.dataclass(frozen=True)
class Record:
    """One recorded run of a suite.

    :ivar backend: one of COLUMNS.
    :ivar tested: the package under test, with its version.
    """

    suite: str
    backend: str
    tested: str
    passed: int
    failed: int
    skipped: int
    date: str
    commit: str

    @property
    def text(self) -> str:
        """Return a cell of the table."""
        made = f'{self.commit}, {self.date}' if self.commit else self.date
        return f'{self.passed} / {self.failed} / {self.skipped} ({made})'


def record(content: Any, path: pathlib.Path) -> Record | None:
    """Return what a file holds; None if it is not a suite's run."""
    if not isinstance(content, dict) or 'date' not in content:
        return None
    if isinstance(content.get('tests'), dict):
        # Tempest: each test with its outcome
        ends = [end[0] if isinstance(end, list) else end.get('status')
                for end in content['tests'].values()]
        counts = {name: ends.count(name)
                  for name in ('passed', 'failed', 'skipped')}
    elif content.keys() >= {'passed', 'failed', 'skipped'}:
        counts = {name: content[name]
                  for name in ('passed', 'failed', 'skipped')}
    else:
        return None
    backend = next((content[name] for name in ('backend', 'store', 'cloud')
                    if name in content), path.stem)
    return Record(
        suite=_suite(content, path),
        backend={'baseline': 'stock'}.get(backend, backend),
        tested=_tested(content.get('versions')
                       or content.get('environment') or {}),
        date=content['date'][:10], commit=content.get('commit', ''), **counts)


def _suite(content: dict[str, Any], path: pathlib.Path) -> str:
    group = path.parts[-3]
    name = content.get('suite') or content.get('name')
    return name if group == 'peers' and name else ' '.join(
        filter(None, (group, name)))


def _tested(versions: dict[str, str]) -> str:
    found = [f'{name} {version}' for name, version in versions.items()
             if name not in _OTHERS]
    return ', '.join(found) or ', '.join(
        f'{name} {versions[name]}' for name in _LIBRARIES if name in versions)


def records(root: pathlib.Path = ROOT) -> list[Record]:
    """Return the recorded runs of a source tree."""
    found = [record(json.loads(path.read_text()), path)
             for path in sorted(root.glob('tests/*/results/**/*.json'))]
    return [one for one in found if one]


def table(runs: Iterable[Record]) -> str:
    """Return the table: a row for each suite, a column for each store."""
    suites: dict[str, dict[str, Record]] = {}
    for run in runs:
        suites.setdefault(run.suite, {})[run.backend] = run
    rows = [('suite', 'of', *COLUMNS)]
    for suite, by_backend in sorted(suites.items()):
        tested = next(iter(by_backend.values())).tested
        rows.append((suite, tested, *(
            by_backend[name].text if name in by_backend else 'not recorded'
            for name in COLUMNS)))
    lines = ['.. list-table::', '   :header-rows: 1', '']
    for row in rows:
        for number, cell in enumerate(row):
            lines.append(f'   {" " if number else "*"} - {cell}'.rstrip())
    return '\n'.join(lines) + '\n'


def main(folder: str | pathlib.Path) -> None:
    """Write the table into a folder."""
    target = pathlib.Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    target.joinpath('suites.inc').write_text(table(records()))


if __name__ == '__main__':
    main(sys.argv[1])
