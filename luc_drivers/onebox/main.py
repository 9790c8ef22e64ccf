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

"""The command line of ``devstack/onebox.sh``."""

import argparse
import dataclasses
import pathlib
import subprocess
import sys

from luc_drivers.onebox import bench
from luc_drivers.onebox import boot
from luc_drivers.onebox import bootstrap
from luc_drivers.onebox import check
from luc_drivers.onebox import cloud as clouds
from luc_drivers.onebox import errors
from luc_drivers.onebox import guest
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.tempest import runs as tempest_runs
from luc_drivers.onebox.tempest import sets as tempest_sets


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('--backend', choices=onebox_settings.BACKENDS,
                        help='luc (Cassandra or files, ZeroMQ), baseline '
                             '(MariaDB, RabbitMQ), or one half of each: '
                             'database-only (with RabbitMQ), messaging-only '
                             '(with MariaDB); default: as last time, or luc')
    common.add_argument('--store', choices=onebox_settings.STORES,
                        help='of our halves; embedded needs no server and '
                             'no Java (default: as last time, or cassandra)')
    common.add_argument('--state', type=pathlib.Path,
                        default=onebox_settings.default_state(),
                        help='folder for everything (%(default)s)')
    common.add_argument('--venv', type=pathlib.Path,
                        help='virtual environment (STATE/venv)')
    common.add_argument('--port-offset', type=int, metavar='N',
                        help='added to all ports (0; baseline: 20000)')
    common.add_argument('--host-ip', help='address to serve on (127.0.0.1)')
    common.add_argument('--workers', type=int, metavar='N',
                        help='processes of each API, conductor, scheduler '
                             '(1)')
    common.add_argument('--computes', type=int, metavar='N',
                        help='nova-compute services, each as a host by '
                             'itself (1)')
    common.add_argument('--virt', choices=onebox_settings.VIRTS,
                        help='what servers are: fake (nothing; default) or '
                             'qemu (virtual machines, emulated)')
    common.add_argument('--cassandra', metavar='HOST:PORT',
                        help='use an existing Cassandra')
    common.add_argument('--cassandra-user', metavar='ROLE',
                        help='its role that may make roles and keyspaces')
    common.add_argument('--cassandra-password', metavar='PASSWORD')
    common.add_argument('--heap-mb', type=int, metavar='MIB',
                        help="Java heap of one-box's Cassandra (1024)")
    common.add_argument('--long-lived', action=argparse.BooleanOptionalAction,
                        help="one-box's Cassandra, when it is started next, "
                             'compiles what is hot a second time: minutes of '
                             'processor time, and requests take less of it '
                             'from then on')
    common.add_argument('--trace', action=argparse.BooleanOptionalAction,
                        help='have services log what each database call '
                             'costs (those that are started after it)')
    top = argparse.ArgumentParser(
        prog='onebox.sh', description='A stock OpenStack cloud on this '
        'machine, on Cassandra and ZeroMQ.')
    actions = top.add_subparsers(dest='action', required=True,
                                 metavar='ACTION')

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=text, parents=[common],
                                  description=text)

    add('up', 'install and start everything')
    add('demo', 'up, boot a server and show what it runs on')
    add('status', 'show processes, and where databases and messages are')
    logs = add('logs', "follow a service's log")
    logs.add_argument('service')
    logs.add_argument('--lines', type=int, default=50, metavar='N',
                      help='how many of the last lines (50)')
    logs.add_argument('--no-follow', action='store_true')
    restart = add('restart', 'stop and start one service')
    restart.add_argument('service')
    restart.add_argument('--kill', action='store_true', help='by kill -9')
    add('down', 'stop everything, keep its data')
    add('wipe', 'stop everything, remove its data')
    boots = add('boot', 'boot servers at once and delete them')
    boots.add_argument('count', type=int, metavar='N')
    boots.add_argument('--keep', action='store_true', help="don't delete")
    boots.add_argument('--timeout', type=float, default=boot.BOOT_TIMEOUT,
                       metavar='S', help='for each server (%(default).0f)')
    checks = add('check', 'try openstack commands on a running cloud')
    checks.add_argument('--kill', action='append', metavar='SERVICE',
                        help="instead: kill -9 a service, start it again and "
                             "boot a server; 'all' = each that matters, in "
                             'turn')
    checks.add_argument('--pause', type=float, default=0.0, metavar='S',
                        help='how long a killed service stays dead (0)')
    checks.add_argument('--timeout', type=float, default=check.BOOT_TIMEOUT,
                        metavar='S',
                        help='for the boot after a kill (%(default).0f)')
    judged = add('tempest', "run Tempest's tests on a running cloud")
    judged.add_argument('regex', nargs='?', metavar='REGEX',
                        help='only tests whose id matches')
    judged.add_argument('--set', dest='sets', action='append',
                        choices=list(tempest_sets.SETS),
                        help='only this set; may be repeated (all)')
    judged.add_argument('--concurrency', type=int, default=2, metavar='N',
                        help='tests at the same time (2)')
    judged.add_argument('--results', type=pathlib.Path, metavar='DIR',
                        help='where results are kept as JSON '
                             '(STATE/CLOUD/tempest/results)')
    judged.add_argument('--again', action='store_true',
                        help='only what failed in the kept results, which '
                             'get the new outcomes')
    calls = add('calls', 'boot a server and show what the database calls '
                'that it took cost (of a cloud brought up with --trace)')
    calls.add_argument('--top', type=int, default=10, metavar='N',
                       help='how many of the most frequent (10)')
    calls.add_argument('--output', type=pathlib.Path, metavar='FILE',
                       help='JSON lines to append to')
    measure = add('bench', 'measure boots and memory')
    measure.add_argument('--parallel', type=int, nargs='+', metavar='N',
                         default=list(bench.PARALLEL),
                         help='how many to boot at once, in turn (20)')
    measure.add_argument('--repeats', type=int, default=bench.REPEATS,
                         metavar='N')
    measure.add_argument('--rounds', type=int, default=1, metavar='N',
                         help='measure N times, two clouds in turn (1)')
    measure.add_argument('--warm-up', type=int, default=bench.WARM_UP,
                         metavar='N',
                         help='before it, boot as many servers as the least '
                              '--parallel says, N times, in each cloud '
                              '(%(default)s)')
    measure.add_argument('--timeout', type=float, default=bench.TIMEOUT,
                         metavar='S', help='for each server (%(default).0f)')
    measure.add_argument('--against', choices=['baseline', 'embedded',
                                               'cassandra'],
                         help='another cloud of this machine to measure in '
                              'turn; both run all the while')
    measure.add_argument('--output', type=pathlib.Path, metavar='FILE',
                         help='JSON lines to append to (STATE/bench.jsonl)')
    return top


