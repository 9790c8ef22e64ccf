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

"""Cassandra's jars: from Maven Central into a cache folder, once.

``devstack/cassandra/pom.xml`` pins the version.  Where the jars are looked
for: the folder that the environment variable ``LUC_CASSANDRA_JARS`` names,
else ``$LUC_CACHE/cassandra-VERSION`` (``~/.cache/luc-drivers/…`` by
default), which is filled by ``mvn dependency:copy-dependencies`` when it is
incomplete.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import xml.etree.ElementTree

POM = pathlib.Path(__file__).resolve().parents[2].joinpath(
    'devstack', 'cassandra', 'pom.xml')
_NAMESPACE = {'m': 'http://maven.apache.org/POM/4.0.0'}
# 100 jars, 67 MB: some 20 s on a good line.
_MAVEN_TIMEOUT = 900


class JarsError(Exception):
    """Cassandra's jars are missing and could not be fetched."""


def version() -> str:
    """Return the version of Cassandra that the pom pins."""
    try:
        tree = xml.etree.ElementTree.parse(POM)
    except FileNotFoundError:
        raise JarsError(
            f'{POM} is not there (luc_drivers is not a source checkout): '
            'set LUC_CASSANDRA_JARS to a folder with the jars of '
            'org.apache.cassandra:cassandra-all') from None
    found = tree.findtext('m:properties/m:cassandra.version',
                          namespaces=_NAMESPACE)
    if not found:
        raise JarsError(f'{POM} has no property cassandra.version')
    return found


def cache_dir() -> pathlib.Path:
    """Return the folder in which downloads are kept ($LUC_CACHE)."""
    named = os.environ.get('LUC_CACHE')
    if named:
        return pathlib.Path(named)
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return pathlib.Path(base, 'luc-drivers')


def find() -> pathlib.Path | None:
    """Return the folder that holds the jars, None if they must be fetched.

    :raises JarsError: LUC_CASSANDRA_JARS names a folder without Cassandra.
    """
    named = os.environ.get('LUC_CASSANDRA_JARS')
    if named:
        folder = pathlib.Path(named)
        if not list(folder.glob('cassandra-all-*.jar')):
            raise JarsError(f'LUC_CASSANDRA_JARS={named}: there is no '
                            'cassandra-all-*.jar in that folder')
        return folder
    folder = cache_dir() / f'cassandra-{version()}'
    return folder if folder.joinpath('.complete').exists() else None


def ensure(report=None) -> pathlib.Path:
    """Return the folder that holds the jars; fetch them if need be.

    :param report: function of one text, told what is being done.
    :raises JarsError: no Maven, or Maven failed; the message says what to do.
    """
    folder = find()
    if folder is not None:
        return folder
    folder = cache_dir() / f'cassandra-{version()}'
    folder.parent.mkdir(parents=True, exist_ok=True)
    # One process fetches, the others wait for it and find the result.
    with open(f'{folder}.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if find() is None:
            if report:
                report(f'fetching Cassandra {version()} from Maven Central '
                       f'into {folder}')
            _fetch(folder)
    return folder


def _fetch(folder: pathlib.Path) -> None:
    maven = shutil.which('mvn')
    if maven is None:
        raise JarsError('mvn not found, needed once to fetch Cassandra: '
                        'apt-get install maven openjdk-17-jre-headless '
                        '(or set LUC_CASSANDRA_JARS to a folder of jars)')
    # Into a folder aside, renamed when complete: a broken download is never
    # taken for a whole one.
    aside = pathlib.Path(tempfile.mkdtemp(prefix='.jars-', dir=folder.parent))
    log = folder.parent / f'{folder.name}.mvn.log'
    command = [maven, '--batch-mode', '--file', str(POM),
               'dependency:copy-dependencies', '-DincludeScope=runtime',
               f'-DoutputDirectory={aside}']
    try:
        _run_maven(command, log)
        if not list(aside.glob('cassandra-all-*.jar')):
            raise JarsError(f'mvn copied no Cassandra; see {log}')
        aside.joinpath('.complete').write_text(f'{time.time():.0f}\n')
        aside.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _run_maven(command: list[str], log: pathlib.Path) -> None:
    with open(log, 'wb') as out:
        try:
            status = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, timeout=_MAVEN_TIMEOUT).returncode
        except subprocess.TimeoutExpired:
            raise JarsError(f'mvn took more than {_MAVEN_TIMEOUT} s to fetch '
                            f'Cassandra; see {log}') from None
    if status:
        errors = [line for line in log.read_text(errors='replace').splitlines()
                  if '[ERROR]' in line]
        reason = errors[0].split('[ERROR]', 1)[1].strip() if errors else ''
        raise JarsError(f'mvn could not fetch Cassandra: {reason[:300]} '
                        f'(whole log: {log})')
