#!/usr/bin/env bash
# System packages: what is missing is installed as root on Debian or Ubuntu, else named with what
# works without it. Looked for by command, so that an MPI from `module load` counts.
#
#   hpc/install/packages.sh train|test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. hpc/install/stage.sh
PATH=$PATH:/usr/sbin:/sbin # sshd, slurmd and ip, which a user's PATH need not have

# what is looked for | Debian's package | what does not work without it (-: PyPI stands in)
train_table='
python-venv | python3-venv         | the virtual environment, so nothing
c++         | g++                  | building Horovod: --strategy horovod
cmake       | cmake                | -
mpirun      | openmpi-bin          | -
mpicxx      | libopenmpi-dev       | -
ssh         | openssh-client       | training on several hosts
fluidsynth  | fluidsynth           | WAV files: generate writes MIDI and PNG only
soundfont   | timgm6mb-soundfont   | WAV files: generate writes MIDI and PNG only'
test_table='
ip          | iproute2             | tests on two hosts (cluster)
sshd        | openssh-server       | tests on two hosts (cluster)
rsync       | rsync                | tests on two hosts (cluster)
slurmctld   | slurm-wlm            | tests on two hosts (cluster)
munged      | munge                | tests on two hosts (cluster)
chromium    | chromium             | tests of pictures in a browser (browser)
chromedriver| chromium-driver      | tests of pictures in a browser (browser)'

# Their packages enable daemons. That is nobody's wish on a machine that boots services, for a test.
daemons=' openssh-server slurm-wlm munge '

found() {
    case $1 in
        soundfont)
            [ -n "${SOUNDFONT:-}" ] || compgen -G '/usr/share/sounds/sf[23]/*.sf[23]' >/dev/null ||
                compgen -G '/usr/share/soundfonts/*.sf[23]' >/dev/null ;;
        # a Python of another kind (pyenv, conda, a module) needs no package
        python-venv)
            has "${PYTHON:-python3}" && "${PYTHON:-python3}" -c 'import venv, ensurepip' 2>/dev/null ;;
        *) has "$1" ;;
    esac
}

# Sets `packages` and `losses`, one line for each thing of the table that is not there.
look() {
    local wanted package loss
    packages=() losses=()
    while IFS='|' read -r wanted package loss; do
        wanted=${wanted// /} package=${package// /} loss=${loss# }
        if [ -z "$wanted" ] || found "$wanted"; then continue; fi
        packages+=("$package")
        [ "$loss" = - ] || losses+=("  missing: $wanted (Debian: $package). Does not work without it: $loss")
    done <<<"$1"
}

install() {
    local quiet=(-q -y -o DPkg::Lock::Timeout=120)
    apt-get update -q && apt-get install "${quiet[@]}" --no-install-recommends "${packages[@]}"
}

keep_daemons_out() {
    local package kept=()
    [ -d /run/systemd/system ] || return 0
    for package in "${packages[@]}"; do
        [[ $daemons == *" $package "* ]] || kept+=("$package")
    done
    packages=("${kept[@]}")
}

case ${1:-} in
    train) table=$train_table ;;
    test) table=$test_table ;;
    *) echo "error: packages.sh train, or packages.sh test" >&2 && exit 2 ;;
esac
look "$table"
if [ ${#packages[@]} -gt 0 ] && [ "$(id -u)" -eq 0 ] && has apt-get; then
    keep_daemons_out
    if [ ${#packages[@]} -gt 0 ]; then
        text="System packages for $1"
        [ "$1" = test ] || text="[1/3] System packages"
        stage "packages-$1" "$text: ${packages[*]}" install || true # the losses below say the rest
    fi
    look "$table"
fi
[ ${#losses[@]} -eq 0 ] || printf '%s\n' "${losses[@]}"
# With something missing there is no stamp: the next make looks again, and says it again.
[ ${#losses[@]} -gt 0 ] || touch "$SETUP_DIR/packages-$1"
