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

"""The command ``luc``: a cliff application.

Commands are found under the entry point namespace ``luc.cli``.
"""

import sys

from cliff import app
from cliff import commandmanager
import pbr.version


class Shell(app.App):
    """``luc``: look into and look after both drivers."""

    def __init__(self) -> None:
        super().__init__(
            description='luc: Cassandra database and ZeroMQ transport for '
                        'a distributed OpenStack',
            version=pbr.version.VersionInfo('luc-drivers').release_string(),
            command_manager=commandmanager.CommandManager('luc.cli'),
            deferred_help=True)


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the process's exit status."""
    return Shell().run(sys.argv[1:] if argv is None else argv)


if __name__ == '__main__':
    sys.exit(main())
