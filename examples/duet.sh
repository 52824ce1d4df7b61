#!/usr/bin/env bash
# A live duet: play a phrase, and the model answers with as many bars. q or Ctrl-C ends it.
#     python model/generate.py --list-ports           # the name of your keyboard
#     examples/duet.sh "Keystation 49"                # flags of model/generate.py behind it
#     examples/duet.sh phrases.mid --audio-driver file --audio-file duet.wav       # without a keyboard and a sound card
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$root/.venv/bin:$PATH"
INPUT=${1:?give the MIDI port that you play on, or a MIDI file of phrases}
shift
MODEL=${MODEL:-model/pretrained/chorales}

exec python "$root/model/generate.py" "$MODEL" --live synth --input "$INPUT" --temperature 0.9 "$@"
