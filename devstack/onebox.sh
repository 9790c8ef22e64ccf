#!/usr/bin/env bash
# A stock OpenStack cloud on this machine, on Cassandra and ZeroMQ.
#
#   onebox.sh demo                     everything up, a server booted and shown
#   onebox.sh up|status|down|wipe      without the server; --help says more
#   onebox.sh logs|restart SERVICE     look after one service
#   onebox.sh boot N|bench             boot servers at once; measure
#   onebox.sh tempest [--set NAME]     judge it by Tempest
#
#   --store embedded     files instead of Cassandra: no server, no Java
#   --virt qemu          servers are virtual machines, emulated by software
#   --backend baseline   the same cloud on MariaDB and RabbitMQ, to compare
#   --backend database-only|messaging-only
#                        one half of ours, the other half as the baseline's
#   --state DIR          where everything is kept (~/.luc-onebox)
#   --venv DIR           virtual environment to use or make (STATE/venv)
#
# This part installs packages and makes the virtual environment; the rest is
# done by the Python package luc_drivers.onebox in it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
services=(
    nova==34.0.0 glance==33.0.0 keystone==30.0.0 openstack-placement==16.0.0
    neutron==29.0.0
    python-openstackclient osc-placement uWSGI PyMySQL pymemcache
    python-memcached
)
tempest=47.0.0

say() { printf '[%6ds] %s\n' $SECONDS "$*"; }
die() { printf 'onebox.sh: %s\n' "$*" >&2; exit 1; }

action=''
backend=''
store=''
state=${LUC_ONEBOX_STATE:-$HOME/.luc-onebox}
venv=''
against=''
virt=''
words=("$@")
while [ $# -gt 0 ]; do
    case $1 in
    --backend=*|--store=*|--state=*|--venv=*|--against=*|--virt=*)
        name=${1%%=*}
        printf -v "${name#--}" %s "${1#*=}"
        ;;
    --backend|--store|--state|--venv|--against|--virt)
        [ $# -gt 1 ] || die "$1 needs a value"
        printf -v "${1#--}" %s "$2"
        shift
        ;;
    -*) ;;
    *) [ -n "$action" ] || action=$1 ;;
    esac
    shift
done
[ ${#words[@]} -gt 0 ] || words=(--help)
venv=${venv:-$state/venv}

apt_install() {
    [ "$(id -u)" = 0 ] || die "packages are missing; run as root, or" \
        "install them: apt-get install $*"
    command -v apt-get >/dev/null || die "no apt-get here; needed: $*"
    say "installing packages: $*"
    local log=$state/apt.log
    mkdir -p "$state"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends \
        "$@"; } >"$log" 2>&1 </dev/null \
        || die "apt-get install $* failed: $(grep -E '^(E|W):' "$log" \
            | tail -1) (see $log)"
}

install_packages() {
    local need=()
    command -v python3 >/dev/null || need+=(python3)
    # Without headers and a compiler uWSGI can't be built.
    if [ ! -x "$venv/bin/uwsgi" ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null \
            || need+=(python3-venv)
        command -v gcc >/dev/null || need+=(gcc)
        python3 - <<<'import os, sysconfig, sys
sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))' \
            || need+=(python3-dev libc6-dev)
    fi
    command -v memcached >/dev/null || need+=(memcached)
    case $backend-$against in
    baseline-*|messaging-only-*|*-baseline)
        command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] \
            || need+=(mariadb-server)
        ;;
    esac
    case $backend-$against in
    baseline-*|database-only-*|*-baseline)
        [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] \
            || need+=(rabbitmq-server)
        ;;
    esac
    if [ "$backend" != baseline ] && [ "$store" != embedded ] \
            && [ -z "${LUC_CASSANDRA_JARS:-}" ]; then
        command -v mvn >/dev/null || need+=(maven)
    fi
    if [ "$backend" != baseline ] && [ "$store" != embedded ]; then
        command -v java >/dev/null || need+=(openjdk-17-jre-headless)
    fi
    if [ "$virt" = qemu ]; then
        [ -x /usr/sbin/libvirtd ] || need+=(libvirt-daemon-system
            libvirt-daemon-driver-qemu)
        command -v qemu-system-x86_64 >/dev/null || need+=(qemu-system-x86)
        command -v qemu-img >/dev/null || need+=(qemu-utils)
        command -v busybox >/dev/null || need+=(busybox-static)
        # To build libvirt-python.
        "$venv/bin/python" -c 'import libvirt' 2>/dev/null \
            || need+=(libvirt-dev pkgconf gcc)
    fi
    if [ ${#need[@]} -gt 0 ]; then
        apt_install "${need[@]}"
    fi
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || die "Python 3.11 or newer is needed, this is" \
            "$(python3 --version)"
}

install_python() {
    local stamp=$venv/.luc-onebox wanted pip
    wanted=$(printf '%s\n' "$root" "${services[@]}" \
        | cat - "$root/requirements.txt" "$root/setup.cfg" | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    if [ ! -x "$venv/bin/python" ]; then
        say "making the virtual environment $venv"
        python3 -m venv "$venv" || die "python3 -m venv $venv failed"
    fi
    say "installing the services from PyPI into $venv"
    mkdir -p "$state"
    pip=("$venv/bin/python" -m pip --disable-pip-version-check install -q)
    { "${pip[@]}" "${services[@]}" -r "$root/requirements.txt" \
        && "${pip[@]}" --no-deps -e "$root"; } >"$state/pip.log" 2>&1 \
        || die "pip install failed:" \
            "$(grep -i error "$state/pip.log" | tail -1) (see $state/pip.log)"
    printf '%s\n' "$wanted" >"$stamp"
}

install_libvirt() {
    "$venv/bin/python" -c 'import libvirt' 2>/dev/null && return 0
    say "building libvirt-python in $venv"
    "$venv/bin/python" -m pip --disable-pip-version-check install -q \
        "libvirt-python==$(pkg-config --modversion libvirt)" \
        >"$state/pip.log" 2>&1 \
        || die "pip install libvirt-python failed (see $state/pip.log)"
}

install_tempest() {
    [ "$("$venv/bin/tempest" --version 2>/dev/null)" != "tempest $tempest" ] \
        || return 0
    say "installing Tempest from PyPI into $venv"
    "$venv/bin/python" -m pip --disable-pip-version-check install -q \
        "tempest==$tempest" >"$state/pip.log" 2>&1 \
        || die "pip install tempest failed (see $state/pip.log)"
}

case $action in
up|demo|bench)
    install_packages
    install_python
    [ "$virt" != qemu ] || install_libvirt
    ;;
*)
    [ -x "$venv/bin/python" ] || die "there is no virtual environment in" \
        "$venv yet: onebox.sh up makes it (--state, --venv name others)"
    [ "$action" != tempest ] || install_tempest
    ;;
esac
exec "$venv/bin/python" -m luc_drivers.onebox "${words[@]}" --venv "$venv" \
    --state "$state"
