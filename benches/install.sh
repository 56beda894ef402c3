#!/usr/bin/env bash
# Installation in a lab host against the by-hand script, in turn, and against --jobs 1. As root, on an idle machine:
#   benches/install.sh [RUNS]     (3 unless said)
# Prints wall and CPU seconds of each run, the medians, and the ratios ours / by hand.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-3}
ours=target/release/gpucloud-install
lab=bench
results=$(mktemp)

# CPU seconds of everything in the lab host, from the control group that it was started in.
cpu_seconds() {
    local file
    file=/sys/fs/cgroup/cpuacct/gpucloud-lab-$lab/cpuacct.usage
    [ -r "$file" ] && awk '{printf "%.1f", $1 / 1e9}' "$file" && return
    for file in "/sys/fs/cgroup/unified/gpucloud-lab-$lab/cpu.stat" "/sys/fs/cgroup/machine.slice/gpucloud-lab-$lab.service/cpu.stat"; do
        [ -r "$file" ] && awk '/^usage_usec/ {printf "%.1f", $2 / 1e6}' "$file" && return
    done
    echo 0
}

fresh_host() {
    "$ours" lab down "$lab" --yes >/dev/null 2>&1 || true
    "$ours" lab up --name "$lab" --no-install --yes >/dev/null 2>&1
    sync
}

measure() {
    local name=$1 begin end
    shift
    fresh_host
    "prepare_${name//-/_}"
    local cpu_before
    cpu_before=$(cpu_seconds)
    begin=$(date +%s.%N)
    "$@" >"/tmp/bench-$name.log" 2>&1
    end=$(date +%s.%N)
    echo "$name $(echo "$end - $begin" | bc) $(echo "$(cpu_seconds) - $cpu_before" | bc)" | tee -a "$results"
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

address() {
    "$ours" lab exec "$lab" -- hostname -I | tr -d ' \n'
}

for _ in $(seq "$runs"); do
    measure ours "$ours" lab exec "$lab" -- systemd-run --quiet --wait --collect --pipe gpucloud-install --yes --json apply --foreground
    grep '^{"' /tmp/bench-ours.log >/tmp/bench-apply.json
    echo "critical path: $(python3 benches/critical-path.py /tmp/bench-plan.json /tmp/bench-apply.json)"
    # shellcheck disable=SC2016
    measure by-hand "$ours" lab exec "$lab" -- bash -c 'systemd-run --quiet --wait --collect --pipe bash /root/by-hand/install.sh "$(hostname -I | tr -d " ")" /root/by-hand/cfg /root/by-hand/2026.2.lock'
done
measure one-job "$ours" lab exec "$lab" -- systemd-run --quiet --wait --collect --pipe gpucloud-install --yes --jobs 1 apply --foreground
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
