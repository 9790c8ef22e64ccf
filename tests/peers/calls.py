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


"""Which functions of the services' database layers send statements.

``start()`` notes, at each statement that SQLAlchemy hands to a cursor, the
functions of the watched files that are on the stack.  Nothing of the service
is wrapped or changed.  ``functions()`` names all there are.
"""

import ast
import atexit
import json
import os
import pathlib
import sys
import types
from typing import Any

from sqlalchemy import engine
from sqlalchemy import event

#: files below site-packages; a folder stands for the modules in it
WATCHED = ('nova/db/main/api.py', 'nova/objects/',
           'glance/db/sqlalchemy/api.py')


def module_of(path: str) -> str | None:
    """Return the module of a watched source file; None for others."""
    for watched in WATCHED:
        at = path.rfind('/' + watched)
        if at >= 0:
            return path[at + 1:].removesuffix('.py').replace('/', '.')
    return None


class Calls:
    """The functions seen.

    :ivar names: 'module:qualified name' of each.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._modules: dict[str, str | None] = {}
        self._seen: dict[int, types.CodeType] = {}

    def note(self, *args: Any) -> None:
        """Note the watched functions on the caller's stack."""
        frame = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if id(code) not in self._seen:
                self._seen[id(code)] = code
                path = code.co_filename
                if path not in self._modules:
                    self._modules[path] = module_of(path)
                module = self._modules[path]
                if module:
                    self.names.add(f'{module}:{code.co_qualname}')
            frame = frame.f_back  # type: ignore[assignment]


def start(folder: str) -> None:
    """Note calls from now on; write them to the folder at exit."""
    calls = Calls()
    event.listen(engine.Engine, 'before_cursor_execute', calls.note)
    process = os.getpid()

    def write() -> None:
        if os.getpid() == process:
            path = pathlib.Path(folder) / f'{process}.json'
            path.write_text(json.dumps(sorted(calls.names)))

    atexit.register(write)


def merge(folder: pathlib.Path) -> list[str]:
    """Return the names that the processes of a run have written."""
    names: set[str] = set()
    for path in folder.glob('*.json'):
        names.update(json.loads(path.read_text()))
    return sorted(names)


def functions(packages: pathlib.Path) -> dict[str, list[str]]:
    """Return {module: functions} of what the table of functions lists.

    Of an API module its public functions; of nova's objects the functions
    that open a transaction on the API database.

    :param packages: the site-packages folder.
    """
    found = {}
    for watched in WATCHED:
        path = packages / watched
        files = sorted(path.glob('*.py')) if path.is_dir() else [path]
        for file in files:
            if file.exists():
                names = _listed(file, of_api=path.is_dir())
                if names:
                    found[module_of(str(file)) or ''] = names
    return found


def _listed(file: pathlib.Path, of_api: bool) -> list[str]:
    names: list[str] = []

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef) and of_api:
                walk(node.body, f'{prefix}{node.name}.')
            elif isinstance(node, ast.FunctionDef):
                opens = any('api_db_api.context_manager' in ast.unparse(d)
                            for d in node.decorator_list)
                if opens if of_api else not node.name.startswith('_'):
                    names.append(prefix + node.name)

    walk(ast.parse(file.read_text()).body, '')
    return names
