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

"""Time limits of transactions, in seconds: configuration hands them in."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """How long things may take.

    :ivar lock_age: a lock seen for so long (by the watcher's own monotonic
        clock: rule 28) is taken for abandoned, its transaction fenced.
    :ivar lock_wait: how long a commit waits for others' locks, all in all,
        before it is refused.
    :ivar wound_after: an older transaction gives a younger one that holds a
        lock so long to finish, then fences it (rule 29).
    :ivar read: how long a read may go on resolving locks.
    :ivar send: a commit is not sent later than this after its first prepare.
        Rule 5 says 60 s, and why: far below ``aborted_ttl``. A transaction
        over 20,000 groups takes longer to lock them.
    :ivar settle: how long an unknown outcome is followed up before the
        caller is told so; below half of ``marker_age``, and with ``send``
        below all of it (rule 7).
    :ivar marker_age: age of a transaction marker before the sweeper may
        remove it (rule 7).
    :ivar aborted_ttl: life of an aborted marker (rule 5).
    :ivar tombstone_ttl: life of a deleted row's tombstone. Rule 10 says a
        day, and what for: far longer than clocks may differ and removals of
        index entries may take. Each read of the group reads it, too: the
        hundreds that boots leave with a compute node in a day are too many.
    :ivar removal_delay: time between a commit and the removal of its old
        index entries, so that scans of two values can't miss a row.
    :ivar clock_skew: how far the clocks of hosts may differ.
    :ivar flush: how long a process waits at its end for background work.
    :ivar sweep: mean time between two sweeps of one process; 0 = never.
    """

    lock_age: float = 3.0
    lock_wait: float = 10.0
    wound_after: float = 0.02
    read: float = 10.0
    send: float = 240.0
    settle: float = 60.0
    marker_age: float = 600.0
    aborted_ttl: int = 86400
    tombstone_ttl: int = 3600
    removal_delay: float = 5.0
    clock_skew: float = 10.0
    flush: float = 5.0
    sweep: float = 600.0

    def __post_init__(self) -> None:
        if self.settle * 2 > self.marker_age:
            raise ValueError(
                f'settle ({self.settle:g} s) must be at most half of '
                f'marker_age ({self.marker_age:g} s)')
        if self.send + self.settle > self.marker_age:
            # the id that tells a marker's age is older than its first lock
            raise ValueError(
                f'send and settle ({self.send:g} and {self.settle:g} s) must '
                'not take longer than marker_age '
                f'({self.marker_age:g} s) together')
        if self.send * 2 > self.aborted_ttl:
            raise ValueError(
                f'send ({self.send:g} s) must be far below aborted_ttl '
                f'({self.aborted_ttl} s)')
        least = 2 * (self.removal_delay + self.clock_skew + self.send)
        if self.tombstone_ttl < least:
            raise ValueError(
                f'tombstone_ttl ({self.tombstone_ttl} s) must be at least '
                f'{least:g} s: twice removal_delay, clock_skew and send')
