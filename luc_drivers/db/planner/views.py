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


"""Views: a statement that names some gets them as common table expressions.

What stands in their place are base tables, which the planner understands and
SQLite evaluates.
"""

import dataclasses

from luc_drivers.db import errors
from luc_drivers.db.catalog.schema import Schema
from luc_drivers.db.catalog.schema import View
from luc_drivers.db.planner import parse
from luc_drivers.db.planner import text as texts


def expand(normal: texts.Normal, schema: Schema) -> texts.Normal:
    """Return a statement with the views that it names put before it.

    :raises OperationalError: it writes to a view.
    :raises NotSupportedError: its own common table expressions hide tables
        that a view reads.
    """
    if not schema.views:
        return normal
    found = texts.tokens(normal.text)
    names = {texts.name_of(normal.text, t).lower() for t in found
             if t.kind in ('word', 'quoted')}
    own = _defined(normal.text, found)
    used = (names & schema.views.keys()) - own
    if not used:
        return normal
    _refuse_writes(normal.text, found, used)
    views = _closure(used, schema)
    hidden = own & set().union(*(v.names for v in views))
    if hidden:
        raise errors.NotSupportedError(
            'the name %s of a common table expression is used in a view that '
            'the statement reads, too: give it another one' % min(hidden))
    text = _unqualified(normal.text, found, used)
    listed = ', '.join(
        f'{texts.quote(v.name)}{v.columns} AS ({_body(v)})' for v in views)
    if found[0].text == 'WITH':
        at = found[1 if found[1].text == 'RECURSIVE' else 0].end
        text = f'{text[:at]} {listed},{text[at:]}'
    else:
        text = f'WITH {listed} {text}'
    return dataclasses.replace(normal, text=text)


def _body(view: View) -> str:
    normal = texts.normalise(view.query)
    # SQLite lets no view have parameters
    return view.query if normal is None else normal.text


def _closure(used: set[str], schema: Schema) -> list[View]:
    """Return views and those that they name, each after what it names."""
    done: dict[str, View] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in done:
            return
        if name in above:
            raise errors.OperationalError(
                f'view {schema.views[name].name} is circularly defined')
        view = schema.views[name]
        for inner in sorted(view.names & schema.views.keys() - {name}):
            add(inner, (*above, name))
        done[name] = view

    for name in sorted(used):
        add(name, ())
    return list(done.values())


def _defined(text: str, found: list[texts.Token]) -> set[str]:
    """Return the names that the statement's own WITH clauses define."""
    own = set()
    for place, token in enumerate(found):
        if token.text != 'AS' or token.kind != 'word' or not (
                place + 1 < len(found)):
            continue
        if found[place + 1].text not in ('(', 'NOT', 'MATERIALIZED'):
            continue
        before = place - 1
        if found[before].text == ')':
            depth = found[before].depth
            before -= 1
            while before > 0 and found[before].depth > depth:
                before -= 1
            before -= 1
        if before > 0 and (found[before - 1].text in (
                'WITH', 'RECURSIVE', ',')):
            own.add(texts.name_of(text, found[before]).lower())
    return own


def _refuse_writes(text: str, found: list[texts.Token],
                   used: set[str]) -> None:
    at = parse.main_word(found)
    if at < 0 or found[at].text not in (
            'INSERT', 'REPLACE', 'UPDATE', 'DELETE'):
        return
    at += 1
    while at < len(found) and found[at].text in ('OR', 'INTO', 'FROM'):
        at += 2 if found[at].text == 'OR' else 1
    if at + 2 < len(found) and found[at + 1].text == '.':
        at += 2
    if at < len(found):
        name = texts.name_of(text, found[at])
        if name.lower() in used:
            raise errors.OperationalError(
                f'cannot modify {name} because it is a view')


def _unqualified(text: str, found: list[texts.Token],
                 used: set[str]) -> str:
    """Take ``main.`` off the views' names."""
    for first, dot, name in reversed(list(zip(found, found[1:], found[2:]))):
        if (first.text in ('MAIN', '"main"') and dot.text == '.'
                and texts.name_of(text, name).lower() in used):
            text = text[:first.start] + text[name.start:]
    return text
