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

"""Run a peer project's own test suite over our drivers, unmodified.

    tox -e peers -- NAME [--store embedded|cassandra] [--stock]

Ends with the counts, the failures that the stock back end has as well
(``known/NAME.txt``, each with its reason), and those that are ours; the exit
status is 0 if there are none of the latter and the counts are those of the
last run on stock.  A whole run writes its record to ``results/``.
"""

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from luc_drivers.testing import shared
from tests import summary
from tests.peers import calls
from tests.peers import results
from tests.peers import slices
from tests.peers import suites

HERE = pathlib.Path(__file__).resolve().parent


def site_packages(package: str) -> pathlib.Path:
    """Return the folder that holds a package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f'tests.peers: {package} is not installed: pip install -r '
                 f'{HERE}/requirements.txt')
    return pathlib.Path(spec.origin).parent.parent


def known_failures(name: str) -> dict[str, str]:
    """Return {test id: reason} of what fails on the stock back end too."""
    path = HERE / 'known' / f'{name}.txt'
    known = {}
    if path.exists():
        for line in path.read_text().splitlines():
            if line.strip() and not line.startswith('#'):
                test, _, reason = line.partition(' ')
                known[test] = reason.strip()
    return known


def make_work_folder(folder: pathlib.Path, packages: pathlib.Path) -> None:
    """Lay the links that suites run from a wheel need."""
    glance = folder / 'glance' / 'tests'
    if not glance.exists():
        glance.mkdir(parents=True)
        (glance / 'etc').symlink_to(packages / 'glance' / 'tests' / 'etc')
    # Wheels put etc/ in the virtual environment's root, tests look for it
    # beside the package.
    etc = packages / 'etc'
    installed = pathlib.Path(sys.prefix) / 'etc'
    if not etc.exists() and installed.exists():
        etc.symlink_to(installed)


def host_file(folder: pathlib.Path, text: str, store: str) -> str:
    """Write a host's file for one run; return its name.

    :param text: sections to put in.
    """
    path = folder / 'luc.conf'
    text = f'[DEFAULT]\nstate_path = {folder}\n{text}'
    if store == 'cassandra':
        server = shared.endpoint()
        text += (f'[cassandra]\ncontact_points = {server.host}\n'
                 f'port = {server.port}\n')
    path.write_text(text)
    return str(path)


def database_environment(suite: suites.Suite, store: str,
                         folder: pathlib.Path) -> dict[str, str]:
    """Return what points a suite's engines at a store."""
    made = folder / 'calls'
    made.mkdir(exist_ok=True)
    env = {'LUC_PEERS_STORE': store, 'LUC_PEERS_CALLS': str(made)}
    if suite.profile:
        env['LUC_PEERS_PROFILE'] = suite.profile
    if suite.forgets:
        env['LUC_PEERS_FORGET'] = '1'
    if store == 'cassandra' and 'LUC_CONFIG' not in os.environ:
        env['LUC_CONFIG'] = host_file(folder, '', store)
    # stock SQLite doesn't enforce foreign keys in these suites
    query = f'store={store}&fresh=1&foreign_keys=off'
    for section in suite.databases:
        env[f'OS_{section.upper()}__CONNECTION'] = (
            f'sqlite+luc:///{suite.package}_{section}?{query}')
    return env


def environment(suite: suites.Suite, arguments: argparse.Namespace,
                folder: pathlib.Path) -> dict[str, str]:
    """Return the suite's environment: the only thing that redirects it."""
    # Here as well: results are read by running stestr.
    os.environ['PATH'] = f'{sys.prefix}/bin:' + os.environ['PATH']
    env = dict(os.environ)
    env['PYTHONWARNINGS'] = 'ignore'
    env.setdefault('OS_TEST_TIMEOUT', '160')
    path = [str(HERE.parent.parent)]
    if suite.transport:
        url = 'rabbit://guest:guest@127.0.0.1:5672/' if arguments.stock \
            else 'zmq:///peers'
        env['RPC_TRANSPORT_URL'] = env['NOTIFY_TRANSPORT_URL'] = url
        if arguments.threads == 'native':
            path.insert(0, str(HERE / 'native'))
        if not arguments.stock:
            env['LUC_CONFIG'] = host_file(
                folder, f'[bus]\nmatchmaker = {arguments.store}\n',
                arguments.store)
    else:
        path.insert(0, str(HERE / 'site'))
        if arguments.ignore_warning:
            env['LUC_PEERS_IGNORE_WARNING'] = arguments.ignore_warning
        if not arguments.stock:
            env.update(database_environment(suite, arguments.store, folder))
    if env.get('PYTHONPATH'):
        path.append(env['PYTHONPATH'])
    env['PYTHONPATH'] = os.pathsep.join(path)
    return env


