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

"""Bugs of the past, by the real functions of nova and placement.

A program, so that the services' global state (and eventlet) stay out of the
test runner: prints one JSON document per check, {name: error or null}.

    python -m tests.functional.db.past_bugs_services 'URL with {name}'
"""

from concurrent import futures
import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import traceback
from typing import Any
import uuid

_PROVIDER = '00000000-0000-0000-0000-00000000000a'
_TOTAL = 40
_INSTANCE = '00000000-0000-0000-0000-00000000000b'


def _uuid(number: int) -> str:
    return str(uuid.UUID(int=number + 1000))


def _expect(expected: Any, found: Any, what: str = '') -> None:
    if expected != found:
        raise AssertionError(f'{what}: {found!r} is not {expected!r}')


def _raised(run: Any) -> str:
    """Return the name of the error that a call ends with, or ''."""
    try:
        run()
    except Exception as exc:
        return type(exc).__name__
    return ''


def _workers(mode: str, url: str, count: int, *arguments: str) -> list[Any]:
    """Run this program several times at once; return their answers."""
    children = [subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-m', __spec__.name, url, mode,
         str(number), *arguments], stdout=subprocess.PIPE)
        for number in range(count)]
    answers = []
    for child in children:
        output, _ = child.communicate(timeout=300)
        if child.returncode:
            raise AssertionError(f'{mode}: {child.returncode}')
        answers.append(json.loads(output.splitlines()[-1]))
    return answers


# --- placement

@functools.cache
def _placement(url: str) -> Any:
    """Configure the process; return a context of its own for each caller."""
    from oslo_config import cfg
    from placement import conf as placement_conf
    from placement import context
    from placement import db_api
    config = cfg.ConfigOpts()
    placement_conf.register_opts(config)
    config.set_override(
        'connection', url.format(name='placement'), 'placement_database')
    config([], project='placement', default_config_files=[])
    config.set_override('sync_on_startup', True, 'placement_database')
    db_api.configure(config)
    return lambda: context.RequestContext(
        user_id='u', project_id='p', config=config)


def _consumer(context: Any, number: int) -> Any:
    from placement.objects import consumer
    from placement.objects import project
    from placement.objects import user
    try:
        owner = project.Project.get_by_external_id(context, 'p')
        who = user.User.get_by_external_id(context, 'u')
    except Exception:
        owner = project.Project(context, external_id='p')
        owner.create()
        who = user.User(context, external_id='u')
        who.create()
    made = consumer.Consumer(
        context, uuid=_uuid(number), user=who, project=owner)
    made.create()
    return made


def _claim(context: Any, number: int) -> str:
    """Claim one VCPU.

    Not inside a transaction of the caller's, as the REST handler does it:
    there placement's own retry takes what its first try has inserted for a
    usage that the consumer has had before, and overcommits on any database.
    """
    from placement.objects import allocation
    from placement.objects import resource_provider
    consumer = _consumer(context, number)
    provider = resource_provider.ResourceProvider.get_by_uuid(
        context, _PROVIDER)
    return _raised(lambda: allocation.replace_all(
        context, [allocation.Allocation(
            consumer=consumer, resource_class='VCPU', used=1,
            resource_provider=provider)]))


def claims(url: str, worker: int) -> list[str]:
    """Be one of the processes of `check_02`."""
    context = _placement(url)
    with futures.ThreadPoolExecutor(5) as pool:
        return list(pool.map(
            lambda n: _claim(context(), worker * 100 + n), range(25)))


