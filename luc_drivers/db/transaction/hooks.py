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

"""Named steps of the commit protocol, where tests may stop it.

The protocol calls ``step(name)`` between every two requests.  It does
nothing unless a test has set a hook, which may raise, block or count.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib

Hook = Callable[[str], None]

_hook: Hook | None = None


def step(name: str) -> None:
    """Tell the hook, if there is one, that the protocol has come here."""
    if _hook is not None:
        _hook(name)


@contextlib.contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Call ``hook`` at every step, in all threads, while in the context."""
    global _hook
    before = _hook
    _hook = hook
    try:
        yield
    finally:
        _hook = before
