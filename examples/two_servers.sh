#!/usr/bin/env bash
# Train on two servers, and compose with the result. Run it on the first of them; run again, it continues.
#     examples/two_servers.sh --steps 5000            # flags of hpc/train.py
#     HOSTS=bath:2,dorchester:2 RUN=runs/four examples/two_servers.sh
set -euo pipefail
# The program's folder is on both hosts; yours may not be.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for name in DATA RUN; do
    if [ -n "${!name:-}" ]; then printf -v "$name" %s "$(realpath -ms --relative-base="$root" -- "${!name}")"; fi
done
cd "$root"
export PATH="$PWD/.venv/bin:$PATH"
HOSTS=${HOSTS:-dorchester,bath} DATA=${DATA:-data/bach} RUN=${RUN:-runs/both}

# 1 is a warning, 2 is what must be mended first. Without --quick, doctor also tries the libraries and mpirun.
python hpc/doctor.py -H "$HOSTS" --data "$DATA" --quick || [ $? -eq 1 ]
# Without -np there is one process for each slot of the hosts.
mpirun -H "$HOSTS" --map-by slot --bind-to none "$(command -v python)" hpc/train.py --data "$DATA" --run "$RUN" "$@"
python model/generate.py "$RUN" --bars "${BARS:-16}" --temperature 0.9 --formats mid,mp3,png --out "out/$(basename "$RUN")"
