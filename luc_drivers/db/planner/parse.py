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

"""From a text to its kind and its syntax tree.

Statements that control transactions or the schema are known by their first
words: sqlglot is slow at them and not needed.
"""

import dataclasses
import logging

import sqlglot
from sqlglot import errors as sqlglot_errors
from sqlglot import exp

from luc_drivers.db.planner import plan
from luc_drivers.db.planner import text as texts

LOG = logging.getLogger(__name__)

_DDL = frozenset(('CREATE', 'DROP', 'ALTER', 'REINDEX'))
#: of no meaning here or answered by the reflecting twin
_SCHEMA = frozenset(('PRAGMA', 'EXPLAIN', 'ANALYZE', 'VACUUM', 'ATTACH',
                     'DETACH'))
_ROWS = {
    'SELECT': plan.Kind.SELECT,
    'VALUES': plan.Kind.SELECT,
    'INSERT': plan.Kind.INSERT,
    'REPLACE': plan.Kind.INSERT,
    'UPDATE': plan.Kind.UPDATE,
    'DELETE': plan.Kind.DELETE,
}
#: tables of SQLite itself: the twin has them
_CATALOG_PREFIXES = ('sqlite_', 'pragma_')


@dataclasses.dataclass(frozen=True, slots=True)
class Control:
    """A statement that needs no tables.

    :ivar savepoint: the name, for the savepoint kinds.
    """

    kind: plan.Kind
    savepoint: str | None = None


def control(sql: str) -> Control | None:
    """Return what a statement is by its first words; None: it needs a plan.

    :param sql: a text without leading comments.
    """
    word = _first_word(sql)
    if word in _ROWS or word == 'WITH':
        return None
    if word in _DDL:
        return Control(plan.Kind.DDL)
    if word in _SCHEMA:
        return Control(plan.Kind.SCHEMA)
    if word == 'BEGIN':
        return Control(plan.Kind.BEGIN)
    if word in ('COMMIT', 'END'):
        return Control(plan.Kind.COMMIT)
    found = texts.tokens(sql)
    words = [t.text for t in found]
    if word == 'ROLLBACK':
        if 'TO' in words:
            return Control(plan.Kind.ROLLBACK_TO,
                           texts.name_of(sql, found[-1]))
        return Control(plan.Kind.ROLLBACK)
    if word == 'SAVEPOINT' and len(found) > 1:
        return Control(plan.Kind.SAVEPOINT, texts.name_of(sql, found[-1]))
    if word == 'RELEASE' and len(found) > 1:
        return Control(plan.Kind.RELEASE, texts.name_of(sql, found[-1]))
    # not SQL that we know: SQLite will word the error
    return Control(plan.Kind.SELECT)


def _first_word(sql: str) -> str:
    at = 0
    while at < len(sql) and (sql[at].isalpha() or sql[at] == '_'):
        at += 1
    return sql[:at].upper()


def main_word(found: list[texts.Token]) -> int:
    """Return the position of the statement's verb, after any WITH clause.

    -1 if there is none.
    """
    if found and found[0].text == 'WITH':
        for position, token in enumerate(found):
            if token.depth == 0 and token.kind == 'word' and (
                    token.text in _ROWS):
                return position
        return -1
    return 0 if found else -1


def kind_of(found: list[texts.Token]) -> plan.Kind:
    """Return the kind of a row statement by its verb."""
    position = main_word(found)
    if position < 0:
        return plan.Kind.SELECT
    return _ROWS.get(found[position].text, plan.Kind.SELECT)


def names_catalog(name: str) -> bool:
    """Tell whether SQLite itself keeps a table of that name."""
    return name.lower().startswith(_CATALOG_PREFIXES)


def parse(sql: str) -> exp.Expr | None:
    """Return the syntax tree of a normal text; None if sqlglot can't.

    ``UPDATE OR x`` is not in its grammar and says nothing about rows.
    """
    found = texts.tokens(sql)
    position = main_word(found)
    if 0 <= position < len(found) - 2:
        verb, word, action = found[position:position + 3]
        if verb.text == 'UPDATE' and word.text == 'OR':
            blank = ' ' * (action.end - word.start)
            sql = sql[:word.start] + blank + sql[action.end:]
    try:
        trees = sqlglot.parse(sql, dialect='sqlite')
    except (sqlglot_errors.SqlglotError, RecursionError) as error:
        LOG.debug('sqlglot cannot parse %r: %s', sql, error)
        return None
    if len(trees) != 1:
        return None
    tree = trees[0]
    if isinstance(
            tree, (exp.Query, exp.Insert, exp.Update, exp.Delete)):
        return tree
    return None
