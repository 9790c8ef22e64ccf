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

"""What ran, over all suites and second tries, in one plain line.

``record FILE SUITE`` adds stestr's last run to FILE; ``failing FILE SUITE``
prints a regular expression of the tests that failed there, if they are few;
``total FILE`` prints which tests passed only when they were run again, and
the counts.
"""

import io
import json
import pathlib
import re
import subprocess
import sys

import subunit
import testtools

# With more failures than this it is no matter of a busy machine.
MOST_AGAIN = 20
PASSED = ('success', 'xfail', 'unsteady')
# A class whose set-up failed stands in the results with this in its name.
_FIXTURE = re.compile(r'(?:setUp|tearDown)(?:Class|Module) \((.*)\)')


def results(folder: str = '.') -> dict[str, str]:
    """Return {test id: subunit status} of stestr's last run in a folder."""
    stream = subprocess.run(
        ['stestr', 'last', '--subunit'], stdout=subprocess.PIPE,
        cwd=folder).stdout
    found: dict[str, str] = {}

    def on_test(test: dict) -> None:
        if test['status'] not in ('exists', 'unknown'):
            found[test['id']] = test['status']

    result = testtools.StreamToDict(on_test)
    result.startTestRun()
    subunit.ByteStreamToStreamResult(
        io.BytesIO(stream), non_subunit_name='stdout').run(result)
    result.stopTestRun()
    return found


def counts(found: dict[str, str]) -> tuple[int, int, int]:
    """Return (passed, failed, skipped); what did not end has failed."""
    values = list(found.values())
    passed = sum(v in PASSED for v in values)
    skipped = sum(v == 'skip' for v in values)
    return passed, len(values) - passed - skipped, skipped


def failing(found: dict[str, str]) -> list[str]:
    """Return the ids of tests, or of whole classes, that failed."""
    return [name for name, status in found.items()
            if status not in PASSED + ('skip',)]


def merge(first: dict[str, str], again: dict[str, str]) -> dict[str, str]:
    """Return a run's results with those of its failed tests run again."""
    merged = dict(first)
    for name in failing(first):
        fixture = _FIXTURE.fullmatch(name)
        if fixture and any(other.startswith(fixture[1]) for other in again):
            # Its tests stand in the second run, each by its own name.
            del merged[name]
    for name, status in again.items():
        if status in PASSED and merged.get(name) not in (None, *PASSED):
            status = 'unsteady'
        merged[name] = status
    return merged


def pattern(names: list[str]) -> str:
    """Return a regular expression that selects just these tests."""
    parts = []
    for name in names:
        fixture = _FIXTURE.fullmatch(name)
        parts.append(re.escape(fixture[1]) + r'\b' if fixture
                     else re.escape(name) + '$')
    return '^(' + '|'.join(parts) + ')' if parts else ''


def main(arguments: list[str]) -> int:
    """Do what the module's docstring says; return 1 if anything failed."""
    action, file, *rest = arguments
    path = pathlib.Path(file)
    known = json.loads(path.read_text()) if path.exists() else {}
    if action == 'record':
        known[rest[0]] = merge(known.get(rest[0], {}), results())
        path.write_text(json.dumps(known))
        return 0
    if action == 'failing':
        names = failing(known.get(rest[0], {}))
        print(pattern(names) if len(names) <= MOST_AGAIN else '')
        return 0
    everything = {f'{suite} {name}': status
                  for suite, found in known.items()
                  for name, status in found.items()}
    for name, status in sorted(everything.items()):
        if status == 'unsteady':
            print(f'passed only when run again: {name.split(" ", 1)[1]}')
    passed, failed, skipped = counts(everything)
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return int(failed > 0 or passed == 0)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
