#!/usr/bin/env bash
# System packages: what is missing is installed as root on Debian or Ubuntu, else named with what
# works without it. Looked for by command, so that an MPI from `module load` counts.
#
#   hpc/install/packages.sh train|test
#   hpc/install/packages.sh sound           whether MIDI can become WAV here: the exit code
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. hpc/install/stage.sh
PATH=$PATH:/usr/sbin:/sbin # sshd, slurmd and ip, which a user's PATH need not have

# what is looked for | Debian's package | what needs it (-: PyPI stands in)
train_table='
python-venv  | python3-venv       | everything: it makes .venv
c++          | g++                | --strategy horovod, which is compiled here
cmake        | cmake              | -
mpirun       | openmpi-bin        | -
mpicxx       | libopenmpi-dev     | -
ssh          | openssh-client     | training on several hosts
fluidsynth   | fluidsynth         | WAV files: without it MIDI and pictures only
soundfont    | timgm6mb-soundfont | WAV files: without it MIDI and pictures only
alsa         | libasound2-dev     | MIDI ports, which this Python compiles
pkg-config   | pkg-config         | -
python-dev   | python3-dev        | -'
test_table='
ip           | iproute2           | tests on two hosts
sshd         | openssh-server     | tests on two hosts
rsync        | rsync              | tests on two hosts
slurmctld    | slurm-wlm          | tests on two hosts
munged       | munge              | tests on two hosts
chromium     | chromium           | tests in a browser
chromedriver | chromium-driver    | tests in a browser'

# Their packages enable daemons. That is nobody's wish on a machine that boots services, for a test.
daemons=' openssh-server slurm-wlm munge '

# python-rtmidi 1.5.8, for MIDI ports, has wheels up to Python 3.12.
compiles_ports() { python=$(find_python "$is_supported") && "$python" -c "import sys; sys.exit(sys.version_info < (3, 13))"; }

found() {
    local python
    case $1 in
        soundfont)
            [ -n "${SOUNDFONT:-}" ] || compgen -G '/usr/share/sounds/sf[23]/*.sf[23]' >/dev/null ||
                compgen -G '/usr/share/soundfonts/*.sf[23]' >/dev/null ;;
        # a Python of another kind (pyenv, conda, uv, a module) needs no package
        python-venv) has_python || ! venv_package >/dev/null || { ! may_install && find_uv >/dev/null; } ;;
        alsa) ! compiles_ports || { has pkg-config && pkg-config --exists alsa; } ;;
        pkg-config) ! compiles_ports || has pkg-config ;;
        python-dev) ! compiles_ports ||
            "$python" -c "import os, sysconfig as s; os.stat(s.get_path('include') + '/Python.h')" 2>/dev/null ;;
        *) has "$1" ;;
    esac
}

# Sets `packages` to install and `losses`, a line for each missing thing that nothing stands in for.
look() {
    local wanted package purpose
    packages=() losses=()
    while IFS='|' read -r wanted package purpose; do
        wanted=${wanted// /} package=${package// /} purpose=${purpose# }
        if [ -z "$wanted" ] || found "$wanted"; then continue; fi
        [ "$wanted" != python-venv ] || package=$(venv_package)
        packages+=("$package")
        [ "$purpose" = - ] || losses+=("  missing: $wanted ($package), needed for $purpose")
    done <<<"$table"
}

may_install() { [ "$(id -u)" -eq 0 ] && has apt-get; }

# Prints those of the packages that may be installed unasked on this machine.
installable() {
    local package
    may_install || return 0
    for package in "${packages[@]}"; do
        [ -d /run/systemd/system ] && [[ $daemons == *" $package "* ]] || echo "$package"
    done
}

install() {
    apt-get update -q &&
        apt-get install -q -y -o DPkg::Lock::Timeout=120 --no-install-recommends "${chosen[@]}"
}

case ${1:-} in
    train)
        table=$train_table text="[1/3] System packages"
        . hpc/install/python.sh
        # Before minutes of packages; unless one of them is what this Python lacks.
        has_python || find_uv >/dev/null || { may_install && venv_package >/dev/null; } || no_python ;;
    test) table=$test_table text="System packages for tests" ;;
    sound) found fluidsynth && found soundfont && exit || exit 1 ;;
    *) echo "error: packages.sh train, test or sound" >&2 && exit 2 ;;
esac
look
mapfile -t chosen < <(installable)
if [ ${#chosen[@]} -gt 0 ]; then
    stage "install-$1" "$text: ${chosen[*]}" install || true # what is still missing is told below
    look
fi
if [ ${#losses[@]} -gt 0 ]; then
    # No stamp, so that the next make looks again.
    printf '%s\n' "${losses[@]}" "  On Debian or Ubuntu, as root: apt-get install ${packages[*]}"
else
    touch "$SETUP_DIR/packages-$1"
fi
