# shellcheck shell=bash
# Sourced by the set-up scripts: which Python makes .venv. setup.cfg alone says which versions do.

read -r lowest above < <(sed -n 's/^python_requires = >=3\.\([0-9]*\),<3\.\([0-9]*\)$/\1 \2/p' setup.cfg) ||
    { echo "error: setup.cfg has no python_requires = >=3.X,<3.Y" >&2 && exit 1; }
newest=$((above - 1))
supported=$(seq -s ', ' -f '3.%g' "$lowest" "$newest")
is_supported="import sys; sys.exit(not (3, $lowest) <= sys.version_info < (3, $above))"
makes_venv="import venv, ensurepip; $is_supported"

# The Pythons to try, best first; only the one that the user names, if any. Debian's python3 can lack
# venv, and a pyenv shim exists for versions that are not enabled: so all that the PATH has.
candidates() {
    local minor
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON"
    else
        type -ap python3 || true
        for ((minor = newest; minor >= lowest; minor--)); do type -ap "python3.$minor" || true; done
    fi
}

# find_python CODE: the first Python in which the code ends well.
find_python() {
    local candidate
    while IFS= read -r candidate; do
        if "$candidate" -c "$1" >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done < <(candidates)
    return 1
}

# uv's installer puts it into ~/.local/bin, which the PATH of this shell need not have yet.
find_uv() { [ -z "${PYTHON:-}" ] && { command -v uv || command -v "${HOME:-}/.local/bin/uv"; }; }

# uv_python: the newest supported Python as uv installs it for a user, without root.
uv_python() {
    local uv
    uv=$(find_uv)
    export UV_PYTHON_PREFERENCE=only-managed
    "$uv" python install "3.$newest" >&2 && "$uv" python find "3.$newest"
}

has_python() {
    .venv/bin/python -c "$is_supported" >/dev/null 2>&1 || find_python "$makes_venv" >/dev/null
}

# Debian's package with the venv module of the supported Python that lacks it; nothing where there
# is no such Python, or it does not come from the system's packages.
venv_package() {
    local python
    python=$(find_python "$is_supported") && [[ $(readlink -f "$python") == /usr/bin/python3* ]] && has apt-get &&
        "$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])'
}

# Ends the set-up with what helps on this system.
no_python() {
    local found package own="or name another one: make setup PYTHON=/path/to/python3"
    found=$("${PYTHON:-python3}" --version 2>&1) || found="no ${PYTHON:-python3}"
    if package=$(venv_package); then
        echo "error: $found has no venv module, which makes .venv; as root: apt-get install $package;" \
            "without root: install uv, as at https://docs.astral.sh/uv, and give the same command again; $own" >&2
    elif find_python "$is_supported" >/dev/null; then
        echo "error: $found has no venv module, which makes .venv: install it, $own" >&2
    elif [ -n "${PYTHON:-}" ]; then
        echo "error: PYTHON=$PYTHON is $found; needed is one of Python $supported" >&2
    elif has conda; then
        echo "error: found $found; needed is one of Python $supported. With your conda: conda create -y -p" \
            "$PWD/.conda python=3.$newest && make setup PYTHON=$PWD/.conda/bin/python; $own" >&2
    else
        echo "error: found $found; needed is one of Python $supported, which TensorFlow is made for. Without root," \
            "and beside your own Python: install uv, curl -LsSf https://astral.sh/uv/install.sh | sh, and give" \
            "the same command again: it runs uv python install 3.$newest; $own" >&2
    fi
    exit 1
}
