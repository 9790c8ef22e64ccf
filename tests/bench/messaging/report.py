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


"""Results as a table and a plot of the documentation."""

import pathlib
import typing as ty

from tests import rst
from tests.bench.messaging import sides

_DOC = pathlib.Path(__file__).parents[3] / 'doc/source/reference'
TABLE = _DOC / 'benchmark-messaging.inc'
PLOT = _DOC / 'benchmark-messaging.png'

_NAMES = {sides.OURS: 'zmq', sides.CURVE: 'zmq, CURVE',
          sides.CLASSIC: 'RabbitMQ', sides.QUORUM: 'RabbitMQ, quorum'}

#: (scenario, figure, least or greatest ratio to RabbitMQ that is wanted)
_RATIOS = [
    ('native-call-1-200', 'per_second', '>=', 4.0),
    ('native-call-8-200', 'per_second', '>=', 6.0),
    ('native-call-32-200', 'per_second', '>=', 8.0),
    ('native-call-1-200', 'p50', '<=', 0.25),
    ('native-call-1-200', 'cpu', '<=', 0.5),
    ('native-call-8-200', 'cpu', '<=', 0.5),
    ('native-call-32-200', 'cpu', '<=', 0.5),
    ('computing-1', 'per_second', '>=', 1.0),
    ('computing-32', 'per_second', '>=', 1.0),
]


def _number(value: ty.Any) -> str:
    if not isinstance(value, (int, float)):
        return '–'
    if value >= 100:
        return '%d' % round(value)
    return '%.3g' % value


def _loads(figures: dict, runs: dict) -> str:
    rows = []
    for name, by_side in figures.items():
        if name.count('-') != 3:
            continue
        mode, kind, callers, size = name.split('-')
        for side, values in by_side.items():
            rows.append([
                '%s, %s callers, %s B, %s' % (kind, callers, size, mode),
                _NAMES[side],
                *(_number(values.get(n)) for n in (
                    'per_second', 'p50', 'p99', 'cpu', 'client_cpu',
                    'server_cpu', 'broker_cpu')),
                _number((values['client_memory'] + values['server_memory'] +
                         values['broker_memory']) / 2 ** 20),
                '%d, %d' % (values['client_threads'],
                            values['client_connections']),
                '%.0f' % runs[name]['load']])
    return rst.table([[
        'load', 'transport', 'per second', 'p50 (ms)', 'p99 (ms)',
        'CPU s per 1,000', 'of it client', 'server', 'broker',
        'memory, all processes (MiB)', 'threads, connections of the client',
        'load'], *rows])


def _others(figures: dict, runs: dict) -> str:
    rows = []
    for name, by_side in figures.items():
        if name.count('-') == 3:
            continue
        for side, values in by_side.items():
            rows.append([name, _NAMES[side], ', '.join(
                '%s %s' % (n.replace('_', ' '), _number(v))
                for n, v in values.items()), '%.0f' % runs[name]['load']])
    return rst.table([['measurement', 'transport', 'figures', 'load'], *rows])


def ratios(figures: dict) -> list[tuple[str, str, float, str, float]]:
    """Return (scenario, figure, ratio to RabbitMQ, relation, target)."""
    found = []
    for name, figure, relation, target in _RATIOS:
        by_side = figures.get(name, {})
        if sides.OURS in by_side and sides.CLASSIC in by_side:
            theirs = by_side[sides.CLASSIC][figure]
            if theirs:
                found.append((name, figure, by_side[sides.OURS][figure] /
                              theirs, relation, target))
    for callers in (1, 8, 32):
        by_side = figures.get('native-call-%d-200' % callers, {})
        if sides.OURS in by_side and sides.CURVE in by_side:
            found.append((
                'native-call-%d-200, CURVE to plain' % callers, 'per_second',
                by_side[sides.CURVE]['per_second'] /
                by_side[sides.OURS]['per_second'], '>=', 0.85))
    return found


def _targets(figures: dict) -> str:
    rows = []
    for name, figure, ratio, relation, target in ratios(figures):
        reached = ratio >= target if relation == '>=' else ratio <= target
        rows.append([name, figure.replace('_', ' '), '%.2f' % ratio,
                     '%s %g' % (relation, target),
                     'yes' if reached else '**no**'])
    return rst.table([
        ['load', 'figure', 'zmq / RabbitMQ', 'target', 'reached'], *rows])


def write(results: dict) -> None:
    """Write both; the plot only if matplotlib is there."""
    figures = results['figures']
    machine = results['machine']
    TABLE.write_text(rst.written_by('python -m tests.bench messaging') + (
        '%d cores, Python %s, oslo.messaging %s, pyzmq %s, kernel %s. The '
        'machine\'s load average (what else ran on it) is given with each '
        'figure: the sides took turns within it.\n\n' % (
            machine['cpus'], machine['python'], machine['oslo.messaging'],
            machine['pyzmq'], machine['kernel'])) + '\n\n'.join([
                _targets(figures), _loads(figures, results['runs']),
                _others(figures, results['runs'])]))
    try:
        import matplotlib
    except ImportError:
        print('no plot: pip install -r tests/bench/requirements.txt')
        return
    matplotlib.use('Agg')
    _plot(figures)


def _plot(figures: dict) -> None:
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4))
    for axis, key, title in zip(axes, ('per_second', 'p50', 'cpu'), (
            'calls per second', 'p50 (ms)', 'CPU s per 1,000 calls')):
        for side, name in _NAMES.items():
            points = [(callers, figures[load][side][key])
                      for callers in (1, 8, 32, 128)
                      for load in ['native-call-%d-200' % callers]
                      if side in figures.get(load, {})]
            if points:
                axis.plot(*zip(*points), marker='o', label=name)
        axis.set_xscale('log', base=2)
        axis.set_yscale('log')
        axis.set_xlabel('callers')
        axis.set_title(title)
        axis.grid(True, which='both', alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(PLOT, dpi=90)
    pyplot.close(figure)
