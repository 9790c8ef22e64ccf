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

"""PRAGMAs that set something of a session."""

import re

_FOREIGN_KEYS = re.compile(
    r'''\s*PRAGMA\s+(?:"?main"?\s*\.\s*)?foreign_keys\s*
    (?:=\s*(?P<is>[^\s;]+)|\(\s*(?P<call>[^\s)]+)\s*\))?\s*;?\s*$''',
    re.I | re.X)


def foreign_keys(sql: str) -> str | None:
    """Return what ``PRAGMA foreign_keys`` sets; '' if it only asks; None if
    it is another statement.
    """
    found = _FOREIGN_KEYS.match(sql)
    if found is None:
        return None
    return found['is'] or found['call'] or ''


def flag(text: str) -> bool:
    """Return the truth of a PRAGMA's or URL parameter's value."""
    return text.strip('\'"').lower() in ('1', 'on', 'yes', 'true')
