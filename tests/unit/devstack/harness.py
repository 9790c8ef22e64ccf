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


"""Runs the DevStack plug-in in a shell, with stand-ins for DevStack.

DevStack's order is kept: database and message queue are chosen, plug-ins'
``settings`` are sourced, then come the phases.
"""

import dataclasses
import os
import pathlib
import subprocess
import textwrap

import fixtures

ROOT = pathlib.Path(__file__).resolve().parents[3]
PLUGIN = ROOT / 'devstack'
STUBS = pathlib.Path(__file__).with_name('stubs.sh')
#: stackrc's, shortened
SERVICES = ('key,n-api,n-cpu,n-cond,n-sch,n-novnc,placement-api,g-api,c-sch,'
            'c-api,c-vol,q-svc,q-ovn-agent,rabbit,tempest,mysql')

#: of the programs that the plug-in runs: their words, and what they are told
_FAKE = textwrap.dedent('''\
    #!/bin/bash
    words=()
    for word in "$@"; do words+=("${word##*/devstack/lib/}"); done
    printf '%s %s\\n' "${0##*/}" "${words[*]}" >>"$CALLS"
    for name in LUC_CONFIG LUC_ADMIN_USER LUC_ADMIN_PASSWORD \\
            LUC_ROLE_PASSWORD LUC_CONTROL_PASSWORD LUC_AGENT_PASSWORD; do
        if [[ -v $name ]]; then
            printf '%s=%s\\n' "$name" "${!name}" >>"$CALLS.environment"
        fi
    done
    case "$*" in
    *"store.py before-join"*) echo "${FAKE_SITE:-site1}" ;;
    *"keys create"*) mkdir -p "$LUC_CONF_DIR/keys/allowed" ;;
    esac
    [[ -z "${FAKE_FAILS:-}" || "$*" != *"$FAKE_FAILS"* ]]
    ''')


@dataclasses.dataclass
class Result:
    """What a script wrote, did and returned.

    :ivar calls: lines of the stand-ins, in order.
    :ivar environment: what programs were told by variables.
    """

    status: int
    stdout: str
    stderr: str
    calls: list[str]
    environment: list[str]

    def called(self, start: str) -> list[str]:
        """Return the calls that begin so."""
        return [line for line in self.calls if line.startswith(start)]


class Stack(fixtures.Fixture):
    """A host with DevStack: its folder is ``root``."""

    def _setUp(self) -> None:
        temporary = self.useFixture(fixtures.TempDir())
        self.root = pathlib.Path(temporary.path)
        for name in ('bin', 'files', 'data', 'systemd'):
            (self.root / name).mkdir()
        for name in ('python3', 'luc'):
            program = self.root / 'bin' / name
            program.write_text(_FAKE)
            program.chmod(0o755)
        self.conf = self.root / 'etc-luc'

    def run(self, script: str = '', services: str = SERVICES,
            before: str = '', **variables: str) -> Result:
        """Source the settings, then run a script.

        :param services: ENABLED_SERVICES when plug-ins are asked.
        :param before: script before the settings are sourced.
        :param variables: as in local.conf.
        """
        calls = self.root / 'calls'
        for path in (calls, self.root / 'calls.environment'):
            path.write_text('')
        given = {
            'HOST_IP': '10.1.0.1', 'DATABASE_PASSWORD': 'secret',
            'LUC_CONF_DIR': str(self.conf), **variables}
        given.setdefault('SERVICE_HOST', given['HOST_IP'])
        lines = [
            'set -o errexit', f'source {STUBS}',
            f'ENABLED_SERVICES={services}',
            'DATABASE_BACKENDS=" mysql postgresql"', 'DATABASE_TYPE=mysql',
            f'TOP_DIR={self.root} FILES={self.root}/files '
            f'DATA_DIR={self.root}/data SYSTEMD_DIR={self.root}/systemd',
            f'STACK_USER={os.environ.get("USER", "root")}',
            *(f"export {name}='{value}'" for name, value in given.items()
              if value is not None),
            f'if [[ -e {self.root}/.localrc.password ]]; then '
            f'source {self.root}/.localrc.password; fi',
            before, f'source {PLUGIN}/settings',
            # what stack.sh runs next
            'for backend in $DATABASE_BACKENDS; do '
            'is_service_enabled $backend && DATABASE_TYPE=$backend || :; done',
            f'run_phase() {{ source {PLUGIN}/plugin.sh "$@"; }}', script]
        done = subprocess.run(
            ['bash', '-c', '\n'.join(lines)], capture_output=True, text=True,
            timeout=120, env={
                'PATH': os.environ['PATH'], 'HOME': str(self.root),
                'CALLS': str(calls), 'ROOT': str(self.root)})
        return Result(
            done.returncode, done.stdout, done.stderr,
            calls.read_text().splitlines(),
            (self.root / 'calls.environment').read_text().splitlines())
