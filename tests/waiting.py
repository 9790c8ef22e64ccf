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


"""Waiting for what must come true soon, however busy the machine is."""

from collections.abc import Callable
import time
from typing import TypeVar

Value = TypeVar('Value')


def until(condition: Callable[[], Value], seconds: float = 10.0,
          what: str = 'what is waited for') -> Value:
    """Return the condition's first true value.

    :raises AssertionError: there was none in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError('%s did not come true within %g s' % (what, seconds))
