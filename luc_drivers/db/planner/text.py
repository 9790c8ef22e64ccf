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

"""Statement texts: comments, placeholders, IN lists, parentheses.

A statement is brought to a *normal form* before anything looks at it:
comments are gone, every placeholder is ``:luc_N`` (N = its slot) and an
``IN (?, ?, …)`` list of any length is one slot, so that texts which differ in
the length of their lists share one analysis.  Texts derived from a statement
(key queries) are kept in normal form and rendered for one layout of slots.
"""

from collections.abc import Sequence
import dataclasses
import re

#: what must not be taken for a placeholder, and the placeholders
_SCAN = re.compile(
    r"""(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])"""
    r"""|(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))"""
    r"""|(?P<list>\bIN\s*\(\s*\?(?:\s*,\s*\?)*\s*\))"""
    r"""|\?(?P<number>\d*)"""
    r"""|(?<![\w$])[:@$](?P<name>[A-Za-z_]\w*)""",
    re.IGNORECASE | re.DOTALL)

_SLOT = re.compile(r':luc_(\d+)\b')

_TOKEN = re.compile(
    r"""\s+|(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`"""
    r"""|\[[^\]]*\])|(?P<word>:?[A-Za-z_\x80-\U0010ffff][\w$]*)"""
    r"""|(?P<number>\d[\w.]*)|(?P<other>.)""", re.DOTALL)

LOCK_COMMENT = '/*luc:lock*/'


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """A placeholder, or an IN list of them.

    :ivar index: position (from 0) of the first among the parameters.
    :ivar count: number of parameters; 1 but for lists.
    :ivar name: for named parameters.
    """

    index: int
    count: int = 1
    name: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Normal:
    """A statement in normal form.

    :ivar text: the normal text.
    :ivar slots: the layout: which parameters each ``:luc_N`` stands for.
    :ivar many: slots that are IN lists.
    :ivar lock: it carries the comment that asks for locks.
    :ivar parameters: number of parameters that SQLite will count.
    """

    text: str
    slots: tuple[Slot, ...]
    many: frozenset[int]
    lock: bool
    parameters: int


def normalise(sql: str) -> Normal | None:
    """Return the normal form; None if the text itself holds ``:luc_N``."""
    if _SLOT.search(sql):
        return None
    pieces: list[str] = []
    slots: list[Slot] = []
    by_name: dict[str, int] = {}
    by_index: dict[int, int] = {}
    many: set[int] = set()
    lock = False
    at = 0
    top = 0  # parameters so far, counted as SQLite does
    for match in _SCAN.finditer(sql):
        kind = match.lastgroup
        if kind == 'quoted':
            continue
        pieces.append(sql[at:match.start()])
        at = match.end()
        if kind == 'comment':
            lock = lock or match.group() == LOCK_COMMENT
            pieces.append(' ')
        elif kind == 'list':
            count = match.group().count('?')
            pieces.append(f'IN (:luc_{len(slots)})')
            many.add(len(slots))
            slots.append(Slot(top, count))
            top += count
        elif kind == 'name':
            name = match.group('name')
            if name not in by_name:
                by_name[name] = len(slots)
                slots.append(Slot(top, 1, name))
                top += 1
            pieces.append(f':luc_{by_name[name]}')
        else:
            number = match.group('number')
            if number:
                index = int(number) - 1
                if index not in by_index:
                    by_index[index] = len(slots)
                    slots.append(Slot(index))
                slot = by_index[index]
                top = max(top, index + 1)
            else:
                slot = len(slots)
                slots.append(Slot(top))
                by_index[top] = slot
                top += 1
            pieces.append(f':luc_{slot}')
    pieces.append(sql[at:])
    return Normal(''.join(pieces).strip().rstrip(';').rstrip(),
                  tuple(slots), frozenset(many), lock, top)


def render(text: str, slots: Sequence[Slot]) -> tuple[str, tuple[int, ...]]:
    """Turn a normal text into SQL with ``?`` for one layout.

    :returns: the SQL, and the slots in the order of their placeholders (a
        list's slot stands for all its parameters).
    """
    order: list[int] = []

    def placeholder(match: re.Match) -> str:
        slot = int(match.group(1))
        order.append(slot)
        return ', '.join('?' * slots[slot].count)

    return _SLOT.sub(placeholder, text), tuple(order)


def render_numbered(text: str, normal: Normal) -> str:
    """Turn a normal text into SQL that takes the statement's parameters.

    Named parameters stay named; others become ``?N``, so that a part of the
    statement can be run with all of its parameters.
    """
    def placeholder(match: re.Match) -> str:
        slot = normal.slots[int(match.group(1))]
        if slot.name is not None:
            return ':' + slot.name
        return ', '.join(
            f'?{slot.index + i + 1}' for i in range(slot.count))

    return _SLOT.sub(placeholder, text)


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """A token of a normal text.

    :ivar kind: 'word', 'quoted', 'number' or 'other' (one character).
    :ivar text: words in upper case, others as they stand.
    :ivar depth: parentheses that are open before it; a parenthesis has the
        depth of what surrounds it.
    """

    kind: str
    text: str
    start: int
    end: int
    depth: int


def tokens(text: str) -> list[Token]:
    """Split a text without comments into tokens."""
    found: list[Token] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind is None:
            continue
        value = match.group()
        if kind == 'word':
            value = value.upper()
        elif value == ')':
            depth -= 1
        found.append(Token(kind, value, match.start(), match.end(), depth))
        if value == '(' and kind == 'other':
            depth += 1
    return found


def name_of(text: str, token: Token) -> str:
    """Return the identifier that a word or quoted token spells."""
    raw = text[token.start:token.end]
    if token.kind != 'quoted':
        return raw
    quote = raw[0]
    if quote == '[':
        return raw[1:-1]
    return raw[1:-1].replace(quote * 2, quote)


def quote(name: str) -> str:
    """Quote an identifier for SQLite."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """Quote a string literal for SQLite."""
    return "'" + value.replace("'", "''") + "'"


def query_ranges(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of what stands inside each ``(SELECT …)``."""
    ranges = []
    stack: list[tuple[int, bool]] = []
    previous = None
    for token in tokens(text):
        if previous is not None and previous.text == '(' and (
                previous.kind == 'other'):
            stack[-1] = (previous.end,
                         token.text in ('SELECT', 'WITH', 'VALUES'))
        if token.kind == 'other' and token.text == '(':
            stack.append((token.end, False))
        elif token.kind == 'other' and token.text == ')' and stack:
            start, query = stack.pop()
            if query:
                ranges.append((start, token.start))
        previous = token
    return sorted(ranges)
