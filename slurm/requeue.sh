#!/bin/bash
# Run the rest of the command line as this job's program, and requeue the job if the program asks.
# The program asks by exit code 85, after it has saved: it can continue where it stopped.
set -uo pipefail
: "${MAX_REQUEUES:?is set in slurm/site.env}"

"$@" &
program=$!
# USR2: the time limit is near. TERM: the job is preempted. Both mean "save and stop". mpirun sends
# USR2 on to every rank, but ends the ranks on TERM.
trap 'kill -USR2 "$program" 2>/dev/null' USR2 TERM

# A signal ends a `wait` early, so wait until the program has ended; only then is its code final.
while kill -0 "$program" 2>/dev/null; do wait "$program"; done
wait "$program"
code=$?

if [[ $code -eq 85 ]]; then
    requeues=${SLURM_RESTART_COUNT:-0}
    if ((requeues >= MAX_REQUEUES)); then
        echo "error: stopped after $requeues requeues (MAX_REQUEUES); sbatch with the same --run continues" >&2
    else
        echo "saved; requeue $((requeues + 1)) of at most $MAX_REQUEUES"
        trap '' TERM # the requeue ends this job, and would end scontrol itself
        scontrol requeue "$SLURM_JOB_ID" || echo "error: Slurm did not requeue the job" >&2
    fi
fi
exit "$code"
