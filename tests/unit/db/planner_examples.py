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

"""The tables and helpers of the planner's examples."""

from luc_drivers.db.planner import planner
from tests.unit.db import planner_fixtures as fixtures


def make_schema():
    column = fixtures.column
    return fixtures.schema(
        fixtures.table(1, 'instances', [
            column(0, 'id', 'INTEGER'),
            column(1, 'uuid', 'TEXT', not_null=True),
            column(2, 'host', 'TEXT'), column(3, 'project_id', 'TEXT'),
            column(4, 'deleted', 'INTEGER'), column(5, 'size', 'NUMERIC')],
            ['id'], group=['uuid'], key=['uuid'], uniques=[['uuid']],
            indexes=[['id'], ['project_id', 'deleted', 'size'], ['host']]),
        fixtures.table(2, 'faults', [
            column(0, 'id', 'INTEGER'), column(1, 'instance_uuid', 'TEXT'),
            column(2, 'code', 'INTEGER'), column(3, 'key', 'TEXT')],
            ['id'], group=['instance_uuid'], indexes=[['id'], ['code']]),
        fixtures.table(3, 'services', [
            column(0, 'id', 'INTEGER'), column(1, 'host', 'TEXT'),
            column(2, 'binary', 'TEXT'),
            column(3, 'nick', 'TEXT', nocase=True)],
            ['id'], indexes=[['host', 'binary'], ['nick']]),
        fixtures.table(4, 'flavors', [
            column(0, 'id', 'INTEGER'), column(1, 'name', 'TEXT')],
            ['id'], group=[]),
        fixtures.table(5, 'tags', [
            column(0, 'tag', 'TEXT', not_null=True),
            column(1, 'resource', 'TEXT', not_null=True)],
            ['resource', 'tag'], group=['resource']),
        fixtures.table(6, 'plain', [
            column(0, 'a', 'TEXT'), column(1, 'b', 'INTEGER')]))


SCHEMA = make_schema()


def plan(sql):
    return planner.plan(sql, (), SCHEMA)


def paths(sql):
    """Return the waves as sets of (table, path, key columns)."""
    return [{(a.table.name, a.step.path.value,
              tuple(dict.fromkeys(a.step.columns))) for a in wave}
            for wave in plan(sql).waves]


def keys(sql, parameters=(), query=None):
    """Return the keys of the only access."""
    made = plan(sql)
    (access,), = made.waves
    return access.bind(parameters, query).keys
