#!/usr/bin/env bash
# The virtual environment .venv with this program's dependencies, at the versions of constraints.txt.
#
#   hpc/install/environment.sh EXTRA...     the extras of setup.cfg to install
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. hpc/install/stage.sh
. hpc/install/python.sh
NEEDED_MB=4500              # 2.8 GB in .venv, and what pip downloads and unpacks meanwhile
unfinished=.venv/unfinished # stands while pip installs
versions=$SETUP_DIR/constraints.txt # those that .venv was made of

damaged_packages() { .venv/bin/python hpc/install/damaged_packages.py; }

from_pypi() { .venv/bin/python -m pip install --quiet --constraint constraints.txt "$@"; }

# pip unpacks beside the environment: /tmp can be a small file system in memory.
install() (
    export TMPDIR=$PWD/.venv/tmp
    "$python" -m venv .venv && mkdir -p "$TMPDIR" &&
        from_pypi --editable ".[$extras]" &&
        damaged=$(damaged_packages) && rm -r "$TMPDIR" || return
    [ -z "$damaged" ] || { echo "error: not whole after the installation: $damaged" && return 1; }
)

# python-rtmidi is compiled where it has no wheel, and may fail there, alone.
wanted=() ports=
for extra in "$@"; do
    if [ "$extra" = ports ]; then ports=yes; else wanted+=("$extra"); fi
done
extras=$(IFS=,; echo "${wanted[*]}")
if [ -e "$unfinished" ] && damaged=$(damaged_packages) && [ -n "$damaged" ]; then
    echo "The last installation into .venv was cut off within ${damaged:0:60}: .venv is made anew."
    rm -rf .venv
fi
# Some packages lose files when pip replaces them: TensorFlow 2.18 takes the command tensorboard along.
if [ -e "$SETUP_DIR/environment" ] && ! cmp --silent constraints.txt "$versions"; then
    echo "constraints.txt names other versions than those in .venv: .venv is made anew."
    rm -rf .venv
fi
if ! [ -e .venv/bin/python ] && [ "$(free_mb)" -lt $NEEDED_MB ]; then
    echo "error: $(free_mb) MB are free in $PWD, the Python packages need $NEEDED_MB MB: make room there" >&2
    exit 1
fi
if .venv/bin/python -c "$is_supported" 2>/dev/null; then
    python=.venv/bin/python
elif ! python=$(find_python "$makes_venv"); then
    find_uv >/dev/null || no_python
    stage uv "[2/3] Python 3.$newest by uv, beside $(python3 --version 2>&1)" uv_python
    python=$(uv_python 2>/dev/null)
fi
mkdir -p "$SETUP_DIR"
touch "$unfinished"
stage environment "[2/3] Python packages into .venv (about 3 GB with TensorFlow)" install
rm "$unfinished"
[ -z "$ports" ] || optional=yes stage ports "      MIDI ports" from_pypi --editable ".[ports]" ||
    echo "MIDI ports were left out: python-rtmidi was not built. --live synth and --live stdout work. As root on" \
        "Debian or Ubuntu: apt-get install libasound2-dev pkg-config g++ python3-dev; then $PWD/.venv/bin/python" \
        "-m pip install --constraint constraints.txt --editable '.[ports]'"
cp constraints.txt "$versions"
touch "$SETUP_DIR/environment"
