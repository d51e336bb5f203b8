#!/bin/bash
# What the machine at hand allows: reading, scanning, compressing, hashing, copying each dataset.
# Prints one line per measure: name, median seconds of 3 (hyperfine), and MB/s of the dataset.
#   limits.sh            all;   limits.sh d1 d4   only these datasets
set -euo pipefail
BENCH=${BENCH:-$(cd "$(dirname "$0")/../.." && pwd)/target/bench}; D=$BENCH/data; T=$BENCH/run/limits.tmp; mkdir -p "$T"
b3=${PEERS:-$BENCH/peers}/deb/usr/bin/b3sum
[ $# -gt 0 ] || set -- d1 d2 d3 d4 d5
t() { # t NAME BYTES COMMAND [PREPARE]
  local j=$T/h.json s
  hyperfine -N -r 3 --export-json "$j" ${4:+--prepare "$4"} -- "bash -c '$3'" >/dev/null 2>&1 || { echo "$1 failed"; return; }
  python3 - "$1" "$2" "$j" <<'P'
import json, sys
name, size, path = sys.argv[1:]; r = json.load(open(path))["results"][0]
rate = "%8.0f MB/s" % (int(size) / 1e6 / r["median"]) if int(size) else ""
print(f"{name:44} {r['median']:8.3f} s  (cpu {r['user'] + r['system']:7.3f} s) {rate}")
P
}
for d in "$@"; do
  n=$(find "$D/$d" -type f -printf '%s\n' | awk '{s+=$1}END{printf "%.0f", s}')
  t "$d find -printf (stat scan)" 0 "find $D/$d -printf \"%s %T@ %C@ %i %p\\n\" > /dev/null"
  t "$d read: tar | cat" "$n" "tar cf - -C $D $d | cat > /dev/null"
  t "$d read: find | xargs cat" "$n" "find $D/$d -type f -print0 | xargs -0 cat > /dev/null"
  t "$d read: xargs -P2 cat" "$n" "find $D/$d -type f -print0 | xargs -0 -P2 -n 2000 cat > /dev/null"
  t "$d tar | zstd -1 -T2" "$n" "tar cf - -C $D $d | zstd -q -1 -T2 > /dev/null"
  t "$d tar | zstd -3 -T2" "$n" "tar cf - -C $D $d | zstd -q -3 -T2 > /dev/null"
  echo "$d size: tar|zstd -1 $(tar cf - -C "$D" "$d" | zstd -q -1 -T2 | wc -c)  zstd -3 $(tar cf - -C "$D" "$d" | zstd -q -3 -T2 | wc -c)  zstd -3 --long=27 $(tar cf - -C "$D" "$d" | zstd -q -3 -T2 --long=27 | wc -c)"
  t "$d tar | zstd -1 -T2 > file + sync" "$n" "tar cf - -C $D $d | zstd -q -1 -T2 > $T/out; sync -f $T" "rm -f $T/out"; rm -f "$T/out"
  t "$d cp -r" "$n" "cp -r $D/$d $T/copy" "rm -rf $T/copy; sync"; rm -rf "$T/copy"
  t "$d cp -a --reflink=never + sync" "$n" "cp -a --reflink=never $D/$d $T/copy; sync -f $T" "rm -rf $T/copy; sync"
  t "$d tar | tar x" "$n" "mkdir $T/copy; tar cf - -C $D/$d . | tar xf - -C $T/copy" "rm -rf $T/copy; sync"; rm -rf "$T/copy"
  t "$d sha256sum" "$n" "find $D/$d -type f -print0 | xargs -0 sha256sum > /dev/null"
  t "$d md5sum" "$n" "find $D/$d -type f -print0 | xargs -0 md5sum > /dev/null"
  [ -x "$b3" ] && t "$d b3sum --num-threads 1" "$n" "find $D/$d -type f -print0 | xargs -0 $b3 --num-threads 1 > /dev/null"
done
echo "== openssl speed (one core, kB/s at 64 B, 16 KiB, 1 MiB)"
for b in 64 16384 1048576; do openssl speed -seconds 1 -bytes $b -evp aes-256-gcm 2>/dev/null | tail -1; done
for c in sha256 chacha20-poly1305 md5; do openssl speed -seconds 1 -bytes 16384 -evp $c 2>/dev/null | tail -1; done
echo "== disk (fio)"
f="fio --directory=$T --size=1G --runtime=10 --output-format=terse --terse-version=3 --name=x"
echo "sequential write, 1 MiB, fsync at the end: $($f --rw=write --bs=1M --end_fsync=1 | awk -F';' '{printf "%.0f MB/s", $48/1000}')"
echo "16 MiB files' worth of writes, fsync every 16 MiB: $($f --rw=write --bs=1M --fsync=16 | awk -F';' '{printf "%.0f MB/s", $48/1000}')"
echo "4 KiB write + fsync: $($f --rw=write --bs=4k --fsync=1 --size=64M | awk -F';' '{printf "%.0f IOPS", $49}')"
echo "sequential read, direct: $($f --rw=read --bs=1M --direct=1 | awk -F';' '{printf "%.0f MB/s", $7/1000}')"
rm -rf "$T"
