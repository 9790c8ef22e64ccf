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

"""Bring a cloud up and down; look after its processes."""

import dataclasses
import datetime
import functools
import json
import pathlib
import shutil
import threading
import time
from types import ModuleType
from typing import Any

from luc_drivers.onebox import backends
from luc_drivers.onebox import bootstrap
from luc_drivers.onebox import commands
from luc_drivers.onebox import daemons
from luc_drivers.onebox import errors
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.services import glance
from luc_drivers.onebox.services import helpers
from luc_drivers.onebox.services import keystone
from luc_drivers.onebox.services import libvirt
from luc_drivers.onebox.services import neutron
from luc_drivers.onebox.services import nova
from luc_drivers.onebox.services import placement
from luc_drivers.testing import process

# Raised when what set-up makes has changed: then it is done again.
_SET_UP_VERSION = 3
#: stands for all steps of set-up
_ALL = 'all'


@dataclasses.dataclass(frozen=True)
class Cloud:
    """One cloud and how to report on it."""

    settings: onebox_settings.Settings
    progress: progress_module.Progress

    @property
    def backend(self) -> ModuleType:
        return backends.of(self.settings)

    @functools.cached_property
    def environment(self) -> dict[str, str]:
        return daemons.environment(self.settings)

    def runner(self) -> commands.Runner:
        """Return what runs the services' commands of this cloud."""
        env = {**self.environment, **self.backend.env(self.settings, '')}
        return commands.runner(self.settings, env, self.progress)

    def services(self) -> list[daemons.Daemon]:
        """Return all daemons but the backend's, in starting order."""
        settings, backend = self.settings, self.backend
        return [
            helpers.memcached(settings),
            keystone.daemon(settings, backend),
            placement.daemon(settings, backend),
            glance.daemon(settings, backend),
            neutron.api(settings, backend),
            *neutron.workers(settings, backend),
            *nova.controllers(settings, backend),
            nova.api(settings, backend),
            *([libvirt.daemon(settings)] if settings.virt == 'qemu' else []),
            *nova.computes(settings, backend),
        ]

    def service(self, name: str) -> daemons.Daemon:
        """Return one daemon.

        :raises errors.OneboxError: there is none of that name.
        """
        for daemon in self.services():
            if daemon.name == name:
                return daemon
        raise errors.OneboxError(
            f'no service {name!r}: there are '
            + ', '.join(self.names()))

    def names(self) -> list[str]:
        """Return the names of all daemons."""
        return self.backend.names(self.settings) + [
            daemon.name for daemon in self.services()]


def up(cloud: Cloud) -> None:
    """Bring the cloud up; what runs already is left alone.

    :raises errors.OneboxError: something failed; what was started stays.
    """
    settings = cloud.settings
    write_config(cloud)
    cloud.backend.start(settings, cloud.environment, cloud.progress)
    _start(cloud, ['memcached'])
    if not _is_set_up(settings):
        set_up(cloud)
    _start(cloud, [daemon.name for daemon in cloud.services()],
           'services: starting')
    bootstrap.write_openrc(settings)
    seeded = settings.folder / 'seeded'
    if seeded.exists():
        _check_virt(settings, seeded.read_text())
    else:
        with cloud.progress.step('images, flavors and networks'):
            bootstrap.seed(settings)
    with cloud.progress.step('waiting for nova-compute'):
        for name in nova.compute_names(settings):
            _wait_for_compute(cloud, name)
    # Else the scheduler would find further hosts, but half a minute later.
    hosts = f'{settings.virt} {settings.computes}'
    if not seeded.exists() or seeded.read_text() != hosts:
        nova.discover_hosts(settings, cloud.runner())
        seeded.write_text(hosts)


def _check_virt(settings: onebox_settings.Settings, seeded: str) -> None:
    if seeded and settings.virt != seeded.split()[0]:
        raise errors.OneboxError(
            f'the images of this cloud are for --virt {seeded.split()[0]}: '
            'wipe it, or name another folder by --state')


