#!/usr/bin/env bash
# Makes the test environment and runs the suites with stestr.
#
#   ./run_tests.sh                 unit and functional tests, style,
#                                  documentation
#   ./run_tests.sh REGEX           only tests whose name matches
#   ./run_tests.sh --unit          no Cassandra, no Java
#
# LUC_TEST_CASSANDRA=host:port names a running Cassandra to use instead of
# the one that the tests start.
set -euo pipefail
cd "$(dirname "$0")"

started=$SECONDS
say() { printf '[%4ds] %s\n' $((SECONDS - started)) "$*"; }
die() { printf 'run_tests.sh: %s\n' "$*" >&2; exit 1; }

unit_only=0
style=1
regex=()
for arg in "$@"; do
    case $arg in
    --unit) unit_only=1 ;;
    --no-style) style=0 ;;
    -h|--help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) die "unknown option $arg (see --help)" ;;
    *) regex+=("$arg"); style=0 ;;
    esac
done

apt_install() {
    [ "$(id -u)" = 0 ] || die "packages are missing ($*): run as root," \
        "or install them: apt-get install $*"
    say "installing packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >/dev/null || die "apt-get update failed"
    apt-get -qq install -y --no-install-recommends "$@" >/dev/null \
        || die "apt-get install $* failed"
}

need=()
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    || die "Python 3.11 or newer is needed (python3 --version)"
python3 -c 'import ensurepip, venv' 2>/dev/null || need+=(python3-venv)
if [ $unit_only = 0 ] && [ -z "${LUC_TEST_CASSANDRA:-}" ]; then
    command -v java >/dev/null || need+=(openjdk-17-jre-headless)
    command -v mvn >/dev/null || need+=(maven)
fi
[ ${#need[@]} = 0 ] || apt_install "${need[@]}"

venv=${LUC_TEST_VENV:-.venv}
stamp=$venv/.luc-requirements
wanted=$(cat {,test-,doc/}requirements.txt setup.cfg tools/style.txt \
    | sha256sum)
made=$(cat "$stamp" 2>/dev/null || true)
if [ ! -x "$venv/bin/python" ] || [ "$made" != "$wanted" ]; then
    say "making the virtual environment $venv"
    python3 -m venv "$venv" || die "python3 -m venv $venv failed"
    "$venv/bin/pip" install -q --disable-pip-version-check \
        -r requirements.txt -r test-requirements.txt -r tools/style.txt \
        -r doc/requirements.txt \
        || die "pip install failed (is PyPI reachable?)"
    "$venv/bin/pip" install -q --disable-pip-version-check -e . \
        || die "pip install -e . failed"
    printf '%s\n' "$wanted" >"$stamp"
fi
PATH=$PWD/$venv/bin:$PATH
export PATH

failed=0
if [ $style = 1 ]; then
    say "style and types (tools/pep8.sh)"
    tools/pep8.sh || { failed=1; say "style: FAILED"; }
    say "documentation (tox -e docs)"
    sphinx-build -W --keep-going -q -b html doc/source doc/build/html \
        || { failed=1; say "documentation: FAILED"; }
fi

results=$venv/.luc-results.$$
trap 'rm -f "$results"' EXIT
run_suite() {  # SUITE REGEX-OR-OPTION...
    local suite=$1
    shift
    local rc=0
    stestr --test-path "./tests/$suite" \
        --group_regex '([^.]+\.)+' run "$@" || rc=$?
    python -m tests.summary record "$results" "$suite"
    return $rc
}

suites=(unit)
[ $unit_only = 1 ] || suites+=(functional)
for suite in "${suites[@]}"; do
    if [ ${#regex[@]} -gt 0 ] && ! stestr --test-path "./tests/$suite" \
            list "${regex[@]}" 2>/dev/null | grep -q '^tests\.'; then
        say "tests/$suite: nothing matches"
        continue
    fi
    say "tests/$suite"
    run_suite "$suite" --concurrency "${LUC_TEST_CONCURRENCY:-2}" \
        ${regex[@]+"${regex[@]}"} && continue
    # What times out beside other tests on a busy machine gets a second
    # try, alone; the summary names it. A fault fails again.
    again=$(python -m tests.summary failing "$results" "$suite")
    if [ -z "$again" ]; then
        # Too much failed, or the runner broke.
        failed=1
        continue
    fi
    say "tests/$suite: the failed tests again, one after the other"
    run_suite "$suite" --serial "$again" || failed=1
done
python -m luc_drivers.testing.cassandra stop --shared >/dev/null 2>&1 || true

say "done"
python -m tests.summary total "$results" || failed=1
exit $failed
