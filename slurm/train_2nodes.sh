#!/bin/bash
# Train on two nodes. From the root of the repository, flags of hpc/train.py after the script:
#     sbatch slurm/train_2nodes.sh --steps 5000 --strategy horovod
# The run is runs/JOBNAME, in a job array runs/JOBNAME-INDEX, so the same command continues it, and
# --job-name=OTHER begins another. At the time limit it saves, and the job is requeued until it is done;
# likewise after a rank or a node was lost. scancel and scontrol requeue save first.

#SBATCH --job-name=train
#SBATCH --nodes=2
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# 120 s before the time limit. B: to this script only, since Slurm's steps are mpirun's daemons.
#SBATCH --signal=B:USR2@120

# Whole nodes, with the GPUs they have, or none on a CPU cluster; one process on each node.
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
# The only GPU request. For several GPUs in a node, or a site that requires a number: remove one #
# from the next line, and set --ntasks-per-node above to the same number.
##SBATCH --gpus-per-node=1

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
source slurm/site.env || { echo "error: no slurm/site.env in $PWD: sbatch from the root" >&2; exit 1; }
name=${SLURM_JOB_NAME//\//-}${SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}
exec slurm/requeue.sh mpirun -np "$SLURM_NTASKS" --bind-to none \
    python hpc/train.py --data "$DATA" --run "runs/$name" "$@"