def write_config(cloud: Cloud) -> None:
    """Write all configuration files.

    :raises errors.OneboxError: the virtual environment lacks the services.
    """
    settings = cloud.settings
    if not (settings.venv / 'etc' / 'nova').exists():
        raise errors.OneboxError(
            f'there is no nova in the virtual environment {settings.venv}: '
            'run devstack/onebox.sh, which installs it, or give --venv')
    for name in ('logs', 'pids', 'lock'):
        settings.folder.joinpath(name).mkdir(parents=True, exist_ok=True)
    cloud.backend.write_config(settings)
    for service in (keystone, placement, glance, neutron, nova):
        service.write_config(settings, cloud.backend)
    if settings.virt == 'qemu':
        libvirt.write_config(settings)


def set_up(cloud: Cloud) -> None:
    """Make tables, cells, identities: in parallel where they are apart.

    Steps that an interrupted set-up has finished are not repeated.
    """
    settings, backend = cloud.settings, cloud.backend
    steps = _set_up_steps(settings)
    begun_before = set(steps['begun'])
    lock = threading.Lock()
    command = cloud.runner()

    def note(how: str, step: str) -> None:
        with lock:
            steps[how].append(step)
            _set_up_file(settings).write_text(json.dumps(
                {'of': _fingerprint(settings), **steps}))

    def run(what: str, *args: Any, **options: Any) -> None:
        if what in steps['done']:
            return
        note('begun', what)
        try:
            command(what, *args, **options)
        except errors.OneboxError as exc:
            if what not in begun_before:
                raise
            # Migrations are no transactions, here as on MySQL.
            raise errors.OneboxError(
                f'{exc}; an earlier onebox.sh was interrupted in this step: '
                'if that is why, onebox.sh wipe') from None
        note('done', what)

    def identity() -> None:
        keystone.set_up(settings, backend, run)
        _start(cloud, ['keystone'], 'keystone: starting')
        with cloud.progress.step('keystone: users, services, endpoints'):
            bootstrap.register(settings)

    def rest() -> None:
        nova.set_up(settings, backend, run)
        placement.set_up(settings, backend, run)
        glance.set_up(settings, backend, run)
        neutron.set_up(settings, backend, run)

    progress_module.run_all([identity, rest])
    note('done', _ALL)


def _fingerprint(settings: onebox_settings.Settings) -> dict:
    """Return what set-up depends on: other releases need other tables."""
    packages = sorted(
        path.name for name in ('nova', 'glance', 'keystone', 'neutron',
                               'openstack_placement')
        for path in settings.venv.glob(
            f'lib/python3*/site-packages/{name}-*.dist-info'))
    return {'version': _SET_UP_VERSION, 'packages': packages,
            'endpoints': settings.url('keystone'),
            'cassandra': settings.cassandra}


def _set_up_file(settings: onebox_settings.Settings) -> pathlib.Path:
    return settings.folder / 'set-up.json'


def _set_up_steps(settings: onebox_settings.Settings
                  ) -> dict[str, list[str]]:
    """Return which steps were begun and which are done, for these releases."""
    try:
        found = json.loads(_set_up_file(settings).read_text())
    except (FileNotFoundError, ValueError):
        found = {}
    if found.get('of') != _fingerprint(settings):
        found = {}
    return {how: found.get(how, []) for how in ('begun', 'done')}


def _is_set_up(settings: onebox_settings.Settings) -> bool:
    return _ALL in _set_up_steps(settings)['done']


def _start(cloud: Cloud, names: list[str], what: str = '') -> None:
    chosen = [daemon for daemon in cloud.services() if daemon.name in names]
    missing = [daemon for daemon in chosen if process.find(
        daemons.pid_file(cloud.settings, daemon.name)) is None]
    if not missing:
        return

    def do() -> None:
        for daemon in missing:
            daemons.start(cloud.settings, daemon, cloud.environment)
        daemons.wait(cloud.settings, missing)

    if what:
        with cloud.progress.step(what):
            do()
    else:
        do()


