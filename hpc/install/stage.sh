# shellcheck shell=bash
# Sourced by the set-up scripts: one line a stage, what a tool prints goes to a log.

export DEBIAN_FRONTEND=noninteractive
export PIP_DISABLE_PIP_VERSION_CHECK=1
SETUP_DIR=.venv/setup # stamps for make, and the logs
mkdir -p "$SETUP_DIR"

# stage NAME TEXT COMMAND...: runs COMMAND into $SETUP_DIR/NAME.log and prints "TEXT ... 12 s"; the
# command's exit code. A failure shows the end of the log and where it lies.
stage() {
    local log=$SETUP_DIR/$1.log text=$2 code=0 started=$SECONDS
    shift 2
    printf '%s ... ' "$text"
    "$@" >"$log" 2>&1 </dev/null || code=$?
    if [ "$code" -eq 0 ]; then
        printf '%d s\n' $((SECONDS - started))
    else
        printf 'failed after %d s; the end of %s:\n' $((SECONDS - started)) "$log"
        tail -n 15 "$log" | cut -c1-300 | sed 's/^/    /'
    fi
    return "$code"
}

has() { command -v "$1" >/dev/null 2>&1; }
