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

"""Run Tempest's tests on a running cloud."""

import dataclasses
import datetime
from importlib import metadata
from importlib import util
import os
import pathlib
import re
import subprocess
import time

from luc_drivers.onebox import daemons
from luc_drivers.onebox import errors
from luc_drivers.onebox import progress as progress_module
from luc_drivers.onebox import settings as onebox_settings
from luc_drivers.onebox.tempest import conf
from luc_drivers.onebox.tempest import results
from luc_drivers.onebox.tempest import sets

# Some wait for several time-outs of a build; those that never end are killed.
_TEST_TIMEOUT = 900
_LINE = re.compile(r'^\{\d+\} (.*) \[\S+s\] \.\.\. (\w+)')
_SAY_EVERY = 50


def folder(settings: onebox_settings.Settings) -> pathlib.Path:
    """Return where a cloud's Tempest keeps everything."""
    return settings.folder / 'tempest'


def judge(settings: onebox_settings.Settings,
          progress: progress_module.Progress,
          chosen: list[sets.Selection], concurrency: int,
          keep: pathlib.Path | None = None, again: bool = False) -> int:
    """Run sets of tests in turn, print how they compare with the baseline.

    :param keep: folder for the results.
    :param again: run only what failed in the kept results, and put the
        outcomes into them.
    :returns: exit status: 0 if nothing failed that the baseline passes.
    :raises errors.OneboxError: Tempest or the cloud lacks something.
    """
    prepare(settings)
    expected, lines, bad = sets.expected(), [], False
    for selection in chosen:
        path = (keep or folder(settings) / 'results') / \
            f'{settings.variant}-{_file_name(selection.name)}.json'
        first = _kept(path) if again else None
        if first:
            failed = first.of('failed')
            if not failed:
                progress.say(f'{selection.name}: nothing failed in {path}')
                continue
            selection = dataclasses.replace(
                selection, regex=results.pattern(failed))
        one = run(settings, progress, selection, concurrency)
        if first:
            one = results.merge(first, one)
        results.save(one, path)
        progress.say(f'{one.name}: results in {path}')
        lines += results.report(one, expected)
        bad = bad or bool(results.unexpected(one, expected))
    print('\n' + '\n'.join(lines))
    return 1 if bad else 0


def _kept(path: pathlib.Path) -> results.Run:
    try:
        return results.load(path)
    except FileNotFoundError:
        raise errors.OneboxError(
            f'--again: there are no results in {path}') from None


def _file_name(name: str) -> str:
    return re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')


def prepare(settings: onebox_settings.Settings) -> None:
    """Write Tempest's configuration.

    :raises errors.OneboxError: Tempest isn't installed, or see conf.write.
    """
    if util.find_spec('tempest') is None:
        raise errors.OneboxError(
            f'there is no Tempest in the virtual environment '
            f'{settings.venv}: run devstack/onebox.sh tempest, which '
            'installs it')
    where = folder(settings)
    (where / 'lock').mkdir(parents=True, exist_ok=True)
    conf.write(settings, where)


def run(settings: onebox_settings.Settings,
        progress: progress_module.Progress, selection: sets.Selection,
        concurrency: int) -> results.Run:
    """Run the tests that match; say what fails while it goes on.

    :raises errors.OneboxError: no test ran.
    """
    where, env = folder(settings), _environment(settings)
    name, regex = selection.name, selection.regex
    stestr = _stestr(settings, selection.folder)
    command = [*stestr, 'run', '--concurrency', str(concurrency),
               '--exclude-list', str(sets.EXCLUDED), regex]
    started, wall = datetime.datetime.now(datetime.UTC), time.monotonic()
    with progress.step(f'Tempest: {name}'):
        output = where / f'{_file_name(name)}.log'
        with open(output, 'w') as log, subprocess.Popen(
                command, cwd=where, env=env, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors='replace') as child:
            _follow(child, log, progress, name)
    seconds = round(time.monotonic() - wall, 1)
    found = results.read_last(stestr, where, env)
    if not found:
        raise errors.OneboxError(
            f'no test ran for {regex}: see {output}')
    return results.Run(
        name, settings.variant, started.strftime('%Y-%m-%d %H:%M'), seconds,
        environment(settings, concurrency), found, commit())


def _follow(child: subprocess.Popen, log, progress: progress_module.Progress,
            name: str) -> None:
    """Keep what stestr prints; show failures and how far it is."""
    done = failed = 0
    assert child.stdout is not None
    for line in child.stdout:
        log.write(line)
        match = _LINE.match(line)
        if not match:
            continue
        done += 1
        if match[2] == 'FAILED':
            failed += 1
            progress.say(f'FAILED {results.test_id(match[1])}')
        if done % _SAY_EVERY == 0:
            progress.say(f'{name}: {done} ran, {failed} of them failed')


def _stestr(settings: onebox_settings.Settings, below: str) -> list[str]:
    spec = util.find_spec('tempest')
    assert spec is not None and spec.origin is not None
    package = pathlib.Path(spec.origin).parent
    return [settings.program('stestr'), '--test-path', str(package / below),
            '--top-dir', str(package.parent),
            # As in Tempest's own .stestr.conf: a class is never split.
            '--group_regex', r'([^\.]*\.)*']


def _environment(settings: onebox_settings.Settings) -> dict[str, str]:
    return {
        **daemons.environment(settings),
        'TEMPEST_CONFIG_DIR': str(folder(settings)),
        'TEMPEST_CONFIG': 'tempest.conf',
        'OS_TEST_TIMEOUT': str(_TEST_TIMEOUT),
        'OS_LOG_CAPTURE': '1',
        'PYTHONWARNINGS': 'ignore',
        # Else stestr keeps its lines to itself for minutes.
        'PYTHONUNBUFFERED': '1',
    }


def commit() -> str:
    """Return our checkout's commit, with '+' if files of it are changed.

    Empty if we are not in a checkout.
    """
    package = pathlib.Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        return subprocess.run(
            ['git', *words], cwd=package, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True).stdout.strip()

    found = git('rev-parse', '--short', 'HEAD')
    changed = git('status', '--porcelain', '--untracked-files=no', '--', '.')
    return found + ('+' if found and changed else '')


def environment(settings: onebox_settings.Settings,
                concurrency: int) -> dict[str, str]:
    """Return what a run's figures depend on, by name."""
    packages = ('tempest', 'keystone', 'glance', 'openstack-placement',
                'nova', 'neutron')
    return {
        **{name: metadata.version(name) for name in packages},
        'computes': str(settings.computes),
        'concurrency': str(concurrency),
        'processors': str(os.cpu_count()),
    }
