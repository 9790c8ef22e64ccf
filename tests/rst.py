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

"""Tables for the documentation, written by what measures."""

from collections.abc import Iterable
from collections.abc import Sequence


def table(rows: Iterable[Sequence[object]], title: str = '') -> str:
    """Return a list-table.

    :param rows: the header first.
    """
    lines = [f'.. list-table:: {title}'.rstrip(), '   :header-rows: 1', '']
    for row in rows:
        lines += [f'   {" " if n else "*"} - {cell}'.rstrip()
                  for n, cell in enumerate(row)]
    return '\n'.join(lines) + '\n'


def written_by(command: str) -> str:
    """Return the comment that a written file begins with."""
    return f'.. Written by ``{command}``.\n\n'
