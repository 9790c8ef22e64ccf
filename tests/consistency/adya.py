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

"""Cross-check with adya, an independent checker in the manner of Elle."""

from collections.abc import Iterable
import pathlib
import subprocess

from tests.consistency import history
from tests.consistency.workloads import transactions

#: what is promised: no G0, G1a, G1b, G1c
_LEVEL = 'read-committed'
#: kinds of histories, by workload
_MODELS = {'appends': 'list-append', 'registers': 'rw-register'}


def check(program: str, folder: pathlib.Path) -> list[str]:
    """Return what adya finds in a run's histories; [] if nothing.

    :param program: its path.
    :raises RuntimeError: it can't read a history.
    """
    operations = history.read(folder.glob('*.history'))
    return [line for name in _MODELS for line in judge(
        program, folder, name, [o for o in operations if o.workload == name])]


def judge(program: str, folder: pathlib.Path, name: str,
          operations: Iterable[history.Operation]) -> list[str]:
    """Return what adya finds in the operations of one workload.

    :param folder: gets its input and its answer.
    """
    path = folder / f'{name}.jsonl'
    path.write_text(transactions.jepsen(operations))
    done = subprocess.run(
        [program, 'check', '--model', _MODELS[name],
         '--consistency-models', _LEVEL, '--anomalies', 'lost-update',
         str(path)],
        capture_output=True, text=True, timeout=600)
    folder.joinpath(f'{name}.adya').write_text(done.stdout + done.stderr)
    if done.returncode not in (0, 1):
        raise RuntimeError(f'{program}: {done.stdout}{done.stderr}')
    return [f'adya: {name}: {done.stdout}'] if done.returncode else []
