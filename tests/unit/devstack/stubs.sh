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

# Stand-ins for DevStack's functions: what is called goes to $CALLS, one line
# each; lists of services and ini files behave as DevStack's do.
# shellcheck disable=SC2034,SC2154

say() {
    printf '%s\n' "$*" >>"$CALLS"
}

trueorfalse() {
    case ${!2:-} in
    1|[yY]es|YES|[tT]rue|TRUE) echo True ;;
    0|[nN]o|NO|[fF]alse|FALSE) echo False ;;
    *) echo "$1" ;;
    esac
}

is_service_enabled() {
    local service
    for service in "$@"; do
        [[ ",$ENABLED_SERVICES," == *",$service,"* ]] && return 0
        [[ $service == keystone && ",$ENABLED_SERVICES," == *,key,* ]] &&
            return 0
    done
    return 1
}

enable_service() {
    local service
    for service in "$@"; do
        [[ ",${DISABLED_SERVICES:-}," != *",$service,"* ]] || continue
        is_service_enabled "$service" || ENABLED_SERVICES+=",$service"
    done
}

disable_service() {
    local service
    for service in "$@"; do
        DISABLED_SERVICES+=",$service"
        ENABLED_SERVICES=",$ENABLED_SERVICES,"
        ENABLED_SERVICES=${ENABLED_SERVICES//,$service,/,}
        ENABLED_SERVICES=${ENABLED_SERVICES#,}
        ENABLED_SERVICES=${ENABLED_SERVICES%,}
    done
}

register_database() {
    DATABASE_BACKENDS+=" $1"
}

# Sections may come several times: the parsers that read these files don't
# mind, and the last value counts.
iniset() {
    [[ $1 != -sudo ]] || shift
    printf '[%s]\n%s = %s\n' "$2" "$3" "$4" >>"$1"
}

die() {
    shift
    echo "die: $*" >&2
    exit 17
}

warn() {
    shift
    say "warn $*"
}

sudo() {
    # Never outside of the test's folder.
    local arg
    for arg in "$@"; do
        if [[ $arg == /* && $arg != "$ROOT"/* ]]; then
            say "sudo $*"
            [[ $1 != tee ]] || cat >/dev/null
            return 0
        fi
    done
    local words=()
    while [[ $# -gt 0 ]]; do
        if [[ $1 == -o ]]; then
            shift
        else
            words+=("$1")
        fi
        shift
    done
    "${words[@]}"
}

get_packages() {
    if [[ -e $FILES/debs/$1 ]]; then
        sed 's/#.*//' "$FILES/debs/$1" | xargs
    fi
}

is_package_installed() {
    [[ " ${INSTALLED_PACKAGES:-} " == *" $1 "* ]]
}

install_package() {
    say "install_package $*"
    INSTALLED_PACKAGES+=" $*"
}

echo_summary() { say "echo_summary $*"; }
exit_distro_not_supported() { echo "not supported: $*" >&2; exit 18; }
generate_hex_string() { echo 0123456789abcdef0123; }
get_python_exec_prefix() { echo "$ROOT/bin"; }
is_ubuntu() { [[ ${FAKE_DISTRO:-ubuntu} == ubuntu ]]; }
curl() { say "curl $*"; }
setup_develop() { say "setup_develop $*"; }
run_process() { say "run_process $*"; }
stop_process() { say "stop_process $*"; }
stop_service() { say "stop_service $*"; }
restart_service() { say "restart_service $*"; }
uninstall_package() { say "uninstall_package $*"; }
rpc_backend_add_vhost() { return 1; }
get_transport_url() { echo "rabbit:///$1"; }
get_notification_url() { echo "rabbit:///$1"; }
iniset_rpc_backend() { iniset "$2" "${3:-DEFAULT}" transport_url rabbit:///; }
