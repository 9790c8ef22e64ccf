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

"""Run maintenance commands on many rows, killed half-way; exit 1 if bad."""

import argparse
import dataclasses
import json
import os
import pathlib
import random
import sys
import tempfile

from luc_drivers.testing import shared
from tests.maintenance import base
from tests.maintenance import nova
from tests.maintenance import others
from tests.maintenance import record

COMMANDS = {**nova.COMMANDS, **others.COMMANDS}
STORES = ('stock', 'embedded', 'cassandra')


def place(store: str, folder: pathlib.Path) -> base.Place:
    """Return where a command's databases are kept.

    :param store: stock = SQLite files without us.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if store == 'stock':
        return base.Place(folder, lambda name: f'sqlite:///{folder}/{name}')
    if store == 'embedded':
        return base.Place(folder, lambda name: (
            f'sqlite+luc:///{name}?store=embedded&path={folder}/store'))
    host, port = shared.endpoint()
    run = f'maintenance{os.getpid()}{folder.name.replace("-", "")}'
    return base.Place(folder, lambda name: (
        f'sqlite+luc://{host}:{port}/{run}{name.replace("_", "")}'
        f'?profile={name.removesuffix("_cell1")}'
        f'&keyspace_template={template()}'))


def template() -> str:
    """Return the keyspaces that all databases of this run share."""
    return f'luctestm{os.getpid()}_{{locality}}'


def drop_keyspaces() -> None:
    """Remove what a run left in Cassandra."""
    from luc_drivers import cql
    from luc_drivers.db.store.base import StoreSettings
    host, port = shared.endpoint()
    session = cql.session(cql.from_options(StoreSettings(
        contact_points=(host,), port=port)))
    for locality in ('global', 'at_site1'):
        session.ddl(['DROP KEYSPACE IF EXISTS '
                     + template().format(locality=locality)])


def random_kills(count: int, rng: random.Random) -> list[base.Kill]:
    """Return when to kill a command, at steps and moments in turn.

    Early ones come first: a command may end before it comes to a late one.
    """
    steps = sorted(int(10 ** rng.uniform(0.3, 3.5))
                   for _ in range(count - count // 2))
    moments = sorted(10 ** rng.uniform(-0.5, 1.5)
                     for _ in range(count // 2))
    return [kill for at, step in enumerate(steps) for kill in (
        base.Kill(step), *(base.Kill(seconds=moment)
                           for moment in moments[at:at + 1]))]


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog='python -m tests.maintenance', description=__doc__)
    parser.add_argument('--store', action='append', choices=STORES,
                        help='default: all')
    parser.add_argument('--command', action='append',
                        choices=sorted(COMMANDS), help='default: all')
    parser.add_argument('--rows', type=int, default=20000)
    parser.add_argument('--kills', type=int, default=0,
                        help='how often each is killed, at random steps and '
                        'moments')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--output', help='write the results as JSON')
    parser.add_argument('--record', action='store_true',
                        help="keep the results, for the documentation's "
                        'table')
    args = parser.parse_args(argv)
    rng = random.Random(args.seed)
    results = []
    stores = args.store or list(STORES)
    with tempfile.TemporaryDirectory(prefix='luc-maintenance-') as folder:
        try:
            for name in args.command or list(COMMANDS):
                for store in stores:
                    kills = [] if store == 'stock' else random_kills(
                        args.kills, rng)
                    result = base.try_out(
                        COMMANDS[name],
                        place(store, pathlib.Path(folder, f'{store}-{name}')),
                        store, args.rows, kills)
                    results.append(result)
                    if args.record:
                        record.keep(result)
                    print(f'{store} {result.command}: {result.rows} rows in '
                          f'{result.seconds} s (start {result.start} s, load '
                          f'{result.load}), {result.runs} runs, '
                          f'{result.kills} of them killed: '
                          + ('; '.join(result.wrong) or 'all well'),
                          flush=True)
        finally:
            if 'cassandra' in stores:
                drop_keyspaces()
    if args.output:
        pathlib.Path(args.output).write_text(json.dumps(
            [dataclasses.asdict(r) for r in results], indent=1) + '\n')
    return int(any(r.wrong for r in results))


if __name__ == '__main__':
    sys.exit(main())
