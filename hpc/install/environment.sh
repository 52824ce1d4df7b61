#!/usr/bin/env bash
# The virtual environment .venv with this program's dependencies, at the versions of constraints.txt.
#
#   hpc/install/environment.sh EXTRA...     the extras of setup.cfg to install
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. hpc/install/stage.sh

# A pyenv shim exists for versions that are not enabled, and Debian's python3 can lack venv: try each.
suitable='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))'

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.12 python3.11 /usr/bin/python3; do
        if "$candidate" -c "$suitable" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

install() {
    "$python" -m venv .venv &&
        .venv/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[$extras]"
}

extras=$(IFS=,; echo "$*")
if .venv/bin/python -c "$suitable" 2>/dev/null; then
    python=.venv/bin/python
elif ! python=$(find_python); then
    echo "error: no Python 3.11 or 3.12 with its venv module (found: $(python3 --version 2>&1));" \
        "install one (Debian, Ubuntu: apt-get install python3-venv) or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi
stage environment "[2/3] Python packages into .venv (about 2 GB with TensorFlow)" install
touch "$SETUP_DIR/environment"
