#!/bin/bash
# One host of the testbed, as process 1 of its own namespaces: what a real host does at boot.
# usage: host.sh NAME ADDRESS/PREFIX STATE_DIR SERVICE...     (services: sshd munged slurmctld slurmd)
set -euo pipefail
name=$1 address=$2 state=$3
shift 3

hostname "$name"
# The machine's /etc with the testbed's files on top; nothing is written to the machine's own.
mount -t overlay etc -o "ro,lowerdir=$state/$name/etc:$state/etc:/etc" /etc
mount -t tmpfs run /run
mount -t tmpfs shm /dev/shm
# /sys shows the network cards of whoever mounts it. The control groups below it move along: slurmd
# does not start without them.
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
umount --recursive /run/cgroup
mkdir -p /run/sshd /run/munge /run/lock /run/slurm/slurmctld /run/slurm/slurmd
chmod 0755 /run/munge

echo booted # the other side plugs the cable in, then answers
read -r _
ip link set lo up
ip address add "$address" dev eth0
ip link set eth0 up
# As on real hosts: TCP gives a peer that stops answering up after 15 minutes.
sysctl -qw net.ipv4.tcp_retries2=15
exec >>"$state/$name/log" 2>&1 </dev/null

start_service() {
    case $1 in
        sshd) /usr/sbin/sshd -D -e ;;
        munged) /usr/sbin/munged --foreground --seed-file=/run/munge/seed ;;
        slurmctld) /usr/sbin/slurmctld -D ;;
        slurmd) /usr/sbin/slurmd -D -N "$name" ;;
    esac
}
for service in "$@"; do
    start_service "$service" &
    [[ $service != munged ]] || until [[ -S /run/munge/munge.socket.2 ]]; do sleep 0.01; done
done
sleep infinity &
# bash collects the children that end, and those of others that have no parent any more. When this
# process is killed, the kernel ends every other process of the host.
while :; do wait || true; done
