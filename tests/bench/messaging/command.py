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


"""``python -m tests.bench messaging``: measure, and write the results."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import signal
import statistics
import sys
import tempfile
import typing as ty

import oslo_messaging.version
import zmq

from tests.bench.messaging import report
from tests.bench.messaging import scenarios
from tests.bench.messaging import sides

_DEFAULT = pathlib.Path(__file__).parents[1] / 'results' / 'messaging.json'

_ALL_SIDES = [sides.OURS, sides.CURVE, sides.CLASSIC, sides.QUORUM]

LOADS = [
    *(scenarios.Load('native', 'call', n, 200) for n in (1, 8, 32, 128)),
    *(scenarios.Load('native', 'call', n, size)
      for size in (2048, 65536) for n in (1, 32)),
    *(scenarios.Load('native', 'cast', n, 200) for n in (1, 32)),
    *(scenarios.Load('eventlet', 'call', n, 200) for n in (1, 8, 32, 128)),
]


def _specials(seconds: float) -> dict[str, ty.Callable[[sides.Side], dict]]:
    return {
        'fanout': scenarios.fanout,
        'computing-1': lambda side: scenarios.beside_computing(
            side, 1, seconds),
        'computing-32': lambda side: scenarios.beside_computing(
            side, 32, seconds),
        'wan': scenarios.wan,
        'bytes': scenarios.wire_bytes,
        'blackhole': scenarios.blackhole,
    }


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m tests.bench messaging',
        description='Measure our transport beside RabbitMQ, in turns.')
    parser.add_argument('--sides', default=','.join(_ALL_SIDES),
                        help='which transports (default: %(default)s)')
    parser.add_argument('--only', default='',
                        help='only what has one of these (a,b) in its name')
    parser.add_argument('--seconds', type=float, default=2.0,
                        help='of each load (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=2,
                        help='of each load; medians count '
                             '(default: %(default)s)')
    parser.add_argument('--output', type=pathlib.Path,
                        help='file that the results are added to, by '
                             'scenario (default: %s if all sides are '
                             'measured, else none)' % _DEFAULT)
    parser.add_argument('--report', action='store_true',
                        help='measure nothing; make the table and the plot '
                             'of the results again')
    return parser.parse_args(arguments)


def _median(runs: list[dict]) -> dict:
    """The medians of figures of several runs; other values of the last."""
    merged = dict(runs[-1])
    for name, value in merged.items():
        if isinstance(value, (int, float)):
            merged[name] = statistics.median(run[name] for run in runs)
    return merged


def _machine() -> dict[str, ty.Any]:
    return {
        'cpus': os.cpu_count(),
        'python': platform.python_version(),
        'kernel': platform.release(),
        'oslo.messaging': oslo_messaging.version.version_info
        .release_string(),
        'pyzmq': zmq.__version__,
        'libzmq': zmq.zmq_version(),
    }


def _measure(options: argparse.Namespace, folder: str) -> dict:
    wanted = [w for w in options.only.split(',') if w]

    def chosen(name: str) -> bool:
        return not wanted or any(w in name for w in wanted)

    results: dict[str, ty.Any] = {
        'machine': _machine(), 'figures': {}, 'runs': {}}
    figures = results['figures']

    def done(name: str) -> None:
        results['runs'][name] = {
            'date': datetime.datetime.now(datetime.UTC).isoformat(
                timespec='minutes'), 'load': os.getloadavg()[0]}
        _say(name, figures[name])

    measured = sides.make(folder, options.sides.split(','))
    try:
        for load in LOADS:
            if not chosen(load.name):
                continue
            runs: dict[str, list[dict]] = {s.name: [] for s in measured}
            for i in range(options.rounds):
                first = i % len(measured)
                for side in measured[first:] + measured[:first]:
                    runs[side.name].append(load.run(side, options.seconds))
            figures[load.name] = {
                name: _median(r) for name, r in runs.items()}
            done(load.name)
        for name, function in _specials(options.seconds).items():
            if chosen(name):
                figures[name] = {side.name: function(side)
                                 for side in measured}
                done(name)
    finally:
        for side in measured:
            side.close()
        for broker in {s.broker for s in measured if s.broker}:
            broker.stop()
    return results


_SHOWN = ('per_second', 'p50', 'p99', 'cpu', 'client_cpu', 'server_cpu',
          'broker_cpu')


def _say(name: str, figures: dict[str, dict]) -> None:
    for side, values in figures.items():
        shown = [n for n in _SHOWN if n in values] or list(values)
        print('%-24s %-14s %s' % (name, side, '  '.join(
            '%s %s' % (n, '%.3f' % values[n] if isinstance(
                values[n], float) else values[n]) for n in shown)
            + ('  %s' % values['errors'] if values.get('errors') else '')),
            flush=True)


def main(arguments: list[str]) -> int:
    """Measure and report; returns the exit code."""
    options = _parse(arguments)
    path = options.output
    if path is None and (options.report or
                         options.sides.split(',') == _ALL_SIDES):
        path = _DEFAULT
    if options.report:
        report.write(json.loads(path.read_text()))
        return 0
    # So that all that was started is stopped when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix='luc-bench-') as folder:
        results = _measure(options, folder)
    if path is not None:
        path.parent.mkdir(exist_ok=True)
        if path.exists():
            earlier = json.loads(path.read_text())
            for part in ('figures', 'runs'):
                results[part] = {**earlier[part], **results[part]}
        path.write_text(json.dumps(results, indent=1) + '\n')
        report.write(results)
    return 0
