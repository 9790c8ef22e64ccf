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


"""A suite in slices, for a machine on which no whole run comes to its end.

What ended is kept in a folder after each slice; who is stopped goes on there.
"""

import json
import pathlib
import subprocess
import time

from tests import summary

#: tests of a slice
_SIZE = 60


class Progress:
    """What of a suite was run, in a file.

    :ivar found: {test id: status} of the tests that ended.
    :ivar wall: seconds that they took.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._path = folder / 'progress.json'
        self.found: dict[str, str] = {}
        self.wall = 0.0
        if self._path.exists():
            kept = json.loads(self._path.read_text())
            self.found, self.wall = kept['found'], kept['wall']

    def add(self, found: dict[str, str], wall: float) -> None:
        """Note what one slice came to."""
        self.found |= found
        self.wall += wall
        new = self._path.with_suffix('.new')
        new.write_text(json.dumps({'found': self.found, 'wall': self.wall}))
        new.replace(self._path)


def run(command: list[str], words: list[str], regex: str | None,
        folder: pathlib.Path, env: dict[str, str]) -> Progress:
    """Run what of a suite is missing.

    :param command: stestr and the options that say where the tests are.
    :param words: options of ``stestr run``.
    """
    progress = Progress(folder)
    listed = subprocess.run(
        [*command, 'list', *([regex] if regex else [])], cwd=folder, env=env,
        stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    while True:
        todo = [name for name in listed if name not in progress.found]
        print(f'{len(listed) - len(todo)} of {len(listed)} tests have run',
              flush=True)
        if not todo:
            return progress
        (folder / 'slice').write_text('\n'.join(todo[:_SIZE]) + '\n')
        start = time.monotonic()
        subprocess.run([*command, 'run', *words, '--load-list', 'slice'],
                       cwd=folder, env=env, check=False)
        found = summary.results(str(folder))
        for name in todo[:_SIZE]:
            # its process died, or its class's set-up failed
            found.setdefault(name, 'fail')
        progress.add({name: found[name] for name in todo[:_SIZE]},
                     time.monotonic() - start)
