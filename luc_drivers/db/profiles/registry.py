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

"""Which profile a database has, by its name."""

import functools
from typing import cast

import stevedore

from luc_drivers.db import errors
from luc_drivers.db.profiles import default
from luc_drivers.db.profiles.base import Profile

NAMESPACE = 'luc_drivers.profiles'


def find(database: str, chosen: str | None = None) -> Profile:
    """Return a database's profile.

    :param database: name of the database, as in the connection URL.
    :param chosen: the URL's ``profile=``, which wins; else the longest
        profile name that the database's name starts with (nova_cell1 →
        nova, nova_api → nova_api); else the derived default.
    :raises OperationalError: there is no profile ``chosen``.
    """
    known = _installed()
    names = known.names()
    if chosen:
        if chosen == default.PROFILE.name:
            return default.PROFILE
        if chosen not in names:
            raise errors.OperationalError(
                'no profile %r (URL parameter "profile"); installed ones: %s'
                % (chosen, ', '.join(sorted([*names, 'default']))))
        return cast(Profile, known[chosen].plugin)
    fits = [name for name in names if database.startswith(name)]
    if not fits:
        return default.PROFILE
    return cast(Profile, known[max(fits, key=len)].plugin)


@functools.cache
def _installed() -> stevedore.ExtensionManager:
    return stevedore.ExtensionManager(
        NAMESPACE, invoke_on_load=False,
        on_load_failure_callback=_load_failed)


def _load_failed(manager: object, entry_point: object,
                 error: BaseException) -> None:
    raise errors.OperationalError(
        'profile %s can not be loaded: %s' % (entry_point, error)) from error
