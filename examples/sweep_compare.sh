#!/bin/bash
# The comparison at the end of examples/sweep.sh: the runs that recorded anything.
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
source slurm/site.env || { echo "error: no slurm/site.env in $PWD: sbatch from the root" >&2; exit 1; }
runs=()
for run in "runs/$NAME"/*/; do
    if [ -e "$run/metrics.jsonl" ]; then runs+=("$run"); fi
done
read -ra presets <<<"$PRESETS"
read -ra seeds <<<"$SEEDS"
echo "${#runs[@]} of $((${#presets[@]} * ${#seeds[@]})) runs have records"
exec python hpc/compare.py "${runs[@]}" --out "runs/$NAME/compared"
