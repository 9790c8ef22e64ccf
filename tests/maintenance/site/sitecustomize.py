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

"""Kills the process (-9) at a step of the commit protocol.

On the path of a command under test: ``LUC_TEST_KILL_AT=N`` names the N-th
step that the process comes to.
"""

import itertools
import os
import signal

if os.environ.get('LUC_TEST_KILL_AT'):
    from luc_drivers.db.transaction import hooks

    _last = int(os.environ['LUC_TEST_KILL_AT'])
    _count = itertools.count(1)

    def _step(name: str) -> None:
        if next(_count) == _last:
            os.kill(os.getpid(), signal.SIGKILL)

    hooks._hook = _step
