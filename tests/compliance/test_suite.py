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


"""SQLAlchemy's own tests of what a dialect must do, as they are.

``requirements.py`` says which do not apply.
"""

from sqlalchemy.testing import fixture
from sqlalchemy.testing.suite import *  # noqa: F403
from sqlalchemy.testing.suite import ComponentReflectionTest as _Reflection
from sqlalchemy.testing.suite import ComponentReflectionTestExtra as _Extra


class ComponentReflectionTest(_Reflection):
    """Without the one test that asks for a second schema unconditionally."""

    test_metadata = None


class ComponentReflectionTestExtra(_Extra):
    """Without a second schema, which these tests ask for unconditionally."""

    @fixture()
    def use_schema_fixture(self):
        """Name no schema."""
        return None
