#!/bin/bash
# Mounts an ext4 volume (with a journal) at $BENCH/run for repositories and restored trees.
# Why: a root file system may be ext4 WITHOUT a journal. There, ext4 does not reuse the inodes of
# files deleted in the last minutes, and creating many files after deleting many gets 3-8 times slower
# (all of it system time): restores measured there say nothing about the tool.
#   volume.sh [GiB]  makes and mounts it;   volume.sh off  unmounts and removes it
set -euo pipefail
BENCH=${BENCH:-$(cd "$(dirname "$0")/../.." && pwd)/target/bench}; IMG=$BENCH/run.img
if [ "${1:-}" = off ]; then umount "$BENCH/run"; rm -f "$IMG"; exit; fi
mountpoint -q "$BENCH/run" && { echo "already mounted"; exit; }
mkdir -p "$BENCH/run"
fallocate -l "${1:-26}G" "$IMG"
mkfs.ext4 -q -F -N 4000000 -E lazy_itable_init=0,lazy_journal_init=0 "$IMG"
dev=$(losetup --find --show --direct-io=on "$IMG")
mount -o relatime "$dev" "$BENCH/run"
losetup -d "$dev"     # goes away with the mount
df -h "$BENCH/run" | tail -1
