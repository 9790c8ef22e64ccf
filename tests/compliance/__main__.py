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


"""Run SQLAlchemy's dialect compliance suite.

    tox -e compliance [-- --store embedded|cassandra|stock] [-k EXPRESSION]

``stock`` is SQLite through the sqlite3 module.  A whole run writes its record
to ``results/STORE.json`` and compares it with stock's: the exit status is 0
if nothing failed and all passed that passes there.
"""

import argparse
import collections
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from luc_drivers.testing import shared
from tests.peers import results

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE / 'results'

Outcomes = dict[str, tuple[str, str]]


def url(store: str, folder: pathlib.Path) -> str:
    """Return the URL of a back end's database."""
    if store == 'stock':
        return f'sqlite:///{folder}/stock.db'
    where = ''
    if store == 'cassandra':
        server = shared.endpoint()
        where = f'{server.host}:{server.port}'
    return f'sqlite+luc://{where}/compliance?store={store}&fresh=1'


def run(store: str, expression: str | None, verbose: bool) -> Outcomes:
    """Run the suite; return {test: (outcome, why)}."""
    with tempfile.TemporaryDirectory(prefix='luc-compliance-') as name:
        folder = pathlib.Path(name)
        (folder / 'setup.cfg').write_text(
            '[sqla_testing]\n'
            'requirement_cls = tests.compliance.requirements:Requirements\n'
            f'profile_file = {name}/profiles.txt\n')
        env = dict(os.environ, LUC_COMPLIANCE_REPORT=f'{name}/report.json')
        env['PYTHONPATH'] = os.pathsep.join(
            [str(HERE.parent.parent), env.get('PYTHONPATH', '')])
        command = [
            sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider',
            '-c', f'{name}/setup.cfg', '--rootdir', name,
            '--confcutdir', str(HERE), '--disable-asyncio', '--maxfail',
            '2000', '--dburi', url(store, folder),
            '--tb', 'short' if verbose else 'no',
            '-v' if verbose else '-q', str(HERE / 'test_suite.py')]
        if expression:
            command += ['-k', expression]
        done = subprocess.run(
            command, cwd=folder, env=env, text=True,
            stdout=None if verbose else subprocess.PIPE,
            stderr=None if verbose else subprocess.STDOUT)
        report = folder / 'report.json'
        if not report.exists():
            print(done.stdout or '')
            sys.exit('tests.compliance: pytest did not run')
        return {test: (outcome[0], outcome[1]) for test, outcome
                in json.loads(report.read_text()).items()}


def worse(found: Outcomes, stock: Outcomes) -> list[str]:
    """Return what passes on stock and did not pass."""
    return sorted(
        test for test, (outcome, _) in found.items()
        if outcome != 'passed' and stock.get(test, ('', ''))[0] == 'passed')


def record(store: str, found: Outcomes, wall: float,
           began: datetime.datetime) -> None:
    """Write a whole run's record."""
    counts = collections.Counter(outcome for outcome, _ in found.values())
    reasons: dict[str, int] = collections.Counter(
        why for outcome, why in found.values() if outcome == 'skipped')
    made: dict[str, Any] = {
        'store': store, 'date': began.strftime('%Y-%m-%dT%H:%M:%SZ'),
        'commit': results.commit(),
        'versions': results.versions('SQLAlchemy', 'pytest', 'apsw'),
        'wall_seconds': round(wall),
        'passed': counts['passed'], 'failed': counts['failed'],
        'skipped': counts['skipped'],
        'failures': sorted(t for t, (o, _) in found.items()
                           if o == 'failed'),
        'reasons': dict(sorted(reasons.items())),
        'outcomes': {test: outcome for test, (outcome, _)
                     in sorted(found.items())}}
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f'{store}.json').write_text(json.dumps(made, indent=0) + '\n')


def stock_outcomes() -> Outcomes:
    """Return the outcomes of the last run on stock."""
    path = FOLDER / 'stock.json'
    if not path.exists():
        return {}
    return {test: (outcome, '') for test, outcome
            in json.loads(path.read_text())['outcomes'].items()}


def main() -> int:
    """Run the suite on one back end."""
    parser = argparse.ArgumentParser(
        prog='tox -e compliance --', description=__doc__.splitlines()[0])
    parser.add_argument('--store', default='embedded',
                        choices=('embedded', 'cassandra', 'stock'))
    parser.add_argument('-k', dest='expression', help='only tests whose name '
                        'matches, as pytest has it')
    parser.add_argument('-v', dest='verbose', action='store_true',
                        help="show pytest's output")
    arguments = parser.parse_args()
    began = datetime.datetime.now(datetime.UTC)
    start = time.monotonic()
    found = run(arguments.store, arguments.expression, arguments.verbose)
    wall = time.monotonic() - start
    if not found:
        sys.exit('tests.compliance: no test ran')
    bad = worse(found, stock_outcomes())
    for test, (outcome, why) in sorted(found.items()):
        if outcome == 'failed' or test in bad:
            print(f'{outcome.upper()} {test}: '
                  f'{why.strip().splitlines()[-1] if why.strip() else ""}')
    counts = collections.Counter(outcome for outcome, _ in found.values())
    print(f'compliance on {arguments.store}: {counts["passed"]} passed, '
          f'{counts["failed"]} failed, {counts["skipped"]} skipped; '
          f'{len(bad)} of them pass on stock')
    if not arguments.expression:
        record(arguments.store, found, wall, began)
    return 1 if bad or counts['failed'] else 0


if __name__ == '__main__':
    sys.exit(main())
