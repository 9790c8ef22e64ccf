#!/usr/bin/env bash
# Style and types: what `tox -e pep8` runs.
set -eu
cd "$(dirname "$0")/.."
ruff check .
flake8 luc_drivers tests devstack
mypy
mapfile -t scripts < <(git ls-files '*.sh' run_tests.sh .ci/run \
    devstack/settings devstack/plugin.sh 'devstack/lib/*' ':!*.py' | sort -u)
bashate -iE006 -eE005,E042 "${scripts[@]}"
shellcheck -s bash -S error "${scripts[@]}"
