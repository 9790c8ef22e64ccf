#!/bin/bash
#
# DevStack plug-in luc-drivers: what each phase does. What must be known
# before the first phase (database type, functions) is in settings.

_XTRACE_LUC_PLUGIN=$(set +o | grep xtrace)
set +o xtrace

case "$1 ${2:-}" in
"stack pre-install")
    # The database's own install functions come later and only with it.
    luc_install_cassandra
    luc_install_python
    ;;
"stack install")
    # Everything is installed, nothing is started: the first to need the
    # store is keystone, right after this.
    luc_set_up_host
    ;;
"stack post-config")
    # URLs are in the services' files as they were written.
    ;;
"stack extra")
    if [[ "$LUC_MESSAGING" == "True" ]]; then
        echo_summary "Services on the transport:"
        LUC_CONFIG=$LUC_CONF_DIR/luc.conf \
            "$(get_python_exec_prefix)/luc" bus status \
            -c site -c host -c program -c topic -c state
    fi
    ;;
"stack test-config")
    # Tempest needs nothing said.
    ;;
"unstack ")
    # As with DevStack's own databases: only unstack.sh -a stops the server.
    if [[ -n "${UNSTACK_ALL:-}" ]] && luc_runs_cassandra; then
        luc_stop_at_exit
    fi
    ;;
"clean ")
    luc_cleanup
    ;;
esac

$_XTRACE_LUC_PLUGIN

# Tell emacs to use shell-script-mode
## Local variables:
## mode: shell-script
## End:
