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

"""Faults that a client process has, or does to itself.

Those that come from outside (killed or stopped processes and nodes) are the
runner's.
"""

import contextlib
import dataclasses
import functools
import os
import signal
import time
from unittest import mock

from luc_drivers.db import engine as engine_module
from luc_drivers.db.profiles import base as profiles
from luc_drivers.db.profiles import registry
from luc_drivers.db.transaction import bounds
from luc_drivers.db.transaction import clock
from luc_drivers.db.transaction import hooks
from luc_drivers.testing import faulty_store

#: every step of the protocol, where a client may be killed
STEPS = (
    'commit:begin', 'commit:owners-read', 'index:send', 'index:written',
    'references:parents-read', 'one:send', 'one:answered',
    'one:settle-read', 'one:settle-fenced', 'prepare:send',
    'prepare:answered', 'prepare:read', 'references:children-located',
    'references:children-read', 'several:send', 'several:answered',
    'several:settle-fenced', 'several:settle-read', 'prepare:released',
    'commit:refused-read', 'commit:decided', 'turn:answered', 'apply:send',
    'apply:answered', 'apply:again', 'apply:marker-erased', 'index:removed',
    'resolve:markers-read', 'resolve:rows-read', 'resolve:fenced',
    'resolve:rolled', 'reader:index-read', 'reader:rows-read',
    'cleaner:buried', 'cleaner:removed', 'sweeper:marker-read',
    'sweeper:marker-erased')

#: some tables share groups, others don't, one is a group of its own
PROFILE = profiles.Profile('consistency', {
    'accounts': profiles.Rule(by=('branch',), group='branch'),
    'lists': profiles.Rule(by=('shelf',), group='shelf'),
    'registers': profiles.Rule(by=('shelf',), group='shelf'),
    'books': profiles.Rule(by=('shelf',)),
    'parents': profiles.Rule(by=('id',), group='family'),
    'twins': profiles.Rule(by=('parent',), group='family'),
    'counters': profiles.reference(),
}, leave_out=frozenset())


@dataclasses.dataclass
class Faults:
    """What is wrong with a client.

    :ivar skew: seconds that its clock is ahead.
    :ivar kill_at: a step of the protocol at which it is killed (-9),
        when it comes there for the ``kill_after``-th time.
    :ivar stop_at: likewise, but stopped (SIGSTOP).
    :ivar store: probabilities (see luc_drivers.testing.faulty_store).
    """

    skew: float = 0.0
    kill_at: str = ''
    stop_at: str = ''
    after: int = 1
    store: dict[str, float] = dataclasses.field(default_factory=dict)


#: of a tests' run: so that much happens in a short time
BOUNDS = {'send': 8.0, 'settle': 8.0, 'marker_age': 16.0, 'sweep': 3.0}


def _hook(faults: Faults) -> hooks.Hook:
    left = faults.after
    wanted = faults.kill_at or faults.stop_at
    what = signal.SIGKILL if faults.kill_at else signal.SIGSTOP

    def hook(step: str) -> None:
        nonlocal left
        if step == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), what)

    return hook


def install(faults: Faults, seed: int) -> contextlib.ExitStack:
    """Make this process faulty, until the stack is closed."""
    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(
        registry, 'find', lambda name, profile: PROFILE))
    stack.enter_context(mock.patch.object(
        engine_module.bounds, 'Bounds',
        functools.partial(bounds.Bounds, **BOUNDS)))
    if faults.skew:
        def now(self: clock.Clock) -> int:
            return int((time.time() + faults.skew) * 1e6)

        stack.enter_context(mock.patch.object(clock.Clock, 'now', now))
    if faults.kill_at or faults.stop_at:
        stack.enter_context(hooks.hooked(_hook(faults)))
    if faults.store:
        open_store = engine_module.store_settings.open_store

        def faulty(database: str, settings: object) -> object:
            wrong = faulty_store.FaultyStore(
                open_store(database, settings), seed)
            # what it takes to begin is given
            wrong.faults = faulty_store.Faults()
            _STORES.append(wrong)
            return wrong

        stack.enter_context(mock.patch.object(
            engine_module.store_settings, 'open_store', faulty))
    return stack


_STORES: list[faulty_store.FaultyStore] = []


def begin(faults: Faults) -> None:
    """Let the store's faults begin: the database is open."""
    for store in _STORES:
        store.faults = faulty_store.Faults(**faults.store)


def happened() -> dict[str, int]:
    """Return how often each fault of the store was injected."""
    found: dict[str, int] = {}
    for store in _STORES:
        for name, count in store.happened.items():
            found[name] = found.get(name, 0) + count
    return found
