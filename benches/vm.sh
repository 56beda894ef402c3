#!/bin/bash
# How long `lab up --kind vm` takes to its disk with a cloud in it, against `lab up` of a container, in one run; both begin
# with their base images. Labs, images and base images that are here are taken down first. Needs an idle machine.
#
#   benches/vm.sh        about ten minutes
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=benches/lab.sh
. benches/lab.sh
disk=/var/lib/gpucloud-lab/labs/bench-vm/disk.raw

seconds() { echo "$(date +%s.%N) - $1" | bc; }

"$ours" lab down --purge --yes >/dev/null 2>&1 || true
fresh_host bench-c
fresh_host bench-vm --kind vm
"$ours" lab down bench-c --yes >/dev/null 2>&1
"$ours" lab down bench-vm --yes >/dev/null 2>&1

begin=$(date +%s.%N)
"$ours" lab up --name bench-c --yes >/tmp/bench-c.log 2>&1
container=$(seconds "$begin")
"$ours" lab down bench-c --yes >/dev/null 2>&1

begin=$(date +%s.%N)
"$ours" lab up --name bench-vm --kind vm --yes >/tmp/bench-vm.log 2>&1 &
until [ -e "$disk" ]; do sleep 0.2; done
virtual=$(seconds "$begin")
kill "$!" 2>/dev/null || true
wait || true
"$ours" lab down --purge --yes >/dev/null 2>&1
echo "container, healthy: $container s; virtual machine, to its disk: $virtual s; ratio $(echo "scale=2; $virtual / $container" | bc)"
