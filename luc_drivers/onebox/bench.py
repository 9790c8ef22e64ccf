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

"""Measure a cloud: boots, deletes, memory and processor time.

Two clouds are measured in turn while both run: a server that is started
anew for each turn would be measured cold, and a Java virtual machine gets
its speed from minutes of work.
"""

from collections.abc import Callable
from collections.abc import Sequence
import datetime
import json
import os
import pathlib
import statistics
import time

from luc_drivers.onebox import boot
from luc_drivers.onebox import bootstrap
from luc_drivers.onebox import cloud as clouds
from luc_drivers.onebox import daemons
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import rounds
from luc_drivers.onebox import settings as onebox_settings

PARALLEL = (20,)
REPEATS = 3
#: rounds that are not counted
WARM_UP = 2
#: seconds for each server: many at once wait for each other
TIMEOUT = 1800.0


def in_turn(chosen: Sequence[clouds.Cloud], parallel: Sequence[int],
            repeats: int, rounds_wanted: int, warm_up: int,
            keep_one: Callable[[dict], None],
            timeout: float = TIMEOUT) -> list[dict]:
    """Measure clouds that run, each in each round, after warming them up.

    :param warm_up: how many rounds are not counted: the least of
        ``parallel`` is booted at once and deleted, in each cloud alike.
    :param keep_one: told each result as soon as there is one.
    :param timeout: seconds that a server may take to be ACTIVE, or gone.
    :returns: results of :func:`measure` and :func:`with_daemons`, with
        ``others_cpu`` and ``else_cpu``, processor time in seconds that the
        other clouds and all else on the machine took meanwhile.
    """
    for number in range(warm_up):
        for one in chosen:
            one.progress.say(f'{one.settings.variant}: warming up, not '
                             f'counted ({number + 1}/{warm_up})')
            _measure_parallel(one.settings, one.progress, min(parallel),
                              timeout, 'warm')
    results = []
    for number in range(rounds_wanted):
        for one in chosen:
            one.progress.say(f'{one.settings.variant}: round {number + 1} of '
                             f'{rounds_wanted}')
            before = [clouds.status(each) for each in chosen]
            busy = _busy_elsewhere()
            result = measure(one.settings, one.progress, parallel, repeats,
                             timeout)
            busy = _busy_elsewhere() - busy
            after = [clouds.status(each) for each in chosen]
            used = [sum(cpu_used(was, now).values())
                    for was, now in zip(before, after)]
            at = chosen.index(one)
            result = with_daemons(result, before[at], after[at])
            result.update(
                long_lived=one.settings.long_lived, warm_up=warm_up,
                others_cpu=round(sum(used) - used[at], 2),
                else_cpu=round(max(0.0, busy - sum(used)), 2))
            keep_one(result)
            results.append(result)
    return results


def _busy_elsewhere() -> float:
    """Return the seconds that processors were busy, but for this process."""
    with open('/proc/stat') as file:
        # user nice system idle iowait irq softirq steal ...: see proc(5)
        ticks = [int(word) for word in file.readline().split()[1:8]]
    busy = sum(ticks) - ticks[3] - ticks[4]
    return busy / os.sysconf('SC_CLK_TCK') - time.process_time()


def measure(settings: onebox_settings.Settings,
            progress: progress_module.Progress,
            parallel: Sequence[int] = PARALLEL,
            repeats: int = REPEATS, timeout: float = TIMEOUT) -> dict:
    """Boot one server ``repeats`` times, then each of ``parallel`` at once.

    :returns: times in seconds; what the daemons took is added by
        :func:`with_daemons`.
    """
    singles, deletes = [], []
    for number in range(repeats):
        with progress.step(f'one boot and delete ({number + 1}/{repeats})'):
            boots, _ = boot.boot_many(settings, 1, f'bench-one{number}-',
                                      timeout)
            _check(progress, boots)
            singles.append(boots[0].seconds)
            deletes += boot.delete_many(settings, [boots[0].server],
                                        timeout)[0]
    return {
        'when': datetime.datetime.now(datetime.UTC).isoformat(
            timespec='seconds'),
        'cloud': settings.variant,
        'one_boot': singles,
        'one_delete': deletes,
        'parallel': [_measure_parallel(settings, progress, count, timeout)
                     for count in parallel],
    }


