#!/usr/bin/env bash
# The virtual environment .venv with this program's dependencies, at the versions of constraints.txt.
#
#   hpc/install/environment.sh EXTRA...     the extras of setup.cfg to install
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. hpc/install/stage.sh
NEEDED_MB=4500               # 2.8 GB in .venv, and what pip downloads and unpacks meanwhile
unfinished=.venv/unfinished # stands while pip installs

# A pyenv shim exists for versions that are not enabled, and Debian's python3 can lack venv: try each.
suitable='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'

free_mb() { df --output=avail --block-size=1M . | tail -n 1 | tr -d ' '; }

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$candidate" -c "$suitable" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

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
if ! [ -e .venv/bin/python ] && [ "$(free_mb)" -lt $NEEDED_MB ]; then
    echo "error: $(free_mb) MB are free in $PWD, the Python packages need $NEEDED_MB MB: make room there" >&2
    exit 1
fi
if .venv/bin/python -c "$suitable" 2>/dev/null; then
    python=.venv/bin/python
elif ! python=$(find_python); then
    echo "error: no Python 3.11, 3.12 or 3.13 with its venv module (found: $(python3 --version 2>&1));" \
        "install one (Debian, Ubuntu: apt-get install python3-venv) or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi
mkdir -p "$SETUP_DIR"
touch "$unfinished"
stage environment "[2/3] Python packages into .venv (about 3 GB with TensorFlow)" install
rm "$unfinished"
[ -z "$ports" ] || stage ports "      MIDI ports" from_pypi --editable ".[ports]" ||
    echo "MIDI ports were left out: python-rtmidi was not built. --live synth and --live stdout work. As root on" \
        "Debian or Ubuntu: apt-get install libasound2-dev pkg-config g++ python3-dev; then $PWD/.venv/bin/python" \
        "-m pip install --constraint constraints.txt --editable '.[ports]'"
touch "$SETUP_DIR/environment"
