#!/usr/bin/env bash
# README's two commands on a system that has nothing but git, make and Python: a table of the stages.
#
#   tests/fresh/fresh.sh SYSTEM     bookworm, trixie, noble, or what else debootstrap can make
#
# Twice: as root, and as a user without root, where root has installed only what the set-up asks for.
# Needs root, debootstrap, and 8 GB. Like `docker build`, it hands the caller's settings of
# proxies, certificates and package indexes on. Variables:
#
#   FRESH_DIR    where the systems lie (default: /var/tmp/chorale-fresh); SYSTEM.tar there is kept
#   FRESH_AS     "root user": as whom (default: both)
#   FRESH_TESTS  what runs instead of `make test`, such as ".venv/bin/python -m pytest -q", the quick tests
#   FRESH_BIND   folders of this machine that are seen inside too, such as one of wheels
#   MIRROR, KEYRING   of the system's packages (default: debootstrap's own)
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
system=${1:?which system? bookworm, trixie or noble}
dir=${FRESH_DIR:-/var/tmp/chorale-fresh}
tests=${FRESH_TESTS:-make test}
clone=/srv/chorale

die() { echo "error: $*" >&2 && exit 1; }
[ "$(id -u)" -eq 0 ] || die "tests/fresh/fresh.sh makes a system: run it as root"
command -v debootstrap >/dev/null || die "no debootstrap: apt-get install debootstrap"
mkdir -p "$dir"

case $system in
    noble | resolute | plucky | questing)
        # An older debootstrap does not know the name; all of Ubuntu's systems are made alike.
        components=main,universe script=gutsy mirror=http://archive.ubuntu.com/ubuntu
        keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg ;;
    *) components=main script=sid mirror=http://deb.debian.org/debian
        keyring=/usr/share/keyrings/debian-archive-keyring.gpg ;;
esac
mirror=${MIRROR:-$mirror} keyring=${KEYRING:-$keyring}

# In a mount space of its own: what is mounted inside is gone, for the others, when it ends.
make_base() {
    [ -r "$keyring" ] || die "no $keyring: install the package with it, or name another: KEYRING=FILE"
    rm -rf --one-file-system "$dir/$system.base"
    unshare --mount debootstrap --variant=minbase --include=git,make,python3 --keyring="$keyring" \
        --components="$components" "$system" "$dir/$system.base" "$mirror" \
        "/usr/share/debootstrap/scripts/$script" >"$dir/$system.log" 2>&1 ||
        die "debootstrap failed: $(tail -n 1 "$dir/$system.log") ($dir/$system.log)"
    tar -C "$dir/$system.base" -cf "$dir/$system.tar.partial" .
    mv "$dir/$system.tar.partial" "$dir/$system.tar"
    rm -rf --one-file-system "$dir/$system.base"
}

# What the caller's machine needs to reach package indexes; nothing else of it gets in.
hand_on() {
    local root=$1 path
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    apt-config dump | grep -E '^Acquire::(http|https|Check-|Retries|ForceIPv)' \
        >"$root/etc/apt/apt.conf.d/90-caller" || true
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no daemons, as in container images
    chmod 755 "$root/usr/sbin/policy-rc.d"
    for path in /usr/local/share/ca-certificates /etc/ssl/certs/ca-certificates.crt \
        /etc/pip.conf /etc/xdg/pip /etc/uv; do
        [ ! -e "$path" ] || (mkdir -p "$root${path%/*}" && cp -aL "$path" "$root${path%/*}/")
    done
}
caller=$(compgen -e | grep -iE '^(https?|ftp|all|no)_proxy$|^(PIP|UV)_|^(SSL_CERT_FILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)$' || true)

# inside ROOT USER COMMAND...: runs in the clone in that system, and ends with all it has started.
inside() {
    local root=$1 user=$2 name settings=() path=/usr/local/bin:/usr/bin:/bin
    shift 2
    [ "$user" != root ] || path+=:/usr/sbin:/sbin
    for name in $caller; do settings+=("$name=${!name}"); done
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount --pid --fork --kill-child bash -c '
        set -e
        root=$1; shift
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        for folder in /dev /sys; do mount --rbind "$folder" "$root$folder"; done
        for folder in $FRESH_BIND; do
            mkdir -p "$root$folder" && mount --bind -o ro "$folder" "$root$folder"
        done
        # Not chroot: the hosts of the testbed have namespaces of their own, whose root is the old one.
        cd "$root" && pivot_root . mnt && umount --lazy /mnt
        exec "$@"' inside "$root" \
        setpriv --reuid "$user" --regid "$user" --clear-groups env -i \
        "HOME=$(awk -F: -v user="$user" '$1 == user {print $6}' "$root/etc/passwd")" \
        "PATH=$path" TERM=dumb "${settings[@]}" \
        /bin/sh -c "cd $clone && $*" </dev/null
}

# timed WHAT LOG COMMAND...: runs COMMAND into LOG; a row with seconds and how it ended.
row() { printf '| %s | %s | %s | %s | %s |\n' "$system" "$as" "$@" | tee -a "$table"; }
timed() {
    local what=$1 log=$2 code=0 started=$SECONDS line known=0
    shift 2
    "$@" >"$log" 2>&1 || code=$?
    while IFS= read -r line; do # the stages that the set-up itself has timed
        if [[ $line =~ ^(.*)\ \.\.\.\ ((failed|left\ out)\ after\ )?([0-9]+)\ s ]]; then
            row "${BASH_REMATCH[1]}" "${BASH_REMATCH[4]}" "${BASH_REMATCH[3]}"
            known=$((known + BASH_REMATCH[4]))
        fi
    done <"$log"
    line=$(grep -E '^error|^Horovod was left out|left out\.' "$log" | tail -n 1 || true)
    [ "$code" -ne 0 ] || [[ $what != tests* ]] || line=$(tail -n 1 "$log")
    [ "$code" -eq 0 ] || line="code $code: ${line:-$(tail -n 1 "$log")}"
    row "$what" $((SECONDS - started - known)) "$line"
    return "$code"
}

try_as() {
    as=$1
    local root=$dir/$system-$1 log=$dir/$system-$1
    rm -rf --one-file-system "$root" && mkdir "$root" && tar -C "$root" -xf "$dir/$system.tar"
    hand_on "$root"
    git clone --quiet "file://$repository" "$root$clone"
    [ "$as" = root ] || chroot "$root" useradd --create-home "$as"
    chroot "$root" chown -R "$as:$as" "$clone"
    if [ "$as" != root ] && ! timed "make demo, bare" "$log-bare.log" inside "$root" "$as" make demo; then
        wanted=$(sed -n 's/^error: .*as root: \(apt-get install [^;]*\).*/\1/p' "$log-bare.log")
        [ -n "$wanted" ] || die "the set-up does not say what root has to install: $log-bare.log"
        timed "root: $wanted" "$log-root.log" inside "$root" root "apt-get update && $wanted -y"
    fi
    timed "make demo, the rest" "$log-demo.log" inside "$root" "$as" make demo || failed=1
    timed "tests: $tests" "$log-tests.log" inside "$root" "$as" "$tests" || failed=1
    row "size of .venv, MB" "" "$(du -sm "$root$clone/.venv" | cut -f 1)"
}

export FRESH_BIND=${FRESH_BIND:-}
failed=0 table=$dir/$system.md
[ -s "$dir/$system.tar" ] || make_base
printf '| system | as | stage | s | ended |\n|---|---|---|---|---|\n' | tee "$table"
for user in ${FRESH_AS:-root user}; do try_as "$user"; done
echo "The table: $table; what was printed: $dir/$system-*.log"
exit "$failed"
