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

"""Boot and delete servers through the API, with times."""

from concurrent import futures
import dataclasses
import time

from luc_drivers.onebox import bootstrap
from luc_drivers.onebox import errors
from luc_drivers.onebox import settings as onebox_settings

BOOT_TIMEOUT = 300.0
_POLL = 0.1
# Of the time waited so far: many that ask often would slow each other down.
_POLL_SHARE = 0.02


@dataclasses.dataclass
class Boot:
    """One boot: ``status`` as nova says at the end, or TIMEOUT.

    :ivar addresses: of its ports.
    """

    name: str
    server: str
    status: str
    seconds: float
    fault: str = ''
    addresses: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a server is made of: ids of image and network."""

    image: str
    network: str


def parts(cloud: bootstrap.Cloud) -> Parts:
    """Return the first image and the private network.

    :raises errors.OneboxError: the cloud has not been seeded.
    """
    images = cloud.request('image', 'GET', '/v2/images', params={
        'name': bootstrap.IMAGES[0]})['images']
    networks = cloud.network('GET', '/networks', params={
        'name': bootstrap.PRIVATE})['networks']
    if not images or not networks:
        missing = 'network' if images else 'image'
        raise errors.OneboxError(
            f'the {missing} to boot with is missing: run onebox.sh up')
    return Parts(images[0]['id'], networks[0]['id'])


def boot(cloud: bootstrap.Cloud, name: str, made_of: Parts,
         timeout: float = BOOT_TIMEOUT) -> Boot:
    """Boot one server with a port and wait until it is ACTIVE or ERROR."""
    started = time.monotonic()
    server = cloud.compute('POST', '/servers', json={'server': {
        'name': name, 'imageRef': made_of.image,
        'networks': [{'uuid': made_of.network}],
        'flavorRef': bootstrap.FLAVORS[0][0]}})['server']['id']
    while True:
        found = cloud.compute('GET', f'/servers/{server}')['server']
        seconds = time.monotonic() - started
        if found['status'] in ('ACTIVE', 'ERROR'):
            return Boot(name, server, found['status'], seconds,
                        found.get('fault', {}).get('message', ''),
                        tuple(one['addr'] for ports in
                              found['addresses'].values() for one in ports))
        if seconds > timeout:
            return Boot(name, server, 'TIMEOUT', seconds,
                        f'still {found["status"]}')
        time.sleep(max(_POLL, seconds * _POLL_SHARE))


def delete(cloud: bootstrap.Cloud, server: str,
           timeout: float = BOOT_TIMEOUT) -> float:
    """Delete a server; return the seconds until it was gone.

    :raises errors.OneboxError: it is still there after ``timeout`` seconds.
    """
    started = time.monotonic()
    cloud.compute('DELETE', f'/servers/{server}', raise_exc=False)
    while True:
        response = cloud.compute('GET', f'/servers/{server}',
                                 raise_exc=False)
        seconds = time.monotonic() - started
        if response.status_code == 404:
            return seconds
        if seconds > timeout:
            raise errors.OneboxError(
                f'server {server} is not gone after {timeout:.0f} s')
        time.sleep(max(_POLL, seconds * _POLL_SHARE))


def console(cloud: bootstrap.Cloud, server: str, awaited: str,
            timeout: float = BOOT_TIMEOUT) -> str:
    """Return what a server's console shows once it shows a text.

    :raises errors.OneboxError: it doesn't within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        shown = cloud.compute('POST', f'/servers/{server}/action', json={
            'os-getConsoleOutput': {}})['output']
        if awaited in shown:
            return shown
        if time.monotonic() > deadline:
            raise errors.OneboxError(
                f'the console of server {server} does not say '
                f'"{awaited}" after {timeout:.0f} s; its end: '
                f'{shown[-300:].strip()!r}')
        time.sleep(1.0)


def boot_many(settings: onebox_settings.Settings, count: int, prefix: str,
              timeout: float = BOOT_TIMEOUT) -> tuple[list[Boot], float]:
    """Boot servers at once; return them and the seconds until the last."""
    cloud = bootstrap.Cloud(settings)
    made_of = parts(cloud)
    started = time.monotonic()
    with futures.ThreadPoolExecutor(count) as pool:
        boots = list(pool.map(
            lambda at: boot(cloud, f'{prefix}{at}', made_of, timeout),
            range(count)))
    return boots, time.monotonic() - started


def delete_many(settings: onebox_settings.Settings, servers: list[str],
                timeout: float = BOOT_TIMEOUT) -> tuple[list[float], float]:
    """Delete servers at once; return times and the seconds until the last."""
    cloud = bootstrap.Cloud(settings)
    started = time.monotonic()
    with futures.ThreadPoolExecutor(max(1, len(servers))) as pool:
        times = list(pool.map(
            lambda server: delete(cloud, server, timeout), servers))
    return times, time.monotonic() - started
