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

"""Which peer suites there are, and how each is run."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Suite:
    """One suite of a peer project, run unmodified from its wheel.

    :ivar package: whose site-packages folder it lies in.
    :ivar distribution: its name on PyPI.
    :ivar path: test path below site-packages.
    :ivar regex: which of its tests; None = all.
    :ivar databases: the oslo.config sections whose ``connection`` it reads.
    :ivar transport: it is about messaging: URLs in the environment.
    :ivar concurrency: most workers that it bears; None = any.
    :ivar alone: which of its tests run after the others, one by one.
    :ivar forgets: its engines, disposed of, must find nothing again, as
        with SQLite in memory.
    :ivar profile: of the databases that it makes without a name, which
        would have the default one.
    :ivar more: folder beside the runner with tests that run then, too.
    """

    package: str
    path: str
    regex: str | None = None
    databases: tuple[str, ...] = ('database',)
    transport: bool = False
    concurrency: int | None = None
    distribution: str = ''
    alone: str | None = None
    more: str | None = None
    forgets: bool = False
    profile: str | None = None

    def __post_init__(self) -> None:
        if not self.distribution:
            object.__setattr__(self, 'distribution', self.package)


NOVA = ('database', 'api_database')

KEYSTONE_SQL = (
    r'keystone\.tests\.unit\.(test_backend_sql|test_sql_upgrade'
    r'|test_sql_banned_operations|test_v3_assignment'
    r'|test_backend_federation_sql|test_backend_id_mapping_sql'
    r'|test_backend_endpoint_policy_sql|test_v3_credential|assignment)')

# The part of nova's functional suite whose subject is what the database
# keeps: servers' life, migrations' records, quotas, archive and purge.
NOVA_FUNCTIONAL = (
    r'nova\.tests\.functional\.(test_servers\.ServersTest\b|test_archive'
    r'|test_instance_actions|test_aggregates|test_availability_zones'
    r'|test_server_group|test_list_servers_ip_filter|test_nova_manage'
    r'|test_services|test_metadata|test_scheduler)')

CINDER_DB = (
    r'cinder\.tests\.unit\.(db\.|test_db_api|test_db_worker_api|test_quota\.)')

SUITES = {
    'nova-unit-db': Suite('nova', 'nova/tests/unit/db', databases=NOVA,
                          profile='nova'),
    'nova-functional-db': Suite(
        'nova', 'nova/tests/functional/db', databases=NOVA, profile='nova'),
    'nova-functional': Suite(
        'nova', 'nova/tests/functional', NOVA_FUNCTIONAL, databases=NOVA,
        profile='nova'),
    'glance-functional-db': Suite('glance', 'glance/tests/functional/db',
                                  profile='glance'),
    'placement-functional-db': Suite(
        'placement', 'placement/tests/functional/db',
        databases=('placement_database',),
        distribution='openstack-placement', profile='placement'),
    'placement-gabbi': Suite(
        'placement', 'placement/tests/functional',
        r'placement\.tests\.functional\.test_api',
        databases=('placement_database',),
        distribution='openstack-placement', profile='placement'),
    'keystone-sql': Suite('keystone', 'keystone/tests/unit', KEYSTONE_SQL,
                          profile='keystone'),
    'oslo-messaging': Suite(
        'oslo_messaging', 'oslo_messaging/tests',
        r'oslo_messaging\.tests\.functional', databases=(), transport=True,
        distribution='oslo.messaging', alone='MetricsTestCase',
        more='ungated'),
    'neutron-unit-db': Suite('neutron', 'neutron/tests/unit/db',
                             profile='neutron'),
    'cinder-unit-db': Suite('cinder', 'cinder/tests/unit', CINDER_DB, (),
                            forgets=True),
}
