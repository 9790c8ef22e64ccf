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

"""One service over one store, in a process of its own.

Reads commands as lines of JSON, answers each with one::

    {"do": "sync"}
    {"do": "seed", "instances": 100}
    {"do": "measure", "function": NAME, "threads": 1, "calls": 40}
    {"do": "profile", "function": NAME, "calls": 200, "file": PATH}
"""

import cProfile
import importlib
import json
import os
import random
import sys
import threading
import time
import traceback
from typing import Any

from tests.bench import remote
from tests.bench.db import base
from tests.bench.db import meter as meters


class Worker:
    """Runs a service's functions.

    :param service: name of a module of tests.bench.db.services.
    :param store: cassandra, embedded or mariadb.
    :param urls: the service's connection URLs, by its databases' names.
    """

    def __init__(self, service: str, store: str, urls: dict[str, str],
                 instances: int) -> None:
        self.service: Any = importlib.import_module(
            'tests.bench.db.services.' + service)
        self.meter = meters.meter(store)
        self.sizes = base.Sizes(instances)
        self.service.configure(urls)

    def functions(self) -> dict[str, Any]:
        """Return what can be measured: names, and those of them whose cost
        must not grow with the database."""
        found = self.service.FUNCTIONS
        return {'names': list(found),
                'by_key': [n for n, f in found.items() if f.by_key]}

    def sync(self) -> dict[str, Any]:
        """Make the tables."""
        self.service.sync()
        return {}

    def seed(self) -> dict[str, Any]:
        """Fill the tables."""
        begin = time.monotonic()
        for count in self.service.seed(self.sizes):
            print(f'{count} after {time.monotonic() - begin:.0f} s',
                  file=sys.stderr, flush=True)
        return {'seconds': time.monotonic() - begin}

    def measure(self, function: str, threads: int, calls: int, seed: int,
                ) -> dict[str, Any]:
        """Call a function so often in each of some threads.

        :returns: seconds of each call (``times``) and, with one thread, its
            rounds (``each``); CPU seconds of this
            process, bytes and rounds, all for one call; and wall seconds of
            all.  With several threads CPU holds also what preparing the
            calls took, and so do bytes and rounds.
        """
        make = self.service.FUNCTIONS[function].make
        if threads == 1:
            return self._alone(make, calls, seed)
        times: list[list[float]] = [[] for _ in range(threads)]
        failures: list[str] = []
        gate = threading.Barrier(threads + 1)

        def run(number: int) -> None:
            dice = random.Random(f'{seed} {number}')
            gate.wait()
            try:
                for _ in range(calls):
                    call = make(self.sizes, dice)
                    begin = time.perf_counter()
                    call()
                    times[number].append(time.perf_counter() - begin)
            except Exception:
                failures.append(traceback.format_exc())

        pool = [threading.Thread(target=run, args=(n,), daemon=True)
                for n in range(threads)]
        for one in pool:
            one.start()
        before, cpu = self.meter.read(), time.process_time()
        gate.wait()
        begin = time.perf_counter()
        for one in pool:
            one.join()
        wall = time.perf_counter() - begin
        cpu = time.process_time() - cpu
        spent = self.meter.read().since(before)
        flat = [t for one in times for t in one]
        if failures:
            raise RuntimeError(failures[0])
        return _result(flat, cpu, spent, wall)

    def _alone(self, make: base.Maker, calls: int, seed: int
               ) -> dict[str, Any]:
        dice = random.Random(seed)
        times, cpu, spent = [], 0.0, meters.Cost()
        each = []
        for _ in range(calls):
            call = make(self.sizes, dice)
            before, used = self.meter.read(), time.process_time()
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
            cpu += time.process_time() - used
            one = self.meter.read().since(before)
            spent.sent += one.sent
            spent.received += one.received
            spent.rounds += one.rounds
            spent.requests += one.requests
            each.append(one.rounds)
        return {**_result(times, cpu, spent, sum(times)), 'each': each}

    def profile(self, function: str, calls: int, file: str
                ) -> dict[str, Any]:
        """Write a profile (cProfile) of calls to a file."""
        make = self.service.FUNCTIONS[function].make
        dice = random.Random(1)
        profiler = cProfile.Profile()
        for number in range(calls + 20):
            call = make(self.sizes, dice)
            if number >= 20:
                profiler.enable()
            call()
            profiler.disable()
        profiler.dump_stats(file)
        return {}


def _result(times: list[float], cpu: float, spent: meters.Cost,
            wall: float) -> dict[str, Any]:
    count = len(times)
    return {'times': times, 'cpu': cpu / count, 'sent': spent.sent / count,
            'received': spent.received / count,
            'rounds': spent.rounds / count,
            'requests': spent.requests / count, 'wall': wall}


def main() -> None:
    """Serve one service over one store: arguments are one JSON object."""
    output = os.fdopen(os.dup(1), 'w')
    # what a service prints must not be taken for an answer
    os.dup2(2, 1)
    arguments = json.loads(sys.argv[1])
    remote.obey(Worker(**arguments), sys.stdin.readline, output)


if __name__ == '__main__':
    main()
