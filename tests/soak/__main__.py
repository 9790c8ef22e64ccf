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


"""``python -m tests.soak``: run cases, write results and their table."""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import sys
import time

from tests import rst
from tests.bench.messaging import remote
from tests.soak import cases

_RESULTS = pathlib.Path(__file__).parent / 'results' / 'soak.json'
_TABLE = (pathlib.Path(__file__).parents[2] /
          'doc/source/reference/soak.inc')

#: appended to a case's name if its processes are under eventlet
_GREEN = ', eventlet'


def _table(results: dict) -> str:
    rows = [['case', 'run', 'figures', 'faults']]
    for name in [case + way for way in ('', _GREEN) for case in cases.CASES]:
        if name not in results:
            continue
        case = results[name]
        rows.append([name, '%s, %d s, load %.1f' % (
            case['date'], case['seconds'], case['load']),
            _words(case['figures']), '; '.join(case['faults']) or 'none'])
    return rst.written_by('python -m tests.soak') + rst.table(rows)


def _words(figures: dict) -> str:
    words = []
    for name, value in figures.items():
        if name in ('start', 'end'):
            words.append('at the %s %d MiB, %d files, %d threads' % (
                name, value['memory'] >> 20, value['files'],
                value['threads']))
        elif isinstance(value, dict):
            words.append('%s: %s' % (name.replace('_', ' '), ', '.join(
                '%s %.1f s' % item for item in value.items())))
        else:
            words.append('%s %s' % (
                name.replace('_', ' '),
                '%.2f' % value if isinstance(value, float) else value))
    return ', '.join(words)


def run(scale: cases.Scale, names: list[str]) -> dict[str, dict]:
    """Run cases; returns figures and faults of each."""
    results = {}
    for name in names:
        begun = time.monotonic()
        figures, faults = cases.CASES[name](scale)
        if scale.threads == remote.EVENTLET:
            name += _GREEN
        results[name] = {
            'seconds': time.monotonic() - begun,
            'date': datetime.datetime.now(datetime.UTC).isoformat(
                timespec='minutes'),
            'load': os.getloadavg()[1],
            'figures': figures, 'faults': faults}
        print('%-22s %4d s  %s  %s' % (
            name, results[name]['seconds'],
            'FAILED: ' + '; '.join(faults) if faults else 'passed',
            _words(figures)), flush=True)
    return results


def main() -> int:
    """Run what is asked for; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(
        prog='python -m tests.soak', description='The transport under load '
        'and faults, on this machine.')
    parser.add_argument('--short', action='store_true',
                        help='about two minutes, as in CI')
    parser.add_argument('--only', default=','.join(cases.CASES),
                        help='cases (default: %(default)s)')
    parser.add_argument('--threads', default=remote.NATIVE,
                        choices=(remote.NATIVE, remote.EVENTLET),
                        help='of the processes (default: %(default)s)')
    options = parser.parse_args()
    scale = dataclasses.replace(cases.SHORT if options.short else cases.LONG,
                                threads=options.threads)
    results = run(scale, options.only.split(','))
    if not options.short:
        _RESULTS.parent.mkdir(exist_ok=True)
        document = (json.loads(_RESULTS.read_text())
                    if _RESULTS.exists() else {})
        document.update(results)
        _RESULTS.write_text(json.dumps(document, indent=1) + '\n')
        _TABLE.write_text(_table(document))
    return int(any(case['faults'] for case in results.values()))


if __name__ == '__main__':
    sys.exit(main())
