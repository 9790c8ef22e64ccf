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

"""Anomalies in histories of reads, appends and writes.

After Adya, Liskov and O'Neil, "Generalized Isolation Level Definitions"
(2000), and Kingsbury and Alvaro, "Elle" (VLDB 2020).  A transaction is a list
of micro-operations ``[kind, key, value]``: kind 'r' with what was read,
'append' with the element, 'w' with the value; all values of a key differ.

Promised is: no dirty write (G0), no aborted, intermediate or circular
information flow (G1a, G1b, G1c), no lost update of a row that a transaction
has read and written, reads of a row that repeat, own writes that are seen,
and what is acknowledged is seen by whoever begins later.  Not promised are
snapshots of several rows, nor the absence of write skew.
"""

from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from tests.consistency.history import FAIL
from tests.consistency.history import OK
from tests.consistency.history import Operation


@dataclasses.dataclass
class _Graph:
    """Which transaction must come before which."""

    edges: dict[int, set[int]] = dataclasses.field(default_factory=dict)

    def add(self, before: int | None, after: int | None) -> None:
        if before is not None and after is not None and before != after:
            self.edges.setdefault(before, set()).add(after)

    def cycle(self) -> list[int]:
        """Return transactions of a cycle; [] if there is none."""
        state: dict[int, int] = {}
        for root in self.edges:
            if root in state:
                continue
            state[root] = 1
            path = [root]
            stack = [iter(sorted(self.edges[root]))]
            while stack:
                for after in stack[-1]:
                    if state.get(after) == 1:
                        return path[path.index(after):]
                    if after not in state:
                        state[after] = 1
                        path.append(after)
                        stack.append(iter(sorted(self.edges.get(after, ()))))
                        break
                else:
                    stack.pop()
                    state[path.pop()] = 2
        return []


def _writers(operations: Sequence[Operation], kind: str
             ) -> dict[tuple[Hashable, Any], int]:
    """Return the transaction that wrote each value, whatever came of it."""
    found: dict[tuple[Hashable, Any], int] = {}
    for number, one in enumerate(operations):
        for what, key, value in one.asked:
            if what == kind:
                found[key, value] = number
    return found


def _cycles(orders: Mapping[Hashable, Sequence[Any]],
            writers: Mapping[tuple[Hashable, Any], int],
            reads: Iterable[tuple[int, Hashable, Any]]) -> list[str]:
    """Look for G0 and G1c.

    :param orders: the versions of each key, oldest first.
    :param reads: (transaction, key, version read from others).
    """
    graph = _Graph()
    for key, order in orders.items():
        for before, after in zip(order, order[1:]):
            graph.add(writers.get((key, before)), writers.get((key, after)))
    found = graph.cycle()
    if found:
        return [f'G0, dirty writes: transactions {found}']
    for number, key, version in reads:
        graph.add(writers.get((key, version)), number)
    found = graph.cycle()
    return [f'G1c, circular information flow: {found}'] if found else []


def _not_later(acknowledged: list[tuple[float, int]], start: float) -> int:
    """Return the greatest position acknowledged before a time, or -1."""
    return max([place for end, place in acknowledged if end < start] or [-1])


def check_appends(operations: Sequence[Operation],
                  final: Mapping[Hashable, Sequence[Any]]) -> list[str]:
    """Check transactions of 'r' and 'append'.

    :param final: each key's list at the end.
    """
    wrong = []
    writers = _writers(operations, 'append')
    place = {key: {v: n for n, v in enumerate(order)}
             for key, order in final.items()}
    acknowledged: dict[Hashable, list[tuple[float, int]]] = {}
    for key, order in final.items():
        if len(place[key]) != len(order):
            wrong.append(f'{key}: an element is there twice: {order}')
        for value in order:
            writer = writers.get((key, value))
            if writer is None:
                wrong.append(f'{key}: nobody appended {value}')
            elif operations[writer].outcome == FAIL:
                wrong.append(f'G1a, an aborted append: {operations[writer]}')
    for one in operations:
        for what, key, value in one.asked:
            there = place.get(key, {})
            if what == 'append' and one.outcome == OK:
                if value not in there:
                    wrong.append(f'acknowledged, but lost: {key} {one}')
                else:
                    acknowledged.setdefault(key, []).append(
                        (one.end, there[value]))
            elif what == 'append' and value in there:
                lost = [v for w, k, v in one.asked if w == 'append' and
                        v not in place.get(k, {})]
                if lost:
                    wrong.append(f'half of a transaction: {one}')
    reads = []
    for number, one in enumerate(operations):
        if one.outcome != OK:
            continue
        mine: dict[Hashable, list[Any]] = {}
        first: dict[Hashable, list[Any]] = {}
        for what, key, value in one.got:
            if what == 'append':
                mine.setdefault(key, []).append(value)
                continue
            own = mine.get(key, [])
            base = list(value[:len(value) - len(own)]) if own else list(value)
            if own and list(value[len(base):]) != own:
                wrong.append(f'own appends are not seen: {key} {one}')
                continue
            if key in first and first[key] != base:
                wrong.append(f'a read does not repeat: {key} {one}')
            if own and key not in first:
                # written first: its base is the row as it was written
                continue
            first[key] = base
        for key, base in first.items():
            order = list(final.get(key, []))
            if base != order[:len(base)]:
                wrong.append(f'a read that never was: {key} {base} {one}')
                continue
            if base:
                reads.append((number, key, base[-1]))
                wrong += _intermediate(operations, writers, order,
                                       number, key, base)
            if len(base) <= _not_later(acknowledged.get(key, []), one.start):
                wrong.append(f'a read misses what was acknowledged: {key} '
                             f'{base} {one}')
            own = mine.get(key)
            if own and order[len(base):len(base) + len(own)] != own:
                wrong.append(f'a lost update: {key} {one}')
    return wrong + _cycles(final, writers, reads)


