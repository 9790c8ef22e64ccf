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

"""Write the documentation's tables of Tempest results.

    python -m tests.tempest

reads ``tests/tempest/results/CLOUD-SET.json`` (written by ``onebox.sh tempest
--results``) and writes ``doc/source/contributor/tempest-results.inc``.
"""

from collections.abc import Iterable
import pathlib

from luc_drivers.onebox.tempest import results
from luc_drivers.onebox.tempest import sets
from tests import rst

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / 'results'
PAGE = HERE.parents[1] / 'doc/source/contributor/tempest-results.inc'

_CLOUDS = {'baseline': 'MariaDB, RabbitMQ', 'embedded': 'embedded, ZeroMQ',
           'cassandra': 'Cassandra, ZeroMQ'}


def load(folder: pathlib.Path = RESULTS) -> list[results.Run]:
    """Return the kept runs: by set, the baseline first."""
    clouds, names = list(_CLOUDS), list(sets.SETS)
    runs = [results.load(path) for path in folder.glob('*.json')]
    return sorted(runs, key=lambda run: (names.index(run.name),
                                         clouds.index(run.cloud)))


def page(runs: list[results.Run]) -> str:
    """Return the tables as reStructuredText."""
    lines = []
    lines += _table(
        'Counts', ('set', 'data and messages', 'passed', 'failed', 'skipped',
                   'seconds', 'run on', 'commit'),
        [(run.name, _CLOUDS[run.cloud], *map(str, run.counts()),
          f'{run.seconds:.0f}', run.date, run.commit) for run in runs])
    lines += _table(
        'Tests whose outcome is of a later run than the others\'',
        ('set', 'data and messages', 'test'),
        [(run.name, _CLOUDS[run.cloud], f'``{test}``')
         for run in runs for test in run.again])
    lines += _table(
        'Environment of each run', ('set', 'data and messages', 'depends on'),
        [(run.name, _CLOUDS[run.cloud],
          ', '.join(f'{name} {value}'
                    for name, value in run.environment.items()))
         for run in runs])
    failed = [(run.name, _CLOUDS[run.cloud], f'``{test}``',
               f'``{_plain(run.tests[test].reason)}``')
              for run in runs for test in run.of('failed')]
    lines += _table('Failures', ('set', 'data and messages', 'test',
                                 'what it said'), failed)
    lines += _table('Differences from the baseline',
                    ('set', 'data and messages', 'test', 'baseline', 'here'),
                    list(differences(runs)))
    lines += _table('Failures that are expected', ('test', 'reason'),
                    [(f'``{test}``', reason)
                     for test, reason in sorted(sets.expected().items())])
    lines += _table('Tests left out', ('regular expression', 'reason'),
                    [(f'``{regex}``', reason)
                     for regex, reason in sorted(sets.excluded().items())])
    return rst.written_by('python -m tests.tempest') + '\n'.join(lines)


def differences(runs: list[results.Run]) -> Iterable[tuple[str, ...]]:
    """Yield (set, cloud, test, baseline's status, status) of each."""
    stock = {run.name: run for run in runs if run.cloud == 'baseline'}
    for run in runs:
        if run.cloud == 'baseline' or run.name not in stock:
            continue
        theirs = stock[run.name].tests
        for test in sorted(theirs.keys() | run.tests.keys()):
            here, there = (one[test].status if test in one else 'not run'
                           for one in (run.tests, theirs))
            if here != there:
                yield run.name, _CLOUDS[run.cloud], f'``{test}``', there, here


def _plain(text: str) -> str:
    return ' '.join(text.replace('`', "'").split())[:160] or '(nothing)'


def _table(title: str, head: tuple[str, ...],
           rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return [f'**{title}**: none.', '']
    return [rst.table([head, *rows], title)]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(load()))


if __name__ == '__main__':
    main()
