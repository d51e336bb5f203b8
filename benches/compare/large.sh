#!/bin/bash
# What a backup and a prune take in a repository of many blobs: seconds, CPU seconds, peak resident memory, and the requests of the backups. Of the
# prunes also the bytes of memory for each blob above what the same prune takes in a repository of the dataset alone (`over the baseline`).
#   large.sh [BLOBS] [DATASET]
set -euo pipefail
cd "$(dirname "$0")"; TOP=$(cd ../.. && pwd); BENCH=${BENCH:-$TOP/target/bench}
TARGET=${CARGO_TARGET_DIR:-$TOP/target}; VOLVAULT=${VOLVAULT:-$TARGET/release/volvault}
BLOBS=${1:-10000000}; DATA=$BENCH/data/${2:-d1}
WORK=$BENCH/run/large; rm -rf "$WORK"; mkdir -p "$WORK/cache"
export VOLVAULT_KEY_FILE=$WORK/key VOLVAULT_CACHE_DIR=$WORK/cache
(umask 077; head -c 32 /dev/urandom > "$VOLVAULT_KEY_FILE")

# Prints seconds and peak of a prune, and sets PEAK to the latter in KiB.
prune() {
    /usr/bin/time -o "$WORK/time" -f "%e s, CPU %U + %S s, %M KiB" "$VOLVAULT" prune -q "${@:2}"
    PEAK=$(sed 's/.* \([0-9]*\) KiB$/\1/' "$WORK/time")
    echo "$1: $(cat "$WORK/time")"
}
over_baseline() {
    awk -v peak="$1" -v base="$2" -v blobs="$BLOBS" 'BEGIN { printf "    %.1f bytes a blob over the baseline\n", (peak - base) * 1024 / blobs }'
}

export VOLVAULT_REPOSITORY=$WORK/small
"$VOLVAULT" init -q; "$VOLVAULT" backup -q "$DATA"
prune "prune --dry-run, baseline" --dry-run; BASE=$PEAK
rm -rf "$VOLVAULT_REPOSITORY"

export VOLVAULT_REPOSITORY=$WORK/repo
"$VOLVAULT" init -q
cargo bench -q --manifest-path "$TOP/Cargo.toml" --bench many_blobs -- "$VOLVAULT_REPOSITORY" "$VOLVAULT_KEY_FILE" "$BLOBS"
du -sh "$VOLVAULT_REPOSITORY/state/index"
for run in first unchanged unchanged; do
    sync
    /usr/bin/time -f "$run: %e s, CPU %U + %S s, %M KiB" "$VOLVAULT" backup -q --stats "$DATA"
done
# Nothing needs the many blobs, and nobody forgot anything: --force says that this is right. --max-unused unlimited copies nothing, so only
# the table, the marks and the index count.
prune "prune --dry-run" --dry-run --force; over_baseline "$PEAK" "$BASE"
prune "prune" --force --max-unused unlimited; over_baseline "$PEAK" "$BASE"
rm -rf "$WORK"
