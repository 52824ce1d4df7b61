#!/bin/bash
# Make a data set on one node or several. From the root of the repository, flags of pipeline/preprocess.py last:
#     sbatch slurm/preprocess.sh bach
#     DATA=data/mine sbatch --nodes=4 slurm/preprocess.sh my_midi_files/ --instruments
# A job that was killed or ran out of time continues where it stopped when it is submitted again.

#SBATCH --job-name=preprocess
#SBATCH --nodes=1
#SBATCH --time=02:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# One rank on each node, which parses on all its cores. No GPUs: they would be idle.
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
source slurm/site.env || { echo "error: no slurm/site.env in $PWD: sbatch from the root" >&2; exit 1; }
exec mpirun -np "$SLURM_NNODES" --bind-to none python pipeline/preprocess.py --out "$DATA" "$@"
