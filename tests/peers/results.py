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


"""Records of runs: what ran, on what, and how it ended.

One file per suite and back end in ``results/``, written by the runner after
each whole run, and what the pages of the documentation are made from.
"""

from collections.abc import Sequence
import datetime
import importlib.metadata
import json
import pathlib
import platform
import subprocess
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE / 'results'


def commit() -> str:
    """Return the checkout's commit, with '+' if files of it are changed."""
    def git(*words: str) -> str:
        return subprocess.run(
            ['git', *words], cwd=HERE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True).stdout.strip()

    changed = git('status', '--porcelain', '--untracked-files=no', '--',
                  'luc_drivers')
    return (git('rev-parse', '--short', 'HEAD') or 'unknown') + (
        '+' if changed else '')


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of installed packages."""
    found = {'python': platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def path(suite: str, backend: str) -> pathlib.Path:
    """Return the file that keeps a suite's result on a back end."""
    return FOLDER / f'{suite}-{backend}.json'


def read(suite: str, backend: str) -> dict[str, Any] | None:
    """Return a suite's last result on a back end; None if there is none."""
    file = path(suite, backend)
    return json.loads(file.read_text()) if file.exists() else None


def write(suite: str, backend: str, counts: Sequence[int],
          failed: Sequence[str], wall: float, began: datetime.datetime,
          package: str, calls: Sequence[str] = ()) -> None:
    """Write down a run.

    :param backend: 'stock', 'embedded' or 'cassandra'.
    :param counts: passed, failed, skipped.
    :param failed: ids of the tests that failed.
    :param wall: seconds that it took.
    :param calls: see calls.py.
    """
    FOLDER.mkdir(exist_ok=True)
    passed, bad, skipped = counts
    record = {
        'suite': suite, 'backend': backend,
        'date': began.strftime('%Y-%m-%dT%H:%M:%SZ'), 'commit': commit(),
        'versions': versions(package, 'SQLAlchemy', 'oslo.db', 'alembic'),
        'wall_seconds': round(wall), 'passed': passed, 'failed': bad,
        'skipped': skipped, 'failures': list(failed)}
    path(suite, backend).write_text(json.dumps(record, indent=1) + '\n')
    if calls:
        folder = FOLDER / 'calls'
        folder.mkdir(exist_ok=True)
        (folder / f'{suite}-{backend}.json').write_text(
            json.dumps(list(calls), indent=0) + '\n')


def same_as_stock(suite: str, counts: Sequence[int]) -> bool | None:
    """Tell whether counts equal stock's; None if stock was not run."""
    stock = read(suite, 'stock')
    if stock is None:
        return None
    return tuple(counts) == tuple(
        stock[name] for name in ('passed', 'failed', 'skipped'))