def check_02_allocations_at_once(url: str) -> None:
    """LP 1719933: 50 at once on one provider, from two processes."""
    from placement.objects import inventory
    from placement.objects import resource_class
    from placement.objects import resource_provider
    context = _placement(url)()
    provider = resource_provider.ResourceProvider(
        context, name='rp', uuid=_PROVIDER)
    provider.create()
    provider.set_inventory([inventory.Inventory(
        resource_provider=provider, resource_class='VCPU', total=_TOTAL,
        reserved=0, min_unit=1, max_unit=8, step_size=1,
        allocation_ratio=1.0)])
    _consumer(context, 99999)
    ends = [e for found in _workers('claims', url, 2) for e in found]
    # a clean answer for each: done, full, or a conflict (409)
    clean = {'', 'InvalidAllocationCapacityExceeded',
             'ResourceProviderConcurrentUpdateDetected'}
    _expect(set(), set(ends) - clean, 'errors')
    usages = {u.resource_class: u.usage
              for u in _usages(context)}
    _expect(ends.count(''), usages['VCPU'], 'claimed')
    if usages['VCPU'] > _TOTAL:
        raise AssertionError(f'overcommitted: {usages}')
    if usages['VCPU'] < _TOTAL // 2:
        raise AssertionError(f'nearly nobody got through: {ends}')
    _expect(0, resource_class.ResourceClass.get_by_name(
        context, 'VCPU').id, 'bug 16: VCPU is')


def _usages(context: Any) -> Any:
    from placement.objects import usage
    return usage.get_all_by_resource_provider_uuid(context, _PROVIDER)


# --- nova

@functools.cache
def _configure_nova(url: str) -> None:
    from tests.bench.db.services import nova
    nova.configure({key: url.format(name=name)
                    for key, name in nova.DATABASES.items()})


def _nova(url: str) -> Any:
    """Configure the process; return a context."""
    from nova import context
    _configure_nova(url)
    return context.get_admin_context()


def _instance(context: Any, ident: str, **more: Any) -> None:
    from nova.db.main import api
    api.instance_create(context, dict(
        uuid=ident, project_id='p', user_id='u', host='h', node='h',
        hostname='x', vm_state='active', **more))


def states(url: str, worker: int) -> list[str]:
    """Be one of the processes of `check_expected_task_state`."""
    from nova.db.main import api
    context = _nova(url)
    return [_raised(lambda n=n: api.instance_update_and_get_original(
        context, _uuid(n), {'task_state': f'mine{worker}',
                            'expected_task_state': [None]}))
        for n in range(10)]


def check_expected_task_state(url: str) -> None:
    """Of two that expect one task state, one wins, the other is told so."""
    context = _nova(url)
    for number in range(10):
        _instance(context, _uuid(number), task_state=None)
    one, two = _workers('states', url, 2)
    for a, b in zip(one, two):
        _expect(['', 'UnexpectedTaskStateError'], sorted((a, b)))


def discover(url: str, worker: int) -> list[str]:
    """Be one of the processes of `check_04`."""
    from nova.objects import host_mapping
    context = _nova(url)
    return [_raised(lambda: host_mapping.discover_hosts(context))]


def check_04_discover_hosts_at_once(url: str) -> None:
    """LP 1824445: three at once: one row per host."""
    from nova import objects
    from nova.db.main import api
    context = _nova(url)
    objects.CellMapping(
        context, uuid=_uuid(1), name='cell1', transport_url='fake:/',
        database_connection=url.format(name='nova_cell1')).create()
    for number in range(3):
        _node(api, context, number)
    ends = _workers('discover', url, 3)
    hosts = sorted(m.host for m in objects.HostMappingList.get_all(context))
    _expect(['host0', 'host1', 'host2'], hosts, f'{ends}')


def _node(api: Any, context: Any, number: int, **more: Any) -> Any:
    return api.compute_node_create(context, dict(
        uuid=_uuid(5000 + number), host=f'host{number}', vcpus=1,
        hypervisor_hostname=f'host{number}', memory_mb=1, local_gb=1,
        vcpus_used=0, memory_mb_used=0, local_gb_used=0, mapped=0,
        hypervisor_type='fake', hypervisor_version=1, cpu_info='') | more)


