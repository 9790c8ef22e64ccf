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

"""Where peers find each other, and what waits for them."""

import os
import threading
import typing as ty

from stevedore import driver

from luc_drivers.messaging.matchmaker import base

NAMESPACE = 'luc_drivers.matchmakers'

_loaded: dict[tuple, base.Matchmaker] = {}
_lock = threading.Lock()


def _forget_lock() -> None:
    """Give a forked child a lock that no thread of its parent holds."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)


def load(settings: ty.Any) -> base.Matchmaker:
    """Return the process's matchmaker for these settings.

    :param settings: of ``luc_drivers.messaging.opts.load``.
    :raises base.MatchmakerRefused: no such back end is installed.
    """
    with _lock:
        found = _loaded.get(settings.key)
        if found is None:
            found = _loaded[settings.key] = find(settings)(settings)
    return found


def find(settings: ty.Any) -> type[base.Matchmaker]:
    """Return the class of these settings' matchmaker.

    :raises base.MatchmakerRefused: no such back end is installed.
    """
    try:
        manager: ty.Any = driver.DriverManager(NAMESPACE,
                                               settings.matchmaker)
    except RuntimeError as e:
        raise base.MatchmakerRefused(
            '[bus]matchmaker %s: no such back end; there are cassandra, '
            'embedded and memory (%s)' % (settings.matchmaker, e)) from e
    return manager.driver
