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

"""The mechanism driver that binds ports without agents."""

import importlib.metadata
import importlib.util
import unittest

import testtools

HAS_NEUTRON = importlib.util.find_spec('neutron_lib') is not None


class Context:
    """What a mechanism driver sees of a port that is to be bound."""

    def __init__(self, *segments):
        self.segments_to_bind = [{'id': name} for name in segments]
        self.bindings = []

    def set_binding(self, segment, vif_type, vif_details, status=None):
        self.bindings.append((segment, vif_type, vif_details, status))


class MechanismTest(testtools.TestCase):

    @unittest.skipUnless(HAS_NEUTRON, 'neutron-lib is not installed')
    def test_binds_once_on_the_first_segment(self):
        from luc_drivers.onebox import mechanism
        driver = mechanism.NoAgentMechanismDriver()
        driver.initialize()
        context = Context('first', 'second')
        driver.bind_port(context)
        self.assertEqual(
            [('first', 'tap', {'port_filter': False}, 'ACTIVE')],
            context.bindings)
        self.assertEqual('l2', driver.connectivity)
        context = Context()
        driver.bind_port(context)
        self.assertEqual([], context.bindings)

    def test_is_registered_under_the_configured_name(self):
        from luc_drivers.onebox.services import neutron
        found = [point.value for point in importlib.metadata.entry_points(
            group='neutron.ml2.mechanism_drivers',
            name=neutron.MECHANISM_DRIVER)]
        self.assertIn(
            'luc_drivers.onebox.mechanism:NoAgentMechanismDriver', found)
