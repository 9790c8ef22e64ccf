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


"""Benchmarks: ``python -m tests.bench NAME …``; NAME is a sub-package.

Each has a module ``command`` with ``main(arguments)``.
"""

import importlib
import pathlib
import sys


def main() -> int:
    """Run the benchmark that is named; returns its exit code."""
    folder = pathlib.Path(__file__).parent
    names = sorted(p.parent.name for p in folder.glob('*/command.py'))
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print('usage: python -m tests.bench %s [-h] …' % '|'.join(names),
              file=sys.stderr)
        return 2
    command = importlib.import_module(
        'tests.bench.%s.command' % sys.argv[1])
    return command.main(sys.argv[2:]) or 0


if __name__ == '__main__':
    sys.exit(main())
