#!/usr/bin/env bash
# Your own folder of MIDI files: fine-tune the model that comes with the program on it, and compose.
#     examples/fine_tune.sh my-midi                   # flags of hpc/train.py behind the folder
#     BASE=runs/chorales NAME=folk examples/fine_tune.sh my-midi --steps 500
# data/, runs/ and out/ are made in the folder in which you are.
# The shipped model hears four voices on a grid of 16ths; of music with more voices at a time, four stay (preprocess.py counts the
# notes that are left out).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$root/.venv/bin:$PATH"
MIDI=${1:?give a folder of MIDI files}
shift
BASE=${BASE:-model/pretrained/chorales} NAME=${NAME:-mine-4}

python "$root/pipeline/preprocess.py" "$MIDI" --vocabulary grid --num-lanes 4 --out "data/$NAME"
# A tenth of the usual learning rate: so much of what was learned before stays.
python "$root/hpc/train.py" --config hpc/presets/chorales.toml --data "data/$NAME" --from "$BASE" --run "runs/$NAME" \
    --steps 200 --warmup-steps 20 --learning-rate 0.0004 --eval-every 50 "$@"
python "$root/model/generate.py" "runs/$NAME" --bars "${BARS:-16}" --guidance 1.7 --formats mid,mp3,png --out "out/$NAME"
