#!/bin/bash
# Notebooks: how long their image takes to build, where the time goes until one can be worked in, what an idle one takes,
# and thirty ordered at once against thirty in a row (Nova's fake driver: what is measured is the cloud, and no emulated
# processor). Needs an idle machine.
#
#   benches/notebooks.sh        about fifteen minutes
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=benches/lab.sh
. benches/lab.sh
lab=bench-nb
root=/var/lib/gpucloud-lab/labs/$lab/root

inside() { "$ours" lab exec "$lab" -- "$@"; }
since() { echo "scale=1; ($(date +%s.%N) - $1) / 1" | bc; }
names() { seq -f "$1%02g" 30; }
away() { for name in $(names "$1"); do inside gpucloud-install notebook delete "$name" --and-its-data --yes >/dev/null 2>&1 || true; done; }

"$ours" lab down "$lab" --yes >/dev/null 2>&1 || true
"$ours" lab up --name "$lab" --yes >/tmp/bench-notebooks.log 2>&1
sed -i '/^\[classroom\]/,$ s/^enabled = false/enabled = true/' "$root/etc/gpucloud/gpucloud.toml"
inside gpucloud-install apply --yes --progress plain >/tmp/bench-notebooks.log 2>&1
grep -E "Build the image of notebooks done|Give the image of notebooks to the cloud done|notebooks' network done" /tmp/bench-notebooks.log

for name in ada bob; do
    inside gpucloud-install notebook create "$name" --json 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["notebooks"][0]["seconds"])'
    inside gpucloud-install notebook stop "$name" >/dev/null 2>&1
done
inside gpucloud-install notebook start ada >/dev/null 2>&1
sleep 20
echo "idle, in it: $(inside gpucloud-install notebook ssh ada -- free --mebi | awk '/^Mem/ {print $3 " MiB of " $2}')"
echo "idle, here: $(ps -C qemu-system-x86_64 -o rss= | sort -n | tail -1 | awk '{printf "%d MiB", $1 / 1024}')"
for name in ada bob; do inside gpucloud-install notebook delete "$name" --and-its-data --yes >/dev/null 2>&1; done
inside gpucloud-install instance delete demo --yes >/dev/null 2>&1

install -m 755 benches/nova-compute-fake.py "$root/root/nova-compute-fake"
unit=gpucloud-nova-compute.service
mkdir -p "$root/etc/systemd/system/$unit.d"
printf '[Service]\nExecStart=\nExecStart=/root/nova-compute-fake --config-file /etc/nova/nova-cpu.conf --config-dir /etc/nova/nova-cpu.conf.d\n' \
    >"$root/etc/systemd/system/$unit.d/fake.conf"
printf '[DEFAULT]\ncompute_driver = fake.SteadyFakeDriver\n' >"$root/etc/nova/nova-cpu.conf.d/90-fake.conf"
inside systemctl daemon-reload
inside systemctl restart "$unit"
sleep 30
for round in 1 2; do
    begin=$(date +%s.%N)
    for name in $(names "row$round-"); do inside gpucloud-install notebook create "$name" --no-wait >/dev/null 2>&1; done
    row=$(since "$begin")
    away "row$round-"
    begin=$(date +%s.%N)
    # shellcheck disable=SC2046
    inside gpucloud-install notebook create $(names "once$round-") --no-wait >/tmp/bench-notebooks-once.log 2>&1
    once=$(since "$begin")
    echo "round $round: $(grep -c ' is built ' /tmp/bench-notebooks-once.log) at once $once s; in a row $row s; ratio $(echo "scale=2; $once / $row" | bc)"
    away "once$round-"
done
"$ours" lab down "$lab" --yes >/dev/null 2>&1
