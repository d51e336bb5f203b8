#!/bin/bash
# Makes the benchmark datasets under $BENCH/data (default target/bench/data), 8 GB.
#   datasets.sh            makes whatever is missing
#   datasets.sh d3 d5      makes only these
# D1 depends on what is on the machine (the cargo registry's sources, Python's library); the others are
# the same bytes everywhere (D2: same rows; PostgreSQL adds its own timestamps).
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
BENCH=${BENCH:-$HERE/../../target/bench}; mkdir -p "$BENCH/data" "$BENCH/logs"; BENCH=$(realpath "$BENCH"); DATA=$BENCH/data
PG=${PG:-/usr/lib/postgresql/15/bin}

d1() { # source tree: the sources of all crates fetched so far, and the Python library
  local t=$DATA/d1.tmp c=${CARGO_HOME:-$HOME/.cargo}/registry/src; rm -rf "$t"; mkdir -p "$t"
  [ -d "$c" ] && cp -a "$c" "$t/crates"
  for p in /usr/lib/python3*; do [ -d "$p" ] && cp -a "$p" "$t/"; done
  mv "$t" "$DATA/d1"
}

d2() { # PostgreSQL data directory, then the same after more transactions (d2b)
  local pg=$DATA/pg.tmp; rm -rf "$pg" "$DATA/d2" "$DATA/d2b"; mkdir -p "$pg"; chown postgres "$pg"
  chmod 755 "$BENCH" "$DATA"
  local as="setpriv --reuid=postgres --regid=postgres --clear-groups"
  $as "$PG/initdb" -D "$pg/data" -A trust -E UTF8 --locale=C >/dev/null
  cat >>"$pg/data/postgresql.conf" <<C
listen_addresses=''
unix_socket_directories='$pg'
shared_buffers=256MB
max_wal_size=256MB
min_wal_size=128MB
autovacuum=off
C
  start() { $as "$PG/pg_ctl" -w -D "$pg/data" -l "$pg/log" start >/dev/null; }
  stop()  { $as "$PG/pg_ctl" -w -D "$pg/data" -m fast stop >/dev/null; }
  start; $as "$PG/createdb" -h "$pg" bench
  $as "$PG/pgbench" -h "$pg" -i -s 60 -q bench >"$pg/init.log" 2>&1; stop
  cp -a "$pg/data" "$DATA/d2"
  # "60 s of pgbench", as a fixed number of transactions so that it repeats
  start; $as "$PG/pgbench" -h "$pg" -c 4 -t 15000 --random-seed=42 bench >"$pg/run.log" 2>&1; stop
  cp "$pg/run.log" "$BENCH/logs/pgbench-run.log" 2>/dev/null || true
  mv "$pg/data" "$DATA/d2b"; rm -rf "$pg"
}

d3() { # incompressible: 4 files of 512 MiB (AES-CTR key stream)
  local t=$DATA/d3.tmp; rm -rf "$t"; mkdir -p "$t"
  for i in 1 2 3 4; do
    head -c 512M /dev/zero | openssl enc -aes-128-ctr -nosalt \
      -K 0000000000000000000000000000000$i -iv 00000000000000000000000000000000 >"$t/random$i.bin"
  done
  mv "$t" "$DATA/d3"
}

d4() { python3 "$HERE/gen.py" tiny "$DATA/d4.tmp"; mv "$DATA/d4.tmp" "$DATA/d4"; }

d4s() { # a tenth of D4, for runs over a slow link: 20,000 files in 200 directories, 5,000 in one
  local t=$DATA/d4s.tmp; rm -rf "$t"; mkdir -p "$t/many" "$t/one"
  cp -a "$DATA/d4/many/00" "$DATA/d4/many/01" "$t/many/"; cp -a "$DATA"/d4/one/entry-000* "$DATA"/d4/one/entry-001* "$DATA"/d4/one/entry-002* "$DATA"/d4/one/entry-003* "$DATA"/d4/one/entry-004* "$t/one/"
  mv "$t" "$DATA/d4s"
}

d5() { # 1 GiB semi-compressible file, and (d5b) the same with 100 small edits
  python3 "$HERE/gen.py" big "$DATA/d5.tmp" "$DATA/d5b.tmp"
  mv "$DATA/d5.tmp" "$DATA/d5"; mv "$DATA/d5b.tmp" "$DATA/d5b"
}

for d in "${@:-d1 d2 d3 d4 d4s d5}"; do for x in $d; do
  [ -e "$DATA/$x" ] && { echo "$x exists"; continue; }
  echo "making $x"; $x
done; done
for x in "$DATA"/*/; do
  echo "$(basename "$x") files=$(find "$x" -type f | wc -l) dirs=$(find "$x" -type d | wc -l) bytes=$(find "$x" -type f -printf '%s\n' | awk '{s+=$1}END{printf "%.0f", s}')"
done | tee "$BENCH/data/SUMMARY"