def run(suite: suites.Suite, arguments: argparse.Namespace,
        packages: pathlib.Path, folder: pathlib.Path,
        env: dict[str, str]) -> dict[str, str]:
    """Run a suite's tests; return {test id: status}."""
    concurrency = min(arguments.concurrency, suite.concurrency or 99)
    regex = arguments.regex or suite.regex
    if arguments.resume:
        return slices.run(
            stestr(packages, suite.path),
            ['--concurrency', str(concurrency)], regex, folder, env).found
    found = run_part(packages, suite.path, folder, env, [
        '--concurrency', str(concurrency),
        *(['--exclude-regex', suite.alone] if suite.alone else []),
        *([regex] if regex else [])])
    if arguments.regex:
        return found
    if suite.alone:
        found |= run_part(packages, suite.path, folder, env,
                          ['--serial', suite.alone])
    names = summary.failing(found)
    if suite.transport and names and len(names) <= summary.MOST_AGAIN:
        # It waits for seconds only: on a busy machine that may not do.
        print('run again, alone: ' + ' '.join(names))
        found = summary.merge(found, run_part(
            packages, suite.path, folder, env,
            ['--serial', summary.pattern(names)]))
    if suite.more and not arguments.stock:
        found |= run_part(HERE.parent.parent, f'tests/peers/{suite.more}',
                          folder, env, ['--serial'])
    return found


def run_part(top: pathlib.Path, path: str, folder: pathlib.Path,
             env: dict[str, str], words: list[str]) -> dict[str, str]:
    """Run the tests below ``top/path`` that stestr's arguments choose."""
    subprocess.run([*stestr(top, path), 'run', *words], cwd=folder, env=env,
                   check=False)
    return summary.results(str(folder))


def stestr(top: pathlib.Path, path: str) -> list[str]:
    """Return stestr's command line up to its action."""
    return ['stestr', '--test-path', str(top / path), '--top-dir', str(top)]


def main() -> int:
    """Run one suite."""
    parser = argparse.ArgumentParser(
        prog='tox -e peers --', description=__doc__.splitlines()[0])
    parser.add_argument('name', choices=sorted(suites.SUITES))
    parser.add_argument('regex', nargs='?',
                        help='only tests whose id matches')
    parser.add_argument('--store', default='embedded',
                        choices=('embedded', 'cassandra'),
                        help='store or matchmaker (default: embedded)')
    parser.add_argument('--stock', action='store_true',
                        help='run on stock SQLite (or RabbitMQ) instead')
    parser.add_argument('--threads', default='eventlet',
                        choices=('eventlet', 'native'),
                        help='for oslo-messaging')
    parser.add_argument('--concurrency', type=int, default=2)
    parser.add_argument('--resume', metavar='FOLDER',
                        help='run in slices, keep there what has ended, and '
                             'go on with what is missing (not for '
                             'oslo-messaging)')
    parser.add_argument('--ignore-warning', metavar='TEXT',
                        help='drop warnings that begin so, which the suite '
                             'may make errors; leaves results/ as it is')
    parser.add_argument('--no-record', action='store_true',
                        help='leave results/ as it is')
    arguments = parser.parse_intermixed_args()
    suite = suites.SUITES[arguments.name]
    if arguments.resume and (suite.transport or arguments.regex):
        parser.error('--resume is for whole runs of database suites')
    packages = site_packages(suite.package)
    backend = 'stock' if arguments.stock else arguments.store
    name = arguments.name
    if suite.transport:
        name += '-' + arguments.threads
    began = datetime.datetime.now(datetime.UTC)
    start = time.monotonic()

    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(arguments.resume or stack.enter_context(
            tempfile.TemporaryDirectory(prefix='luc-peers-'))).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        make_work_folder(folder, packages)
        env = environment(suite, arguments, folder)
        subprocess.run(['stestr', 'init'], cwd=folder, env=env,
                       stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        found = run(suite, arguments, packages, folder, env)
        called = calls.merge(folder / 'calls')
        wall = (slices.Progress(folder).wall if arguments.resume
                else time.monotonic() - start)

    if not found:
        print(f'{arguments.name}: no test ran')
        return 2
    known = known_failures(arguments.name)
    failed = sorted(summary.failing(found))
    ours = [t for t in failed if t not in known]
    if arguments.stock:
        ours = []
    for test in failed:
        print(f'FAILED {test} {known.get(test, "")}'.rstrip())
    counted = summary.counts(found)
    print(f'{name} on {backend}: %d passed, %d failed '
          '(%d known on stock), %d skipped' % (
              *counted[:2], len(failed) - len(ours), counted[2]))
    if arguments.regex:
        return 1 if ours else 0
    if not arguments.no_record and not arguments.ignore_warning:
        results.write(name, backend, counted, failed,
                      wall, began, suite.distribution, called)
        if not suite.transport:
            write_functions(packages)
    # Of a transport's suite, the tests of other drivers are skipped.
    same = (arguments.stock or suite.transport or
            results.same_as_stock(arguments.name, counted))
    if same is None:
        print('there is no record of a run on stock: add --stock')
    elif not same:
        print('the counts differ from stock\'s')
    return 1 if ours or same is False else 0


def write_functions(packages: pathlib.Path) -> None:
    """Write down which functions the services' database layers have."""
    path = results.FOLDER / 'functions.json'
    known = json.loads(path.read_text()) if path.exists() else {}
    known.update(calls.functions(packages))
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + '\n')


if __name__ == '__main__':
    sys.exit(main())