_FIELDS = ('port_offset', 'host_ip', 'workers', 'computes', 'virt',
           'cassandra', 'cassandra_user', 'cassandra_password', 'heap_mb',
           'long_lived', 'trace')
#: of these, what two clouds that are compared can't have alike
_OWN_FIELDS = ('port_offset', 'cassandra', 'cassandra_user',
               'cassandra_password')


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    args = parser().parse_args(argv)
    progress = progress_module.Progress()
    try:
        _check(args)
        return ACTIONS[args.action](args, _cloud(args, progress))
    except (errors.OneboxError, OSError) as exc:
        print(f'onebox.sh {args.action}: {exc}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'onebox.sh {args.action}: interrupted; "onebox.sh down" stops '
              'what was started', file=sys.stderr)
        return 130


def _check(args: argparse.Namespace) -> None:
    if args.backend == 'baseline' and args.store:
        raise errors.OneboxError('--store belongs to --backend luc')
    if args.backend == 'baseline' and args.cassandra:
        raise errors.OneboxError('--cassandra belongs to --backend luc')
    for name in ('workers', 'computes', 'count', 'concurrency', 'parallel',
                 'repeats', 'rounds'):
        value = getattr(args, name, None)
        values = value if isinstance(value, list) else [value]
        if any(one is not None and one < 1 for one in values):
            raise errors.OneboxError(f'{name} must be at least 1')
    offset = args.port_offset
    highest = 65535 - max(onebox_settings.PORTS.values())
    if offset is not None and not 0 <= offset <= highest:
        raise errors.OneboxError(
            f'--port-offset must be from 0 to {highest}')


