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

"""What the tests' kinds of background work have in common."""

import abc
from collections.abc import Callable
from typing import Any


class Background(abc.ABC):
    """Collects items for handlers, as the real one does, in one thread."""

    def __init__(self) -> None:
        self._collected: dict[Callable[[list], Any], list] = {}

    @abc.abstractmethod
    def submit(self, task: Callable[[], Any], delay: float = 0.0,
               needed: bool = False) -> None:
        """Run a task later."""

    def collect(self, handler: Callable[[list], Any], item: Any) -> None:
        """Run ``handler(items)`` once for all items there are by then."""
        items = self._collected.setdefault(handler, [])
        items.append(item)
        if len(items) == 1:
            self.submit(lambda: handler(self._collected.pop(handler)))
