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


"""pytest's set-up: SQLAlchemy's plug-in, our dialect, and a record."""

import json
import os
from typing import Any

import pytest
from sqlalchemy.dialects import registry

pytest.register_assert_rewrite('sqlalchemy.testing.assertions')
registry.register('sqlite.luc', 'tests.compliance.dialect', 'SharedDialect')

from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: E402,F403

_outcomes: dict[str, tuple[str, str]] = {}


def pytest_runtest_logreport(report: Any) -> None:
    """Note how a test ended, and why if it did not pass."""
    # the name without the back end's, to compare back ends by
    name = report.nodeid.partition('::')[2]
    test_class, _, test = name.partition('::')
    name = f'{test_class.partition("_sqlite+")[0]}.{test}'
    if report.skipped:
        reason = (report.longrepr[2] if isinstance(report.longrepr, tuple)
                  else str(report.longrepr))
        # SQLAlchemy puts the test's name before it
        _outcomes[name] = ('skipped', reason.rpartition("' : ")[2])
    elif report.failed:
        _outcomes[name] = ('failed', str(report.longrepr)[-2000:])
    elif report.when == 'call':
        _outcomes.setdefault(name, ('passed', ''))


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: Any) -> Any:
    """Write the record, and drop what the tests made."""
    result = yield
    if os.environ.get('LUC_COMPLIANCE_REPORT'):
        with open(os.environ['LUC_COMPLIANCE_REPORT'], 'w') as file:
            json.dump(_outcomes, file)
    from tests.compliance import dialect
    dialect.drop()
    return result
