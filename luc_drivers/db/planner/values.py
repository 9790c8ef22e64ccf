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

"""Affinity and collation: which values a look-up must try.

Rules 17 and 18: SQLite converts an operand without affinity to that of the
column it is compared with.  Where the conversion is not certain to be the
same here and in SQLite, both forms are tried: a superset is always right.
"""

from collections.abc import Iterable
import math
import re
from typing import Any

from luc_drivers.db.catalog import schema
from luc_drivers.db.planner import plan

#: SQLite's numeric literals, with the white space that it allows around
_NUMBER = re.compile(
    r'[ \t\n\v\f\r]*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[ \t\n\v\f\r]*',
    re.ASCII)
_INTEGER = re.compile(
    r'[ \t\n\v\f\r]*[+-]?\d{1,30}[ \t\n\v\f\r]*', re.ASCII)

_NUMERIC = frozenset((schema.Affinity.INTEGER, schema.Affinity.REAL,
                      schema.Affinity.NUMERIC))


def is_numeric(affinity: schema.Affinity) -> bool:
    """Tell whether comparisons convert the other side to a number."""
    return affinity in _NUMERIC


def comparable(target: schema.Affinity, source: schema.Affinity) -> bool:
    """Tell whether values of a ``source`` column can drive a look-up.

    Same class: values compare as they are.  A numeric target never has its
    own values converted, so any source may drive it; a text or blob target
    compared with a number has.
    """
    return is_numeric(target) or (
        target is source and not is_numeric(source))


def plain(value: Any, query: plan.RunQuery) -> plan.SQLValue:
    """Return a parameter as one of SQLite's five classes.

    Other types (that an adapter converts) are asked of SQLite.
    """
    if value is None or type(value) in (int, str, bytes):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return query('SELECT ?', (value,))[0][0]


def candidates(value: plan.SQLValue, affinity: schema.Affinity,
               query: plan.RunQuery) -> Iterable[plan.SQLValue]:
    """Yield the values that a column of ``affinity`` may hold to be equal.

    :param value: what it is compared with; not None.
    """
    if isinstance(value, str):
        yield value
        if affinity in _NUMERIC and _NUMBER.fullmatch(value):
            yield from _numbers(value)
    elif affinity is schema.Affinity.TEXT and isinstance(value, int):
        yield str(value)
    elif affinity is schema.Affinity.TEXT and isinstance(value, float):
        yield query('SELECT CAST(? AS TEXT)', (value,))[0][0]
    else:
        yield value


def _numbers(value: str) -> Iterable[int | float]:
    """Yield the numbers that a text may become: SQLite's own conversion of
    fractions may differ from Python's in the last bit."""
    if _INTEGER.fullmatch(value):
        number = int(value)
        if -2 ** 63 <= number < 2 ** 63:
            yield number
            return
    fraction = float(value)
    yield fraction
    if not fraction.is_integer() or abs(fraction) >= 2 ** 53:
        yield math.nextafter(fraction, math.inf)
        yield math.nextafter(fraction, -math.inf)


def range_end(value: plan.SQLValue, affinity: schema.Affinity,
            query: plan.RunQuery, *, upper: bool) -> plan.SQLValue:
    """Return a range's end after conversion, on the safe side."""
    found = list(candidates(value, affinity, query))
    if len(found) == 1:
        return found[0]
    numbers = [v for v in found if isinstance(v, (int, float))]
    # a text that is a number compares as that number
    return max(numbers) if upper else min(numbers)
