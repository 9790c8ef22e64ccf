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

"""A client process: runs transactions, and writes its history."""

import atexit
from collections.abc import Callable
import dataclasses
import json
import os
import random
import sys
import time
import traceback
from typing import Any

from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import engines
import sqlalchemy as sa

from luc_drivers.db import errors
from tests.consistency import faults as faults_module
from tests.consistency import history
from tests.consistency.workloads import base
from tests.consistency.workloads import registry


@dataclasses.dataclass
class Spec:
    """What a client is.

    :ivar path: its history's file.
    :ivar seconds: how long it works.
    """

    name: str
    url: str
    path: str
    seconds: float
    seed: int
    workloads: list[str]
    faults: faults_module.Faults = dataclasses.field(
        default_factory=faults_module.Faults)


def engine(url: str) -> sa.Engine:
    """Return an engine as the services make them."""
    return engines.create_engine(url, sqlite_fk=True, max_retries=0)


def _causes(exc: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    todo: list[Any] = [exc]
    while todo:
        one = todo.pop()
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            todo += [one.__cause__, one.__context__,
                     getattr(one, 'orig', None),
                     getattr(one, 'inner_exception', None)]
    return found


def classify(exc: BaseException) -> tuple[str, str]:
    """Return what an error says of its transaction: (outcome, why)."""
    causes = _causes(exc)

    def caused(*classes: type) -> bool:
        return any(isinstance(one, classes) for one in causes)

    if caused(errors.OutcomeUnknown):
        return history.UNKNOWN, 'unknown'
    if caused(errors.WriteConflict):
        if not isinstance(exc, db_exc.DBDeadlock):
            return history.FAIL, f'a conflict is no DBDeadlock: {exc!r}'
        return history.FAIL, 'conflict'
    if caused(errors.StoreUnavailable):
        return history.FAIL, 'unavailable'
    if caused(errors.IntegrityError):
        if isinstance(exc, db_exc.DBDuplicateEntry):
            return history.FAIL, 'duplicate'
        if isinstance(exc, db_exc.DBReferenceError):
            return history.FAIL, 'reference'
    if caused(errors.OperationalError) and 'could not be settled' in str(exc):
        return history.FAIL, 'timeout'
    if isinstance(exc, base.Anomaly):
        return history.FAIL, f'anomaly: {exc}'
    return history.FAIL, 'unexpected: ' + ''.join(
        traceback.format_exception(exc))


def work(spec: Spec) -> None:
    """Be a client."""
    rng = random.Random(spec.seed)
    recorder = history.Recorder(spec.path, spec.name)
    workloads = [registry.WORKLOADS[name]() for name in spec.workloads]
    connected = engine(spec.url)
    with base.transaction(connected) as connection:
        connection.execute(sa.text('SELECT 1'))
    faults_module.begin(spec.faults)
    end = time.monotonic() + spec.seconds
    while time.monotonic() < end:
        one = rng.choice(workloads)
        name, asked = one.draw(rng, spec.name)
        number = recorder.begin(one.name, name, asked)
        try:
            got = one.run(connected, name, asked)
        except Exception as exc:
            recorder.end(number, *classify_end(exc))
        else:
            recorder.end(number, history.OK, got)
    connected.dispose()
    recorder.close()


def classify_end(exc: Exception) -> tuple[str, None, str]:
    """Return the arguments of Recorder.end for an error."""
    outcome, why = classify(exc)
    return outcome, None, why


def fork(function: Callable[[], Any], faults: faults_module.Faults,
         seed: int, output: str) -> int:
    """Run a function in a child process; return its pid.

    :param output: a file that gets what the function returns (JSON), with
        the faults that happened; or the traceback, beside it (.error).
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with faults_module.install(faults, seed):
            answer = function()
            # as at the end of any program: what must be done is done
            atexit._run_exitfuncs()
        with open(output, 'w', encoding='utf-8') as file:
            json.dump({'answer': answer,
                       'happened': faults_module.happened()}, file)
        code = 0
    except BaseException:
        with open(output + '.error', 'w', encoding='utf-8') as file:
            traceback.print_exc(file=file)
    finally:
        sys.stdout.flush()
        os._exit(code)
