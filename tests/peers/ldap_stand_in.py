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


"""Stand-ins for python-ldap and ldappool, which need a C library.

keystone's test modules import them; no test that the runner selects talks
LDAP.  Every name of a stand-in is an exception class of its own, so that it
can be raised, caught and derived from.
"""

import importlib.util
import sys
import types

_MODULES = ('ldap', 'ldap.controls', 'ldap.dn', 'ldap.filter',
            'ldap.ldapobject', 'ldap.modlist', 'ldappool')


class _StandIn(types.ModuleType):
    __path__: list[str] = []

    def __getattr__(self, name: str) -> type[Exception]:
        if name.startswith('__'):
            raise AttributeError(name)
        made = type(name, (Exception,), {})
        setattr(self, name, made)
        return made


def install() -> None:
    """Put the stand-ins in place, unless python-ldap is installed."""
    if importlib.util.find_spec('ldap') is not None:
        return
    for name in _MODULES:
        module = sys.modules[name] = _StandIn(name)
        parent, _, child = name.rpartition('.')
        if parent:
            setattr(sys.modules[parent], child, module)
