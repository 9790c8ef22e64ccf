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

"""A process's workspaces, for its connections to take turns with."""

from luc_drivers import native
from luc_drivers.db.workspace.workspace import Workspace

#: idle workspaces that are kept
_KEPT = 10


class Pool:
    """Idle workspaces; the one used last comes first: its statements are
    prepared. Thread-safe.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._lock = native.lock()
        self._idle: list[Workspace] = []

    def take(self) -> Workspace:
        """Return an empty workspace."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Workspace()

    def give(self, workspace: Workspace) -> None:
        """Empty a workspace and take it back."""
        workspace.reset()
        with self._lock:
            if len(self._idle) < self._kept:
                self._idle.append(workspace)
                return
        workspace.close()

    def close(self) -> None:
        """Free all idle workspaces."""
        with self._lock:
            idle, self._idle = self._idle, []
        for workspace in idle:
            workspace.close()
