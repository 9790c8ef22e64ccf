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

# real.sh DEVSTACK PLUGIN WORK: DevStack's own functions, in stack.sh's order,
# write the services' configuration into WORK; nothing is fetched or started.
# Variables of local.conf come from $LOCALRC.
#
# What would need root, a network or systemd is replaced: programs by shims in
# WORK/shim, three of DevStack's functions below. DevStack's checkout is
# copied, since it writes into its own folder.
# shellcheck disable=SC2034,SC2154,SC1090,SC1091
set -e
devstack=$1
plugin=$2
work=$3
shim=$work/shim
mkdir -p "$shim" "$work"/{home,systemd,stack,etc}
cp -r "$devstack" "$work/devstack"
TOP_DIR=$work/devstack
RC_DIR=$TOP_DIR
# Some projects' folders can't be chosen by variables.
sed -i "s#=/etc/\(nova\|placement\|neutron\|cinder\)\$#=$work/etc/\1#" \
    "$TOP_DIR"/lib/{nova,placement,neutron,cinder}
FILES=$TOP_DIR/files
for program in systemctl systemd-tmpfiles a2query killall userdel useradd \
        groupadd apt-get apt dpkg-query a2ensite a2enmod service mysql \
        rabbitmqctl pip nova-manage git; do
    printf '#!/bin/sh\necho "%s $*" >>"$SHIM_LOG"\n' "$program" \
        >"$shim/$program"
done
cat >"$shim/sudo" <<'END_OF_SUDO'
#!/bin/bash
while [[ $1 == -* || $1 == *=* ]]; do
    case $1 in -u|-g) shift 2 ;; *) shift ;; esac
done
echo "sudo $*" >>"$SHIM_LOG"
case $1 in chown|chmod) exit 0 ;; esac
for word in "$@"; do
    if [[ $word == /* && $word != "$WORK"/* && $word != /bin/* ]]; then
        [[ $1 != tee ]] || cat >/dev/null
        exit 0
    fi
done
[[ $1 != install ]] || { shift; set -- "$WORK/shim/install" "$@"; }
exec "$@"
END_OF_SUDO
cat >"$shim/install" <<'END_OF_INSTALL'
#!/bin/bash
words=()
while [[ $# -gt 0 ]]; do
    case $1 in -o|-g) shift ;; *) words+=("$1") ;; esac
    shift
done
exec /usr/bin/install "${words[@]}"
END_OF_INSTALL
printf '#!/bin/sh\ncat /proc/sys/kernel/random/uuid\n' >"$shim/uuidgen"
chmod +x "$shim"/*
export SHIM_LOG=$work/shim.log WORK=$work HOME=$work/home
export PATH=$shim:$PATH
: >"$SHIM_LOG"

cat >"$TOP_DIR/local.conf" <<END_OF_CONF
[[local|localrc]]
HOST_IP=127.0.0.1
DEST=$work/stack
DATA_DIR=$work/stack/data
STACK_USER=$(id -un)
ADMIN_PASSWORD=secret
SERVICE_PASSWORD=secret
DATABASE_PASSWORD=secret
RABBIT_PASSWORD=secret
KEYSTONE_CONF_DIR=$work/etc/keystone
GLANCE_CONF_DIR=$work/etc/glance
LUC_CONF_DIR=$work/etc/luc
disable_service horizon tempest dstat etcd3
VIRT_DRIVER=fake
${LOCALRC:-}
enable_plugin luc-drivers https://example.org/luc-drivers
END_OF_CONF
mkdir -p "$work/stack/data" "$work"/etc/{keystone,glance,nova,placement} \
    "$work"/etc/{neutron,cinder}
ln -s "$plugin" "$work/stack/luc-drivers"
for project in keystone glance nova placement neutron cinder; do
    mkdir -p "$work/stack/$project/etc/$project"
done
touch "$work/stack/neutron/etc/api-paste.ini" \
    "$work/stack/cinder/etc/cinder/api-paste.ini" \
    "$work/stack/cinder/etc/cinder/resource_filters.json" \
    "$work/stack/glance/etc/metadefs.json"

# --- as stack.sh does it
source "$TOP_DIR/functions"
source "$TOP_DIR/lib/stack"
GetDistro
extract_localrc_section "$TOP_DIR/local.conf" "$TOP_DIR/localrc" \
    "$TOP_DIR/.localrc.auto"
source "$TOP_DIR/stackrc"
SYSTEMD_DIR=$work/systemd
exec 3>&1 6>&1
echo_summary() { echo "$@"; }
async_init
disable_negated_services
source "$TOP_DIR/lib/database"
source "$TOP_DIR/lib/rpc_backend"
run_phase override_defaults
for lib in apache tls infra libraries lvm horizon keystone glance nova \
        placement cinder swift neutron ldap dstat atop tcpdump etcd3 os-vif; do
    source "$TOP_DIR/lib/$lib"
done
run_phase source
initialize_database_backends
define_database_baseurl
echo "RESULT type $DATABASE_TYPE"
echo "RESULT base $BASE_SQL_CONN"
echo "RESULT services $ENABLED_SERVICES"

# No network, no processes.
setup_develop() { echo "RESULT call setup_develop $*"; }
install_package() { echo "RESULT call install_package $*"; }
run_process() { echo "RESULT call run_process $1 ${2##*/}"; }
luc_python() { echo "$work/shim/python-of-services"; }
mkdir -p "$work/stack/data/venv/bin"
for program in "$work/shim/python-of-services" \
        "$work/stack/data/venv/bin/luc"; do
    cat >"$program" <<'END_OF_PROGRAM'
#!/bin/sh
echo "${0##*/} $*" >>"$SHIM_LOG.luc"
END_OF_PROGRAM
    chmod +x "$program"
done

# DevStack's own databases can't be had here.
ours() {
    [[ $DATABASE_TYPE != cassandra ]] || "$@"
}

run_phase stack pre-install
if is_service_enabled $DATABASE_BACKENDS; then
    ours install_database
fi
ours install_database_python

# A project's function may end at something that is not here, after it wrote
# its URLs: the test looks at what was written.
attempt() {
    if ! (set -e; "$@") >>"$work/configure.log" 2>&1; then
        echo "RESULT incomplete $1"
    fi
}
attempt configure_keystone
attempt configure_glance
attempt configure_cinder
attempt create_nova_conf
attempt create_placement_conf
run_phase stack install
if is_service_enabled $DATABASE_BACKENDS; then
    ours configure_database
fi
attempt configure_neutron
attempt ours recreate_database keystone
attempt start_nova_compute
for phase in "stack post-config" "stack extra" "stack test-config"; do
    # shellcheck disable=SC2086
    run_phase $phase
    echo "RESULT phase $phase"
done
run_phase unstack
cp -r "$work/etc" "$work/written"
cp -r "$work/systemd" "$work/written-systemd"
run_phase clean
ours cleanup_database
echo "RESULT done"
