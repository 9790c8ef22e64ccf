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

"""The planner on the statements that stock services send.

``data/statements.json.gz``: [database, executions, statement] of 598 shapes,
recorded while parts of the services' own functional suites ran; IN lists and
VALUES are shortened to ``..``, literals are masked as ``#`` and ``'?'``.
``data/schemas.json.gz``: the DDL that the services' own db syncs leave on
stock SQLite (2026.2), by database.
"""

import collections
import functools
import gzip
import json
import pathlib
import re
import time
import unittest

from luc_drivers.db.catalog import catalog
from luc_drivers.db.planner import plan as plans
from luc_drivers.db.planner import planner
from luc_drivers.db.profiles import registry
from luc_drivers.db.store import base
from luc_drivers.db.store import embedded

DATA = pathlib.Path(__file__).parent / 'data'

#: tables that are read whole by some statement, and why that is right
SCANNED = {
    ('nova', 'compute_nodes'): 'statistics and lists of all hypervisors',
    ('nova', 'services'): 'lists of all services',
    ('nova', 'migrations'): 'lists and pages of all migrations',
    ('keystone', 'project'): 'lists of all projects',
    ('keystone', 'project_tag'): 'with a list of projects by depth',
    ('keystone', 'project_option'): 'with a list of projects by depth',
    ('keystone', 'assignment'): 'a list of all assignments',
    ('keystone', 'id_mapping'): 'a list, and purging of all mappings',
}


def _load(name):
    with gzip.open(DATA / name, 'rt') as found:
        return json.load(found)


@functools.cache
def schemas():
    """Return the schema of each database, its profile applied."""
    made = {}
    for database, statements in _load('schemas.json.gz').items():
        settings = base.StoreSettings(kind='embedded', fresh=True)
        one = catalog.Catalog(
            embedded.EmbeddedStore(database, settings),
            registry.find(database), fresh=True)
        for sql in statements:
            one.apply_ddl(sql)
        made[database] = one.current()
    return made


def unmask(sql):
    """Return a statement that can be planned for a recorded shape."""
    sql = sql.replace('(?..)', '(?, ?, ?)').replace('#', '0')
    insert = re.match(r'INSERT INTO "?\w+"? \((.*?)\) VALUES \(\.\.\)', sql)
    if insert:
        marks = ', '.join('?' * (insert.group(1).count(',') + 1))
        sql = sql.replace('VALUES (..)', f'VALUES ({marks})')
    return sql + ' id' if sql.endswith('RETURNING') else sql


@functools.cache
def workload():
    """Return (database, executions, statement, plan) of all shapes."""
    return [
        (database, count, sql,
         planner.plan(sql, (), schemas()[database]))
        for database, count, sql in (
            (d, c, unmask(s)) for d, c, s in _load('statements.json.gz'))]


def scans(plan):
    """Return the names of the tables that a plan reads whole."""
    return {a.table.name for wave in plan.waves for a in wave
            if a.step.path is plans.Path.SCAN}


def rounds(plan):
    """Return the rounds of requests that a plan takes."""
    return sum(
        max(1 if a.step.path in (plans.Path.GROUP, plans.Path.ROW) else 2
            for a in wave) for wave in plan.waves)


class TestWorkload(unittest.TestCase):

    def test_every_statement_is_understood(self):
        kinds = collections.Counter()
        for _database, _count, sql, plan in workload():
            self.assertFalse(
                [n for n in plan.notes if 'not understood' in n], sql)
            kinds[plan.kind] += 1
        for kind in (plans.Kind.SELECT, plans.Kind.INSERT,
                     plans.Kind.UPDATE, plans.Kind.DELETE,
                     plans.Kind.SCHEMA):
            self.assertIn(kind, kinds)
        self.assertEqual(598, sum(kinds.values()))

    def test_no_table_is_scanned_without_a_reason(self):
        for database, _count, sql, plan in workload():
            if sql.startswith('INSERT INTO _alembic_tmp_'):
                continue  # a migration copies the table
            for name in scans(plan):
                self.assertIn((database, name), SCANNED, sql)

    def test_every_listed_scan_happens(self):
        found = {(database, name) for database, _count, sql, plan
                 in workload() for name in scans(plan)
                 if not sql.startswith('INSERT INTO _alembic_tmp_')}
        self.assertEqual(set(SCANNED), found)

    def test_scans_are_rare(self):
        total = sum(count for _d, count, _s, _p in workload())
        scanning = sum(count for _d, count, _s, plan in workload()
                       if scans(plan))
        self.assertLess(scanning / total, 0.01)

    def test_most_statements_take_one_round(self):
        total = reading = one = three = 0
        for _database, count, _sql, plan in workload():
            total += count
            if plan.waves:
                reading += count
                one += count * (rounds(plan) == 1)
                three += count * (rounds(plan) > 3)
        self.assertGreater(one / reading, 0.65)
        self.assertLess(three / reading, 0.01)

    def test_an_instance_and_what_belongs_to_it_come_together(self):
        sql = (
            'SELECT anon_1.id FROM (SELECT instances.id AS id,'
            ' instances.uuid AS uuid, instances.host AS host FROM instances'
            ' WHERE instances.deleted = ? AND instances.uuid = ? LIMIT ?'
            ' OFFSET ?) AS anon_1'
            ' LEFT OUTER JOIN instance_info_caches AS c'
            ' ON anon_1.uuid = c.instance_uuid'
            ' LEFT OUTER JOIN instance_extra AS e'
            ' ON anon_1.uuid = e.instance_uuid'
            ' LEFT OUTER JOIN services AS s ON anon_1.host = s.host')
        plan = planner.plan(sql, (), schemas()['nova'])
        tables = [{a.table.name for a in wave} for wave in plan.waves]
        self.assertEqual(
            [{'instances', 'instance_info_caches', 'instance_extra'},
             {'services'}], tables)
        keys = {tuple(a.bind((0, 'u', 1, 0), None).keys[0])
                for a in plan.waves[0]}
        self.assertEqual({('u', 'u'), ('u',)}, keys)


class TestTime(unittest.TestCase):
    """Generous bounds: a factor of ten above what was measured."""

    def _best(self, function, repeat=5):
        best = float('inf')
        for _ in range(repeat):
            begin = time.perf_counter()
            function()
            best = min(best, time.perf_counter() - begin)
        return best

    def test_a_cached_plan(self):
        _database, _count, sql, plan = max(
            workload(), key=lambda w: len(w[2]))
        schema = schemas()[_database]

        def lookup():
            for _ in range(100):
                self.assertIs(plan, planner.plan(sql, (), schema))

        self.assertLess(self._best(lookup) / 100, 30e-6)

    def test_a_list_of_four_thousand(self):
        schema = schemas()['nova']
        planner.plan('SELECT id FROM instances WHERE uuid IN (?, ?)', (),
                     schema)
        values = [f'{i:036d}' for i in range(4000)]
        number = [4000]

        def plan_and_bind():
            # another length each time: not the cached plan
            number[0] -= 1
            marks = ', '.join('?' * number[0])
            plan = planner.plan(
                f'SELECT id FROM instances WHERE uuid IN ({marks})', (),
                schema)
            bound = plan.waves[0][0].bind(values[:number[0]], None)
            self.assertEqual(number[0], len(bound.keys))

        self.assertLess(self._best(plan_and_bind), 30e-3)
