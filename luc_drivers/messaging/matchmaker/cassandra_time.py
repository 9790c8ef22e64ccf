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

"""Cassandra's notions of time: TTLs, timestamps, timeuuids."""

import datetime
import math
import typing as ty
import uuid

#: 100 ns between 1582-10-15 and 1970-01-01.
_UUID_EPOCH = 0x01b21dd213814000


def ttl(seconds: float) -> int:
    """Return a TTL that is never shorter than asked.

    Cassandra counts in whole seconds of its clock: a TTL of 1 may end after
    a millisecond. And 0 would be for ever.
    """
    return max(1, math.ceil(seconds)) + 1


def micros(at: uuid.UUID) -> int:
    """Return a timeuuid's time in microseconds since the epoch."""
    return (at.time - _UUID_EPOCH) // 10


def seconds(stored: ty.Any) -> float:
    """Return a timestamp (a datetime in UTC without zone) as a number."""
    if stored is None:
        return 0.0
    return stored.replace(tzinfo=datetime.UTC).timestamp()


def least_uuid(position: int) -> uuid.UUID:
    """Return the timeuuid that sorts before all of that microsecond."""
    at = max(0, position) * 10 + _UUID_EPOCH
    # Cassandra sorts the last 8 bytes as signed ones: 0x80 comes first.
    return uuid.UUID(fields=(at & 0xffffffff, (at >> 32) & 0xffff,
                             ((at >> 48) & 0x0fff) | 0x1000, 0x80, 0x80,
                             0x808080808080))
