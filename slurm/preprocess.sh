#!/bin/bash
# Make a data set on one node. From the root of the repository, flags of pipeline/preprocess.py behind:
#     sbatch slurm/preprocess.sh bach
#     DATA=data/mine sbatch slurm/preprocess.sh my_midi_files/ --instruments

#SBATCH --job-name=preprocess
#SBATCH --nodes=1
#SBATCH --time=02:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# One program that uses all cores of the node. GPUs would idle: none are asked for.
#SBATCH --ntasks=1
#SBATCH --exclusive

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
source slurm/site.env || { echo "error: no slurm/site.env in $PWD: sbatch from the root" >&2; exit 1; }
exec python pipeline/preprocess.py --out "$DATA" "$@"
