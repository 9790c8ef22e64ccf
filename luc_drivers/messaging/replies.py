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

"""Replies that their callers have not confirmed, within a limit."""

import collections
from typing import Any


class ReplyCache:
    """Which replies are kept, oldest first (rule C3).

    The bodies are with the peers; this counts their bytes and says which
    one has to go. Whoever repeats a request after that is told that it ran
    and its result is lost; it never runs again.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.dropped = 0
        self._kept: collections.OrderedDict[tuple[Any, int], int] = (
            collections.OrderedDict())

    def keep(self, peer: Any, seq: int, size: int) -> None:
        """Account for a reply; drops the oldest ones beyond the limit."""
        self._kept[peer, seq] = size
        self.size += size
        while self.size > self.limit and len(self._kept) > 1:
            (other, old), size = self._kept.popitem(last=False)
            self.size -= size
            self.dropped += 1
            other.drop_reply(old)

    def release(self, peer: Any, seq: int) -> None:
        """Its caller has it, or will never come for it."""
        self.size -= self._kept.pop((peer, seq), 0)
