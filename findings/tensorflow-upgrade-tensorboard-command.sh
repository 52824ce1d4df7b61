#!/usr/bin/env bash
# An upgrade from TensorFlow 2.18.1 to 2.21.0 deletes the command `tensorboard`.
#
# Expected: `pip install --upgrade tensorflow-cpu` leaves a newer TensorBoard whose command works.
# Happens: two packages own bin/tensorboard, TensorBoard and TensorFlow 2.18. pip installs the new TensorBoard
# with its command first, then replaces TensorFlow: it removes the old one's files, the command among
# them, and TensorFlow 2.21 brings none. pip reports success, and `pip check` finds nothing.
# `python -m tensorboard.main` works on; only a forced reinstallation brings the command back.
#
# Seen:
#   2.18.1: bin/tensorboard is there
#   2.21.0: bin/tensorboard is missing, and TensorBoard 2.21.0 says that it is installed
#   pip check: No broken requirements found.
#
# Exits 0 while this is so, else shows the difference and exits 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
export TMPDIR=$folder
pip() { "$folder/venv/bin/python" -m pip "$@" 2>/dev/null; }

found() {
    if [ -e "$folder/venv/bin/tensorboard" ]; then
        echo "$1: bin/tensorboard is there"
    else
        echo "$1: bin/tensorboard is missing, and TensorBoard $(pip show tensorboard |
            sed -n 's/^Version: //p') says that it is installed"
    fi
}

pip install --quiet tensorflow-cpu==2.18.1 tensorboard==2.18.0 'setuptools<81'
found 2.18.1 | tee "$folder/seen"
pip install --quiet --upgrade tensorflow-cpu==2.21.0 tensorboard==2.21.0
found 2.21.0 | tee -a "$folder/seen"
echo "pip check: $(pip check)" | tee -a "$folder/seen"
diff <(sed -n 's/^#   \(2\.\|pip check\)/\1/p' "$0") "$folder/seen"
