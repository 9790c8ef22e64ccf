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

"""The counts of a stestr run, in one plain line.

``python -m tests.summary SUITE`` prints ``SUITE passed failed skipped`` of
the last run; ``python -m tests.summary --total FILE`` adds such lines up.
"""

import io
import subprocess
import sys

import subunit
import testtools


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
    passed = sum(v in ('success', 'xfail') for v in values)
    skipped = sum(v == 'skip' for v in values)
    return passed, len(values) - passed - skipped, skipped


def main(arguments: list[str]) -> int:
    """Print one suite's line, or the total of a file of such lines."""
    if arguments[0] == '--total':
        total = [0, 0, 0]
        with open(arguments[1]) as lines:
            for line in lines:
                for i, n in enumerate(line.split()[1:4]):
                    total[i] += int(n)
        print('%d passed, %d failed, %d skipped' % tuple(total))
    else:
        print(arguments[0], *counts(results()))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
