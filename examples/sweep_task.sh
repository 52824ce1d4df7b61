#!/bin/bash
# One training of examples/sweep.sh: the task's number chooses preset and seed.
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
source slurm/site.env || { echo "error: no slurm/site.env in $PWD: sbatch from the root" >&2; exit 1; }
read -ra presets <<<"$PRESETS"
read -ra seeds <<<"$SEEDS"
preset=${presets[SLURM_ARRAY_TASK_ID / ${#seeds[@]}]}
seed=${seeds[SLURM_ARRAY_TASK_ID % ${#seeds[@]}]}
exec slurm/requeue.sh python hpc/train.py --data "$DATA" --run "runs/$NAME/$preset-$seed" \
    --preset "$preset" --seed "$seed" "$@"
