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

"""What runs came to, and the documentation's tables of it."""

from collections.abc import Iterable
import dataclasses
import json
import pathlib

from tests import rst
from tests.consistency import runner

RESULTS = pathlib.Path(__file__).parent / 'results'
TABLES = (pathlib.Path(__file__).parents[2] /
          'doc/source/contributor/consistency-results.inc')

_TITLES = {
    'embedded': 'Embedded store',
    'cassandra': 'One Cassandra node',
    'cluster': 'Three Cassandra nodes, every row on all of them',
}
_HEADER = ['Scenario', 'Date', 'Load', 'Seconds', 'Transactions', 'Clients',
           'Ended at a step', 'Other faults', 'Told: conflict', 'unavailable',
           'unknown', 'All rows free after, at most (s)', 'Judged by adya',
           'Anomalies']


def _read(store: str) -> list[runner.Result]:
    path = RESULTS / f'{store}.json'
    if not path.exists():
        return []
    return [runner.Result(**one) for one in json.loads(path.read_text())]


def record(results: Iterable[runner.Result]) -> None:
    """Keep results, each in the place of its scenario's former one, and
    write the tables.
    """
    for result in results:
        kept = {one.scenario: one for one in _read(result.store)}
        kept[result.scenario] = result
        RESULTS.joinpath(f'{result.store}.json').write_text(json.dumps(
            [dataclasses.asdict(one) for one in kept.values()],
            indent=1) + '\n')
    TABLES.write_text(tables({store: _read(store) for store in _TITLES}))


def tables(results: dict[str, list[runner.Result]]) -> str:
    """Return the tables, one for each store.

    :param results: by store.
    """
    return rst.written_by('python -m tests.consistency --record') + '\n'.join(
        rst.table([_HEADER, *map(_row, some)], _TITLES[store])
        for store, some in results.items() if some)


def _row(result: runner.Result) -> list[object]:
    told = result.counts()
    return [
        f'``{result.scenario}``', result.date, f'{result.load:.0f}',
        f'{result.seconds:.0f}', result.operations, result.clients,
        sum(result.killed_at.values()), sum(result.happened.values()),
        *(told.get(kind, 0) for kind in (
            'conflict', 'unavailable', 'unknown')),
        f'{result.unlocked_after:.1f}', 'yes' if result.adya else 'no',
        len(result.anomalies)]
