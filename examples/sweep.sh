#!/usr/bin/env bash
# Train every preset with every seed, each as a task of one Slurm array, and compare all runs at the end.
# On the login node, flags of hpc/train.py last:
#     examples/sweep.sh --steps 5000
#     PRESETS="small base" SEEDS="1 2 3" NAME=sizes examples/sweep.sh --data data/mine
# The runs are runs/NAME/PRESET-SEED; the comparison is written into runs/NAME/compared. Submitted again, runs that did not
# end continue. sbatch reads its options from SBATCH_TIMELIMIT, SBATCH_PARTITION and so on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export NAME=${NAME:-sweep} PRESETS=${PRESETS:-tiny small} SEEDS=${SEEDS:-1 2}
read -ra presets <<<"$PRESETS"
read -ra seeds <<<"$SEEDS"
last=$((${#presets[@]} * ${#seeds[@]} - 1))
mkdir -p "runs/$NAME"

task=(sbatch --parsable --nodes=1 --ntasks=1 --output="runs/$NAME/%x-%A-%a.log")
array=$("${task[@]}" --job-name="$NAME" --array="0-$last" --requeue --open-mode=append --signal=B:USR2@120 \
    examples/sweep_task.sh "$@")
# afterany: runs that failed are left out of the comparison, which says so.
"${task[@]}" --job-name="$NAME-compare" --dependency="afterany:$array" examples/sweep_compare.sh