def check_05_compute_node_restored(url: str) -> None:
    """LP 1839560: created again with the uuid of a soft-deleted one."""
    from nova.db.main import api
    context = _nova(url)
    node = _node(api, context, 10)
    api.compute_node_delete(context, node['id'])
    again = _node(api, context, 10, vcpus=7)
    _expect(node['id'], again['id'])
    found = api.compute_node_get(context, node['id'])
    _expect((0, None, 7), (found['deleted'], found['deleted_at'],
                           found['vcpus']))


def check_06_rebound_node_stays(url: str) -> None:
    """LP 1853009: not deleted by its old owner after a rebind."""
    from nova.db.main import api
    context = _nova(url)
    node = _node(api, context, 20)
    api.compute_node_update(context, node['id'], {'host': 'new'})
    error = _raised(lambda: api.compute_node_delete(
        context, node['id'],
        constraint=api.constraint(host=api.equal_any('host20'))))
    _expect('ConstraintNotMet', error)
    _expect('new', api.compute_node_get(context, node['id'])['host'])


def check_09_hard_delete(url: str) -> None:
    """LP 1830438: an instance with soft-deleted children."""
    from nova.db.main import api
    context = _nova(url)
    _instance(context, _INSTANCE, metadata={'a': 'b'},
              system_metadata={'c': 'd'})
    volume = api.block_device_mapping_create(context, dict(
        instance_uuid=_INSTANCE, source_type='volume', no_device=False,
        destination_type='volume', volume_id=_uuid(1)), legacy=False)
    api.block_device_mapping_destroy(context, volume['id'])
    api.instance_metadata_delete(context, _INSTANCE, 'a')
    api.instance_destroy(context, _INSTANCE, hard_delete=True)
    context.read_deleted = 'yes'
    _expect('InstanceNotFound', _raised(
        lambda: api.instance_get_by_uuid(context, _INSTANCE)))


def check_12_odd_filters(url: str) -> None:
    """LP 1546396: no error, and what a regular expression finds."""
    from nova.db.main import api
    context = _nova(url)
    for number, name in enumerate(('a|b', 'a%b', 'a_b', 'a\\b', 'ab')):
        _instance(context, _uuid(7000 + number), display_name=name)

    def named(pattern: str) -> list[str]:
        return sorted(i['display_name'] for i in
                      api.instance_get_all_by_filters(
                          context, {'display_name': pattern})
                      if i['display_name'])

    _expect(['a%b'], named('a%b'))
    _expect(['a_b'], named('a_b'))
    _expect(['a\\b'], named('a\\\\b'))
    _expect(['a|b'], named('a\\|b'))


def check_14_online_migrations(url: str) -> None:
    """LP 1796192: says what failed and exits non-zero; then it finishes."""
    from nova.cmd import manage
    from nova.db.main import api
    context = _nova(url)
    _node(api, context, 30)

    def failing(context: Any, count: int) -> tuple[int, int]:
        _node(api, context, 31, host='host30', hypervisor_hostname='host30')
        return 1, 1

    command = manage.DbCommands()
    output = io.StringIO()
    command.online_migrations = (failing,)
    with contextlib.redirect_stdout(output):
        _expect(2, command.online_data_migrations(), 'exit status')
    if 'failing' not in output.getvalue():
        raise AssertionError(f'its name is not there: {output.getvalue()}')
    _expect('DBDuplicateEntry', _raised(lambda: failing(context, 1)))
    command.online_migrations = (lambda context, count: (0, 0),)
    with contextlib.redirect_stdout(output):
        _expect(0, command.online_data_migrations(), 'exit status')


def main(url: str, mode: str = '', worker: str = '0') -> None:
    """Run all checks, or be a worker of one."""
    if mode:
        print(json.dumps(globals()[mode](url, int(worker))))
        return
    from placement import deploy

    from tests.bench.db.services import nova
    deploy.update_database(_placement(url)().config)
    _nova(url)
    nova.sync()
    for name, check in list(globals().items()):
        if name.startswith('check_'):
            error = None
            try:
                check(url)
            except BaseException:
                error = traceback.format_exc()
            print(json.dumps({name: error}), flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)
