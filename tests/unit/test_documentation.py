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


"""The documentation's commands: none is wrong, and none is unknown here.

Commands are taken from literal blocks and from inline literals.  Those of
``luc`` are parsed by the command itself and, where that is quick, run; those
of our scripts are checked against the scripts' own parsers.  What belongs to
others is listed with the reason why it is not run.
"""

import configparser
import contextlib
import io
import os
import pathlib
import pkgutil
import re
import shlex
import subprocess
import sys
from unittest import mock

from cliff import commandmanager
import ddt
from oslotest import base

from luc_drivers.onebox import main as onebox
from tests.peers import suites

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([
    ROOT / 'README.rst', ROOT / 'CONTRIBUTING.rst',
    ROOT / 'devstack' / 'README.rst', *(ROOT / 'doc/source').rglob('*.rst')])

#: programs of others, and why they are not run here
_NOT_RUN = {
    'git': 'needs the network',
    'pip': 'needs the network',
    'openstack': 'needs a running cloud',
    'source': "reads a running cloud's file",
    'nova-manage': 'needs a database; tests/peers and one-box run it',
    'nodetool': 'is run with two nodes by hand: see devstack/lib/cassandra',
    'reno': 'asks for an editor',
    'apt-get': 'needs root',
    'systemctl': 'needs systemd',
    './stack.sh': "is DevStack's",
    'enable_plugin': "is a line of DevStack's local.conf",
}
#: first words of blocks that are no commands
_NO_COMMANDS = ('[[local|localrc]]',)
#: commands of luc that run on a host without Cassandra within a second
_RUN = {
    'luc bus keys create', 'luc bus keys list', 'luc bus status',
    'luc bus mailbox list', 'luc bus status -f json',
}


def blocks(text):
    """Yield the literal blocks of a page that can hold commands."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        plain = line.endswith('::') and not line.lstrip().startswith('.. ')
        shells = re.match(r'^\s*\.\. code-block:: (console|bash|sh)$', line)
        if not plain and not shells:
            continue
        outside = len(line) - len(line.lstrip())
        block = []
        while at < len(lines) and (
                not lines[at].strip()
                or len(lines[at]) - len(lines[at].lstrip()) > outside):
            block.append(lines[at].strip())
            at += 1
        yield [part for part in block if part]


def commands(text):
    """Yield the commands of a page, as lists of words."""
    found = []
    for block in blocks(text):
        if block and block[0] in _NO_COMMANDS:
            continue
        joined = '\n'.join(block).replace('\\\n', ' ')
        if any(line.startswith('$ ') for line in joined.splitlines()):
            # a session: what follows is what the command wrote
            joined = '\n'.join(line[2:] for line in joined.splitlines()
                               if line.startswith('$ '))
        found += joined.splitlines()
    inline = re.sub(r'\s+', ' ', text)
    found += re.findall(r'``((?:luc (?:bus|db)|\./devstack/onebox\.sh|'
                        r'\./run_tests\.sh|tox -e) [^`]+)``', inline)
    for line in found:
        line = re.sub('<[a-z ]+>', 'PLACE', line)
        for part in re.split(r'\s+&&\s+', line):
            words = shlex.split(part, comments=True)
            while words and re.match(r'^[A-Z_]+=', words[0]):
                words.pop(0)
            if words:
                yield words


def _all():
    return [(page, words) for page in PAGES
            for words in commands(page.read_text())]


def _manager():
    """Return luc's commands, by setup.cfg: an installation may be older."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    manager = commandmanager.CommandManager('tests.none')
    for line in setup['entry_points']['luc.cli'].strip().splitlines():
        name, _, target = line.partition(' = ')
        manager.add_command(name.replace('_', ' '),
                            pkgutil.resolve_name(target))
    return manager


@contextlib.contextmanager
def _quiet():
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        yield out


@ddt.ddt
class CommandsTest(base.BaseTestCase):

    def test_there_are_some(self):
        programs = {words[0] for _, words in _all()}
        self.assertLessEqual({'luc', './devstack/onebox.sh', 'tox',
                              './run_tests.sh'}, programs)

    @ddt.data(*[str(page.relative_to(ROOT)) for page in PAGES])
    def test_page(self, page):
        for words in commands((ROOT / page).read_text()):
            check = {
                'luc': self.check_luc, 'tox': self.check_tox,
                './devstack/onebox.sh': self.check_onebox,
                './run_tests.sh': self.check_run_tests,
                'python': self.check_module}.get(words[0])
            if check:
                check(words)
            elif words[0] != 'cd':
                self.assertIn(words[0], _NOT_RUN, ' '.join(words))

    def check_luc(self, words):
        # the rest of a synopsis is optional
        given = [word for word in words[1:]
                 if not word.startswith('[') and not word.endswith(']')]
        manager = _manager()
        try:
            factory, name, rest = manager.find_command(given)
        except ValueError as exc:
            self.fail(f'{" ".join(words)}: {exc}')
        parser = factory(mock.Mock(), None).get_parser(name)
        # a command that is only spoken of has no arguments
        if all(word.startswith('-') for word in rest):
            self.assertLessEqual(set(rest), set(parser._option_string_actions))
            return
        with _quiet() as out:
            try:
                parser.parse_args(rest)
            except SystemExit:
                self.fail(f'{" ".join(words)}: {out.getvalue()}')

    def check_onebox(self, words):
        with _quiet() as out:
            try:
                onebox.parser().parse_args(words[1:])
            except SystemExit:
                self.fail(f'{" ".join(words)}: {out.getvalue()}')

    def check_run_tests(self, words):
        text = (ROOT / 'run_tests.sh').read_text()
        for word in words[1:]:
            if word.startswith('-'):
                self.assertRegex(text, rf'\n    {word}\)')

    def check_tox(self, words):
        tox = configparser.ConfigParser(interpolation=None)
        tox.read(ROOT / 'tox.ini')
        self.assertEqual('-e', words[1])
        if words[2] != 'py3':
            self.assertIn(f'testenv:{words[2]}', tox.sections())
        if words[2] == 'peers' and len(words) > 4 and words[4] != 'NAME':
            self.assertIn(words[4], suites.SUITES)

    def check_module(self, words):
        self.assertEqual('-m', words[1])
        names = words[2:3]
        if names == ['unittest']:
            names = [word for word in words[3:] if not word.startswith('-')]
        for name in names:
            path = ROOT.joinpath(*name.split('.'))
            self.assertTrue(
                path.with_suffix('.py').exists()
                or (path / '__main__.py').exists(), name)


class RunTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        folder = pathlib.Path(self.create_tempfiles([('luc.conf', '')])[0])
        folder.write_text(
            f'[DEFAULT]\nstate_path = {folder.parent}\n'
            '[database]\nstore = embedded\n'
            '[bus]\nmatchmaker = embedded\nsecurity = none\n'
            f'keys_dir = {folder.parent}/keys\n')
        self.environment = {**os.environ, 'LUC_CONFIG': str(folder)}

    def test_documented_commands_run(self):
        documented = {' '.join(words) for _, words in _all()}
        self.assertLessEqual(_RUN, documented)
        for command in sorted(_RUN):
            done = subprocess.run(
                [os.path.join(os.path.dirname(sys.executable), 'luc'),
                 *command.split()[1:]], env=self.environment, timeout=120,
                capture_output=True, text=True)
            self.assertEqual(0, done.returncode,
                             f'{command}: {done.stderr}')
