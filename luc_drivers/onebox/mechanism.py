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

"""An ML2 mechanism driver for a cloud without network agents.

It binds each port on the first segment of its network, as a tap device that
nothing is connected to, and says at once that it is up: neutron allocates
addresses and keeps its data as in any cloud, but no packet moves.
"""

from typing import Any

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api


class NoAgentMechanismDriver(api.MechanismDriver):
    """Bind every port without asking whether an agent is there."""

    def initialize(self) -> None:
        """Do nothing: there is nobody to connect to."""

    @property
    def connectivity(self) -> str:
        """Return what ports of this driver are connected by: layer 2."""
        return portbindings.CONNECTIVITY_L2

    def bind_port(self, context: Any) -> None:
        """Bind a port on its network's first segment.

        :param context: the port's ``neutron_lib.plugins.ml2.api.PortContext``.
        """
        for segment in context.segments_to_bind[:1]:
            context.set_binding(
                segment[api.ID], portbindings.VIF_TYPE_TAP,
                {portbindings.CAP_PORT_FILTER: False},
                status=constants.PORT_STATUS_ACTIVE)
