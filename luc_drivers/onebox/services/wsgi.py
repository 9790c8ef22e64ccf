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

"""HTTP APIs: WSGI modules under uWSGI."""

from luc_drivers.onebox import daemons
from luc_drivers.onebox import settings as onebox_settings

#: of each process, where a service does not say otherwise
THREADS = 4


def api(settings: onebox_settings.Settings, name: str, module: str,
        env: dict[str, str], log: str, path: str = '/', *,
        processes: int = 0, threads: int = THREADS) -> daemons.Daemon:
    """Return the daemon of one API.

    :param name: the service's name in the settings' table of ports.
    :param module: ``package.module``; its ``application`` is served.
    :param path: what is asked to see whether it is ready.
    :param processes: 0: as many as the cloud's settings say.
    :param threads: of each process.
    """
    port = settings.port(name)
    command = (
        settings.program('uwsgi'),
        '--http-socket', f'{settings.host_ip}:{port}',
        '--module', f'{module}:application',
        '--master', '--processes', str(processes or settings.workers),
        '--threads', str(threads), '--enable-threads', '--thunder-lock',
        # Each worker imports the application after it was forked.
        '--lazy-apps', '--need-app', '--no-orphans', '--die-on-term',
        '--buffer-size', '65535', '--http-chunked-input',
        '--add-header', 'Connection: close',
        '--procname-prefix', f'{name} ',
        '--virtualenv', str(settings.venv), '--disable-logging')
    return daemons.Daemon(name, command, env=env, port=port, log=log,
                          url=settings.url(name, path))
