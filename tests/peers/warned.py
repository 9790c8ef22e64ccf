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

"""Keep suites from making an error of certain warnings.

nova's WarningsFixture makes errors of SQLAlchemy's deprecations.  Those of a
release that is newer than the suite then hide what its tests are about.
"""

from typing import Any
import warnings


def ignore(beginning: str) -> None:
    """Drop warnings whose text begins so, whatever filters a suite sets."""
    warn = warnings.warn

    def filtered(message: Any, category: Any = None, stacklevel: int = 1,
                 **options: Any) -> None:
        if not str(message).startswith(beginning):
            warn(message, category, stacklevel + 1, **options)

    warnings.warn = filtered  # type: ignore[assignment]
