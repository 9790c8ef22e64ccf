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


"""Judges the logs of a soak: what ran how often, when, and what was lost."""

import collections
import dataclasses
import glob
import os

#: seconds between a request's hand-out, where its time-out is looked at, and
#: its first line, on a machine whose cores have other things to do
HAND_OVER = 1.0


@dataclasses.dataclass
class Verdict:
    """Counts; those of ``faults()`` must be 0."""

    sent: int = 0
    executed: int = 0
    answered: int = 0
    timed_out: int = 0
    failed: int = 0
    """Calls and casts that ended with another exception."""
    executed_twice: int = 0
    repeated_after_death: int = 0
    """Run again after the process that had begun it was killed: a call or
    cast in flight to an instance that is proven dead (rule C1c)."""
    executed_late: int = 0
    """Begun more than HAND_OVER after the caller's time-out."""
    casts_lost: int = 0
    """Accepted (the cast returned) but never run."""
    answered_unrun: int = 0
    """Answered although no server noted it."""

    def faults(self) -> dict[str, int]:
        """What must not be, with how often it was."""
        return {name: count for name, count in (
            ('executed twice', self.executed_twice),
            ('executed after its time-out', self.executed_late),
            ('accepted casts lost', self.casts_lost),
            ('answered without being run', self.answered_unrun),
            ('failed', self.failed)) if count}


@dataclasses.dataclass(frozen=True)
class Sent:
    """One message of a caller."""

    id: str
    kind: str
    begun: float
    ended: float
    deadline: float
    outcome: str


def sent(folder: str) -> list[Sent]:
    """All messages of all callers, by when they began."""
    found = []
    for path in glob.glob(os.path.join(folder, 'client-*')):
        with open(path) as f:
            for line in f:
                id, kind, begun, ended, deadline, outcome = line.split()
                found.append(Sent(id, kind, float(begun), float(ended),
                                  float(deadline), outcome))
    return sorted(found, key=lambda s: s.begun)


def executed(folder: str) -> dict[str, list[tuple[float, str]]]:
    """(when, log file) of each execution of each message."""
    found = collections.defaultdict(list)
    for path in glob.glob(os.path.join(folder, 'server-*')):
        with open(path) as f:
            for line in f:
                if line.endswith('\n'):
                    id, when = line.split()
                    found[id].append((float(when), os.path.basename(path)))
    return found


def judge(folder: str, killed: set[str]) -> Verdict:
    """Compare what was sent with what ran.

    :param killed: log files of servers that were killed.
    """
    verdict = Verdict()
    runs = executed(folder)
    verdict.executed = sum(len(r) for r in runs.values())
    for message in sent(folder):
        verdict.sent += 1
        mine = runs.get(message.id, [])
        if len(mine) > 1:
            # One of them may live: the others died with it under way.
            alive = [log for _when, log in mine if log not in killed]
            if len(alive) > 1:
                verdict.executed_twice += 1
            else:
                verdict.repeated_after_death += 1
        if message.outcome == 'timeout':
            verdict.timed_out += 1
        elif message.outcome != 'ok':
            verdict.failed += 1
        elif message.kind == 'call':
            verdict.answered += 1
            verdict.answered_unrun += not mine
        else:
            verdict.casts_lost += not mine
        if message.kind == 'call' and any(
                when > message.deadline + HAND_OVER for when, _log in mine):
            verdict.executed_late += 1
    return verdict


def first_success(messages: list[Sent], prefix: str, healed: float) -> float:
    """Seconds from then to the first answer to a call of that prefix.

    Infinite if there was none.
    """
    return min((m.ended - healed for m in messages
                if m.kind == 'call' and m.outcome == 'ok' and
                m.id.startswith(prefix) and m.ended > healed and
                m.begun > healed), default=float('inf'))
