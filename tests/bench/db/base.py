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

"""What a service's part of the benchmark is made of."""

from collections.abc import Callable
import dataclasses
import random
import uuid

#: instances of one project, and of one host
PER_PROJECT = 100
PER_HOST = 20

_NAMESPACE = uuid.UUID('5b5de3d4-96f2-4c9e-8f75-c3b1a7a3d0f1')

Call = Callable[[], object]
#: draws a call: all that is not to be timed is done before it returns
Maker = Callable[['Sizes', random.Random], Call]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a seeded database holds; names follow from numbers.

    :ivar instances: in all; the first ones have the lowest numbers.
    """

    instances: int

    @property
    def projects(self) -> int:
        return max(1, self.instances // PER_PROJECT)

    @property
    def hosts(self) -> int:
        return max(5, self.instances // PER_HOST)

    @property
    def images(self) -> int:
        return max(50, self.instances // 10)

    @property
    def users(self) -> int:
        return max(20, self.instances // 20)

    def draw(self, dice: random.Random) -> int:
        """Return the number of one of the instances."""
        return dice.randrange(self.instances)


def uid(kind: str, number: int) -> str:
    """Return the UUID of one of the seeded things."""
    return str(uuid.uuid5(_NAMESPACE, f'{kind}-{number}'))


def hexid(kind: str, number: int) -> str:
    """Return the id of one of the seeded things, as keystone writes it."""
    return uid(kind, number).replace('-', '')


@dataclasses.dataclass(frozen=True)
class Function:
    """One function of a service that is measured.

    :ivar name: what the report calls it.
    :ivar writes: whether it changes the database.
    :ivar by_key: whether its cost must not grow with the database.
    """

    name: str
    make: Maker
    writes: bool = False
    by_key: bool = False


class Registry:
    """The functions of one service, in order."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.functions: dict[str, Function] = {}

    def __call__(self, writes: bool = False, by_key: bool = False
                 ) -> Callable[[Maker], Maker]:
        """Register a maker under its own name."""
        def register(make: Maker) -> Maker:
            name = f'{self.prefix}.{make.__name__}'
            self.functions[name] = Function(name, make, writes, by_key)
            return make
        return register