def _cloud(args: argparse.Namespace, progress: progress_module.Progress,
           variant: str = '') -> clouds.Cloud:
    backend, store = args.backend, args.store
    given = {name: getattr(args, name) for name in _FIELDS}
    if variant:
        backend = 'baseline' if variant == 'baseline' else 'luc'
        store = None if variant == 'baseline' else variant
        given = {name: value for name, value in given.items()
                 if name not in _OWN_FIELDS}
    settings = onebox_settings.load(
        args.state.absolute(), backend, store,
        args.venv.absolute() if args.venv else None, given)
    return clouds.Cloud(settings, progress)


def _up(args: argparse.Namespace, cloud: clouds.Cloud) -> clouds.Cloud:
    settings = onebox_settings.with_passwords(cloud.settings)
    onebox_settings.save(settings)
    cloud = clouds.Cloud(settings, cloud.progress)
    clouds.up(cloud)
    return cloud


def _do_up(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    cloud = _up(args, cloud)
    cloud.progress.say(f'up ({cloud.settings.variant})')
    _say_how_to_go_on(cloud)
    return 0


def _say_how_to_go_on(cloud: clouds.Cloud) -> None:
    print(f'\nGo on:  source {cloud.settings.openrc}; openstack server list'
          '\nStop:   devstack/onebox.sh down   '
          '(remove everything: devstack/onebox.sh wipe)')


def _do_demo(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    cloud = _up(args, cloud)
    client = bootstrap.Cloud(cloud.settings)
    with cloud.progress.step('booting a server'):
        booted = boot.boot(client, 'demo', boot.parts(client))
    if booted.status != 'ACTIVE':
        raise errors.OneboxError(
            f'server demo ({booted.server}) is {booted.status}: '
            f'{booted.fault or "see onebox.sh logs nova-compute"}')
    cloud.progress.say(f'server demo is ACTIVE after {booted.seconds:.1f} s')
    server = client.compute('GET', f'/servers/{booted.server}')['server']
    print(f'\nserver {server["name"]}  {server["id"]}  {server["status"]}  '
          f'on {server["OS-EXT-SRV-ATTR:host"]}  '
          f'{bootstrap.PRIVATE}={",".join(booted.addresses)}\n')
    if cloud.settings.virt == 'qemu':
        with cloud.progress.step("waiting for the machine's console"):
            console = boot.console(client, booted.server, guest.GREETING)
        print('\n'.join(console.splitlines()[-5:]) + '\n')
        seconds = boot.delete(client, booted.server)
        cloud.progress.say(f'server demo is deleted after {seconds:.1f} s')
    print('\n'.join(cloud.backend.describe(cloud.settings)))
    foreign = clouds.foreign_processes()
    print('other database or message servers on this machine: '
          + (', '.join(foreign) or 'none'))
    _say_how_to_go_on(cloud)
    return 0


def _do_status(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    del args
    states = clouds.status(cloud)
    print(f'cloud {cloud.settings.variant} in {cloud.settings.folder}')
    for state in states:
        print(f'  {state.name:<22} ' + (
            f'pid {state.pid:<8} {state.processes} processes  '
            f'{state.rss_mb:6.0f} MB ({state.pss_mb:.0f} without shared)'
            if state.pid else 'stopped'))
    running = [state for state in states if state.pid]
    if len(running) < len(states):
        return 3
    print(f'  {"all":<22} {sum(s.rss_mb for s in running):.0f} MB '
          f'({sum(s.pss_mb for s in running):.0f} without shared)\n')
    print('\n'.join(cloud.backend.describe(cloud.settings)))
    return 0


def _do_logs(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    files = clouds.log_files(cloud, args.service)
    command = ['tail', '-n', str(args.lines)]
    if not args.no_follow:
        command.append('-F')
    return subprocess.run([*command, *map(str, files)]).returncode


def _do_restart(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    clouds.restart(cloud, args.service, args.kill)
    return 0


def _do_down(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    del args
    clouds.down(cloud)
    return 0


def _do_wipe(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    del args
    clouds.wipe(cloud)
    cloud.progress.say(f'{cloud.settings.folder} removed')
    return 0


def _do_boot(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    boots, wall = boot.boot_many(cloud.settings, args.count, 'boot',
                                 args.timeout)
    for one in boots:
        print(f'{one.name:<10} {one.server}  {one.status:<8} '
              f'{one.seconds:6.2f} s  {one.fault[:200]}')
    active = sum(one.status == 'ACTIVE' for one in boots)
    print(f'{active} of {args.count} ACTIVE, all after {wall:.1f} s')
    if not args.keep:
        times, wall = boot.delete_many(
            cloud.settings, [one.server for one in boots], args.timeout)
        print(f'{len(times)} deleted, all after {wall:.1f} s')
    return 0 if active == args.count else 1


def _do_check(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    if not args.kill:
        check.run_commands(cloud)
        cloud.progress.say('all commands work')
        return 0
    names = (check.victims(cloud) if 'all' in args.kill else args.kill)
    results = check.survive_kills(cloud, names, args.pause,
                                  args.timeout)
    for name, one in results:
        print(f'{name:<22} next boot {one.status} after {one.seconds:.1f} s')
    return 0


def _do_tempest(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    if not clouds.is_up(cloud):
        raise errors.OneboxError('the cloud does not run: onebox.sh up')
    return tempest_runs.judge(
        cloud.settings, cloud.progress,
        tempest_sets.select(args.sets, args.regex), args.concurrency,
        args.results, args.again)


def _do_calls(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    if cloud.settings.backend != 'luc' or not cloud.settings.trace:
        raise errors.OneboxError(
            'the services do not log their database calls: onebox.sh down, '
            'then onebox.sh up --trace (backend luc)')
    found = bench.calls_of_a_boot(cloud.settings, cloud.progress)
    print(bench.calls_table(found, args.top))
    if args.output:
        bench.keep({'cloud': cloud.settings.variant,
                    'calls': [dataclasses.asdict(one) for one in found]},
                   args.output)
    return 0


def _do_bench(args: argparse.Namespace, cloud: clouds.Cloud) -> int:
    output = args.output or cloud.settings.state / 'bench.jsonl'
    if args.against == cloud.settings.variant:
        raise errors.OneboxError(
            f'--against {args.against}: that is the cloud itself; name '
            'another with --backend and --store')
    chosen = [cloud]
    if args.against:
        chosen.append(_cloud(args, cloud.progress, args.against))
    idle = [not clouds.is_up(one) for one in chosen]
    # The cloud itself comes last, as the one that later commands mean.
    for at, one in reversed(list(enumerate(chosen))):
        chosen[at] = _up(args, one)
    results = bench.in_turn(
        chosen, args.parallel, args.repeats, args.rounds, args.warm_up,
        lambda result: bench.keep(result, output), args.timeout)
    for one, started in zip(chosen, idle):
        if args.against and started:
            clouds.down(one)
    print()
    print(bench.table(results))
    print('\n'.join(bench.ratios(results)))
    print(f'\nappended to {output}')
    return 0


ACTIONS = {
    'up': _do_up, 'demo': _do_demo, 'status': _do_status, 'logs': _do_logs,
    'restart': _do_restart, 'down': _do_down, 'wipe': _do_wipe,
    'boot': _do_boot, 'check': _do_check,
    'tempest': _do_tempest, 'calls': _do_calls, 'bench': _do_bench,
}