def _measure_parallel(settings: onebox_settings.Settings,
                      progress: progress_module.Progress,
                      count: int, timeout: float, prefix: str = 'bench'
                      ) -> dict:
    with progress.step(f'{count} boots at once'):
        boots, wall = boot.boot_many(settings, count, f'{prefix}-{count}-',
                                     timeout)
        _check(progress, boots)
    with progress.step(f'{count} deletes at once'):
        times, delete_wall = boot.delete_many(
            settings, [one.server for one in boots], timeout)
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


def cpu_used(before: list[daemons.State], after: list[daemons.State]
             ) -> dict[str, float]:
    """Return each daemon's processor time between two looks, in seconds."""
    used = {state.name: state.cpu_seconds for state in before if state.pid}
    return {state.name: state.cpu_seconds - used.get(state.name, 0.0)
            for state in after if state.pid}


def with_daemons(result: dict, before: list[daemons.State],
                 after: list[daemons.State]) -> dict:
    """Return a result with what each daemon took.

    :param before: the daemons as found before the measurement.
    :param after: and after it.
    :returns: added are ``memory``, in MiB, as found after it, and ``cpu``,
        the processor time in seconds between the two.
    """
    return {
        **result,
        'memory': {state.name: {'rss': round(state.rss_mb),
                                'pss': round(state.pss_mb)}
                   for state in after if state.pid},
        'cpu': {name: round(seconds, 2)
                for name, seconds in cpu_used(before, after).items()},
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
    row('CPU s of the other cloud', lambda r: _cpu(r.get('others_cpu')))
    row('CPU s of all else', lambda r: _cpu(r.get('else_cpu')))
    first = max(len(name) for name, _ in rows)
    widths = [max(len(values[at]) for _, values in rows)
              for at in range(len(results))]
    return '\n'.join(
        name.ljust(first) + ''.join(
            f'  {value:>{width}}' for value, width in zip(values, widths))
        for name, values in rows)


def ratios(results: list[dict]) -> list[str]:
    """Return lines on how the first cloud's times stand to the other's.

    They are of the medians of all rounds; none without another cloud.
    """
    names = list(dict.fromkeys(result['cloud'] for result in results))
    if len(names) < 2:
        return []

    def line(what: str, value: Callable[[dict], float]) -> str:
        mine, others = (statistics.median(
            value(result) for result in results if result['cloud'] == name)
            for name in names[:2])
        return (f'{what}: {names[0]} {mine:.2f}, {names[1]} {others:.2f}, '
                f'ratio {mine / others:.2f}')

    def boot_wall(at: int) -> Callable[[dict], float]:
        return lambda result: result['parallel'][at]['boot_wall']

    return [
        '', 'medians of all rounds',
        line('one boot, s', lambda r: statistics.median(r['one_boot'])),
        *(line(f'{one["count"]} boots at once, until the last, s',
               boot_wall(at))
          for at, one in enumerate(results[0]['parallel'])),
        line('CPU of all, s', lambda r: sum(r['cpu'].values()))]


def _seconds(value: float) -> str:
    return f'{value:.2f}'


def _memory(entry: dict | None) -> str:
    return f'{entry["rss"]}/{entry["pss"]}' if entry else '-'


def _cpu(seconds: float | None) -> str:
    return '-' if seconds is None else f'{seconds:.1f}'


def _total(memory: dict) -> dict:
    return {kind: sum(entry[kind] for entry in memory.values())
            for kind in ('rss', 'pss')}
