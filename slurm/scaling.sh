#!/bin/bash
# Measure how well training scales over two nodes; flags of hpc/scaling.py after the script:
#     sbatch slurm/scaling.sh
# hpc/scaling.py starts mpirun itself, once for each number of workers.

#SBATCH --job-name=scaling
#SBATCH --nodes=2
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --open-mode=append

# No other job on the nodes, which would change the figures. GPUs as in train_2nodes.sh.
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
##SBATCH --gpus-per-node=1

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
source slurm/site.env || { echo "error: no slurm/site.env in $PWD: sbatch from the root" >&2; exit 1; }
exec python hpc/scaling.py --data "$DATA" "$@"
