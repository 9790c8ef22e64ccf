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

"""A Cassandra node on this host, for the DevStack plug-in.

    node.py prepare --directory D --address A --site S …   write files, D/run
    node.py package --directory D …      only D/conf, for Apache's package
    node.py wait --directory D …         until clients are answered
    node.py nodetool COMMAND… --directory D

One node for each host.  With ``--seeds`` it joins their cluster, else it
begins one.
"""

import argparse
import hashlib
import os
import pathlib
import shlex
import subprocess
import sys
import time

from luc_drivers.testing import cassandra
from luc_drivers.testing import cassandra_config
from luc_drivers.testing import cqlping
from luc_drivers.testing import jars

#: seconds; a node that joins waits 10 s for others to speak up
START_TIMEOUT = 300.0
#: where Apache's package keeps its data
PACKAGE_DATA = pathlib.Path('/var/lib/cassandra')


def token(site: str, address: str) -> int:
    """Return a node's place on the ring, its own in the whole cluster."""
    digest = hashlib.sha256(f'{site} {address}'.encode()).digest()
    return int.from_bytes(digest[:8], 'big', signed=True)


def settings(args: argparse.Namespace) -> cassandra_config.NodeSettings:
    """Return the node that the arguments describe."""
    seeds = tuple(args.seeds.split(',')) if args.seeds else (args.address,)
    return cassandra_config.NodeSettings(
        directory=args.directory, address=args.address, site=args.site,
        seeds=seeds,
        # Others may join it later: it must remember those that do.
        alone=False,
        token=token(args.site, args.address), cql_port=args.port,
        storage_port=args.storage_port, auth=args.auth, heap_mb=args.heap,
        long_lived=True, jmx_port=args.jmx_port,
        overrides={'auto_bootstrap': args.bootstrap})


def prepare(node: cassandra_config.NodeSettings) -> None:
    """Write the node's files and the script that runs it.

    :raises cassandra.CassandraError: there is no Java.
    :raises jars.JarsError: Cassandra can't be had.
    """
    java = cassandra.find_java()
    folder = jars.ensure(print)
    cassandra_config.write_files(node)
    command = cassandra_config.command(node, java, folder)
    run = node.directory / 'run'
    run.write_text('#!/bin/sh\nexec ' + shlex.join(command) + '\n')
    run.chmod(0o755)


def prepare_package(node: cassandra_config.NodeSettings) -> None:
    """Write cassandra.yaml and rackdc for Apache's package, which has its
    own way of running the node.
    """
    overrides = {
        **node.overrides,
        'data_file_directories': [str(PACKAGE_DATA / 'data')],
        **{f'{name}_directory': str(PACKAGE_DATA / name)
           for name in ('commitlog', 'saved_caches', 'hints', 'cdc_raw')}}
    node.overrides.update(overrides)
    cassandra_config.write_files(node)
    # The package logs to /var/log/cassandra.
    node.conf_dir.joinpath('logback.xml').unlink()


def wait(node: cassandra_config.NodeSettings,
         timeout: float = START_TIMEOUT) -> None:
    """Return when the node answers clients.

    :param timeout: seconds.
    :raises cassandra.CassandraError: it does not; the message has the last
        error of its log.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            cqlping.ask(node.address, node.cql_port)
            return
        except cqlping.NotReady as exc:
            if time.monotonic() > deadline:
                raise cassandra.CassandraError(
                    f'Cassandra does not answer within {timeout:.0f} s: '
                    f'{exc}; {_last_error(node.log_file)}') from None
        time.sleep(0.5)


def _last_error(log: pathlib.Path) -> str:
    if not log.exists():
        return 'see journalctl -u devstack@cassandra'
    errors = [line for line in log.read_text(errors='replace').splitlines()
              if line.startswith('ERROR')]
    return f'{errors[-1][:300]} ({log})' if errors else f'see {log}'


def nodetool(node: cassandra_config.NodeSettings, words: list[str]) -> int:
    """Run a command of Cassandra's nodetool; return its exit status."""
    if not list(node.directory.glob('run')):
        return subprocess.run(['nodetool', *words]).returncode
    # An option of nodetool would be taken for one of ours.
    words = ['--force' if word == 'force' else word for word in words]
    command = [
        cassandra.find_java(), '-Xmx128m', *cassandra_config.module_access(),
        f'-Dcassandra.storagedir={node.directory}/data',
        f'-Dlogback.configurationFile={node.conf_dir}/logback-tools.xml',
        '-cp', f'{node.conf_dir}{os.pathsep}{jars.ensure()}/*',
        'org.apache.cassandra.tools.NodeTool', '-p', str(node.jmx_port),
        *words]
    return subprocess.run(command).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('action', choices=['prepare', 'package', 'wait',
                                           'nodetool'])
    parser.add_argument('words', nargs='*', help="nodetool's command")
    parser.add_argument('--directory', type=pathlib.Path, required=True)
    parser.add_argument('--address', default='127.0.0.1')
    parser.add_argument('--site', default='site1')
    parser.add_argument('--seeds', default='')
    parser.add_argument('--bootstrap', action='store_true',
                        help='fetch what the node is responsible for before '
                             'it takes part: for the second of a site; a '
                             'new site is filled by "nodetool rebuild"')
    parser.add_argument('--port', type=int, default=9042)
    parser.add_argument('--storage-port', type=int, default=7000)
    parser.add_argument('--jmx-port', type=int, default=7199)
    parser.add_argument('--heap', type=int, default=1024, metavar='MIB')
    parser.add_argument('--auth', action='store_true')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one action; return the exit status."""
    args = _parser().parse_args(argv)
    node = settings(args)
    try:
        if args.action == 'prepare':
            prepare(node)
        elif args.action == 'package':
            prepare_package(node)
        elif args.action == 'wait':
            wait(node)
        else:
            return nodetool(node, args.words)
    except (cassandra.CassandraError, jars.JarsError) as exc:
        print(f'luc-drivers: {exc}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
