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

"""Random transactions, on our layer and on stock SQLite: the same results.

Every statement's rows, counts and errors are compared, and the tables after
each transaction.  The statements stay within what both must answer alike:
no order where none is asked for, and no generated ids.
"""

import random
import sqlite3
import uuid

import testtools

from luc_drivers.db import dbapi
from luc_drivers.db import engine

_SCHEMA = """
CREATE TABLE p (id INTEGER PRIMARY KEY, u TEXT UNIQUE COLLATE NOCASE,
    a INT, b TEXT DEFAULT 'd', UNIQUE (a, b));
CREATE TABLE k (id INTEGER PRIMARY KEY, v INT NOT NULL,
    pid INT REFERENCES p (id) ON DELETE CASCADE,
    pu TEXT REFERENCES p (u) ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE g (id INTEGER PRIMARY KEY, kid INT REFERENCES k (id),
    up INT REFERENCES g (id));
CREATE TABLE m (a TEXT, b INT, c, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE INDEX k_pid ON k (pid, v);
CREATE INDEX p_a ON p (a)
"""


class Statements:
    """Draws statements and parameters."""

    def __init__(self, seed):
        self.dice = random.Random(seed)

    def number(self):
        return self.dice.randrange(6)

    def maybe(self):
        return self.dice.choice([None, self.number(), self.number()])

    def text(self):
        return self.dice.choice(['x', 'X', 'y', 'z', None])

    def any(self):
        return self.dice.choice(
            [self.number(), self.text(), str(self.number()), 1.5, b'x'])

    def draw(self):
        """Return (sql, parameters)."""
        n, m, t, a = self.number, self.maybe, self.text, self.any
        clause = self.dice.choice(['', '', 'OR IGNORE ', 'OR REPLACE '])
        return self.dice.choice([
            lambda: (f'INSERT {clause}INTO p VALUES (?, ?, ?, ?)',
                     (n(), t(), m(), t())),
            lambda: (f'INSERT {clause}INTO k VALUES (?, ?, ?, ?)',
                     (n(), m(), m(), t())),
            lambda: ('INSERT INTO g VALUES (?, ?, ?)', (n(), m(), m())),
            lambda: (f'INSERT {clause}INTO m VALUES (?, ?, ?)',
                     (t() or 'q', n(), a())),
            lambda: ('INSERT INTO p VALUES (?, ?, ?, ?) ON CONFLICT (u) DO '
                     'UPDATE SET a = excluded.a', (n(), t(), m(), t())),
            lambda: ('INSERT INTO m SELECT u, id, b FROM p WHERE a > ? AND '
                     'u IS NOT NULL', (n(),)),
            lambda: ('UPDATE p SET a = a + 1 WHERE id = ?', (n(),)),
            lambda: ('UPDATE p SET u = ? WHERE u = ?', (t(), t())),
            lambda: ('UPDATE p SET b = ? WHERE a = ? OR u = ?',
                     (t(), n(), t())),
            lambda: ('UPDATE p SET id = ? WHERE id = ?', (n(), n())),
            lambda: ('UPDATE k SET pid = ? WHERE v IN (?, ?)',
                     (m(), n(), n())),
            lambda: ('UPDATE k SET v = v WHERE pid = ? RETURNING id',
                     (n(),)),
            # no steps of 1: SQLite checks row by row, in its own order
            lambda: ('UPDATE m SET b = b + ?, c = ? WHERE a = ?',
                     (self.dice.randrange(100, 10 ** 6), a(), t())),
            lambda: ('UPDATE k SET v = (SELECT max(a) FROM p) WHERE EXISTS '
                     '(SELECT 1 FROM p WHERE p.id = k.pid AND p.a > ?)',
                     (n(),)),
            lambda: ('DELETE FROM p WHERE id = ?', (n(),)),
            lambda: ('DELETE FROM p WHERE u = ?', (t(),)),
            lambda: ('DELETE FROM k WHERE pid IN (SELECT id FROM p WHERE '
                     'a = ?)', (n(),)),
            lambda: ('DELETE FROM g', ()),
            lambda: ('DELETE FROM m WHERE b >= ? AND a = ?', (n(), t())),
            lambda: ('SELECT * FROM p WHERE u = ? ORDER BY id', (t(),)),
            lambda: ('SELECT * FROM p WHERE a = ? AND b IS ? ORDER BY id',
                     (a(), t())),
            lambda: ('SELECT p.id, k.id, g.id FROM p LEFT JOIN k ON '
                     'k.pid = p.id AND k.v > ? LEFT JOIN g ON g.kid = k.id '
                     'WHERE p.a <= ? ORDER BY 1, 2, 3', (n(), n())),
            lambda: ('SELECT p.id FROM p LEFT JOIN k ON k.pid = p.id WHERE '
                     'k.id IS NULL ORDER BY 1', ()),
            lambda: ('SELECT id FROM p WHERE id NOT IN (SELECT pid FROM k '
                     'WHERE pid IS NOT NULL AND v = ?) ORDER BY id', (n(),)),
            lambda: ('SELECT pid, count(*), max(v) FROM k GROUP BY pid '
                     'HAVING count(*) > ? ORDER BY 1', (n() % 2,)),
            lambda: ('SELECT a, b, c FROM m WHERE a = ? AND b BETWEEN ? AND '
                     '? ORDER BY b', (t(), n(), n())),
            lambda: ('SELECT id FROM k WHERE (pid, v) IN (VALUES (?, ?), '
                     '(?, ?)) ORDER BY id', (n(), n(), n(), n())),
            lambda: ('SELECT u FROM p WHERE id = ? UNION SELECT a FROM m '
                     'WHERE b = ? ORDER BY 1', (n(), n())),
        ])()


