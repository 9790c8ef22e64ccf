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

"""The native side of Python's threads, also where eventlet patched them.

A lock that is held only while C code runs (no yield to other greenlets) must
be a native one: green locks of two native threads don't know each other.
eventlet is never imported here; it is used only if the program has it loaded.
"""

import sys
from typing import Any


def original(name: str) -> Any:
    """Return the module ``name`` as it was before any monkey-patching."""
    patcher = sys.modules.get('eventlet.patcher')
    if patcher is not None:
        return patcher.original(name)
    return __import__(name)


def green() -> bool:
    """Tell whether the threads of this process are greenlets."""
    patcher = sys.modules.get('eventlet.patcher')
    return bool(patcher and patcher.is_monkey_patched('thread'))


def lock() -> Any:
    """Return a native lock, as ``threading.Lock()``."""
    return original('threading').Lock()
