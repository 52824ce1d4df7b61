#!/usr/bin/env bash
# Runs a command on two local processes under the MPI that Horovod was built for; where there is no
# Horovod it says so and runs one process.
#
#   hpc/install/two_processes.sh COMMAND...
set -euo pipefail
venv=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.venv" && pwd)

if ! compgen -G "$venv/lib/python*/site-packages/horovod" >/dev/null; then
    echo "One process: Horovod is not installed here (make setup says why)."
    exec "$@"
fi

has_mpi() { command -v mpirun >/dev/null && command -v mpicxx >/dev/null; }
has_mpi || PATH=$venv/bin:$PATH # the same choice as horovod.sh

# As variables, for Open MPI 4 and 5, and no matter to another MPI. Root has to ask twice. Two
# processes may share one core, and each may use all the cores there are, not just one.
if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# Both are on this host: they need no network, and it may have none.
export OMPI_MCA_btl=${OMPI_MCA_btl:-^tcp}
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
export OMPI_MCA_hwloc_base_binding_policy=none PRTE_MCA_hwloc_default_binding_policy=none
exec mpirun -np 2 "$@"
