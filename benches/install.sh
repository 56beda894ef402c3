#!/usr/bin/env bash
# Installation in a lab host against the by-hand script, in turn, and against --jobs 1. As root, on an idle machine:
#   benches/install.sh [RUNS]     (3 unless said)
# Prints wall and CPU seconds of each run, the medians, and the ratios ours / by hand.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=benches/lab.sh
source benches/lab.sh

runs=${1:-3}
lab=bench
results=$(mktemp)

# In a fresh host: NAME COMMAND...
trial() {
    fresh_host "$lab"
    "prepare_${1//-/_}"
    measure "$1" "$lab" "${@:2}" | tee -a "$results"
}

prepare_ours() {
    "$ours" lab exec "$lab" -- gpucloud-install init --profile lab >/dev/null
    "$ours" lab exec "$lab" -- gpucloud-install plan --json >/tmp/bench-plan.json 2>/dev/null
}

prepare_one_job() {
    prepare_ours
}

prepare_by_hand() {
    local inside=/var/lib/gpucloud-lab/labs/$lab/root/root/by-hand
    cp -r benches/by-hand "$inside"
    cp profiles/native/2026.2.lock "$inside/"
}

for _ in $(seq "$runs"); do
    trial ours "$ours" lab exec "$lab" -- systemd-run --quiet --wait --collect --pipe gpucloud-install --yes --json apply --foreground
    grep '^{"' /tmp/bench-ours.log >/tmp/bench-apply.json
    echo "critical path: $(python3 benches/critical-path.py /tmp/bench-plan.json /tmp/bench-apply.json)"
    # shellcheck disable=SC2016
    trial by-hand "$ours" lab exec "$lab" -- bash -c 'systemd-run --quiet --wait --collect --pipe bash /root/by-hand/install.sh "$(hostname -I | tr -d " ")" /root/by-hand/cfg /root/by-hand/2026.2.lock'
done
trial one-job "$ours" lab exec "$lab" -- systemd-run --quiet --wait --collect --pipe gpucloud-install --yes --jobs 1 apply --foreground
"$ours" lab down "$lab" --yes >/dev/null 2>&1

median() {
    grep "^$1 " "$results" | cut -d' ' -f"$2" | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'
}

echo "median wall: ours $(median ours 2) s, by hand $(median by-hand 2) s, ratio $(echo "scale=3; $(median ours 2) / $(median by-hand 2)" | bc)"
echo "median CPU:  ours $(median ours 3) s, by hand $(median by-hand 3) s, ratio $(echo "scale=3; $(median ours 3) / $(median by-hand 3)" | bc)"
floor=$(echo "scale=1; $(median ours 3) / $(nproc)" | bc)
echo "CPU / cores: $floor s, our wall against it: $(echo "scale=3; $(median ours 2) / $floor" | bc)"
echo "--jobs 1:    $(median one-job 2) s wall, ratio $(echo "scale=3; $(median one-job 2) / $(median ours 2)" | bc)"
rm -f "$results"