def _wait_for_compute(cloud: Cloud, name: str) -> None:
    """Wait until a nova-compute, as it was started last, is up."""
    file = daemons.pid_file(cloud.settings, name)
    since = datetime.datetime.fromtimestamp(file.stat().st_mtime,
                                            datetime.UTC)
    daemon = dataclasses.replace(
        cloud.service(name),
        ready=lambda: bootstrap.compute_is_up(
            cloud.settings, nova.compute_host(name), since))
    daemons.wait(cloud.settings, [daemon])


def down(cloud: Cloud) -> None:
    """Stop everything; data stays."""
    with cloud.progress.step('services: stopping'):
        daemons.stop(cloud.settings, cloud.services(), cloud.progress)
    with cloud.progress.step('backend: stopping'):
        cloud.backend.stop(cloud.settings, cloud.progress)


def wipe(cloud: Cloud) -> None:
    """Stop everything and remove all that the cloud has written."""
    folder = cloud.settings.folder
    onebox_settings.forget(cloud.settings)
    if not folder.exists():
        return
    for daemon in cloud.services():
        daemons.kill(cloud.settings, daemon)
    for name in cloud.backend.names(cloud.settings):
        cloud.backend.kill(cloud.settings, name)
    cloud.backend.stop(cloud.settings, cloud.progress)
    shutil.rmtree(folder)


def restart(cloud: Cloud, name: str, hard: bool = False,
            pause: float = 0.0) -> None:
    """Stop and start one service or server, and wait until it is ready.

    :param hard: by ``kill -9``; a server of the backend only so.
    :param pause: seconds between stop and start.
    :raises errors.OneboxError: no such service, or it does not come up.
    """
    settings, backend = cloud.settings, cloud.backend
    what = f'{name}: {"kill -9" if hard else "stop"} and start'
    if name in backend.names(settings):
        if not hard:
            raise errors.OneboxError(
                f'{name} can\'t be stopped alone but by restart --kill')
        with cloud.progress.step(what):
            backend.kill(settings, name)
            time.sleep(pause)
            backend.start(settings, cloud.environment, cloud.progress)
        return
    daemon = cloud.service(name)
    with cloud.progress.step(what):
        if hard:
            daemons.kill(settings, daemon)
        else:
            daemons.stop(settings, [daemon], cloud.progress)
        time.sleep(pause)
        daemons.start(settings, daemon, cloud.environment)
        daemons.wait(settings, [daemon])
        if name in nova.compute_names(cloud.settings):
            _wait_for_compute(cloud, name)


def status(cloud: Cloud) -> list[daemons.State]:
    """Return how all processes are found."""
    return (cloud.backend.status(cloud.settings)
            + daemons.status(cloud.settings, cloud.services()))


def is_up(cloud: Cloud) -> bool:
    """Return whether all processes run."""
    return all(state.pid for state in status(cloud))


def log_files(cloud: Cloud, name: str) -> list[pathlib.Path]:
    """Return the log files of a service, the chattiest first.

    :raises errors.OneboxError: no such service, or it has logged nothing.
    """
    if name in cloud.backend.names(cloud.settings):
        files = cloud.backend.logs(cloud.settings, name)
    else:
        files = daemons.log_files(cloud.settings, cloud.service(name))
    found = [path for path in files if path.exists()]
    if not found:
        raise errors.OneboxError(f'{name} has logged nothing yet')
    return found


def foreign_processes() -> list[str]:
    """Return names of database and message servers that are not ours."""
    found = set()
    for entry in pathlib.Path('/proc').glob('[0-9]*/comm'):
        try:
            name = entry.read_text().strip()
        except OSError:
            continue
        if name in ('mariadbd', 'mysqld', 'beam.smp', 'redis-server',
                    'postgres'):
            found.add(name)
    return sorted(found)
