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

"""Histories: what clients asked for, and what they were told.

One file per client process, one JSON document per line; a line is on its way
to the disk before the client goes on, so that a killed client's history ends
where its life did.  An operation without an end has an unknown outcome.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import json
import os
import pathlib
import time
from typing import Any

OK = 'ok'
#: certainly without effect
FAIL = 'fail'
#: nobody knows whether it took effect
UNKNOWN = 'unknown'


@dataclasses.dataclass
class Operation:
    """One transaction of one client.

    :ivar client: name of the process.
    :ivar asked: what it was to do (JSON).
    :ivar outcome: OK, FAIL or UNKNOWN.
    :ivar got: what it found, if it is OK.
    :ivar why: of a failure: 'conflict', 'duplicate', 'reference',
        'unavailable', 'timeout', or the text of an error nobody expects.
    :ivar start, end: seconds of the machine's monotonic clock.
    """

    client: str
    workload: str
    name: str
    asked: Any
    outcome: str = UNKNOWN
    got: Any = None
    why: str = ''
    start: float = 0.0
    end: float = float('inf')


class Recorder:
    """Writes one client's history."""

    def __init__(self, path: str | os.PathLike, client: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND,
                             0o644)
        self._client = client
        self._number = 0

    def _write(self, document: dict[str, Any]) -> None:
        os.write(self._file, json.dumps(document).encode() + b'\n')

    def begin(self, workload: str, name: str, asked: Any) -> int:
        """Note that an operation begins; return its number."""
        self._number += 1
        self._write({'n': self._number, 'client': self._client,
                     'workload': workload, 'name': name, 'asked': asked,
                     'start': time.monotonic()})
        return self._number

    def end(self, number: int, outcome: str, got: Any = None, why: str = ''
            ) -> None:
        """Note how an operation ended."""
        self._write({'n': number, 'outcome': outcome, 'got': got, 'why': why,
                     'end': time.monotonic()})

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _lines(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    text = path.read_bytes()
    for line in text.split(b'\n'):
        if line:
            try:
                yield json.loads(line)
            except ValueError:
                if not text.endswith(line):
                    raise
                # killed while it wrote its last line


def read(paths: Iterable[pathlib.Path]) -> list[Operation]:
    """Return the operations in these files, in order of their start."""
    found = []
    for path in sorted(paths):
        open_: dict[int, Operation] = {}
        for line in _lines(path):
            number = line.pop('n')
            if 'start' in line:
                open_[number] = Operation(**line)
                found.append(open_[number])
            else:
                for name, value in line.items():
                    setattr(open_[number], name, value)
    return sorted(found, key=lambda o: o.start)
