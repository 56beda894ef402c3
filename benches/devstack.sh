#!/usr/bin/env bash
# The engine `devstack` against DevStack by hand and against the engine `native`, each in a fresh lab host. As root, on
# an idle machine, with a mirror of the repositories:
#   benches/devstack.sh GIT_BASE_DIRECTORY
# Prints wall and CPU seconds of each, the ratios, what our own processes took meanwhile, and the times of a reboot.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=benches/lab.sh
source benches/lab.sh

mirror=$1
results=$(mktemp)

# What our processes took at most, as the kernel counts: MiB resident, processor seconds.
watch_own() {
    local pid
    while sleep 2; do
        for pid in $(pgrep -f '^(/usr/local/bin/)?gpucloud-install ' || true); do
            awk -v pid="$pid" '/^VmHWM/ {high = $2} END {getline stat < ("/proc/" pid "/stat"); split(stat, f, " "); \
                printf "%d %.1f %.2f\n", pid, high / 1024, (f[14] + f[15]) / 100}' "/proc/$pid/status" 2>/dev/null || true
        done
    done >/tmp/bench-own.log
}

fresh_host native
measure native native "$ours" lab up --name native --yes | tee -a "$results"
"$ours" lab down native --yes >/dev/null 2>&1

fresh_host devstack --engine devstack --git-base "$mirror"
watch_own &
watcher=$!
measure devstack devstack "$ours" lab up --name devstack --engine devstack --git-base "$mirror" --yes | tee -a "$results"
kill "$watcher"
for _ in 1 2 3; do reboot_times devstack; done
"$ours" lab down devstack --yes >/dev/null 2>&1

fresh_host by-hand --git-base "$mirror"
cp benches/by-hand/devstack.sh /var/lib/gpucloud-lab/labs/by-hand/root/root/
measure by-hand by-hand "$ours" lab exec by-hand -- systemd-run --quiet --wait --collect --pipe bash /root/devstack.sh "$(address by-hand)" "file://$mirror" | tee -a "$results"
"$ours" lab down by-hand --yes >/dev/null 2>&1

wall() {
    grep "^$1 " "$results" | cut -d' ' -f2
}
echo "devstack / by hand: $(echo "scale=3; $(wall devstack) / $(wall by-hand)" | bc)"
echo "native / devstack by hand: $(echo "scale=3; $(wall native) / $(wall by-hand)" | bc)"
echo "own processes, largest of each (pid, MiB, s):"
sort -k1,1n -k2,2nr /tmp/bench-own.log | awk '!seen[$1]++'
rm -f "$results"
