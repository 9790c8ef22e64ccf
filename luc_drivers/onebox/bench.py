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

"""Measure a cloud: boots, deletes, memory and processor time."""

from collections.abc import Sequence
import datetime
import json
import pathlib
import statistics

from luc_drivers.onebox import boot
from luc_drivers.onebox import bootstrap
from luc_drivers.onebox import daemons
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import rounds
from luc_drivers.onebox import settings as onebox_settings

PARALLEL = (20,)
REPEATS = 3


def measure(settings: onebox_settings.Settings,
            progress: progress_module.Progress,
            parallel: Sequence[int] = PARALLEL,
            repeats: int = REPEATS) -> dict:
    """Boot one server ``repeats`` times, then each of ``parallel`` at once.

    :returns: times in seconds; what the daemons took is added by
        :func:`with_daemons`.
    """
    singles, deletes = [], []
    for number in range(repeats):
        with progress.step(f'one boot and delete ({number + 1}/{repeats})'):
            boots, _ = boot.boot_many(settings, 1, f'bench-one{number}-')
            _check(progress, boots)
            singles.append(boots[0].seconds)
            deletes += boot.delete_many(settings, [boots[0].server])[0]
    return {
        'when': datetime.datetime.now(datetime.UTC).isoformat(
            timespec='seconds'),
        'cloud': settings.variant,
        'one_boot': singles,
        'one_delete': deletes,
        'parallel': [_measure_parallel(settings, progress, count)
                     for count in parallel],
    }


def _measure_parallel(settings: onebox_settings.Settings,
                      progress: progress_module.Progress,
                      count: int) -> dict:
    with progress.step(f'{count} boots at once'):
        boots, wall = boot.boot_many(settings, count, f'bench-{count}-')
        _check(progress, boots)
    with progress.step(f'{count} deletes at once'):
        times, delete_wall = boot.delete_many(
            settings, [one.server for one in boots])
    seconds = [one.seconds for one in boots]
    return {
        'count': count,
        'active': sum(one.status == 'ACTIVE' for one in boots),
        'boot_wall': wall,
        'boot_median': statistics.median(seconds),
        'boot_max': max(seconds),
        'delete_wall': delete_wall,
        'delete_median': statistics.median(times),
    }


def _check(progress: progress_module.Progress,
           boots: list[boot.Boot]) -> None:
    for one in boots:
        if one.status != 'ACTIVE':
            progress.say(f'{one.name}: {one.status} {one.fault[:200]}')


def with_daemons(result: dict, before: list[daemons.State],
                 after: list[daemons.State]) -> dict:
    """Return a result with what each daemon took.

    :param before: the daemons as found before the measurement.
    :param after: and after it.
    :returns: added are ``memory``, in MiB, as found after it, and ``cpu``,
        the processor time in seconds between the two.
    """
    used = {state.name: state.cpu_seconds for state in before if state.pid}
    running = [state for state in after if state.pid]
    return {
        **result,
        'memory': {state.name: {'rss': round(state.rss_mb),
                                'pss': round(state.pss_mb)}
                   for state in running},
        'cpu': {state.name: round(
            state.cpu_seconds - used.get(state.name, 0.0), 2)
            for state in running},
    }


def keep(result: dict, path: pathlib.Path) -> None:
    """Append a result to a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a') as file:
        file.write(json.dumps(result) + '\n')


def calls_of_a_boot(settings: onebox_settings.Settings,
                    progress: progress_module.Progress) -> list[rounds.Call]:
    """Boot a server and return the database calls of all services meanwhile.

    Their periodic calls of these seconds are among them.
    """
    cloud = bootstrap.Cloud(settings)
    made_of = boot.parts(cloud)
    with progress.step('warming up'):
        boot.delete(cloud, boot.boot(cloud, 'warm', made_of).server)
    paths = sorted(settings.logs.glob('*.log'))
    starts = {path: path.stat().st_size for path in paths}
    with progress.step('booting a server'):
        booted = boot.boot(cloud, 'calls', made_of)
    found = rounds.read(paths, starts)
    _check(progress, [booted])
    boot.delete(cloud, booted.server)
    return found


def calls_table(calls: list[rounds.Call], top: int) -> str:
    """Return the most frequent calls and the sum of all, as a table."""
    lines = [f'{"calls":>6} {"rounds":>7} {"each":>5} {"most":>5}  call']
    for one in calls[:top]:
        lines.append(f'{one.count:6} {one.rounds:7} '
                     f'{one.rounds / one.count:5.1f} {one.most:5}  {one.name}')
    count = sum(one.count for one in calls)
    total = sum(one.rounds for one in calls)
    lines.append(f'{count:6} {total:7} {total / max(1, count):5.1f} '
                 f'{max((one.most for one in calls), default=0):5}  all')
    return '\n'.join(lines)


def table(results: list[dict]) -> str:
    """Return the results side by side, one column each."""
    rows: list[tuple[str, list[str]]] = []

    def row(name: str, value) -> None:
        rows.append((name, [value(result) for result in results]))

    row('cloud', lambda r: r['cloud'])
    row('one boot, median s', lambda r: _seconds(
        statistics.median(r['one_boot'])))
    row('one delete, median s', lambda r: _seconds(
        statistics.median(r['one_delete'])))
    for at in range(max(len(result['parallel']) for result in results)):
        def parallel(what: str, name: str, value, at: int = at) -> None:
            row(what, lambda r: value(r['parallel'][at][name])
                if at < len(r['parallel']) else '-')

        parallel('boots at once', 'count', str)
        parallel('  of them ACTIVE', 'active', str)
        parallel('  until the last, s', 'boot_wall', _seconds)
        parallel('  median, s', 'boot_median', _seconds)
        parallel('  deletes, until the last, s', 'delete_wall', _seconds)
    names = dict.fromkeys(name for result in results
                          for name in result.get('memory', {}))
    for name in names:
        row(f'RSS/PSS MB {name}', lambda r, n=name: _memory(
            r.get('memory', {}).get(n)))
    row('RSS/PSS MB all', lambda r: _memory(_total(r.get('memory', {}))))
    for name in names:
        row(f'CPU s {name}', lambda r, n=name: _cpu(r.get('cpu', {}).get(n)))
    row('CPU s all', lambda r: _cpu(sum(r.get('cpu', {}).values())))
    first = max(len(name) for name, _ in rows)
    widths = [max(len(values[at]) for _, values in rows)
              for at in range(len(results))]
    return '\n'.join(
        name.ljust(first) + ''.join(
            f'  {value:>{width}}' for value, width in zip(values, widths))
        for name, values in rows)


def _seconds(value: float) -> str:
    return f'{value:.2f}'


def _memory(entry: dict | None) -> str:
    return f'{entry["rss"]}/{entry["pss"]}' if entry else '-'


def _cpu(seconds: float | None) -> str:
    return '-' if seconds is None else f'{seconds:.1f}'


def _total(memory: dict) -> dict:
    return {kind: sum(entry[kind] for entry in memory.values())
            for kind in ('rss', 'pss')}
