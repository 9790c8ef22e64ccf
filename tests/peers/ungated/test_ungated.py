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


"""Two of oslo.messaging's functional tests that it keeps for rabbit:// URLs.

A mandatory call to nobody and a monitored long call: what they test works
here as well, so they run as they are, told that the URL is rabbit's.
"""

import os

import eventlet

# As oslo_messaging.tests does, before anything of it is imported; nothing
# happens where the native threads' sitecustomize is in place.
eventlet.monkey_patch()

from oslo_messaging.tests.functional import test_functional  # noqa: E402

_GATED = ('test_mandatory_call', 'test_monitor_long_call')


class _Url(str):
    """A URL that says yes to whoever asks whether it is rabbit's."""

    def startswith(self, prefix, *rest):
        return prefix == 'rabbit://' or super().startswith(prefix, *rest)


class UngatedCallTest(test_functional.CallTestCase):

    def setUp(self):
        super().setUp()
        self.assertTrue(os.environ['RPC_TRANSPORT_URL'].startswith('zmq:'))
        self.rpc_url = _Url(self.rpc_url)


for _name in dir(test_functional.CallTestCase):
    if _name.startswith('test_') and _name not in _GATED:
        setattr(UngatedCallTest, _name, None)


def load_tests(loader, standard, pattern):
    """Leave out the imported module's own tests."""
    return loader.loadTestsFromTestCase(UngatedCallTest)
