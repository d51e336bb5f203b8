#!/bin/bash
# The whole set of measures. Needs peers.sh, datasets.sh and volume.sh first. All programs of a case run interleaved.
#   TOOLS=volvault,restic ./all.sh        fewer programs
set -uo pipefail
cd "$(dirname "$0")"; M=./measure.py
L=${TOOLS:-restic,volvault,rustic,borg,bupstash}; S=${TOOLS:-restic,volvault,rustic}; G=${TOOLS:-restic,volvault}
# a local repository
$M flow d1 --tools "$L" --steps first,same,cold,restore,inplace,check,ls --runs 3 --verify
$M flow d2 --tools "$L" --steps first,incr,restore,check --runs 3 --verify
$M flow d3 --tools "$L" --steps first,restore --runs 2 --verify
$M flow d4 --tools "$L" --steps first,same,cold,restore,inplace --runs 2 --verify
$M flow d5 --tools "$L" --steps first,incr,restore --runs 3 --verify
# S3, with no delay and with 20 ms each way
for ms in 0 20; do
  $M flow d1 --tools "$S" --store s3:$ms --steps first,same,cold,restore --runs 2
  $M flow d4 --tools "$S" --store s3:$ms --steps first,same,cold,restore --runs 1
done
# thirty snapshots
$M grow d1 --tools "$G"
$M table
