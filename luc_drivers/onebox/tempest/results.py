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

"""What a Tempest run found: read it, keep it, compare it."""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import io
import json
import pathlib
import re
import subprocess
from typing import Any

#: statuses of subunit that are no failure, and our names of them
_STATUS = {'success': 'passed', 'xfail': 'passed', 'skip': 'skipped'}
# A class whose set-up failed stands in the results with this in its name.
_FIXTURE = re.compile(r'(?:setUp|tearDown)Class \((.*)\)')
# A reason is one line of a table.
_REASON_LENGTH = 300


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One test's end.

    :ivar status: passed, failed or skipped; a test that didn't end failed.
    :ivar seconds: how long it took.
    :ivar reason: why it failed or was skipped, in one line.
    """

    status: str
    seconds: float
    reason: str = ''


@dataclasses.dataclass
class Run:
    """One set's run on one cloud.

    :ivar name: of the set, or the regular expression.
    :ivar cloud: the cloud's variant: cassandra, embedded or baseline.
    :ivar seconds: wall time of the whole run.
    :ivar environment: versions and sizes that the figures depend on.
    :ivar tests: {test id: outcome}; a class whose set-up failed or was
        skipped is one entry, as Tempest counts it.
    :ivar commit: of ours, with '+' if files of it had changed.
    :ivar again: tests that failed at first; their outcome is of a later run.
    """

    name: str
    cloud: str
    date: str
    seconds: float
    environment: dict[str, str]
    tests: dict[str, Outcome]
    commit: str = ''
    again: list[str] = dataclasses.field(default_factory=list)

    def of(self, status: str) -> list[str]:
        """Return the ids of the tests that ended so, sorted."""
        return sorted(test for test, outcome in self.tests.items()
                      if outcome.status == status)

    def counts(self) -> tuple[int, int, int]:
        """Return (passed, failed, skipped)."""
        return (len(self.of('passed')), len(self.of('failed')),
                len(self.of('skipped')))


def test_id(name: str) -> str:
    """Return a test's id without Tempest's list of attributes."""
    return name.partition('[')[0]


def read_last(stestr: Iterable[str], folder: pathlib.Path,
              env: Mapping[str, str]) -> dict[str, Outcome]:
    """Return what stestr's last run in a folder found.

    :param stestr: command to which ``last --subunit`` is appended.
    """
    done = subprocess.run([*stestr, 'last', '--subunit'], cwd=folder,
                          env=dict(env), stdout=subprocess.PIPE)
    return parse(done.stdout)


def parse(stream: bytes) -> dict[str, Outcome]:
    """Return the outcomes in a subunit stream, version 2."""
    # Both come with stestr, which only this command needs.
    import subunit
    import testtools

    found: dict[str, Outcome] = {}

    def on_test(test: Any) -> None:
        if test['status'] != 'exists':
            found[test_id(test['id'])] = _outcome(test)

    result = testtools.StreamToDict(on_test)
    result.startTestRun()
    subunit.ByteStreamToStreamResult(
        io.BytesIO(stream), non_subunit_name='stdout').run(result)
    result.stopTestRun()
    return found


def _outcome(test: dict) -> Outcome:
    status = _STATUS.get(test['status'], 'failed')
    started, ended = test['timestamps']
    seconds = (ended - started).total_seconds() if started and ended else 0.0
    return Outcome(status, round(seconds, 2),
                   '' if status == 'passed' else _reason(test['details']))


def _reason(details: Mapping) -> str:
    """Return the line that says why: the skip's, or an exception's first."""
    if 'reason' in details:
        text = details['reason'].as_text().strip()
        return text.splitlines()[0][:_REASON_LENGTH] if text else ''
    for name in ('traceback', 'traceback-1', 'traceback-2'):
        if name not in details:
            continue
        lines = details[name].as_text().rstrip().splitlines()
        # The exception stands where the indented frames end.
        at = max((i for i, line in enumerate(lines)
                  if line.startswith('  ')
                  and i + 1 < len(lines)
                  and not lines[i + 1].startswith(' ')
                  and lines[i + 1].strip()), default=-1)
        rest = [line.strip() for line in lines[at + 1:] if line.strip()]
        return ' '.join(rest)[:_REASON_LENGTH]
    return 'did not end'


def merge(first: Run, later: Run) -> Run:
    """Return a run with the outcomes of those tests that were run again.

    The date, the time and the environment are the first run's.
    """
    tests = dict(first.tests)
    for name in first.of('failed'):
        fixture = _FIXTURE.fullmatch(name)
        if fixture and any(test.startswith(f'{fixture[1]}.')
                           for test in later.tests):
            # Its tests stand in the later run, each by its own name.
            del tests[name]
    tests.update(later.tests)
    return dataclasses.replace(
        first, tests=tests, again=sorted({*first.again, *later.tests}))


def pattern(names: Iterable[str]) -> str:
    """Return a regular expression that selects just these tests."""
    parts = []
    for name in names:
        fixture = _FIXTURE.fullmatch(name)
        parts.append(re.escape(fixture[1]) + r'\.' if fixture
                     else re.escape(name) + r'(\[|$)')
    return '^(' + '|'.join(parts) + ')'


def unexpected(run: Run, expected: Mapping[str, str]) -> list[str]:
    """Return the failed tests that the baseline passes."""
    return [test for test in run.of('failed') if test not in expected]


def report(run: Run, expected: Mapping[str, str]) -> list[str]:
    """Return lines that say how a run compares with what is expected."""
    passed, failed, skipped = run.counts()
    ours = unexpected(run, expected)
    lines = []
    for test in run.of('failed'):
        why = f'expected: {expected[test]}' if test in expected \
            else run.tests[test].reason
        lines.append(f'FAILED {test}\n       {why}')
    for test in run.of('passed'):
        if test in expected:
            lines.append(f'PASSED {test}\n       although it fails on the '
                         f'baseline ({expected[test]})')
    lines.append(
        f'{run.name} on {run.cloud}: {passed} passed, {failed} failed '
        f'({failed - len(ours)} on the baseline, too), {skipped} skipped, '
        f'{run.seconds:.0f} s')
    return lines


def save(run: Run, path: pathlib.Path) -> None:
    """Write a run as JSON, one line a test."""
    content = dataclasses.asdict(run)
    tests = content.pop('tests')
    passed, failed, skipped = run.counts()
    content['counts'] = {'passed': passed, 'failed': failed,
                         'skipped': skipped}
    lines = [f'  {json.dumps(test)}: {json.dumps(list(one.values()))}'
             for test, one in sorted(tests.items())]
    head = json.dumps(content, indent=1).rstrip().removesuffix('}').rstrip()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + ',\n "tests": {\n' + ',\n'.join(lines)
                    + '\n }\n}\n')


def load(path: pathlib.Path) -> Run:
    """Read what ``save`` has written."""
    content = json.loads(path.read_text())
    content.pop('counts')
    content['tests'] = {test: Outcome(*one)
                        for test, one in content['tests'].items()}
    return Run(**content)
