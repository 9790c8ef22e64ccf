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

"""Run scenarios, print what came out, exit 1 if anything is wrong."""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

from tests.consistency import adya
from tests.consistency import report
from tests.consistency import runner
from tests.consistency import scenarios
from tests.consistency import target as targets
from tests.consistency.workloads import registry


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m tests.consistency', description=__doc__)
    parser.add_argument(
        '--store', default='embedded', choices=sorted(targets.TARGETS),
        help='embedded; cassandra: the node that all tests share; cluster: '
             'three nodes of its own')
    parser.add_argument(
        '--scenario', action='append', choices=sorted(scenarios.SCENARIOS),
        help='may be given several times; default: all that the store allows')
    parser.add_argument(
        '--workload', action='append', choices=sorted(registry.WORKLOADS),
        help='may be given several times; default: all, mixed')
    parser.add_argument('--seconds', type=float, default=10.0,
                        help='of each scenario (default: %(default)s)')
    parser.add_argument('--clients', type=int, default=4,
                        help='processes at a time (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=int(time.time()),
                        help='default: another one each time')
    parser.add_argument(
        '--adya', metavar='PROGRAM',
        help='also check with this program (crate adya: cargo install adya)')
    parser.add_argument(
        '--output', metavar='FILE', help='write the results as JSON')
    parser.add_argument(
        '--record', action='store_true',
        help='keep the results in tests/consistency/results, and write the '
        'documentation\'s tables')
    parser.add_argument(
        '--keep', metavar='FOLDER',
        help='keep the histories there (default: only of bad runs, in /tmp)')
    return parser


def _line(result: runner.Result) -> str:
    return (f'{result.store} {result.scenario}: {result.operations} '
            f'transactions of {result.clients} clients '
            f'{result.counts()}, '
            f'{sum(result.killed_at.values())} ended at '
            f'{len(result.killed_at)} steps, {result.happened}, unlocked '
            f'after {result.unlocked_after} s: '
            f'{len(result.anomalies) or "no"} anomalies')


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for."""
    args = _parser().parse_args(argv)
    folder = pathlib.Path(args.keep or tempfile.mkdtemp(
        prefix='luc-consistency-')).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    target = targets.TARGETS[args.store](folder)
    names = args.scenario or [
        name for name, one in scenarios.SCENARIOS.items()
        if target.nodes or not one.nodes]
    results = []
    try:
        target.start()
        for number, name in enumerate(names):
            where = folder / f'{number}-{name}'
            target.renew(number)
            result = runner.run(
                target, scenarios.SCENARIOS[name], where, args.seconds,
                args.seed + number, args.clients, args.workload)
            result.date = datetime.date.today().isoformat()
            result.load = os.getloadavg()[0]
            if args.adya:
                result.adya = True
                result.anomalies += adya.check(args.adya, where)
            results.append(result)
            print(_line(result), flush=True)
            for anomaly in result.anomalies[:20]:
                print('  ' + anomaly[:1500], flush=True)
    finally:
        target.stop()
    if args.output:
        pathlib.Path(args.output).write_text(json.dumps(
            [dataclasses.asdict(r) for r in results], indent=1) + '\n')
    if args.record:
        report.record(results)
    bad = any(r.anomalies for r in results)
    if bad:
        print(f'histories are in {folder}; seed {args.seed}')
    elif not args.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return int(bad)


if __name__ == '__main__':
    sys.exit(main())
