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

"""Try a cloud as its users do: openstack commands, kill -9, parallel boots."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time
from typing import Any

from luc_drivers.onebox import boot
from luc_drivers.onebox import bootstrap
from luc_drivers.onebox import cloud as clouds
from luc_drivers.onebox import errors

#: a first command after a restart may have to wait for reconnections
COMMAND_TIMEOUT = 120.0
#: seconds in which a boot after a kill must end
BOOT_TIMEOUT = 60.0
_IMAGE = b'one-box ' * 4096

#: openstack(words…) runs one command; returns its answer, decoded
Client = Callable[..., Any]


def client(cloud: clouds.Cloud) -> Client:
    """Return a function that runs ``openstack WORDS… -f json``.

    It raises OneboxError when the command fails.
    """
    env = {**cloud.environment, **bootstrap.openrc(cloud.settings)}
    program = cloud.settings.program('openstack')

    def openstack(*words: str, as_json: bool = True) -> Any:
        command = [program, *words, *(('-f', 'json') if as_json else ())]
        told = 'openstack ' + ' '.join(words)
        with cloud.progress.step(told):
            try:
                done = subprocess.run(
                    command, env=env, stdin=subprocess.DEVNULL,
                    capture_output=True, text=True, timeout=COMMAND_TIMEOUT)
            except subprocess.TimeoutExpired:
                raise errors.OneboxError(
                    f'{told}: no answer in {COMMAND_TIMEOUT:.0f} s') from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise errors.OneboxError(
                f'{told}: {said[-1][:300] if said else "failed"}')
        return json.loads(done.stdout) if as_json and done.stdout else None

    return openstack


def _expect(condition: bool, what: str, found: Any) -> None:
    if not condition:
        raise errors.OneboxError(f'{what}: found {found}')


def run_commands(cloud: clouds.Cloud) -> None:
    """Run the commands that an operator begins with; remove what they make.

    :raises errors.OneboxError: one fails or gives a wrong answer.
    """
    openstack = client(cloud)
    services = openstack('compute', 'service', 'list')
    _expect({one['Binary'] for one in services} >= {
        'nova-conductor', 'nova-scheduler', 'nova-compute'} and all(
        one['State'] == 'up' for one in services
        if one['Binary'] == 'nova-compute'),
        'compute service list: services up', services)
    _check_image(openstack)
    _check_aggregate(openstack, next(
        one['Host'] for one in services if one['Binary'] == 'nova-compute'))
    _check_server(openstack)


def _check_image(openstack: Client) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, copy = (pathlib.Path(folder, name) for name in ('a', 'b'))
        source.write_bytes(_IMAGE + os.urandom(16))
        made = openstack('image', 'create', '--disk-format', 'raw',
                         '--container-format', 'bare', '--file', str(source),
                         'check')
        with _removing(openstack, 'image', made['id']):
            openstack('image', 'save', '--file', str(copy), made['id'],
                      as_json=False)
            _expect(copy.read_bytes() == source.read_bytes(),
                    'image save: the bytes that were uploaded',
                    f'{copy.stat().st_size} others')


def _check_aggregate(openstack: Client, host: str) -> None:
    openstack('aggregate', 'create', 'check')
    with _removing(openstack, 'aggregate', 'check'):
        openstack('aggregate', 'add', 'host', 'check', host)
        found = openstack('aggregate', 'show', 'check')
        _expect(found['hosts'] == [host], 'aggregate show: its host', found)
        openstack('aggregate', 'remove', 'host', 'check', host)


def _check_server(openstack: Client) -> None:
    made = openstack('server', 'create', '--flavor', bootstrap.FLAVORS[0][1],
                     '--image', bootstrap.IMAGES[0], '--network',
                     bootstrap.PRIVATE, '--wait', 'check')
    with _removing(openstack, 'server', made['id'], '--wait'):
        found = openstack('server', 'show', made['id'])
        _expect(found['status'] == 'ACTIVE' and
                bool(found['addresses'].get(bootstrap.PRIVATE)),
                'server show: ACTIVE with an address', found)
        listed = openstack('server', 'list')
        _expect(any(one['ID'] == made['id'] for one in listed),
                f'server list: {made["id"]}', listed)
        ports = openstack('port', 'list', '--server', made['id'])
        _expect(len(ports) == 1 and ports[0]['Status'] == 'ACTIVE',
                'port list: one port, ACTIVE', ports)
    ports = openstack('port', 'list', '--device-id', made['id'])
    _expect(not ports, 'port list: none after the delete', ports)


@contextlib.contextmanager
def _removing(openstack: Client, kind: str, name: str,
              *options: str) -> Iterator[None]:
    """Delete a thing at the end, and see that it is gone."""
    try:
        yield
    finally:
        openstack(kind, 'delete', *options, name, as_json=False)
    left = openstack(kind, 'list')
    _expect(not any(name in (one.get('ID'), one.get('Name'))
                    for one in left), f'{kind} list without {name}', left)


def victims(cloud: clouds.Cloud) -> list[str]:
    """Return what :func:`survive_kills` kills: services, then servers."""
    return ['nova-conductor', 'nova-conductor-cell1', 'nova-scheduler',
            'nova-compute', 'neutron-rpc', *cloud.backend.names(
                cloud.settings)]


def survive_kills(cloud: clouds.Cloud, names: list[str],
                  pause: float = 0.0, timeout: float = BOOT_TIMEOUT
                  ) -> list[tuple[str, boot.Boot]]:
    """``kill -9`` and start services, one after the other, and boot.

    :param pause: seconds for which each stays dead.
    :param timeout: seconds in which a boot must end.
    :returns: for each service the boot that came right after its start.
    :raises errors.OneboxError: a boot does not end ACTIVE in time.
    """
    results = []
    for name in names:
        clouds.restart(cloud, name, hard=True, pause=pause)
        connection = bootstrap.Cloud(cloud.settings)
        with cloud.progress.step(f'boot after kill -9 of {name}'):
            started = time.monotonic()
            booted = boot.boot(connection, f'after-{name}',
                               boot.parts(connection), timeout)
            booted.seconds = time.monotonic() - started
        _expect(booted.status == 'ACTIVE',
                f'boot after kill -9 of {name}: ACTIVE',
                f'{booted.status} {booted.fault}')
        boot.delete(connection, booted.server, timeout)
        results.append((name, booted))
    return results
