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

"""The services' own functions over MariaDB and our stores, side by side.

::

    python -m tests.bench db --state /tmp/bench seed --instances 100
    python -m tests.bench db --state /tmp/bench run --instances 100
    python -m tests.bench db report FILE…

nova, glance, keystone, placement and mariadb-server must be installed
(tests/peers/requirements.txt; apt-get install mariadb-server).
"""

import argparse
from collections.abc import Sequence
import itertools
import os
import pathlib
import re
import sys
import time
from typing import Any

from tests.bench import remote
from tests.bench.db import report
from tests.bench.db import servers
from tests.bench.db import stores

#: chunks into which a function's calls are cut, the stores taking turns
_TURNS = 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m tests.bench db', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--state', type=pathlib.Path,
                        default=pathlib.Path('/tmp/luc-bench'),
                        help='folder of servers and databases')
    parser.add_argument('--stores', default=','.join(stores.STORES))
    parser.add_argument('--services', default=','.join(stores.SERVICES))
    commands = parser.add_subparsers(dest='command', required=True)
    seed = commands.add_parser('seed', help='make and fill databases')
    run = commands.add_parser('run', help='measure')
    for one in (seed, run):
        one.add_argument('--instances', type=_numbers, default=[100],
                         help='sizes of the databases, as 100,10000')
    run.add_argument('--threads', type=_numbers, default=[1],
                     help='numbers of threads, as 1,8,32')
    run.add_argument('--calls', type=int, default=60,
                     help='calls of each function in each thread')
    run.add_argument('--only', default='', help='pattern of functions')
    run.add_argument('--warm', type=float, default=180.0, metavar='SECONDS',
                     help='call all functions so long before any is measured')
    run.add_argument('--output', type=pathlib.Path,
                     default=pathlib.Path('db.json'))
    show = commands.add_parser('report', help='tables and a plot')
    show.add_argument('files', nargs='+', type=pathlib.Path)
    show.add_argument('--plot', type=pathlib.Path)
    commands.add_parser('stop', help='stop the servers; data stays')
    return parser


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(',')]


def main(arguments: list[str]) -> int:
    """Run the command line; return its exit code."""
    parsed = _parser().parse_args(arguments)
    if parsed.command == 'report':
        report.show(parsed.files, parsed.plot)
        return 0
    if parsed.command == 'stop':
        servers.stop(parsed.state)
        return 0
    names = tuple(parsed.stores.split(','))
    places = stores.Places(parsed.state, names)
    for service in parsed.services.split(','):
        if parsed.command == 'seed':
            for instances in parsed.instances:
                _seed(places, service, names, instances)
        else:
            _run(places, service, names, parsed)
    return 0


def _seed(places: stores.Places, service: str, names: tuple[str, ...],
          instances: int) -> None:
    for store in names:
        places.create(service, store, instances)
        worker = stores.worker(places, service, store, instances)
        try:
            worker.run('sync')
            seconds = worker.run('seed')['seconds']
        finally:
            worker.close()
        print(f'{worker.name}: {instances} instances in {seconds:.0f} s',
              flush=True)


def _run(places: stores.Places, service: str, names: tuple[str, ...],
         parsed: argparse.Namespace) -> None:
    workers = {
        instances: {store: stores.worker(places, service, store, instances)
                    for store in names} for instances in parsed.instances}
    everybody = [w for some in workers.values() for w in some.values()]
    try:
        found = everybody[0].run('functions')
        functions = [n for n in found['names'] if re.search(parsed.only, n)]
        _warm(everybody, functions, parsed.warm)
        # sizes are compared: one after the other, function by function
        for threads, function, instances in itertools.product(
                parsed.threads, functions, parsed.instances):
            row = _measure(places, workers[instances], function, threads,
                           parsed.calls)
            row.update(function=function, threads=threads,
                       instances=instances,
                       by_key=function in found['by_key'],
                       load=round(os.getloadavg()[0], 1))
            report.append(parsed.output, row)
            print(report.line(row), flush=True)
    finally:
        for worker in everybody:
            worker.close()


def _warm(workers: Sequence[remote.Remote], functions: list[str],
          seconds: float) -> None:
    """Call functions over each store in turn, without measuring.

    A database server runs for weeks, one that has just been started does
    not perform alike: Cassandra's JVM compiles what is hot after thousands
    of calls, until when a read takes it several times as long.
    """
    end, seed = time.monotonic() + seconds, 1000
    while time.monotonic() < end:
        seed += 1
        for function in functions:
            for worker in workers:
                try:
                    worker.run('measure', function=function, threads=1,
                               calls=3, seed=seed)
                except remote.Failed as exc:
                    # said again, in full, where it is measured
                    print(f'{worker.name}, {function}: {exc}'[:200],
                          file=sys.stderr)


def _measure(places: stores.Places, workers: dict[str, remote.Remote],
             function: str, threads: int, calls: int) -> dict[str, Any]:
    """Measure a function over all stores, in turns."""
    found: dict[str, Any] = {}
    for store, worker in workers.items():
        try:
            worker.run('measure', function=function, threads=1, calls=3,
                       seed=0)
            found[store] = []
        except remote.Failed as exc:
            print(exc, file=sys.stderr)
    for turn in range(_TURNS):
        for store, parts in found.items():
            before = places.server_cpu(store)
            part = workers[store].run(
                'measure', function=function, threads=threads,
                calls=max(1, calls // _TURNS), seed=turn + 1)
            part['server_cpu'] = (
                places.server_cpu(store) - before) / len(part['times'])
            parts.append(part)
    return {'stores': {s: report.summary(p) for s, p in found.items()}}

