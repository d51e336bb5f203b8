#!/bin/bash
# What a backup takes into a repository of many blobs: seconds, CPU seconds, peak resident memory, and the requests.
#   large.sh [BLOBS] [DATASET]
set -euo pipefail
cd "$(dirname "$0")"; TOP=$(cd ../.. && pwd); BENCH=${BENCH:-$TOP/target/bench}
TARGET=${CARGO_TARGET_DIR:-$TOP/target}; VOLVAULT=${VOLVAULT:-$TARGET/release/volvault}
WORK=$BENCH/run/large; rm -rf "$WORK"; mkdir -p "$WORK/cache"
export VOLVAULT_REPOSITORY=$WORK/repo VOLVAULT_KEY_FILE=$WORK/key VOLVAULT_CACHE_DIR=$WORK/cache
(umask 077; head -c 32 /dev/urandom > "$VOLVAULT_KEY_FILE")
"$VOLVAULT" init -q
cargo bench -q --manifest-path "$TOP/Cargo.toml" --bench many_blobs -- "$VOLVAULT_REPOSITORY" "$VOLVAULT_KEY_FILE" "${1:-10000000}"
du -sh "$VOLVAULT_REPOSITORY/state/index"
for run in first unchanged unchanged; do
    sync
    /usr/bin/time -f "$run: %e s, CPU %U + %S s, %M KiB" "$VOLVAULT" backup -q --stats "$BENCH/data/${2:-d1}"
done
rm -rf "$WORK"
