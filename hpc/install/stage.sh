# shellcheck shell=bash
# Sourced by the set-up scripts: one line a stage, what a tool prints goes to a log.

export DEBIAN_FRONTEND=noninteractive
export PIP_DISABLE_PIP_VERSION_CHECK=1
SETUP_DIR=.venv/setup # stamps for make, and the logs
mkdir -p "$SETUP_DIR"

free_mb() { df --output=avail --block-size=1M . | tail -n 1 | tr -d ' '; }

# stage NAME TEXT COMMAND...: runs COMMAND into $SETUP_DIR/NAME.log and prints "TEXT ... 12 s"; the
# command's exit code. A failure shows where the log lies, its first errors (of a build they stand
# hundreds of lines before the end) and its end; with `optional=yes` before it, only where it lies.
stage() {
    local log=$SETUP_DIR/$1.log text=$2 code=0 started=$SECONDS ticker=
    shift 2
    printf '%s ... ' "$text"
    if [ -t 1 ]; then # a terminal sees the seconds pass
        while sleep 1; do printf '\r%s ... %d s ' "$text" $((SECONDS - started)); done &
        ticker=$!
    fi
    "$@" >"$log" 2>&1 </dev/null || code=$?
    [ -z "$ticker" ] || kill "$ticker"
    [ -z "$ticker" ] || printf '\r%s ... ' "$text"
    if [ "$code" -eq 0 ]; then
        printf '%d s\n' $((SECONDS - started))
    elif grep -qiE 'no space left on device|disk quota exceeded' "$log" || [ "$(free_mb)" -lt 20 ]; then
        printf 'failed after %d s: the disk is full. Make room in %s, and give the same command again\n' \
            $((SECONDS - started)) "$PWD"
    elif [ -n "${optional:-}" ]; then
        printf 'left out after %d s; why: %s\n' $((SECONDS - started)) "$PWD/$log"
    else
        printf 'failed after %d s; from %s:\n' $((SECONDS - started)) "$PWD/$log"
        {
            grep -m 5 -A 3 -iE '(cmake|fatal)? ?error[ :]' "$log" || true
            echo "..."
            tail -n 5 "$log"
        } | cut -c1-200 | sed 's/^/    /'
    fi
    return "$code"
}

has() { command -v "$1" >/dev/null 2>&1; }
