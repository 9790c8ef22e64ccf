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

"""Which of Tempest's tests are run, and what is known about them."""

from collections.abc import Iterable
import dataclasses
import pathlib
import re

#: {name: regular expression of test ids}
SETS = {
    'identity': r'^tempest\.api\.identity\.',
    'image': r'^tempest\.api\.image\.',
    'network': r'^tempest\.api\.network\.',
    'compute': r'^tempest\.api\.compute\.',
}

#: Regular expressions of tests that can't run on a one-box, with reasons;
#: stestr reads this file, too.
EXCLUDED = pathlib.Path(__file__).with_name('excluded.txt')
#: Tests that fail on the baseline, with reasons.
EXPECTED = pathlib.Path(__file__).with_name('expected.txt')


@dataclasses.dataclass(frozen=True)
class Selection:
    """What is run at once.

    :ivar name: of the run in its results.
    :ivar regex: of test ids.
    :ivar folder: where they lie below the package ``tempest``: to import
        all of Tempest takes far longer.
    """

    name: str
    regex: str
    folder: str


def select(names: Iterable[str] | None, regex: str | None
           ) -> list[Selection]:
    """Return what to run: whole sets, or what matches in them or anywhere.

    :param names: of sets; None: all.
    """
    if names is None and regex:
        return [Selection(regex, regex, 'test_discover')]
    return [Selection(f'{name}: {regex}' if regex else name,
                      regex or SETS[name], f'api/{name}')
            for name in names or SETS]


_NOTE = re.compile(r'\s+#\s*')


def read(path: pathlib.Path) -> dict[str, str]:
    """Return {test or regular expression: reason} of one of the two files.

    A line is ``TEST # REASON``; lines that begin with # are comments.

    :raises ValueError: a line has no reason.
    """
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith('#'):
            continue
        name, *reason = _NOTE.split(line.strip(), maxsplit=1)
        if not reason:
            raise ValueError(f'{path}:{number}: no reason: {line}')
        found[name] = reason[0]
    return found


def expected() -> dict[str, str]:
    """Return {test id: reason} of what fails on the baseline, too."""
    return read(EXPECTED)


def excluded() -> dict[str, str]:
    """Return {regular expression: reason} of what can't run."""
    return read(EXCLUDED)
