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

"""What database calls cost, from the services' logs.

Our database layer says at level debug how many rounds to the store each
statement and each commit took; this counts them by statement.
"""

from collections.abc import Iterable
import dataclasses
import pathlib
import re

#: the logger that tells, to be set to debug
LOGGER = 'luc_drivers.db.transaction.session'
_LINE = re.compile(
    rf'{re.escape(LOGGER)} .*?(\d+) rounds, (\d+) requests: (.+)')
_TABLE = re.compile(
    r'(?:\bFROM|\bINTO|^UPDATE)\s+"?(\w+)', re.IGNORECASE)
_COLUMN = re.compile(r'\bWHERE\b(.+)', re.IGNORECASE | re.DOTALL)
_NAMES = re.compile(r'"?\b(\w+)"?\s*(?:=|\bIN\b|\bIS\b|<|>|!=)', re.IGNORECASE)


@dataclasses.dataclass
class Call:
    """One statement (``database: what``) and what its executions cost."""

    name: str
    count: int = 0
    rounds: int = 0
    requests: int = 0
    most: int = 0

    def add(self, rounds: int, requests: int) -> None:
        """Count one execution."""
        self.count += 1
        self.rounds += rounds
        self.requests += requests
        self.most = max(self.most, rounds)


def shape(sql: str) -> str:
    """Return a statement in short: verb, first table, columns asked for."""
    words = sql.split(None, 1)
    verb = words[0].upper() if words else ''
    table = _TABLE.search(sql)
    if table is None:
        return verb
    short = f'{verb} {table[1]}'
    where = _COLUMN.search(sql)
    if where is None or verb == 'INSERT':
        return short
    names = dict.fromkeys(name for name in _NAMES.findall(where[1])
                          if not name.isdigit())
    return f'{short} BY {", ".join(list(names)[:4])}' if names else short


def read(paths: Iterable[pathlib.Path],
         starts: dict[pathlib.Path, int]) -> list[Call]:
    """Return the calls that log files tell of, the most frequent first.

    :param starts: offset in each file where to begin; 0 if not named.
    """
    calls: dict[str, Call] = {}
    for path in paths:
        service = path.stem
        with open(path, errors='replace') as file:
            file.seek(starts.get(path, 0))
            for line in file:
                found = _LINE.search(line)
                if found:
                    name = f'{service}: {shape(found[3])}'
                    calls.setdefault(name, Call(name)).add(
                        int(found[1]), int(found[2]))
    return sorted(calls.values(), key=lambda call: -call.count)