class StockTestCase(testtools.TestCase):

    def options(self):
        return {'store': 'embedded'}

    def setUp(self):
        super().setUp()
        private = uuid.uuid4().hex
        self.addCleanup(engine.drop_private, private)
        self.ours = dbapi.connect(
            'stock', fresh='1', private=private, **self.options())
        self.addCleanup(self.ours.close)
        self.stock = sqlite3.connect(':memory:')
        self.addCleanup(self.stock.close)
        for one in (self.ours, self.stock):
            one.isolation_level = None
            one.executescript(_SCHEMA)
        self.stock.execute('PRAGMA foreign_keys = ON')

    @staticmethod
    def run_one(connection, error, sql, parameters=()):
        """Return all that a caller sees of a statement."""
        try:
            cursor = connection.execute(sql, parameters)
            rows = cursor.fetchall()
        except error as exc:
            # of several keys that clash either may be named
            return type(exc).__name__, str(exc).partition(' failed: ')[0]
        names = cursor.description and [d[0] for d in cursor.description]
        count = None if sql.startswith('SELECT') else cursor.rowcount
        return rows, names, count if 'RETURNING' not in sql else None

    def both(self, trail, sql, parameters=()):
        trail.append((sql, parameters))
        expected = self.run_one(
            self.stock, sqlite3.Error, sql, parameters)
        found = self.run_one(self.ours, dbapi.Error, sql, parameters)
        self.assertEqual(expected, found, trail)
        return expected

    def tables(self, trail):
        for name, order in (('p', 'id'), ('k', 'id'), ('g', 'id'),
                            ('m', 'a, b')):
            self.both(trail, f'SELECT * FROM {name} ORDER BY {order}')

    def session(self, seed, transactions):
        draws = Statements(seed)
        dice = draws.dice
        trail = [seed]
        for _ in range(transactions):
            if dice.random() < 0.3:
                self.both(trail, *draws.draw())
                continue
            self.both(trail, 'BEGIN')
            savepoints = []
            for _ in range(dice.randrange(1, 9)):
                choice = dice.random()
                if choice < 0.1:
                    savepoints.append(f's{len(savepoints)}')
                    self.both(trail, 'SAVEPOINT ' + savepoints[-1])
                elif choice < 0.2 and savepoints:
                    place = dice.randrange(len(savepoints))
                    del savepoints[place + 1:]
                    if dice.random() < 0.7:
                        self.both(trail, 'ROLLBACK TO ' + savepoints[place])
                    else:
                        self.both(trail, 'RELEASE ' + savepoints.pop())
                else:
                    self.both(trail, *draws.draw())
            self.both(trail, dice.choice(['COMMIT', 'COMMIT', 'ROLLBACK']))
            self.tables(trail)

    def test_as_stock_sqlite(self):
        for seed in range(30):
            self.session(seed, 8)
            trail = [seed]
            for name in ('g', 'k', 'p', 'm'):
                if name == 'g':
                    self.both(trail, 'UPDATE g SET up = NULL')
                self.both(trail, 'DELETE FROM ' + name)