def _intermediate(operations: Sequence[Operation],
                  writers: Mapping[tuple[Hashable, Any], int],
                  order: Sequence[Any], number: int, key: Hashable,
                  base: Sequence[Any]) -> list[str]:
    writer = writers.get((key, base[-1]))
    if writer is None or writer == number or len(base) >= len(order):
        return []
    if writers.get((key, order[len(base)])) == writer:
        return [f'G1b, an intermediate read: {key} {operations[number]}']
    return []


def check_registers(operations: Sequence[Operation],
                    final: Mapping[Hashable, Any]) -> list[str]:
    """Check transactions of 'r' and 'w'; each reads what it will write.

    :param final: each key's value at the end.
    """
    wrong: list[str] = []
    writers = _writers(operations, 'w')
    follows: dict[tuple[Hashable, Any], list[tuple[int, Any]]] = {}
    reads = []
    for number, one in enumerate(operations):
        if one.outcome != OK:
            continue
        mine: dict[Hashable, Any] = {}
        first: dict[Hashable, Any] = {}
        for what, key, value in one.got:
            if what == 'w':
                mine[key] = value
            elif key in mine:
                if value != mine[key]:
                    wrong.append(f'own writes are not seen: {key} {one}')
            elif key in first:
                if value != first[key]:
                    wrong.append(f'a read does not repeat: {key} {one}')
            else:
                first[key] = value
        for key, value in first.items():
            if value is not None:
                reads.append((number, key, value))
                wrong += _written(operations, writers, number, key, value)
            if key in mine:
                follows.setdefault((key, value), []).append(
                    (number, mine[key]))
    for (key, value), after in follows.items():
        if len(after) > 1:
            wrong.append(
                f'a lost update: {key}={value} was replaced by '
                f'{[operations[n] for n, _ in after]}')
    orders = {}
    for key in {k for k, _ in follows} | set(final):
        order = _chain(key, follows, operations)
        orders[key] = order
        if final.get(key) not in (None, *order):
            writer = writers.get((key, final[key]))
            if writer is None or operations[writer].outcome == FAIL:
                wrong.append(f'{key}={final[key]} at the end: nobody wrote it')
    wrong += _recent(operations, orders, reads)
    return wrong + _cycles(orders, writers, reads)


def _written(operations: Sequence[Operation],
             writers: Mapping[tuple[Hashable, Any], int], number: int,
             key: Hashable, value: Any) -> list[str]:
    writer = writers.get((key, value))
    if writer is None:
        return [f'a value out of nothing: {key}={value} '
                f'{operations[number]}']
    one = operations[writer]
    if one.outcome == FAIL:
        return [f'G1a, an aborted read: {key}={value} {operations[number]}']
    last = [v for w, k, v in one.asked if w == 'w' and k == key][-1]
    if last != value and writer != number:
        return [f'G1b, an intermediate read: {key}={value} '
                f'{operations[number]}']
    return []


def _chain(key: Hashable,
           follows: Mapping[tuple[Hashable, Any], list[tuple[int, Any]]],
           operations: Sequence[Operation]) -> list[Any]:
    """Return the longest known run of a key's versions from its start."""
    order: list[Any] = []
    value: Any = None
    while len(follows.get((key, value), ())) == 1:
        value = follows[key, value][0][1]
        if value in order:
            break
        order.append(value)
    return order


def _recent(operations: Sequence[Operation],
            orders: Mapping[Hashable, Sequence[Any]],
            reads: Iterable[tuple[int, Hashable, Any]]) -> list[str]:
    wrong = []
    place = {key: {v: n for n, v in enumerate(order)}
             for key, order in orders.items()}
    acknowledged: dict[Hashable, list[tuple[float, int]]] = {}
    for one in operations:
        if one.outcome == OK:
            for what, key, value in one.asked:
                if what == 'w' and value in place.get(key, {}):
                    acknowledged.setdefault(key, []).append(
                        (one.end, place[key][value]))
    for number, key, value in reads:
        at = place.get(key, {}).get(value)
        one = operations[number]
        if at is not None and at < _not_later(
                acknowledged.get(key, []), one.start):
            wrong.append(f'a read misses what was acknowledged: {key}={value} '
                         f'{one}')
    return wrong
