#!/bin/bash
# Run the rest of the command line as this job's program, and requeue the job if the program asks.
# It is requeued on 85 (saved), and on 14, 76, 137, 205 and 255 (a rank or a node was lost): it
# continues from its newest checkpoint. Any other code is an error of the program and ends the job.
set -uo pipefail
: "${MAX_REQUEUES:?is set in slurm/site.env}"

# scancel sends TERM to mpirun, its daemons and the ranks alike. The ranks save; mpirun and its daemons
# would kill them after 0.5 s (Open MPI 5) or 2 s. With the signal blocked they wait for the ranks.
block="env --block-signal=TERM"
if $block true 2>/dev/null; then
    export OMPI_MCA_orte_launch_agent="$block ${OMPI_MCA_orte_launch_agent:-orted}"
    export PRTE_MCA_prte_launch_agent="$block ${PRTE_MCA_prte_launch_agent:-prted}"
else
    block=
    echo "warning: scancel will end this job before it has saved, since env cannot block a signal here" \
        "(coreutils 8.31 can); scancel --batch --signal=USR2 $SLURM_JOB_ID saves first" >&2
fi

$block "$@" &
program=$!
# USR2: the time limit is near. TERM: the job is preempted or cancelled. Both mean "save and stop".
# mpirun sends USR2 on to every rank.
trap 'kill -USR2 "$program" 2>/dev/null' USR2 TERM

# A signal ends a `wait` early, so wait until the program has ended; only then is its code final.
while kill -0 "$program" 2>/dev/null; do wait "$program"; done
wait "$program"
code=$?

# mpirun itself ends with 137 (Open MPI 5: or 14) where a rank was killed, and with 205 or 255 where
# a node is gone.
case $code in
85) reason="saved" ;;
14 | 76 | 137 | 205 | 255) reason="a rank or its node was lost (code $code)" ;;
*) exit "$code" ;;
esac
requeues=${SLURM_RESTART_COUNT:-0}
# The number of an array stands for all its jobs.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}
if [[ $(squeue --noheader --format=%T --jobs="$job" 2>/dev/null) == COMPLETING ]]; then
    echo "$reason; Slurm is ending this job (scancel, scontrol requeue, or the time limit)"
elif ((requeues >= MAX_REQUEUES)); then
    echo "error: stopped after $requeues requeues (MAX_REQUEUES); the same sbatch command continues" >&2
else
    echo "$reason; requeue $((requeues + 1)) of at most $MAX_REQUEUES"
    trap '' TERM # the requeue ends this job, and would end scontrol itself
    scontrol requeue "$job" || echo "error: Slurm did not requeue the job" >&2
fi
exit "$code"
